"""32 secret bytes, kept with the care that Python allows (sealing, C13)."""

import ctypes
import hmac
from typing import NoReturn

SIZE = 32


class SecretKey:
    """A 32-byte key: no printing, no pickling, constant-time `==`, overwritten when released.

    Copies that `expose` hands out and that libraries make cannot be wiped.
    """

    __slots__ = ("_key",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, key: bytes) -> None:
        if len(key) != SIZE:
            raise ValueError(f"secret key: need {SIZE} bytes, got {len(key)}")
        self._key = bytearray(key)

    def expose(self) -> bytes:
        """Return the 32 secret bytes: the one way to them."""
        return bytes(self._key)

    def lock(self) -> bool:
        """Keep the page with these bytes out of swap; false where the platform does not do it."""
        mlock = getattr(ctypes.CDLL(None), "mlock", None)
        if mlock is None:
            return False
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._key))
        return bool(mlock(ctypes.c_void_p(address), ctypes.c_size_t(SIZE)) == 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretKey):
            return NotImplemented
        return hmac.compare_digest(self._key, other._key)

    def __repr__(self) -> str:
        return "SecretKey(<redacted>)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a SecretKey is neither pickled nor copied")

    def __del__(self) -> None:
        key = getattr(self, "_key", None)
        if key is not None:
            key[:] = bytes(len(key))
