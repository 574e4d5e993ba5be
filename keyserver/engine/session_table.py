"""All live sessions of this node, and which openings it lets in (engine design, 5.5 and 16)."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from keyserver.engine.ports import TimerHandle
from keyserver.model.identifiers import KeyId, NodeId, Nonce32, SessionId
from keyserver.sessions.core import Effect, Event, SessionKind
from keyserver.sessions.runner import Role, Runner

MAX_SESSIONS_PER_PEER = 256
"""A peer may keep so many sessions open here; further ones are refused as BUSY."""

MAX_WAITING_EVENTS = 256
"""Messages kept for a session whose record is still being loaded."""

COUNTER_WINDOW = 4096
"""How far behind its highest one a coordinator's session counter may arrive.

Holders that are asked later than others (engine design, section 9) get their opening after
younger sessions have been opened; each counter is accepted once all the same.
"""

SessionKey = tuple[SessionId, Role]


@dataclass(slots=True, eq=False)
class LiveSession:
    """One role of one session with everything that is under way for it."""

    key: SessionKey
    coordinator: NodeId
    opened_at: float
    runner: Runner | None = None
    """`None` until the record has been loaded."""
    waiting: list[Event] = field(default_factory=list)
    effects: deque[Effect] = field(default_factory=deque)
    persisting: bool = False
    timers: dict[str, TimerHandle] = field(default_factory=dict)
    result: Any = None
    """The coordinator's future."""
    subject: tuple[SessionKind, KeyId] | None = None
    """What kind of session about which key."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the session is over."""


class SessionTable:
    """Sessions by id and role."""

    def __init__(self) -> None:
        self._sessions: dict[SessionKey, LiveSession] = {}
        self._open_by_peer: Counter[NodeId] = Counter()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(list(self._sessions.values()))

    def get(self, key: SessionKey) -> LiveSession | None:
        """The session, if it lives."""
        return self._sessions.get(key)

    def participant(self, kind: SessionKind, key_id: KeyId) -> LiveSession | None:
        """A participant's part of a session of this kind for this key, if one lives."""
        for (_, role), session in self._sessions.items():
            if role is Role.PARTICIPANT and session.subject == (kind, key_id):
                return session
        return None

    def add(self, session: LiveSession) -> None:
        """Let a session in."""
        self._sessions[session.key] = session
        self._open_by_peer[session.coordinator] += 1

    def remove(self, session: LiveSession) -> None:
        """Forget a session that has ended."""
        if self._sessions.pop(session.key, None) is not None:
            self._open_by_peer[session.coordinator] -= 1

    def is_full_for(self, coordinator: NodeId) -> bool:
        """Whether a peer has as many sessions open here as it may."""
        return self._open_by_peer[coordinator] >= MAX_SESSIONS_PER_PEER


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
        if counter > highest:
            used -= {old for old in used if old <= counter - COUNTER_WINDOW}
            self._seen[peer] = (boot_nonce, counter, used)
        return True
