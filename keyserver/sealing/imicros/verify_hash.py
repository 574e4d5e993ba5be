"""The hash that tells whether a master key is the right one (sealing, A5 and C20).

    u32 16 || u32 100000 || salt (16) || PBKDF2-HMAC-SHA512(key as text, salt, 100000, 32 bytes)

The original takes salt size, rounds and hash size from the value itself, so that a hash cut to
nothing confirms every key. Here only the one form that it makes is read, and all of it compared.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from keyserver.sealing.imicros.errors import VerifyHashError

SIZE: Final = 56
ROUNDS: Final = 100_000
SALT_SIZE: Final = 16
HASH_SIZE: Final = 32

_HEADER: Final = SALT_SIZE.to_bytes(4, "big") + ROUNDS.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class VerifyHash:
    """A verify hash in its one form."""

    salt: bytes
    """16 bytes."""
    digest: bytes
    """32 bytes."""

    def confirms(self, key: str) -> bool:
        """Whether it is of this key, a text of 128 lower-case digits; takes some 50 ms."""
        made = hashlib.pbkdf2_hmac("sha512", key.encode(), self.salt, ROUNDS, HASH_SIZE)
        return hmac.compare_digest(made, self.digest)


def parse_verify_hash(text: str) -> VerifyHash:
    """Read a verify hash of 112 hexadecimal digits; raises `VerifyHashError` naming the rule."""
    if len(text) != 2 * SIZE:
        raise VerifyHashError(
            f"verify hash: need {2 * SIZE} hexadecimal digits, got {len(text)} characters"
        )
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise VerifyHashError("verify hash: must be hexadecimal digits only") from None
    if len(raw) != SIZE or not raw.startswith(_HEADER):
        raise VerifyHashError(
            f"verify hash: must begin with {_HEADER.hex()}: {ROUNDS} rounds, salt of "
            f"{SALT_SIZE} bytes"
        )
    return VerifyHash(raw[8 : 8 + SALT_SIZE], raw[8 + SALT_SIZE :])
