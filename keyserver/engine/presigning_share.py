"""How much of this node's time others may have presignatures made with (engine design, section 16).

Nobody has to ask for a presignature: any member of the set may have others compute one after the
other. What a peer's presignings cost here is measured; beyond its share they wait, and beyond that
they are refused, while everything else of the same peer goes on.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass
from typing import Final

from keyserver.engine.session_table import MAX_PRESIGNINGS, LiveSession
from keyserver.model.identifiers import NodeId
from keyserver.sessions.core import SessionKind
from keyserver.sessions.runner import Role

SHARE: Final = 0.2
"""Which part of the time the presignings of one peer may take here, in the long run."""

BURST_S: Final = 2.0
"""How much more than its share a peer may use at a time."""

PATIENCE_S: Final = 5.0
"""How long a presigning waits for its peer's share; the coordinator waits 10 s and more."""


@dataclass(slots=True)
class _Account:
    spent_s: float
    """What is not paid off yet."""
    at: float


class PresigningShare:
    """What the presignings of each peer cost here."""

    def __init__(self, me: NodeId, clock: Callable[[], float]) -> None:
        """`me`: is not limited here; `clock`: monotonic seconds."""
        self._me = me
        self._clock = clock
        self._accounts: dict[NodeId, _Account] = {}
        self._own = asyncio.Semaphore(MAX_PRESIGNINGS)

    def place_for(self, kind: SessionKind) -> AbstractAsyncContextManager[None]:
        """A session that this node coordinates waits here: no peer lets more of them begin."""
        return self._own if kind is SessionKind.PRESIGNING else nullcontext()

    def cost_of(self, session: LiveSession) -> AbstractContextManager[None]:
        """Measure a step of a session, if it is one of a peer's presignings."""
        counts = session.is_presigning and session.key[1] is Role.PARTICIPANT
        return self._measured(session.coordinator) if counts else nullcontext()

    @contextmanager
    def _measured(self, peer: NodeId) -> Iterator[None]:
        began = self._clock()
        try:
            yield
        finally:
            self._account(peer).spent_s += self._clock() - began

    def overdrawn_s(self, peer: NodeId) -> float:
        """In how many seconds a peer may have a further presigning begun here; 0: now."""
        if peer == self._me:
            return 0.0
        return max(0.0, (self._account(peer).spent_s - BURST_S) / SHARE)

    async def wait(self, session: LiveSession) -> bool:
        """Wait until its coordinator has paid off what it has used; false if that takes long."""
        wait_s = self.overdrawn_s(session.coordinator) if session.is_presigning else 0.0
        if wait_s > PATIENCE_S:
            return False
        if wait_s:
            await asyncio.sleep(wait_s)
        return True

    def _account(self, peer: NodeId) -> _Account:
        """With what was paid off since it was looked at last."""
        now = self._clock()
        account = self._accounts.setdefault(peer, _Account(0.0, now))
        account.spent_s = max(0.0, account.spent_s - (now - account.at) * SHARE)
        account.at = now
        return account
