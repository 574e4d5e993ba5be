"""Encrypted files.

`FILE.encrypted` is the original's format to the byte: AES-128-CTR under the first 16 bytes of the
document key, then the 16 bytes of the iv. It is as long as the document plus 16, and nothing in it
tells an altered file. Beside it stands `FILE.encrypted.json`, which says what key opens it and
holds an authentication code over it (`Description`). Files are read and written piece by piece.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import BinaryIO

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from pydantic_core import from_json

from keyserver.client.errors import DocumentError
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.documents import IV_SIZE
from keyserver.crypto.hashing import tagged_hash
from keyserver.crypto.randomness import RandomSource
from keyserver.model.identifiers import KeyId

FORMAT = "keyserver-document"
VERSION = 1
MAC_TAG = "keyserver/document-mac"
PIECE = 1 << 20
"""Bytes handled at a time."""


def new_document_key(rng: RandomSource) -> Point:
    """Draw a document key: a random point."""
    return SecretScalar.random(rng).public()


@dataclass(frozen=True, slots=True)
class Description:
    """What stands beside an encrypted file."""

    key_id: KeyId
    chain_id: int | None
    """0 for a network without a chain, None if whoever encrypted could not know."""
    size: int
    """Bytes of the encrypted file."""
    mac: bytes
    """HMAC-SHA-256 of the encrypted file; its key is the tagged hash of the document key."""

    def to_json(self) -> str:
        """The text of the file."""
        fields = {
            "format": FORMAT,
            "version": VERSION,
            "key_id": "0x" + self.key_id.hex(),
            "chain_id": self.chain_id,
            "size": self.size,
            "mac": "0x" + self.mac.hex(),
        }
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def load_if_there(cls, path: Path) -> "Description | None":
        """Read the file if it exists; raises as `load` does."""
        return cls.load(path) if path.exists() else None

    @classmethod
    def load(cls, path: Path) -> "Description":
        """Read the file; raises `DocumentError` naming the field that is wrong."""
        try:
            # Not by the standard library: strangers may send it nested too deep for that.
            fields = from_json(path.read_bytes(), allow_inf_nan=False, cache_strings="none")
        except OSError as error:
            raise DocumentError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise DocumentError(f"{path}: is not JSON") from error
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise DocumentError(f"{path}: format: must be {FORMAT}")
        if fields.get("version") != VERSION:
            raise DocumentError(f"{path}: version: only {VERSION} is known")
        for name, types in (("chain_id", (int, NoneType)), ("size", (int,))):
            if name not in fields or type(fields[name]) not in types:
                raise DocumentError(f"{path}: {name}: must be a number")
        key_id, mac = (_bytes32(path, name, fields.get(name)) for name in ("key_id", "mac"))
        return cls(KeyId(key_id), fields["chain_id"], fields["size"], mac)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise `DocumentError` if the file exists and may not be overwritten."""
    if path.exists() and not overwrite:
        raise DocumentError(f"{path}: exists already and is not overwritten")


def description_path(encrypted: Path) -> Path:
    """Where the description of an encrypted file stands."""
    return encrypted.with_name(encrypted.name + ".json")


def write_description(description: Description, path: Path) -> None:
    """Write the file beside an encrypted one."""
    path.write_text(description.to_json(), encoding="utf-8")


def remove_encrypted(encrypted: Path) -> None:
    """Delete an encrypted file and its description."""
    encrypted.unlink()
    description_path(encrypted).unlink()


def encrypt_file(
    document_key: Point, source: Path, target: Path, rng: RandomSource, *, overwrite: bool = False
) -> tuple[int, bytes]:
    """Encrypt a file; returns the size and the authentication code of what was written.

    The target appears when it is complete. Raises `DocumentError` if it exists and may not be
    overwritten.
    """
    iv, mac = rng.bytes(IV_SIZE), _mac(document_key)
    cipher = _cipher(document_key, iv)
    size = IV_SIZE
    with source.open("rb") as plain, _replacing(target, overwrite=overwrite) as out:
        for piece in _pieces(plain):
            encrypted = cipher.update(piece)
            mac.update(encrypted)
            out.write(encrypted)
            size += len(encrypted)
        mac.update(iv)
        out.write(iv)
    return size, mac.digest()


def decrypt_file(
    document_key: Point,
    source: Path,
    target: Path,
    description: Description | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Decrypt a file, after checking it against its description where there is one.

    Without, nobody can tell whether it was altered. Raises `DocumentError` if it was, if it is too
    short, or if the target exists and may not be overwritten.
    """
    with source.open("rb") as encrypted:
        size = encrypted.seek(0, os.SEEK_END)
        if size < IV_SIZE:
            raise DocumentError(f"{source}: is no encrypted document: shorter than {IV_SIZE} bytes")
        if description is not None:
            _check(document_key, encrypted, size, description, source)
        encrypted.seek(size - IV_SIZE)
        cipher = _cipher(document_key, encrypted.read(IV_SIZE))
        encrypted.seek(0)
        with _replacing(target, overwrite=overwrite) as out:
            for piece in _pieces(encrypted, size - IV_SIZE):
                out.write(cipher.update(piece))


def _check(
    document_key: Point, encrypted: BinaryIO, size: int, description: Description, source: Path
) -> None:
    """Raise `DocumentError` unless the file is the one that was described."""
    encrypted.seek(0)
    mac = _mac(document_key)
    for piece in _pieces(encrypted):
        mac.update(piece)
    if size != description.size or not hmac.compare_digest(mac.digest(), description.mac):
        raise DocumentError(
            f"{source}: is not what was encrypted: it was altered, or its key is another one",
            advice="Nothing was written. Get the file and its .json again from who shared it.",
        )


def _cipher(document_key: Point, iv: bytes) -> CipherContext:
    """AES-128 in counter mode as `keyserver.crypto.documents` has it, for pieces of any length."""
    return Cipher(algorithms.AES(document_key.raw64[:16]), modes.CTR(iv)).encryptor()


def _mac(document_key: Point) -> "hmac.HMAC":
    return hmac.new(tagged_hash(MAC_TAG, document_key.raw64), digestmod=hashlib.sha256)


def _pieces(file: BinaryIO, length: int | None = None) -> Iterator[bytes]:
    """What is left of a file, or the next `length` bytes."""
    while length is None or length > 0:
        piece = file.read(PIECE if length is None else min(PIECE, length))
        if not piece:
            return
        if length is not None:
            length -= len(piece)
        yield piece


@contextmanager
def _replacing(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file that takes the target's name when everything is written, and vanishes if not."""
    refuse_existing(target, overwrite=overwrite)
    partial = target.with_name(target.name + ".partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            yield out
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _bytes32(path: Path, name: str, text: object) -> bytes:
    try:
        value = bytes.fromhex(str(text).removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != 32:
        raise DocumentError(f"{path}: {name}: must be 32 bytes in hex")
    return value
