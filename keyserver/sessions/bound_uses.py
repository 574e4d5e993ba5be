"""Which bound credentials were used, for what, and by which coordinator (engine design, section 6).

A pair of requester and nonce is accepted again only with the same digest and from the same
coordinator: a credential that leaks cannot be used through another node. In memory only; why that
is enough, and what it does not do: decision record 8.
"""

from collections import Counter
from enum import Enum
from heapq import heappop, heappush
from typing import NamedTuple

from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.requests import BoundCredential

MAX_PER_COORDINATOR = 65_536
"""Pairs remembered per coordinator, some 25 MB.

More than one client address brings about through a node with the default `rate_limit`, so that it
cannot use up the share of that node's other clients.
"""


class Claim(Enum):
    """What became of an attempt to use a credential."""

    GRANTED = "granted"
    USED = "used for another request, or through another node"
    FULL = "the coordinator has used as many credentials as can be remembered"


class _Use(NamedTuple):
    digest: Hash32
    coordinator: NodeId


class BoundUses:
    """The memory of one node; an entry is kept until its credential has expired."""

    def __init__(self, limit: int = MAX_PER_COORDINATOR) -> None:
        self._limit = limit
        self._uses: dict[bytes, _Use] = {}
        self._expiries: list[tuple[int, bytes]] = []
        self._count: Counter[NodeId] = Counter()

    def __len__(self) -> int:
        return len(self._uses)

    def claim(
        self, credential: BoundCredential, digest: Hash32, coordinator: NodeId, now: int
    ) -> Claim:
        """Use a credential whose proof was checked, at `now` in unix seconds.

        Where a coordinator has used as many as can be remembered, its new ones are refused until
        others expire: to forget one would let it be used again.
        """
        self._forget(now)
        name = credential.requester.compressed + credential.nonce
        use = _Use(digest, coordinator)
        known = self._uses.get(name)
        if known is not None:
            return Claim.GRANTED if known == use else Claim.USED
        if self._count[coordinator] >= self._limit:
            return Claim.FULL
        self._uses[name] = use
        self._count[coordinator] += 1
        heappush(self._expiries, (credential.not_after, name))
        return Claim.GRANTED

    def _forget(self, now: int) -> None:
        while self._expiries and self._expiries[0][0] < now:
            _, name = heappop(self._expiries)
            self._count[self._uses.pop(name).coordinator] -= 1
