"""The presignatures that a node holds a share of, until each has signed once (engine design, 12).

In memory only: no restart, snapshot or backup can bring one back. What is taken out is gone,
whatever comes of it.
"""

from collections import Counter
from dataclasses import dataclass, field

from keyserver.crypto.presignatures import Presignature
from keyserver.model.identifiers import Hash32, KeyId, NodeId, Nonce32

MAX_PER_OWNER = 64
"""Presignatures kept per coordinator (engine design, section 16)."""

LIFETIME_S = 3600
"""How long one is kept."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A coordinator's process: with its end everything that it had made is of no use."""

    node: NodeId
    boot_nonce: Nonce32


@dataclass(frozen=True, slots=True)
class Kept:
    """A share of a presignature, and who may have it used."""

    owner: Owner
    key_id: KeyId
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

    @property
    def names(self) -> frozenset[Hash32]:
        """Of all that are kept."""
        return frozenset(self._kept)

    def has_room(self, node: NodeId, now: int) -> bool:
        """Whether one more of this node's would be kept."""
        self.forget_old(now)
        return self._count[node] < self._limit

    def keep(self, presignature: Presignature, owner: Owner, key_id: KeyId, now: int) -> bool:
        """Keep a presignature; false, and it is lost, where there is no room."""
        name = Hash32(presignature.public.presigning.presig_id)
        if name in self._kept or not self.has_room(owner.node, now):
            return False
        self._kept[name] = Kept(owner, key_id, now, presignature)
        self._count[owner.node] += 1
        return True

    def take(self, presig_id: Hash32, owner: Owner, now: int) -> Kept | None:
        """Take one out for its owner; `None` if it has none of this name, any more or ever.

        All signers know the names; those of others a node can neither use nor use up.
        """
        self.forget_old(now)
        kept = self._kept.get(presig_id)
        if kept is None or kept.owner != owner:
            return None
        return self._remove(presig_id)

    def drop(self, key_id: KeyId, in_force: Hash32 | None = None) -> None:
        """Forget those of a key but for the record in force; all if there is none to use."""
        self._forget(
            [
                name
                for name, kept in self._kept.items()
                if kept.key_id == key_id and kept.record_hash != in_force
            ]
        )

    def drop_owner(self, node: NodeId, running: Nonce32 | None = None) -> None:
        """Forget those of a coordinator's earlier processes: nobody will ask for them.

        `running`: the boot nonce of the one that runs; without it all of the node go.
        """
        self._forget(
            [
                name
                for name, kept in self._kept.items()
                if kept.owner.node == node and kept.owner.boot_nonce != running
            ]
        )

    def forget_old(self, now: int) -> None:
        """Forget what is older than `LIFETIME_S`; they are in the order in which they were made."""
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
        self._count[kept.owner.node] -= 1
        if not self._count[kept.owner.node]:
            del self._count[kept.owner.node]
        return kept
