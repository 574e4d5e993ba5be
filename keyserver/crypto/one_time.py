"""Secrets that work once: nonces and presignatures.

Two answers under one nonce are two equations for a share of a key. So whoever wants such a secret
takes it out of its holder, and finds the holder empty the second time.
"""

from typing import Generic, NoReturn, TypeVar

from keyserver.crypto.errors import SpentError

T = TypeVar("T")


class OneTime(Generic[T]):
    """Holds a secret until it is taken out; it does not print, pickle or copy."""

    __slots__ = ("_held",)

    def __init__(self, secret: T) -> None:
        self._held = [secret]

    def take(self) -> T:
        """Return the secret and forget it; raises SpentError ever after."""
        if not self._held:
            raise SpentError("one-time secret: used already")
        return self._held.pop()

    @property
    def is_spent(self) -> bool:
        """Whether the secret has been taken."""
        return not self._held

    def __repr__(self) -> str:
        return f"OneTime({'spent' if self.is_spent else '<redacted>'})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a one-time secret is neither pickled nor copied")
