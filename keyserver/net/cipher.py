"""Sealing, key derivation and key rotation of BOLT #8 (engine design, sections 5.1 and 5.2)."""

import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyserver.crypto.errors import DecryptionError

TAG_SIZE: Final = 16
"""Bytes that sealing adds."""

ROTATION: Final = 1000
"""How many times a key is used before the next one replaces it."""


def derive_two(salt: bytes, material: bytes) -> tuple[bytes, bytes]:
    """HKDF-SHA256 with empty info: 64 bytes as two 32-byte keys (RFC 5869)."""
    derived = HKDF(algorithm=SHA256(), length=64, salt=salt, info=b"").derive(material)
    return derived[:32], derived[32:]


def seal(key: bytes, nonce: int, associated: bytes, plaintext: bytes) -> bytes:
    """ChaCha20-Poly1305 (RFC 8439) under the nonce `4 zero bytes || u64 little-endian`."""
    return ChaCha20Poly1305(key).encrypt(_nonce(nonce), plaintext, associated)


def open_sealed(key: bytes, nonce: int, associated: bytes, sealed: bytes) -> bytes:
    """The plaintext that `seal` was given; raises `DecryptionError`."""
    return _open(ChaCha20Poly1305(key), _nonce(nonce), sealed, associated)


class RotatingKey:
    """The key of one direction, replaced after every 1000 uses; never printed."""

    __slots__ = ("_chaining", "_cipher", "_key", "_nonce")

    def __init__(self, key: bytes, chaining: bytes) -> None:
        """Start with nonce 0; `chaining` is the final chaining key of the handshake."""
        self._chaining = chaining
        self._use(key)

    def seal(self, plaintext: bytes) -> bytes:
        """Seal the next piece."""
        sealed = self._cipher.encrypt(_nonce(self._nonce), plaintext, b"")
        self._advance()
        return sealed

    def open_sealed(self, sealed: bytes) -> bytes:
        """Open the next piece; raises `DecryptionError`."""
        plaintext = _open(self._cipher, _nonce(self._nonce), sealed, b"")
        self._advance()
        return plaintext

    def _advance(self) -> None:
        self._nonce += 1
        if self._nonce == ROTATION:
            self._chaining, key = derive_two(self._chaining, self._key)
            self._use(key)

    def _use(self, key: bytes) -> None:
        self._key = key
        self._cipher = ChaCha20Poly1305(key)
        self._nonce = 0

    def __repr__(self) -> str:
        return "RotatingKey(<redacted>)"


def _open(cipher: ChaCha20Poly1305, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
    try:
        return cipher.decrypt(nonce, sealed, associated)
    except InvalidTag as problem:
        raise DecryptionError("sealed bytes do not open") from problem


def _nonce(number: int) -> bytes:
    return struct.pack("<4xQ", number)
