"""Reading an operator's share: from the terminal without echo, standard input or a file.

Never from an argument or the environment, which other processes may see.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from keyserver.cli.asking import ask_hidden
from keyserver.cli.output import USAGE, WRONG_SHARE, CommandError, report_error

if TYPE_CHECKING:
    from keyserver.crypto.slip39 import Share
    from keyserver.sealing.record import SealRecord

ShareFilesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="The share; `-` reads standard input. May be repeated where shares are at one place. "
        "Else asked.",
    ),
]
ShareFileOption = Annotated[
    list[Path] | None,
    typer.Option("--file", metavar="FILE", help="The share; `-` reads standard input. Else asked."),
]
IdentityOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--age-identity",
        metavar="FILE",
        help="Opens a share that age has encrypted; may be repeated.",
    ),
]

MAX_INPUT: Final = 16 * 1024
"""Bytes of a share in any form."""

_AGE: Final = (b"age-encryption.org/v1", b"-----BEGIN AGE ENCRYPTED FILE-----")
_IDENTITY: Final = "AGE-SECRET-KEY-1"


def somebody_types() -> bool:
    """Whether a share is asked for where no file is named."""
    return sys.stdin.isatty()


def prompt_for(what: str) -> str:
    """The question for a share."""
    from keyserver.sealing.shares import WORDS  # deferred: sealing takes a while to load

    return f"{what}: {WORDS} words, or the first four letters of each (not shown)"


def read_share(file: Path | None, identities: Sequence[Path], prompt: str) -> str:
    """A share's text: words, or a share document.

    A file that is not encrypted must be readable by its owner only. Raises `CommandError` and
    `ConfigError`, which never show any of it.
    """
    if file is None and somebody_types():
        return ask_hidden(prompt).strip()
    data = _bytes_of(file)
    if data.startswith(_AGE):
        data = _decrypted(data, file, identities)
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        raise CommandError(f"{_name(file)}: is no text", exit_code=WRONG_SHARE) from None
    if not text:
        raise CommandError(
            f"{_name(file)}: is empty; a share was expected",
            hint="Give --file FILE, type it at a terminal, or send it to standard input.",
            exit_code=USAGE,
        )
    return text


def read_good(
    file: Path | None, identities: Sequence[Path], what: str, record: "SealRecord"
) -> "tuple[str, Share]":
    """A share of the set in force, asked for again as long as another is typed.

    Raises as `read_share` and `check`; nobody is asked for one of a node that has none.
    """
    from keyserver.sealing.shares import ShareSlot  # deferred, as above

    if ShareSlot.of(record) is None:
        raise CommandError(
            "this node has no shares: a restart opens it, with the key of its configuration",
            exit_code=USAGE,
        )
    may_retry = file is None and somebody_types()
    while True:
        text = read_share(file, identities, prompt_for(what))
        try:
            return text, check(text, record, file)
        except CommandError as error:
            if not may_retry:
                raise
            report_error(error)


def _name(file: Path | None) -> str:
    return "standard input" if file is None or str(file) == "-" else str(file)


def _bytes_of(file: Path | None) -> bytes:
    # Deferred: sealing takes a while to load, which only this needs.
    from keyserver.sealing.key_sources import read_private_file

    if file is None or str(file) == "-":
        data = sys.stdin.buffer.read(MAX_INPUT + 1)
        if len(data) > MAX_INPUT:
            raise CommandError("standard input: too long for a share", exit_code=WRONG_SHARE)
        return data
    try:
        with file.open("rb") as opened:
            start = opened.read(MAX_INPUT)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", exit_code=USAGE) from None
    return start if start.startswith(_AGE) else read_private_file(file)


def _decrypted(data: bytes, file: Path | None, identities: Sequence[Path]) -> bytes:
    import pyrage  # deferred: only encrypted shares need it

    if not identities:
        raise CommandError(
            f"{_name(file)}: is encrypted with age",
            hint="Give the file with your key: --age-identity FILE.",
            exit_code=USAGE,
        )
    keys = [key for path in identities for key in age_identities(path)]
    try:
        opened: bytes = pyrage.decrypt(data, keys)
    except pyrage.DecryptError:
        raise CommandError(
            f"{_name(file)}: does not open with this key of age; it was made for another, or is "
            "damaged",
            exit_code=WRONG_SHARE,
        ) from None
    return opened


def age_identities(path: Path) -> list[Any]:
    """The private keys of age in a file; Any: the library's own type.

    Raises `CommandError` for a file without any, `KeySourceError` for one that others can read.
    """
    import pyrage  # deferred, as above

    from keyserver.sealing.key_sources import read_private_file

    lines = read_private_file(path).decode("utf-8", "replace").splitlines()
    words = [line.strip() for line in lines if line.strip().startswith(_IDENTITY)]
    try:
        found = [pyrage.x25519.Identity.from_str(word) for word in words]
    except pyrage.IdentityError:
        found = []
    if not found:
        raise CommandError(
            f"{path}: holds no key of age ({_IDENTITY}…), as age-keygen makes it", exit_code=USAGE
        )
    return found


def the_only(files: Sequence[Path] | None) -> Path | None:
    """The file, if any; raises `CommandError` for more than one."""
    if files and len(files) > 1:
        raise CommandError("--file: one share at a time", exit_code=USAGE)
    return files[0] if files else None


def check(text: str, record: "SealRecord", file: Path | None = None) -> "Share":
    """The share, if it is one of the set in force; raises `CommandError` (wrong share).

    `file`: where it was read, to be named.
    """
    from keyserver.sealing.errors import (
        ShareMalformedError,
        ShareUnknownError,
        ShareWrongSetError,
    )
    from keyserver.sealing.shares import check_share

    try:
        return check_share(text, record)
    except (ShareMalformedError, ShareWrongSetError, ShareUnknownError) as error:
        raise CommandError(
            str(error) if file is None else f"{_name(file)}: {error}",
            hint="Nothing was sent and nothing has changed.",
            exit_code=WRONG_SHARE,
        ) from None
