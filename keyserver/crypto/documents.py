"""Documents encrypted with a document key, in the original's file format.

    AES-128-CTR ciphertext || iv (16)

The AES key is the first half of the document key's x-coordinate. Nothing authenticates the text:
who alters the file alters what is read.
"""

from keyserver.crypto.curve import Point
from keyserver.crypto.ecies import aes_ctr
from keyserver.crypto.errors import DecryptionError
from keyserver.crypto.randomness import RandomSource

IV_SIZE = 16
"""How many bytes longer an encrypted document is than the document."""


def encrypt_document(document_key: Point, document: bytes, rng: RandomSource) -> bytes:
    """Encrypt a document; the result is `IV_SIZE` bytes longer."""
    return encrypt_document_with(document_key, document, rng.bytes(IV_SIZE))


def encrypt_document_with(document_key: Point, document: bytes, iv: bytes) -> bytes:
    """Encrypt with a given iv: for published vectors only."""
    return aes_ctr(_key(document_key), iv, document) + iv


def decrypt_document(document_key: Point, encrypted: bytes) -> bytes:
    """Decrypt a document; raises DecryptionError if it is shorter than an iv."""
    if len(encrypted) < IV_SIZE:
        raise DecryptionError(f"encrypted document: need at least {IV_SIZE} bytes")
    return aes_ctr(_key(document_key), encrypted[-IV_SIZE:], encrypted[:-IV_SIZE])


def _key(document_key: Point) -> bytes:
    return document_key.raw64[:16]
