"""Encrypting small data with a service key, for services that have no cipher of their own.

    ksb1.<key id>.<box in base64url, no padding>

A box opens only for the owner, the service and the associated data it was made for (sealing,
C15.5). Bytes in, bytes out: nothing in them is ever interpreted.
"""

import base64
import re
from dataclasses import dataclass, field
from typing import Final

from keyserver.crypto.boxes import NO_TERM, open_box, seal_box
from keyserver.crypto.errors import BoxError
from keyserver.crypto.hashing import hkdf_sha256
from keyserver.crypto.randomness import RandomSource
from keyserver.sealing.errors import BadNameError
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.service_keys.model import Pair
from keyserver.sealing.service_keys.names import check_key_id

MOST_DATA: Final = 64 * 1024
"""Bytes of plaintext, and of associated data."""

_INFO: Final = b"keyserver.keys.v1/data"
_FORM: Final = re.compile(r"ksb1\.([0-9a-f-]{36})\.([A-Za-z0-9_-]*)")


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """Data that was encrypted here."""

    key_id: str
    box: bytes = field(repr=False)

    @classmethod
    def read(cls, text: str) -> "Ciphertext":
        """Read what `text` wrote, nothing else; raises `BadNameError`."""
        match = _FORM.fullmatch(text)
        if match is None or len(match[2]) % 4 == 1:
            raise BadNameError("ciphertext: must have the form ksb1.<key id>.<base64url>")
        padding = "=" * (-len(match[2]) % 4)
        found = cls(check_key_id(match[1]), base64.urlsafe_b64decode(match[2] + padding))
        if found.text() != text:
            raise BadNameError("ciphertext: must have the form ksb1.<key id>.<base64url>")
        return found

    def text(self) -> str:
        """As it is handed out."""
        return f"ksb1.{self.key_id}.{base64.urlsafe_b64encode(self.box).decode().rstrip('=')}"


def data_key(key: SecretKey) -> bytes:
    """The 32-byte key that data is encrypted with."""
    return hkdf_sha256(salt=b"", key=key.expose(), info=_INFO)


def encrypt(
    key: SecretKey, pair: Pair, key_id: str, plaintext: bytes, aad: bytes, random: RandomSource
) -> Ciphertext:
    """Encrypt with the version `key_id`; `aad` is associated data, checked when it is opened.

    Raises `BadNameError` for more than `MOST_DATA` bytes of either.
    """
    _check_size("plaintext", plaintext)
    _check_size("aad", aad)
    box = seal_box(data_key(key), plaintext, _context(pair, key_id, aad), random)
    return Ciphertext(key_id, box)


def decrypt(key: SecretKey, pair: Pair, ciphertext: Ciphertext, aad: bytes) -> bytes:
    """The bytes that were encrypted.

    Raises `BadNameError` if they were not, for this pair and this associated data, with this key.
    """
    context = _context(pair, ciphertext.key_id, aad)
    try:
        return open_box({NO_TERM: data_key(key)}, ciphertext.box, context)
    except BoxError:
        raise BadNameError(
            "ciphertext: does not open; it was altered, or made for another owner, service or aad"
        ) from None


def _context(pair: Pair, key_id: str, aad: bytes) -> bytes:
    fields = (pair.owner.encode(), pair.service.encode(), key_id.encode())
    prefixed = b"".join(len(part).to_bytes(2, "big") + part for part in fields)
    return _INFO + b"\0" + prefixed + aad


def _check_size(name: str, data: bytes) -> None:
    if len(data) > MOST_DATA:
        raise BadNameError(f"{name}: must be {MOST_DATA} bytes at most")
