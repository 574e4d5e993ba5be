"""Where random bytes come from.

Nothing in the pure packages reaches for randomness by itself: whoever needs it is handed a
`RandomSource`. A node hands out `SystemRandom`; simulations and tests hand out `SeededRandom`.
"""

import hashlib
import secrets
from typing import Protocol

from keyserver.crypto.curve import SecretScalar


class RandomSource(Protocol):
    """Anything that hands out random bytes."""

    def bytes(self, n: int) -> bytes:
        """Return `n` fresh random bytes."""
        ...


class SystemRandom:
    """The operating system's random source: the only one for production."""

    def bytes(self, n: int) -> bytes:
        """Return `n` bytes of the operating system's generator."""
        return secrets.token_bytes(n)


class SeededRandom:
    """A predictable stream of bytes, for simulations and tests only.

    The stream is SHA-256 over the seed's hash and a running block number, cut to length. Whoever
    knows the seed knows every secret drawn from it.
    """

    __slots__ = ("_block", "_key")

    def __init__(self, seed: int | str | bytes) -> None:
        text = seed if isinstance(seed, bytes) else str(seed).encode()
        self._key = hashlib.sha256(text).digest()
        self._block = 0

    def bytes(self, n: int) -> bytes:
        """Return the next `n` bytes; every call starts at a new block of the stream."""
        first, self._block = self._block, self._block + (n + 31) // 32
        blocks = (
            hashlib.sha256(self._key + block.to_bytes(8, "big")).digest()
            for block in range(first, self._block)
        )
        return b"".join(blocks)[:n]


def random_scalar(rng: RandomSource) -> SecretScalar:
    """Return a uniformly random secret scalar in 1..q-1."""
    return SecretScalar.random(rng)
