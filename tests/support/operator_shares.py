"""What operators hold: shares in files, keys of age, an administrator's key."""

import json
import os
from pathlib import Path

import pyrage

from keyserver.crypto.curve import SecretScalar


def private_file(path: Path, content: str | bytes) -> Path:
    """A file that its owner alone can read."""
    data = content.encode() if isinstance(content, str) else content
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return path


def key_of_age(path: Path) -> tuple[Path, str]:
    """A file with a key of age, as `age-keygen` writes it, and its recipient."""
    key = pyrage.x25519.Identity.generate()
    recipient = str(key.to_public())
    text = f"# created: 2026-01-01T00:00:00Z\n# public key: {recipient}\n{key}\n"
    return private_file(path, text), recipient


def encrypted(document: str, recipient: str) -> bytes:
    """A share as age encrypts it to its keeper."""
    to = pyrage.x25519.Recipient.from_str(recipient)
    sealed: bytes = pyrage.encrypt(document.encode(), [to])
    return sealed


def key_file(path: Path, key: SecretScalar) -> Path:
    """An account's key in a file, as 64 digits: key files with a password take a while."""
    return private_file(path, key.expose().hex())


def words_of(document: str) -> str:
    """The words of a share document."""
    words: str = json.loads(document)["mnemonic"]
    return words
