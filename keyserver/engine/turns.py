"""Whose turn it is when several coordinators want the same of one key (engine design, section 16).

Each node lets one of them in at a time. Coordinators have a rank for every key, the same at all
nodes: a session gives way at once to a better one that is here already, and waits for the end of
a worse one. Nobody ever waits for a better one, so there is no deadlock, and of those that begin
together the best gets all nodes. It only decides who comes first: what excludes for good are the
votes on disk (section 7.6).

A rank is no privilege to keep others away: a coordinator whose sessions for a key come to nothing
is locked for that key (section 7.1). Locked, it comes behind all that are not, and is in the way
of none of them; where nobody else wants the key it goes on as before.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from keyserver.engine.session_table import LiveSession, SessionTable
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.sessions.agreement import first_proposer
from keyserver.sessions.core import Completed, Failed, SessionKind

EXCLUSIVE = frozenset({SessionKind.GENERATION})
"""Sessions of which a node lets in one per key.

Not those that store a document key: there a node votes as soon as it is asked, and all that want
to store the same value may go on side by side.
"""

LONGEST_TURN_S = 30.0
"""A session that has not ended by then stands in nobody's way any more: its coordinator may have
left it on purpose."""

PATIENCE_S = 5.0
"""How long to wait for the end of others."""

FREE_FAILURES = 1
"""So many failures cost nothing: who has lost against a better one is no worse for it."""

FIRST_LOCK_S = 60.0
"""How long the first lock lasts."""

LONGEST_LOCK_S = 3600.0
"""Where the doubling with every further failure ends; failures are remembered as long."""

MAX_FAILURES = 1024
"""Keys for which failures of one coordinator are remembered."""


def rank(key_id: KeyId, coordinator: NodeId, nodes: tuple[NodeId, ...]) -> tuple[int, NodeId]:
    """The place of a coordinator for a key, the smallest is the best.

    The node whose range of key ids holds the key comes first, then the others in canonical order;
    nodes outside the set come last.
    """
    if coordinator not in nodes:
        return len(nodes), coordinator
    distance = nodes.index(coordinator) - first_proposer(key_id, len(nodes))
    return distance % len(nodes), coordinator


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    last: float

    @property
    def locked_until(self) -> float:
        doublings = self.count - FREE_FAILURES - 1
        if doublings < 0:
            return self.last
        doubled: float = FIRST_LOCK_S * 2 ** min(doublings, 8)
        return self.last + min(doubled, LONGEST_LOCK_S)


class Locks:
    """How often the sessions of each coordinator for a key have come to nothing here, lately."""

    def __init__(self) -> None:
        self._failures: dict[NodeId, dict[KeyId, _Failures]] = {}

    def failed(self, coordinator: NodeId, key_id: KeyId, now: float) -> None:
        """Take note that a session that was let in has ended without a result."""
        known = self._failures.setdefault(coordinator, {})
        if len(known) >= MAX_FAILURES:
            for forgotten in [each for each, last in known.items() if _is_old(last, now)]:
                del known[forgotten]
        before = known.get(key_id)
        if before is not None or len(known) < MAX_FAILURES:
            count = 0 if before is None or _is_old(before, now) else before.count
            known[key_id] = _Failures(count + 1, now)

    def succeeded(self, coordinator: NodeId, key_id: KeyId) -> None:
        """Forget the failures: there is a key now."""
        self._failures.get(coordinator, {}).pop(key_id, None)

    def level(self, coordinator: NodeId, key_id: KeyId, now: float) -> int:
        """0: not locked, else the more the worse.

        A coordinator with more failures than are remembered is locked for every key.
        """
        known = self._failures.get(coordinator, {})
        failures = known.get(key_id)
        if failures is not None and now < failures.locked_until:
            return failures.count - FREE_FAILURES
        return 1 if len(known) >= MAX_FAILURES else 0

    def remembered(self, coordinator: NodeId) -> int:
        """For how many keys failures of a coordinator are kept."""
        return len(self._failures.get(coordinator, ()))


def _is_old(failures: _Failures, now: float) -> bool:
    return now - failures.last >= LONGEST_LOCK_S


class Turns:
    """Lets sessions in, one per key."""

    def __init__(self, table: SessionTable) -> None:
        self._table = table
        self._locks = Locks()

    async def wait(self, session: LiveSession, nodes: tuple[NodeId, ...], now: float) -> bool:
        """Wait until no other session is in the way; false if this one has to give way.

        `now`: monotonic seconds.
        """
        session.in_line_since = now
        self._note_overstayed(session, now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    own = self._place(session, nodes, now)
                    rivals = self._rivals(session, own[0], now)
                    if any(self._place(rival, nodes, now) < own for rival in rivals):
                        return False
                    before = next((rival for rival in rivals if rival.has_turn), None)
                    if before is None:
                        session.has_turn = True
                        return True
                    await before.ended.wait()
        return False

    def is_occupied(self, key_id: KeyId, coordinator: NodeId, now: float) -> bool:
        """Whether a generation goes on here that a new one of this coordinator would disturb."""
        own = self._locks.level(coordinator, key_id, now)
        return any(
            part.has_turn and _is_fresh(part, now) and self._level(part, now) <= own
            for part in self._table.participants((SessionKind.GENERATION, key_id))
        )

    def _note_overstayed(self, session: LiveSession, now: float) -> None:
        """Who has kept its turn for too long has failed, whether or not it ever ends."""
        for other in self._table.participants(session.subject):
            if other.has_turn and not _is_fresh(other, now):
                other.has_turn = False
                self._locks.failed(other.coordinator, other.subject[1], now)

    def note_end(self, session: LiveSession, outcome: Completed | Failed, now: float) -> None:
        """Take note of how a session has ended that was let in."""
        coordinator, key_id = session.coordinator, session.subject[1]
        if isinstance(outcome, Completed):
            self._locks.succeeded(coordinator, key_id)
        elif session.has_turn:
            self._locks.failed(coordinator, key_id, now)

    def _rivals(self, session: LiveSession, level: int, now: float) -> list[LiveSession]:
        return [
            other
            for other in self._table.participants(session.subject)
            if other is not session and _is_fresh(other, now) and self._level(other, now) <= level
        ]

    def _level(self, session: LiveSession, now: float) -> int:
        return self._locks.level(session.coordinator, session.subject[1], now)

    def _place(
        self, session: LiveSession, nodes: tuple[NodeId, ...], now: float
    ) -> tuple[int, tuple[int, NodeId]]:
        own_rank = rank(session.subject[1], session.coordinator, nodes)
        return self._level(session, now), own_rank


def _is_fresh(session: LiveSession, now: float) -> bool:
    """Whether it has asked for its turn, not too long ago."""
    return session.in_line_since is not None and now - session.in_line_since < LONGEST_TURN_S
