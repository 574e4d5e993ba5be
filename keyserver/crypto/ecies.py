"""Encryption to a public key, in the original's message format.

    04 || ephemeral x || y (64) || iv (16) || AES-128-CTR ciphertext || HMAC-SHA-256 (32)

Key derivation: NIST SP 800-56 concatenation with one block of SHA-256. The two zero bytes at the
end of the authenticated data are the same everywhere in this system.
"""

import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from keyserver.crypto.curve import Point, SecretScalar, ecdh_x, mul_base
from keyserver.crypto.errors import DecryptionError, InvalidPointError
from keyserver.crypto.hashing import sha256
from keyserver.crypto.randomness import RandomSource

OVERHEAD = 113
"""How many bytes longer a message is than its plaintext."""

_VERSION = b"\x04"
_READ_VERSIONS = (2, 3, 4)
_SHARED_MAC_DATA = b"\0\0"


def encrypt(recipient: Point, plaintext: bytes, rng: RandomSource) -> bytes:
    """Encrypt to a public key; the result is `OVERHEAD` bytes longer."""
    return encrypt_with(recipient, plaintext, SecretScalar.random(rng), rng.bytes(16))


def encrypt_with(recipient: Point, plaintext: bytes, ephemeral: SecretScalar, iv: bytes) -> bytes:
    """Encrypt with a given ephemeral key and 16-byte iv: for published vectors only."""
    encryption_key, mac_key = _keys(ephemeral, recipient)
    ciphertext = aes_ctr(encryption_key, iv, plaintext)
    tag = hmac.digest(mac_key, iv + ciphertext + _SHARED_MAC_DATA, "sha256")
    return _VERSION + mul_base(ephemeral).raw64 + iv + ciphertext + tag


def decrypt(secret: SecretScalar, message: bytes) -> bytes:
    """Decrypt a message; raises DecryptionError if it is malformed or for another key."""
    if len(message) < OVERHEAD:
        raise DecryptionError(f"encrypted message: need at least {OVERHEAD} bytes")
    if message[0] not in _READ_VERSIONS:
        raise DecryptionError(f"encrypted message: unknown version {message[0]}")
    try:
        ephemeral = Point.from_raw64(message[1:65])
    except InvalidPointError as error:
        raise DecryptionError("encrypted message: ephemeral key is not on the curve") from error
    iv, ciphertext, tag = message[65:81], message[81:-32], message[-32:]
    encryption_key, mac_key = _keys(secret, ephemeral)
    expected = hmac.digest(mac_key, iv + ciphertext + _SHARED_MAC_DATA, "sha256")
    if not hmac.compare_digest(expected, tag):
        raise DecryptionError("encrypted message: altered, or for another key")
    return aes_ctr(encryption_key, iv, ciphertext)


def aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Apply AES-CTR with a 16-byte counter block that starts at `iv`: its own inverse."""
    encryptor = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _keys(secret: SecretScalar, public: Point) -> tuple[bytes, bytes]:
    """The encryption key (16 bytes) and the mac key (32 bytes) of a message."""
    derived = sha256(b"\0\0\0\x01" + ecdh_x(secret, public))
    return derived[:16], sha256(derived[16:])
