"""What opens a slot: a key file, a key in a variable, a passphrase (sealing, C11)."""

import base64
import binascii
import hashlib
import os
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keyserver.crypto.randomness import RandomSource
from keyserver.sealing.errors import KeySourceError, SealRecordDamagedError
from keyserver.sealing.secret_key import SIZE, SecretKey

STATIC: Final = "static"
PASSPHRASE: Final = "passphrase"  # noqa: S105 - the name of a kind of slot

SCRYPT_N: Final = 32768
SCRYPT_R: Final = 8
SCRYPT_P: Final = 3
SALT_SIZE: Final = 16

_MAX_SCRYPT_N: Final = 1 << 20
_MAX_SCRYPT_R: Final = 32
_MAX_SCRYPT_P: Final = 16


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file with the 32-byte key of a static slot: raw, hexadecimal or base64."""

    path: Path
    key_id: str = "default"
    make_if_missing: bool = False
    """For a node that names no key source: the file is made when the store is sealed first."""


@dataclass(frozen=True, slots=True)
class KeyText:
    """The key of a static slot as the value of a variable: hexadecimal or base64."""

    name: str
    """Of the variable, for messages."""
    value: str = field(repr=False)
    key_id: str = "default"


@dataclass(frozen=True, slots=True)
class Passphrase:
    """A passphrase, typed in or read from a file."""

    text: str = field(repr=False)


KeySource = KeyFile | KeyText | Passphrase


def static_key(source: KeyFile | KeyText) -> SecretKey:
    """The key of a static slot; raises `KeySourceError` naming its file or variable."""
    if isinstance(source, KeyText):
        return parse_key(source.value.encode(), source.name)
    return parse_key(read_private_file(source.path), str(source.path))


def parse_key(data: bytes, name: str) -> SecretKey:
    """Read 32 bytes, raw or as 64 hexadecimal digits or as base64, with white space around.

    Raises `KeySourceError`; `name` says where the key is from.
    """
    if len(data) == SIZE:
        return SecretKey(data)
    text = data.strip()
    try:
        is_hex = len(text) == 2 * SIZE
        decoded = bytes.fromhex(text.decode()) if is_hex else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        decoded = b""
    if len(decoded) != SIZE:
        raise KeySourceError(f"{name}: need {SIZE} bytes, raw, hexadecimal or base64")
    return SecretKey(decoded)


def read_private_file(path: Path) -> bytes:
    """Read a file that only its owner may read; raises `KeySourceError`."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_IMODE(mode) & 0o077:
                raise KeySourceError(
                    f"{path}: readable by others (mode {stat.S_IMODE(mode):04o}); "
                    f"run: chmod 600 {path}"
                )
            return file.read(4096)
    except OSError as problem:
        raise KeySourceError(f"{path}: {problem.strerror}") from problem


def make_key_file(path: Path, random: RandomSource) -> None:
    """Write a new random key, readable by the owner only, durably; raises `KeySourceError`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(random.bytes(SIZE).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as problem:
        raise KeySourceError(f"{path}: cannot be made: {problem.strerror}") from problem


def new_passphrase_params(random: RandomSource) -> dict[str, Any]:
    """The parameters of a new passphrase slot."""
    salt = random.bytes(SALT_SIZE).hex()
    return {"kdf": "scrypt", "salt": salt, "n": SCRYPT_N, "r": SCRYPT_R, "p": SCRYPT_P}


def passphrase_key(source: Passphrase, params: Mapping[str, Any]) -> SecretKey:
    """The key of a passphrase slot: RFC 7914 scrypt of the passphrase in NFC; takes about 0.3 s.

    Raises `SealRecordDamagedError` for parameters no slot of ours has.
    """
    n, r, p, salt = (params.get(name) for name in ("n", "r", "p", "salt"))
    if params.get("kdf") != "scrypt" or not isinstance(salt, str):
        raise SealRecordDamagedError("seal record: a passphrase slot needs kdf scrypt and a salt")
    for name, value, most in (
        ("n", n, _MAX_SCRYPT_N),
        ("r", r, _MAX_SCRYPT_R),
        ("p", p, _MAX_SCRYPT_P),
    ):
        if not isinstance(value, int) or not 0 < value <= most:
            raise SealRecordDamagedError(f"seal record: scrypt's {name} must be 1 to {most}")
    assert isinstance(n, int)
    assert isinstance(r, int)
    assert isinstance(p, int)
    words = unicodedata.normalize("NFC", source.text).encode()
    try:
        derived = hashlib.scrypt(
            words, salt=bytes.fromhex(salt), n=n, r=r, p=p, maxmem=256 * n * r, dklen=SIZE
        )
    except ValueError as problem:
        raise SealRecordDamagedError(f"seal record: passphrase slot: {problem}") from problem
    return SecretKey(derived)
