"""The presignatures that this node has had made, and which nobody has signed with yet.

In memory only. Each is given out once; those of a version that is not in force any more, and those
that the signers are about to forget, are thrown away.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.sessions.ecdsa_presigning import OwnPresignature
from keyserver.sessions.presignature_pool import LIFETIME_S, MAX_PER_OWNER

USABLE_S: Final = LIFETIME_S - 120.0
"""How long one is given out after it was made: signers keep it a little longer."""

MOST: Final = MAX_PER_OWNER * 3 // 4
"""How many are made in advance, for all keys together: signers keep no more than 64 for a node."""


@dataclass(frozen=True, slots=True)
class _Made:
    presignature: OwnPresignature
    until: float


@dataclass(slots=True)
class _Shelf:
    """Those of one version of one key, the oldest first."""

    record_hash: Hash32
    made: deque[_Made] = field(default_factory=deque)


class PresignatureStock:
    """All presignatures of this node's own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds that never go back."""
        self._clock = clock
        self._shelves: dict[KeyId, _Shelf] = {}

    def __len__(self) -> int:
        return sum(len(shelf.made) for shelf in self._shelves.values())

    @property
    def has_room(self) -> bool:
        """Whether one more may be made in advance."""
        return len(self) < MOST

    def count(self, key_id: KeyId, record_hash: Hash32) -> int:
        """How many there are for a version of a key."""
        return len(self._shelf(key_id, record_hash).made)

    def add(self, presignature: OwnPresignature) -> None:
        """Take in one that was made just now."""
        record = presignature.assembly.record
        until = self._clock() + USABLE_S
        self._shelf(record.key_id, record.hash).made.append(_Made(presignature, until))

    def take(
        self, key_id: KeyId, record_hash: Hash32, connected: frozenset[NodeId]
    ) -> OwnPresignature | None:
        """Give out the oldest whose signers are all connected; it is this caller's alone."""
        shelf = self._shelf(key_id, record_hash)
        for made in shelf.made:
            if connected.issuperset(made.presignature.signers):
                shelf.made.remove(made)
                return made.presignature
        return None

    def _shelf(self, key_id: KeyId, record_hash: Hash32) -> _Shelf:
        """What is usable of a version; all of another version goes."""
        shelf = self._shelves.get(key_id)
        if shelf is None or shelf.record_hash != record_hash:
            shelf = self._shelves[key_id] = _Shelf(record_hash)
        while shelf.made and shelf.made[0].until <= self._clock():
            shelf.made.popleft()
        return shelf
