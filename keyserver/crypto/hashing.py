"""Hash functions: SHA-256, Keccak-256, tagged hashes and hashes to a scalar.

Engine design, section 2. A tagged hash is `SHA256(SHA256(tag) || SHA256(tag) || m)`, as in
BIP-340; the tag keeps the purposes of one key apart.
"""

import hashlib
import hmac
from functools import cache
from typing import TYPE_CHECKING

from eth_hash.auto import keccak as _keccak

from keyserver.crypto.curve import ORDER, Scalar
from keyserver.crypto.errors import InvalidPointError, InvalidScalarError

if TYPE_CHECKING:
    from hashlib import _Hash


def sha256(data: bytes) -> bytes:
    """Return the 32-byte SHA-256 of `data`."""
    return hashlib.sha256(data).digest()


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte Keccak-256 of `data`, the hash of Ethereum (not SHA3-256)."""
    return _keccak(data)


@cache
def _tagged_state(tag: str) -> "_Hash":
    """The hash state after the two copies of the tag's hash; one per tag in the source."""
    return hashlib.sha256(sha256(tag.encode("ascii")) * 2)


def tagged_hash(tag: str, message: bytes) -> bytes:
    """Return `H(tag, m)`, 32 bytes.

    `tag` is a constant of the caller, never a value from outside: its state is kept for ever.
    """
    state = _tagged_state(tag).copy()
    state.update(message)
    return state.digest()


def hash_to_scalar(tag: str, message: bytes) -> Scalar:
    """Return `HS(tag, m) = int(H(tag, m)) mod q`.

    Raises InvalidScalarError when that is 0, which nobody can bring about.
    """
    value = int.from_bytes(tagged_hash(tag, message), "big") % ORDER
    if value == 0:
        raise InvalidScalarError(f"hash to scalar with tag {tag} is zero")
    return Scalar(value)


def expand_to_scalar_bytes(domain: bytes, message: bytes) -> bytes:
    """Return 48 bytes that, as a number modulo `q`, are uniform: for hash-to-field.

    `expand_message_xmd` of RFC 9380, section 5.3.1, with SHA-256 and 48 bytes of output; `domain`
    is the domain separation tag, at most 255 bytes.
    """
    suffix = domain + bytes([len(domain)])
    first = sha256(bytes(64) + message + b"\x00\x30\x00" + suffix)
    block1 = sha256(first + b"\x01" + suffix)
    mixed = bytes(a ^ b for a, b in zip(first, block1, strict=True))
    return block1 + sha256(mixed + b"\x02" + suffix)[:16]


def hash_to_field(domain: bytes, message: bytes) -> Scalar:
    """Return a public number of the field of scalars (RFC 9380, section 5.2), possibly 0."""
    return Scalar(int.from_bytes(expand_to_scalar_bytes(domain, message), "big") % ORDER)


def hkdf_sha256(*, salt: bytes, key: bytes, info: bytes) -> bytes:
    """Return 32 bytes of HKDF with SHA-256 (RFC 5869): extract, then one block of expand."""
    extracted = hmac.digest(salt, key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def address_of(point_raw64: bytes) -> bytes:
    """Return the 20-byte Ethereum address of a public key given as `x || y` (64 bytes).

    Raises InvalidPointError for another length. Whether it is a point is not checked here.
    """
    if len(point_raw64) != 64:
        raise InvalidPointError(f"public key: need 64 bytes x || y, got {len(point_raw64)}")
    return keccak256(point_raw64)[12:]
