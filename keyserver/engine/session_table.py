"""All live sessions of this node, and which openings it lets in (engine design, 5.5 and 16)."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from keyserver.engine.ports import TimerHandle
from keyserver.model.identifiers import KeyId, NodeId, Nonce32, SessionId
from keyserver.sessions.core import (
    Completed,
    Effect,
    Failed,
    Received,
    SessionKind,
    UnavailableError,
)
from keyserver.sessions.runner import Role, Runner

MAX_SESSIONS_PER_PEER = 256
"""A peer may keep so many sessions open here; further ones are refused as BUSY."""

MAX_PRESIGNINGS = 8
"""Presignings that a node coordinates at the same time, and that a peer may have open here."""

MAX_WAITING_MESSAGES = 4
"""Messages kept for a session that has not begun yet; coordinators that wait for answers send
none before they have got one, or give the session up."""

COUNTER_WINDOW = 4096
"""How far behind its highest one a coordinator's session counter may arrive.

Holders that are asked later than others (engine design, section 9) get their opening after
younger sessions have been opened; each counter is accepted once all the same.
"""

SETTLING_S = 5.0
"""Longest wait for this node's own part of a session that is about to end."""

SessionKey = tuple[SessionId, Role]

Subject = tuple[SessionKind, KeyId]
"""What kind of session about which key."""


@dataclass(slots=True, eq=False)
class LiveSession:
    """One role of one session with everything that is under way for it."""

    key: SessionKey
    coordinator: NodeId
    opened_at: float
    subject: Subject
    runner: Runner | None = None
    """`None` until the record has been loaded."""
    waiting: list[Received] = field(default_factory=list)
    effects: deque[Effect] = field(default_factory=deque)
    persisting: bool = False
    timers: dict[str, TimerHandle] = field(default_factory=dict)
    works: list[asyncio.Task[None]] = field(default_factory=list)
    """What is being performed for it; given up when it ends."""
    result: Any = None
    """The coordinator's future."""
    in_line_since: float | None = None
    """When it asked to be let in among those that exclude each other (`keyserver.engine.turns`)."""
    has_turn: bool = False
    """Whether it was let in."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the session is over."""

    @property
    def is_presigning(self) -> bool:
        """Whether a presignature is made in it."""
        return self.subject[0] is SessionKind.PRESIGNING

    def set_timer(self, name: str, timer: TimerHandle) -> None:
        """Have a timer take the place of the one of this name."""
        previous = self.timers.pop(name, None)
        if previous is not None:
            previous.cancel()
        self.timers[name] = timer

    def end(self) -> None:
        """It is over: nothing is under way for it any more."""
        self.ended.set()
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()
        for work in self.works:
            work.cancel()

    def tell(self, outcome: Completed | Failed) -> None:
        """Tell who waits for the coordinator's result, if somebody still does."""
        if self.result is None or self.result.done():
            return
        match outcome:
            case Completed(result):
                self.result.set_result(result)
            case Failed(error):
                self.result.set_exception(error)


def _closed() -> UnavailableError:
    return UnavailableError("this process does not act for the node any more")


async def end_of(session: LiveSession | None) -> None:
    """Wait until a session is over, `SETTLING_S` at most."""
    if session is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLING_S):
                await session.ended.wait()


class SessionTable:
    """Sessions by id and role."""

    def __init__(self) -> None:
        self._sessions: dict[SessionKey, LiveSession] = {}
        self._parts: dict[Subject, list[LiveSession]] = {}
        self._open_by_peer: Counter[NodeId] = Counter()
        self._presignings: Counter[NodeId] = Counter()
        """Participants' parts, by the coordinator."""
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(list(self._sessions.values()))

    def get(self, key: SessionKey) -> LiveSession | None:
        """The session, if it lives."""
        return self._sessions.get(key)

    def participants(self, subject: Subject) -> list[LiveSession]:
        """The participants' parts of such sessions that live here, the oldest first."""
        return list(self._parts.get(subject, ()))

    @contextlib.asynccontextmanager
    async def closing(self) -> AsyncIterator[None]:
        """Afterwards all sessions are over; who waits for one's result learns that it is lost."""
        try:
            yield
        finally:
            self._is_closed = True
            for session in self:
                self.remove(session)
                session.end()
                session.tell(Failed(_closed()))

    def add(self, session: LiveSession) -> None:
        """Let a session in; raises `UnavailableError` once closed."""
        if self._is_closed:
            raise _closed()
        self._sessions[session.key] = session
        self._open_by_peer[session.coordinator] += 1
        if session.key[1] is Role.PARTICIPANT:
            self._parts.setdefault(session.subject, []).append(session)
            self._presignings[session.coordinator] += session.is_presigning

    def remove(self, session: LiveSession) -> None:
        """Forget a session that has ended."""
        if self._sessions.pop(session.key, None) is None:
            return
        self._open_by_peer[session.coordinator] -= 1
        if session.key[1] is Role.PARTICIPANT:
            parts = self._parts[session.subject]
            parts.remove(session)
            self._presignings[session.coordinator] -= session.is_presigning
            if not parts:
                del self._parts[session.subject]

    def is_full_for(self, coordinator: NodeId, kind: SessionKind) -> bool:
        """Whether a peer has as many sessions open here as it may, for one more of a kind."""
        if self._open_by_peer[coordinator] >= MAX_SESSIONS_PER_PEER:
            return True
        is_presigning = kind is SessionKind.PRESIGNING
        return is_presigning and self._presignings[coordinator] >= MAX_PRESIGNINGS


class CounterWindow:
    """Which session counters of each coordinator's process have been used."""

    def __init__(self) -> None:
        self._seen: dict[NodeId, tuple[Nonce32, int, set[int]]] = {}

    def use(self, peer: NodeId, boot_nonce: Nonce32, counter: int) -> bool:
        """Take note of a counter; false if it was used before or is too old to know."""
        known = self._seen.get(peer)
        if known is None or known[0] != boot_nonce:
            self._seen[peer] = (boot_nonce, counter, {counter})
            return True
        _, highest, used = known
        if counter in used or counter <= highest - COUNTER_WINDOW:
            return False
        used.add(counter)
        highest = max(highest, counter)
        if len(used) > 2 * COUNTER_WINDOW:
            used = {recent for recent in used if recent > highest - COUNTER_WINDOW}
        self._seen[peer] = (boot_nonce, highest, used)
        return True

    def remembered(self, peer: NodeId) -> int:
        """How many counters of a peer are kept, at most twice the window."""
        return len(self._seen[peer][2]) if peer in self._seen else 0
