"""Looks whether known secrets stand in files: as bytes, digits, base64 or words."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WORDS_TOGETHER: Final = 8
"""Words of a share that are looked for: 80 bits of it."""
FIRST_SECRET_WORD: Final = 4
"""The words before it say which set a share is of."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A secret that stands in a file."""

    file: Path
    secret: str
    """What it is."""
    form: str
    """How it is written."""

    def __str__(self) -> str:
        return f"{self.file}: {self.secret}, as {self.form}"


def forms_of(secret: bytes) -> dict[str, bytes]:
    """The ways to write down some bytes that are looked for.

    Of base64 the digits that do not depend on what stands before and behind.
    """
    plain = secret.hex()
    forms = {
        "bytes": secret,
        "reversed bytes": secret[::-1],
        "hexadecimal digits": plain.encode(),
        "upper-case hexadecimal digits": plain.upper().encode(),
        "decimal digits": str(int.from_bytes(secret, "big")).encode(),
    }
    for before in range(3):
        for name, encode in (("base64", b64encode), ("URL-safe base64", urlsafe_b64encode)):
            aligned = secret[(3 - before) % 3 :]
            whole = aligned[: len(aligned) // 3 * 3]
            forms[f"{name}, {before} bytes behind a boundary"] = encode(whole)
    return forms


def forms_of_share(words: str) -> dict[str, bytes]:
    """Pieces of a share's words, as they would be written into a text."""
    every = words.split()
    pieces = {}
    for first in range(FIRST_SECRET_WORD, len(every) - WORDS_TOGETHER + 1, WORDS_TOGETHER // 2):
        piece = every[first : first + WORDS_TOGETHER]
        pieces[f"words {first + 1} to {first + WORDS_TOGETHER}"] = " ".join(piece).encode()
    return pieces


def search(
    directory: Path, secrets: Mapping[str, bytes], shares: Mapping[str, str]
) -> list[Finding]:
    """Look through all files of a directory and those below it.

    `secrets`: values by what they are; `shares`: words by whose they are. Each way of writing is
    found in any place of a file, but not what is cut or compressed.
    """
    looked_for = [
        (name, form, written)
        for name, secret in secrets.items()
        for form, written in forms_of(secret).items()
    ]
    looked_for += [
        (name, form, written)
        for name, words in shares.items()
        for form, written in forms_of_share(words).items()
    ]
    return [
        Finding(file, name, form)
        for file in files_below(directory)
        for content in (file.read_bytes(),)
        for name, form, written in looked_for
        if written in content
    ]


def files_below(directory: Path) -> Iterable[Path]:
    """All files of a directory and of those below it."""
    return (path for path in sorted(directory.rglob("*")) if path.is_file())
