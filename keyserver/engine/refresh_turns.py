"""When the shares of a key are renewed, and whose turn it is then (engine design, section 13).

Every node computes both for itself from what is on its disk: how long the record has been in force
here, and how many attempts at its successor have come to nothing. So there is no election that
could get stuck, and a restart changes nothing.

Two ages count. From half the interval on a node *takes part*; towards its end the nodes *begin*
refreshes, each in its turn. Attempts come in groups of `ATTEMPTS_A_TURN`. A group opens when the
one before it has lasted a pause; it belongs to one node first, to the next one in canonical order a
slot later, and so on. A node that proposes refreshes only to give them up can thus spoil its own
turns, and few of others before these would begin.
"""

from dataclasses import dataclass
from typing import Final

from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import KeyRecord
from keyserver.sessions.agreement import first_proposer
from keyserver.sessions.core import KeyState

ATTEMPTS_A_TURN: Final = 8
"""Versions that may be given up before it is another node's turn: some dealers may fail."""

PAUSES: Final = 32
"""Turns of all nodes that an interval has room for."""

LATEST: Final = 15 / 16
"""The part of the interval after which every key is due; the rest is for those whose turn it is
when others are away."""

SPREAD: Final = 1 / 8
"""The part of the interval over which keys of the same age are spread."""


@dataclass(frozen=True, slots=True)
class RefreshTurns:
    """The rules for one interval."""

    interval_s: int
    """0: nothing is ever refreshed."""

    @property
    def pause_s(self) -> float:
        """How long a group of attempts has at least."""
        return self.interval_s / PAUSES

    def slot_s(self, nodes: int) -> float:
        """How long it is one node's turn before it is the next one's, too."""
        return self.pause_s / nodes

    @property
    def earliest_s(self) -> float:
        """The age below which no record is due."""
        return self.interval_s * (LATEST - SPREAD)

    def due_s(self, record_hash: Hash32) -> float:
        """The age at which a record is due: the same for all nodes, different for every record."""
        place = int.from_bytes(record_hash[:8], "big") / 2**64
        return self.interval_s * (LATEST - SPREAD * place)

    def age_s(self, installed_at: int, now: int) -> int:
        """How old a record is that is in force since then (Unix seconds).

        Of a time in the future nobody knows what it means: the clock was set back. Such a record
        counts as overdue; when it is refreshed it gets a time that is right.
        """
        return now - installed_at if installed_at <= now else 2 * self.interval_s

    def is_let_in(self, state: KeyState, coordinator: NodeId, now: int) -> bool:
        """Whether this node takes part in a refresh that a node wants to coordinate."""
        if not self.interval_s or state.active is None:
            return False
        record = state.active.record
        if coordinator not in record.coordinates:
            return False
        turn_s = self.opening_s(len(state.skipped)) + self._distance_s(record, state, coordinator)
        return self.age_s(state.installed_at, now) >= turn_s

    def begins_s(self, state: KeyState, me: NodeId) -> float:
        """The age at which a member of the committee begins a refresh itself.

        In the middle of its slot, as the clocks and records of the others may be a little younger.
        """
        assert state.active is not None
        record = state.active.record
        opening_s = max(self.due_s(record.hash), self.opening_s(len(state.skipped)))
        slot_s = self.slot_s(len(record.committee))
        return opening_s + self._distance_s(record, state, me) + slot_s / 2

    def opening_s(self, given_up: int) -> float:
        """The age at which a group of attempts opens after so many have come to nothing."""
        return self.interval_s / 2 + given_up // ATTEMPTS_A_TURN * self.pause_s

    def _distance_s(self, record: KeyRecord, state: KeyState, node: NodeId) -> float:
        """How much later than that it is the turn of a member."""
        nodes = record.nodes
        first = first_proposer(record.key_id, len(nodes)) + len(state.skipped) // ATTEMPTS_A_TURN
        place = (nodes.index(node) - first) % len(nodes)
        return place * self.slot_s(len(nodes))
