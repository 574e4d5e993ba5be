"""Nonces of bound credentials that were used at this node (HTTP interface, section 13).

Each is remembered until its credential expires, at most ten minutes; so memory is bounded by the
rate of requests, and by a limit besides.
"""

from collections import defaultdict
from typing import Final

from keyserver.model.identifiers import Address, Nonce32

MOST_NONCES: Final = 131_072
"""Nonces remembered, some 30 MB; more than 200 requests a second, ten minutes long."""


class NonceMemoryFullError(Exception):
    """Too many credentials are in use: forgetting one would let it be used again."""


class UsedNonces:
    """A requester's nonce counts once, whatever it was used for."""

    def __init__(self, limit: int = MOST_NONCES) -> None:
        self._limit = limit
        self._expiries: dict[bytes, int] = {}
        self._by_expiry: defaultdict[int, set[bytes]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._expiries)

    def take(self, requester: Address, nonce: Nonce32, *, not_after: int, now: int) -> bool:
        """Use a nonce; false if it is used already. Raises `NonceMemoryFullError`."""
        self._forget(now)
        name = requester + nonce
        if name in self._expiries:
            return False
        if len(self._expiries) >= self._limit:
            raise NonceMemoryFullError(f"{self._limit} nonces are in use")
        self._expiries[name] = not_after
        self._by_expiry[not_after].add(name)
        return True

    def give_back(self, requester: Address, nonce: Nonce32, *, not_after: int) -> None:
        """Make a nonce as good as new: nothing was done with its credential.

        Unless that has expired, and another one with this nonce was used since.
        """
        name = requester + nonce
        if self._expiries.get(name) == not_after:
            del self._expiries[name]
            self._by_expiry[not_after].discard(name)

    def _forget(self, now: int) -> None:
        for second in [second for second in self._by_expiry if second < now]:
            for name in self._by_expiry.pop(second):
                del self._expiries[name]
