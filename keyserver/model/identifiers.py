"""Byte strings of fixed length, one type each, so that they cannot be mixed up."""

from functools import lru_cache
from typing import ClassVar, Self

from keyserver.crypto.curve import Point
from keyserver.crypto.hashing import keccak256


class FixedBytes(bytes):
    """Bytes of exactly `SIZE`; another length raises `ValueError`."""

    __slots__ = ()
    SIZE: ClassVar[int]

    def __new__(cls, value: bytes) -> Self:
        """Check the length and wrap `value`."""
        if len(value) != cls.SIZE:
            raise ValueError(f"{cls.__name__} takes {cls.SIZE} bytes, got {len(value)}")
        return bytes.__new__(cls, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    __str__ = __repr__


class Hash32(FixedBytes):
    """A 32-byte hash; what it is a hash of stands in the name that holds it."""

    __slots__ = ()
    SIZE = 32


class KeyId(FixedBytes):
    """The 32 bytes by which a client names a server key and its document key."""

    __slots__ = ()
    SIZE = 32


class SessionId(FixedBytes):
    """The 32 bytes that name one run of a protocol (engine design, section 5.5)."""

    __slots__ = ()
    SIZE = 32


class Nonce32(FixedBytes):
    """32 random bytes that are used once."""

    __slots__ = ()
    SIZE = 32


class Address(FixedBytes):
    """A 20-byte Ethereum address."""

    __slots__ = ()
    SIZE = 20


class Signature(FixedBytes):
    """A recoverable ECDSA signature `r || s || v`, 65 bytes, low s, v in 0..3."""

    __slots__ = ()
    SIZE = 65


class NodeId(FixedBytes):
    """A node's public key, `x || y`, 64 bytes; nodes sort by these bytes."""

    __slots__ = ()
    SIZE = 64

    @classmethod
    def of(cls, point: Point) -> "NodeId":
        """The id of the node whose public key is `point`."""
        return cls(point.raw64)

    @property
    def point(self) -> Point:
        """The public key itself; raises `InvalidPointError` off the curve."""
        return _point_of(bytes(self))

    @property
    def address(self) -> Address:
        """The Ethereum account of the node."""
        return Address(keccak256(self)[12:])

    @property
    def short(self) -> str:
        """The first eight bytes in hexadecimal, for logs and tables."""
        return self[:8].hex()


@lru_cache(maxsize=4096)
def _point_of(raw64: bytes) -> Point:
    return Point.from_raw64(raw64)


ZERO_HASH = Hash32(bytes(32))
"""Stands for "none" where a hash is expected, and for the decision of *nothing*."""
