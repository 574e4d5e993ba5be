"""Who may connect now: strangers that shake hands, peers that were sent away (design, 5.3)."""

from collections import Counter
from dataclasses import dataclass

from keyserver.model.identifiers import NodeId


class HandshakeSlots:
    """Counts incoming handshakes in progress, in all and by remote address."""

    __slots__ = ("_by_address", "_in_all", "_per_address")

    def __init__(self, in_all: int = 64, per_address: int = 4) -> None:
        self._in_all = in_all
        self._per_address = per_address
        self._by_address: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Take a slot; false when there is none for this address."""
        if self._by_address.total() >= self._in_all:
            return False
        if self._by_address[address] >= self._per_address:
            return False
        self._by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Give a slot back that `enter` gave to this address."""
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


@dataclass(frozen=True, slots=True)
class _Penalty:
    seconds: float
    until: float


class Penalties:
    """For how long peers stay away that were sent away for what they sent.

    The first time is short: it may have been too much at once. It doubles with every further time
    up to the longest, and is forgotten when a peer has behaved for ten times the longest.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._by_peer: dict[NodeId, _Penalty] = {}

    def punish(self, peer: NodeId, now: float) -> float:
        """Send a peer away from `now` on; returns for how many seconds."""
        last = self._by_peer.get(peer)
        seconds = self._first_s
        if last is not None and now - last.until < 10 * self._longest_s:
            seconds = min(2 * last.seconds, self._longest_s)
        self._by_peer[peer] = _Penalty(seconds, now + seconds)
        return seconds

    def left_s(self, peer: NodeId, now: float) -> float:
        """How many seconds are left; 0 for whoever may come."""
        penalty = self._by_peer.get(peer)
        return 0.0 if penalty is None else max(0.0, penalty.until - now)
