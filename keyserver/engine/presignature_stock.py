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
        self._forget_old()
        return sum(len(shelf.made) for shelf in self._shelves.values())

    @property
    def has_room(self) -> bool:
        """Whether one more may be made in advance."""
        return len(self) < MOST

    def count(self, key_id: KeyId, record_hash: Hash32) -> int:
        """How many there are for a version of a key."""
        shelf = self._shelf(key_id, record_hash)
        return 0 if shelf is None else len(shelf.made)

    def add(self, presignature: OwnPresignature) -> None:
        """Take in one that was made just now."""
        record = presignature.assembly.record
        shelf = self._shelf(record.key_id, record.hash)
        if shelf is None:
            shelf = self._shelves[record.key_id] = _Shelf(record.hash)
        shelf.made.append(_Made(presignature, self._clock() + USABLE_S))

    def take(
        self, key_id: KeyId, record_hash: Hash32, signers: frozenset[NodeId]
    ) -> OwnPresignature | None:
        """Give out the oldest all of whose signers are among these; it is this caller's alone."""
        shelf = self._shelf(key_id, record_hash)
        for made in () if shelf is None else shelf.made:
            if signers.issuperset(made.presignature.signers):
                assert shelf is not None
                shelf.made.remove(made)
                return made.presignature
        return None

    def _shelf(self, key_id: KeyId, record_hash: Hash32) -> _Shelf | None:
        """What is usable of a version; all of another version goes."""
        self._forget_old()
        shelf = self._shelves.get(key_id)
        if shelf is not None and shelf.record_hash != record_hash:
            del self._shelves[key_id]
            return None
        return shelf

    def _forget_old(self) -> None:
        """Throw away what signers are about to forget, of all keys, and what is empty then."""
        now = self._clock()
        for key_id, shelf in list(self._shelves.items()):
            while shelf.made and shelf.made[0].until <= now:
                shelf.made.popleft()
            if not shelf.made:
                del self._shelves[key_id]
