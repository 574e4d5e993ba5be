"""The presignatures that a node holds a share of, until each has signed once (engine design, 12).

In memory only: no restart, snapshot or backup can bring one back. What is taken out is gone,
whatever comes of it.
"""

from collections import Counter
from dataclasses import dataclass, field

from keyserver.crypto.presignatures import Presignature
from keyserver.model.identifiers import Hash32, NodeId

MAX_PER_OWNER = 64
"""Presignatures kept per coordinator (engine design, section 16)."""

LIFETIME_S = 3600
"""How long one is kept."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A share of a presignature, and who may have it used."""

    owner: NodeId
    made_at: int
    """Unix seconds."""
    presignature: Presignature = field(repr=False)

    @property
    def record_hash(self) -> Hash32:
        """The record that it was made for."""
        return Hash32(self.presignature.public.presigning.record_hash)


class PresignaturePool:
    """All presignatures of one node."""

    def __init__(self, limit: int = MAX_PER_OWNER) -> None:
        self._limit = limit
        self._kept: dict[Hash32, Kept] = {}
        self._count: Counter[NodeId] = Counter()

    def __len__(self) -> int:
        return len(self._kept)

    def has_room(self, owner: NodeId, now: int) -> bool:
        """Whether one more of this owner would be kept."""
        self._forget_old(now)
        return self._count[owner] < self._limit

    def keep(self, presignature: Presignature, owner: NodeId, now: int) -> bool:
        """Keep a presignature; false, and it is lost, where there is no room."""
        name = Hash32(presignature.public.presigning.presig_id)
        if name in self._kept or not self.has_room(owner, now):
            return False
        self._kept[name] = Kept(owner, now, presignature)
        self._count[owner] += 1
        return True

    def take(self, presig_id: Hash32, owner: NodeId, now: int) -> Kept | None:
        """Take one out for its owner; `None` if it has none of this name, any more or ever.

        All signers know the names; those of others a node can neither use nor use up.
        """
        self._forget_old(now)
        kept = self._kept.get(presig_id)
        if kept is None or kept.owner != owner:
            return None
        return self._remove(presig_id)

    def drop(self, record_hash: Hash32) -> None:
        """Forget all that were made for a record, which is not in force any more."""
        self._forget([name for name, kept in self._kept.items() if kept.record_hash == record_hash])

    def drop_owner(self, owner: NodeId) -> None:
        """Forget all of a coordinator whose process is gone: nobody will ask for them."""
        self._forget([name for name, kept in self._kept.items() if kept.owner == owner])

    def _forget_old(self, now: int) -> None:
        # in the order in which they were made
        old = []
        for name, kept in self._kept.items():
            if kept.made_at + LIFETIME_S > now:
                break
            old.append(name)
        self._forget(old)

    def _forget(self, names: list[Hash32]) -> None:
        for name in names:
            self._remove(name)

    def _remove(self, name: Hash32) -> Kept:
        kept = self._kept.pop(name)
        self._count[kept.owner] -= 1
        return kept
