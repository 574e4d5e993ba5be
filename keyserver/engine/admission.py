"""What a participant's part of a session waits for before it begins here, and whether it may."""

from collections.abc import Awaitable, Callable

import structlog

from keyserver.engine.change_gate import ChangeGate
from keyserver.engine.contexts import Contexts
from keyserver.engine.ports import Ports
from keyserver.engine.presigning_share import PresigningShare
from keyserver.engine.session_table import LiveSession
from keyserver.engine.turns import EXCLUSIVE, Turns
from keyserver.errors import StorageError
from keyserver.model.identifiers import KeyId
from keyserver.sessions.authentication import Authentic
from keyserver.sessions.core import Authorise, KeyState, Refusal, SessionKind
from keyserver.sessions.waiting import verdict_refusal

Settle = Callable[[SessionKind, KeyId], Awaitable[None]]
"""Waits, not for long, for the end of a participant's part of such a session."""

log = structlog.get_logger()


class Admission:
    """Lets sessions in, one after the other where they exclude each other."""

    def __init__(
        self,
        ports: Ports,
        turns: Turns,
        presigning: PresigningShare,
        changes: ChangeGate,
        contexts: Contexts,
        settle: Settle,
    ) -> None:
        self._ports = ports
        self._turns = turns
        self._presigning = presigning
        self._changes = changes
        self._contexts = contexts
        self._settle = settle

    async def admit(self, session: LiveSession, authentic: Authentic | None) -> KeyState | Refusal:
        """What is stored about the key of a session once it may begin, or why it may not."""
        kind, key_id = session.subject
        refusal = await self._wait(session, authentic)
        if refusal is not None:
            return refusal
        try:
            state = await self._ports.store.load(key_id)
        except StorageError as problem:
            log.error("record_unreadable", key_id=key_id, problem=str(problem))
            return Refusal.TEMPORARY
        self._contexts.note_state(key_id, state)
        refusal = self._changes.forbids(kind, state)
        return state if refusal is None else refusal

    async def _wait(self, session: LiveSession, authentic: Authentic | None) -> Refusal | None:
        kind, key_id = session.subject
        if kind in EXCLUSIVE and authentic is not None:
            return await self._wait_in_line(session, authentic.chain_check)
        if not await self._presigning.wait(session):
            return Refusal.BUSY
        await self._settle(SessionKind.GENERATION, key_id)  # its end may be on the way
        return None

    async def _wait_in_line(self, session: LiveSession, check: Authorise | None) -> Refusal | None:
        """Only a request that is allowed keeps others waiting; why it may not go on, if so."""
        if check is not None:
            refused = verdict_refusal(await self._ports.access.authorise(check))
            if refused is not None:
                return refused.code
        nodes, now = self._ports.node_sets.snapshot.current.nodes, self._ports.clock.monotonic()
        in_time = await self._turns.wait(session, nodes, now)
        return None if in_time else Refusal.EXCLUSIVE
