"""What waits for the driver: bounded per peer, and no peer in the way of another.

Acts of this node's own (timers, answers of disk and chain, what a session says to its other role)
come first: there are only as many as what was let in before brings about. Then each peer with
something waiting gets one message worked off in turn, so that a peer that floods waits for itself.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from keyserver.model.identifiers import NodeId

MAX_QUEUED_MESSAGES = 1024
"""So many messages of a peer may wait; one that sends more is disconnected."""

MAX_QUEUED_BYTES = 64 * 2**20
"""The same in bytes."""

Act = TypeVar("Act", bound=Callable[[], object])


class Inbox(Generic[Act]):
    """Acts that wait for one consumer."""

    def __init__(
        self, most_messages: int = MAX_QUEUED_MESSAGES, most_bytes: int = MAX_QUEUED_BYTES
    ) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._own: deque[Act] = deque()
        self._waiting: dict[NodeId, deque[tuple[Act, int]]] = {}
        """Of peers that have something waiting, in the order in which it is their turn."""
        self._bytes: Counter[NodeId] = Counter()
        self._filled = asyncio.Event()

    def post(self, act: Act) -> None:
        """Add an act of this node's own; these are not bounded."""
        self._own.append(act)
        self._filled.set()

    def put(self, peer: NodeId, act: Act, size: int = 0) -> bool:
        """Add what a message of `size` bytes asks for; false if the peer has too much waiting."""
        waiting = self._waiting.get(peer, ())
        if len(waiting) >= self._most_messages or self._bytes[peer] + size > self._most_bytes:
            return False
        self._append(peer, act, size)
        return True

    def put_last(self, peer: NodeId, act: Act) -> None:
        """Add what follows from the end of a connection, behind all that came over it."""
        self._append(peer, act, 0)

    def _append(self, peer: NodeId, act: Act, size: int) -> None:
        self._waiting.setdefault(peer, deque()).append((act, size))
        self._bytes[peer] += size
        self._filled.set()

    async def get(self) -> Act:
        """The next act; waits for one if there is none."""
        while not self._own and not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        return self._own.popleft() if self._own else self._next_of_a_peer()

    def _next_of_a_peer(self) -> Act:
        peer = next(iter(self._waiting))
        waiting = self._waiting.pop(peer)
        act, size = waiting.popleft()
        self._bytes[peer] -= size
        if waiting:
            self._waiting[peer] = waiting  # behind all others
        else:
            del self._bytes[peer]
        return act
