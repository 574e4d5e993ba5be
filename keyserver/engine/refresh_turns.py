"""When the shares of a key are renewed, and whose turn it is then (engine design, section 13).

Every node computes both for itself from what is on its disk: the record, and since when it is in
force here. So there is no election that could get stuck, and a restart changes nothing. From half
the interval on a node takes part in refreshes; it begins them itself towards the end of the
interval, in its turn: one node first, the next one in canonical order a slot later, and so on.
"""

from dataclasses import dataclass
from typing import Final

from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import KeyRecord
from keyserver.sessions.agreement import first_proposer

ROUNDS: Final = 16
"""Turns of all nodes that an interval has room for."""

LATEST: Final = 15 / 16
"""The part of the interval after which every key is due; the rest is one round, for those whose
turn it is when others are away."""

SPREAD: Final = 1 / 8
"""The part of the interval over which keys of the same age are spread."""


@dataclass(frozen=True, slots=True)
class RefreshTurns:
    """The rules for one interval."""

    interval_s: int
    """0: nothing is ever refreshed."""

    @property
    def round_s(self) -> float:
        """How long the turns of all nodes last."""
        return self.interval_s / ROUNDS

    def slot_s(self, nodes: int) -> float:
        """How long it is one node's turn before it is the next one's, too."""
        return self.round_s / nodes

    @property
    def earliest_s(self) -> float:
        """The age below which no record is due."""
        return self.interval_s * (LATEST - SPREAD)

    def due_s(self, record_hash: Hash32) -> float:
        """The age at which a record is due: the same for all nodes, different for every record."""
        place = int.from_bytes(record_hash[:8], "big") / 2**64
        return self.interval_s * (LATEST - SPREAD * place)

    def begins_s(self, record: KeyRecord, me: NodeId) -> float:
        """The age at which a member of the committee begins a refresh itself."""
        nodes = record.nodes
        first = first_proposer(record.key_id, len(nodes)) + record.version
        place = (nodes.index(me) - first) % len(nodes)
        return self.due_s(record.hash) + place * self.slot_s(len(nodes))

    def age_s(self, installed_at: int, now: int) -> int:
        """How old a record is that is in force since then (Unix seconds).

        Of a time in the future nobody knows what it means: the clock was set back. Such a record
        counts as overdue; when it is refreshed it gets a time that is right.
        """
        return now - installed_at if installed_at <= now else 2 * self.interval_s

    def is_let_in(self, installed_at: int, now: int) -> bool:
        """Whether this node takes part in a refresh of such a record: at half the interval."""
        return self.interval_s > 0 and 2 * self.age_s(installed_at, now) >= self.interval_s
