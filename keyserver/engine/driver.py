"""Turns the effects of sessions into action and feeds what comes back to them as events.

The only writer of the session table. Everything that happens to sessions passes one queue with one
consumer, so there are no locks and never two steps at once. Waiting on disk or chain is done in
tasks of their own, whose results come back through the same queue; while a `Persist` is under way
only the later effects of that session wait.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from typing import Any

import structlog

from keyserver.engine.admission import Admission
from keyserver.engine.change_gate import ChangeGate
from keyserver.engine.contexts import Contexts, SessionName
from keyserver.engine.credentials import CredentialSource, Opening
from keyserver.engine.inbox import Inbox
from keyserver.engine.installation import announce
from keyserver.engine.openings import REQUESTED, Openings
from keyserver.engine.outcomes import ForContract
from keyserver.engine.pace import Pace
from keyserver.engine.patience import Patience
from keyserver.engine.ports import (
    Identity,
    LinkService,
    Ports,
    TimerHandle,
    VoteConflictError,
)
from keyserver.engine.presigning_share import PresigningShare
from keyserver.engine.session_log import log_end, log_session, observe
from keyserver.engine.session_table import (
    MAX_WAITING_MESSAGES,
    LiveSession,
    SessionTable,
    end_of,
)
from keyserver.engine.turns import EXCLUSIVE, Turns
from keyserver.errors import StorageError
from keyserver.model.codec import CodecError
from keyserver.model.identifiers import Address, KeyId, NodeId, Nonce32, SessionId
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import AnyOperation, NodeCredential, Request
from keyserver.sessions.authentication import Authentic, authenticate
from keyserver.sessions.core import (
    Authorise,
    Authorised,
    Completed,
    Effect,
    Event,
    Failed,
    GivenUpError,
    KeyState,
    PeerLost,
    Perform,
    Performed,
    Persist,
    Policy,
    Received,
    Refusal,
    Refused,
    Report,
    Send,
    SessionKind,
    SessionType,
    SetTimer,
    TimerFired,
    UnavailableError,
    Verdict,
)
from keyserver.sessions.identity import session_id
from keyserver.sessions.messages import Cancel, Refuse
from keyserver.sessions.registry import MESSAGE_TABLE, OPENINGS
from keyserver.sessions.runner import Role, Runner
from keyserver.sessions.wire import LINK_TYPES, message_type, pack

_SETTLED = frozenset({SessionKind.GENERATION, SessionKind.REDISTRIBUTION, SessionKind.STORING})
"""What is reported to the caller only when this node has written it down, too."""

ACTS_AT_A_TIME = 4
"""After so many the event loop looks at everything else that waits."""

__all__ = ["Driver", "Identity", "Ports"]

log = structlog.get_logger()


class Driver:
    """Runs the sessions of this node; also the transport's listener."""

    def __init__(self, identity: Identity, ports: Ports) -> None:
        self._identity = identity
        self._ports = ports
        self._table = SessionTable()
        self._turns = Turns(self._table)
        self._openings = Openings(self._boot_nonce)
        self._patience = Patience("forged requests")
        self._pace = Pace(ports.clock)
        self._presigning = PresigningShare(identity.me, ports.clock.monotonic)
        self._counter = 0
        self._inbox: Inbox[Callable[[], None]] = Inbox()
        self._tasks: asyncio.TaskGroup | None = None
        self._links: LinkService | None = None
        self._started = asyncio.Event()
        self._contexts = Contexts(identity, ports, lambda: self.avoided)
        self.changes = ChangeGate()
        """What changes of the node set let begin."""
        self._admission = Admission(
            ports, self._turns, self._presigning, self.changes, self._contexts, self.settle
        )

    def serve_links(self, links: LinkService) -> None:
        """Say who answers link messages; once, before `run`."""
        self._links = links
        links.watch_writes(self._contexts.note_writes)

    @property
    def me(self) -> NodeId:
        """This node."""
        return self._identity.me

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers with a connection, and this node."""
        return self._ports.transport.connected | {self._identity.me}

    @property
    def node_set(self) -> NodeSet:
        """The current set as this node sees it."""
        return self._ports.node_sets.snapshot.current

    @property
    def is_admitted(self) -> bool:
        """Whether this node is in any of the sets it knows, so that others talk to it."""
        return self._identity.me in self._ports.node_sets.snapshot.all_nodes()

    @property
    def policy(self) -> Policy:
        """What the operator allows now."""
        return self._identity.policy()

    async def own_verdict(self, operation: AnyOperation, requester: Address) -> Verdict:
        """What this node itself finds about the permission of an account."""
        access = self._ports.access
        request = Request.of(operation, NodeCredential())  # nothing of it is asked of the chain
        return await access.authorise(Authorise(request, requester, True, access.permission_block))

    def takes_part(self, kind: SessionKind, key_id: KeyId) -> bool:
        """Whether a participant's part of such a session for this key lives here."""
        return bool(self._begun(kind, key_id))

    def is_occupied(self, key_id: KeyId) -> bool:
        """Whether a generation goes on here that one of this node would disturb."""
        now = self._ports.clock.monotonic()
        return self._turns.is_occupied(key_id, self._identity.me, now)

    async def settle(self, kind: SessionKind, key_id: KeyId) -> None:
        """Wait, not for long, for the end of a participant's part of such a session."""
        await end_of(next(iter(self._begun(kind, key_id)), None))

    def _begun(self, kind: SessionKind, key_id: KeyId) -> list[LiveSession]:
        return [part for part in self._table.participants((kind, key_id)) if part.runner]

    @property
    def open_sessions(self) -> int:
        """How many roles of sessions are live."""
        return len(self._table)

    async def run(self) -> None:
        """Consume the queue until cancelled; then every session is over."""
        async with self._table.closing(), asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._started.set()
            while True:
                for _ in range(ACTS_AT_A_TIME):
                    act = await self._inbox.get()
                    act()
                await asyncio.sleep(0)  # a queue that is never empty must not stop all else

    # --- the coordinator's side ---------------------------------------------------------------

    async def execute(
        self,
        session_type: SessionType[Any],
        operation: AnyOperation,
        credential: CredentialSource,
        argument: Any,
    ) -> Any:
        """Run a session as coordinator; returns its result or raises its `SessionError`.

        What was agreed on is on this node's own disk, too, when the result is returned.
        """
        await self._started.wait()
        kind = session_type.kind
        async with self._pace.place_for(kind), self._presigning.place_for(kind):
            return await self._execute(session_type, operation, credential, argument)

    async def _execute(
        self,
        session_type: SessionType[Any],
        operation: AnyOperation,
        credential: CredentialSource,
        argument: Any,
    ) -> Any:
        state = await self._ports.store.load(operation.key_id)
        self.changes.check(session_type.kind, state)
        self._counter += 1
        me, boot_nonce = self._identity.me, self._identity.boot_nonce
        opening = Opening(me, boot_nonce, self._counter, operation)
        request = Request.of(operation, credential(opening))
        sid = session_id(session_type.kind, me, boot_nonce, self._counter, request.hash)
        name = SessionName(sid, session_type.kind, me, boot_nonce, self._counter)
        ctx = self._contexts.make(name, request, state)
        subject, now = (session_type.kind, operation.key_id), self._ports.clock.monotonic()
        session = LiveSession((sid, Role.COORDINATOR), me, now, subject)
        session.runner = Runner(session_type, ctx, Role.COORDINATOR)
        session.result = asyncio.get_running_loop().create_future()
        self._table.add(session)
        log_session(session, "session_started")
        self._take(session, session.runner.start(argument))
        try:
            result = await session.result
        finally:
            if self._table.get(session.key) is session:
                self._abandon(session)
        if session_type.kind in _SETTLED:
            await end_of(self._table.get((sid, Role.PARTICIPANT)))
        return result

    def ends_of(self, kinds: Collection[SessionKind]) -> list[asyncio.Event]:
        """What is set when the sessions of these kinds that live here now are over."""
        return [session.ended for session in self._table if session.subject[0] in kinds]

    def dismiss(self, kinds: Collection[SessionKind]) -> None:
        """End the participants' parts of such sessions that live here."""
        for session in self._table:
            if session.subject[0] in kinds and session.key[1] is Role.PARTICIPANT:
                self._turn_away(session, Refusal.TEMPORARY)

    @property
    def avoided(self) -> frozenset[NodeId]:
        """Nodes against which there is evidence of late."""
        return frozenset() if self._links is None else self._links.avoided

    def _abandon(self, session: LiveSession) -> None:
        """The caller has gone away: tell the participants, forget the session."""
        if session.runner is not None:
            for node in session.runner.asked:
                self._send(session, Send(node, Cancel(Refusal.TEMPORARY)))
        self._remove(session)

    # --- the transport's side -----------------------------------------------------------------

    def on_connected(self, peer: NodeId) -> None:
        """A peer is there."""
        note = self._contexts.note_process
        self._inbox.put_last(peer, lambda: note(peer, self._boot_nonce(peer)))
        if self._links is not None:
            self._links.on_connected(peer)

    def on_disconnected(self, peer: NodeId) -> None:
        """A peer is gone: every session hears of it."""
        self._inbox.put_last(peer, lambda: self._lose(peer))

    def on_message(self, peer: NodeId, message: bytes) -> bool:
        """A message has arrived; false if no correct node would have sent it."""
        if self._patience.is_over(peer):
            return False
        if len(message) >= 2 and message_type(message) in LINK_TYPES:
            return self._links is not None and self._links.on_link_message(peer, message)
        try:
            sid, parsed = MESSAGE_TABLE.unpack(message)
        except CodecError as problem:
            log.warning("peer_sent_garbage", peer=peer, problem=str(problem))
            return False
        if self._inbox.put(peer, lambda: self._deliver(peer, sid, parsed), len(message)):
            return True
        log.warning("peer_overruns_its_queue", peer=peer)
        return False

    def _post(self, act: Callable[[], None]) -> None:
        self._inbox.post(act)

    def _lose(self, peer: NodeId) -> None:
        self._contexts.note_gone(peer)
        for session in self._table:
            self._feed(session, PeerLost(peer))

    def _deliver(self, sender: NodeId, sid: SessionId, message: Any) -> None:
        role = Role.COORDINATOR if message.TO_COORDINATOR else Role.PARTICIPANT
        session = self._table.get((sid, role))
        if session is not None:
            if role is Role.COORDINATOR or sender == session.coordinator:
                self._feed(session, Received(sender, message))
            return
        session_type = OPENINGS.get(type(message))
        if session_type is not None:
            self._open(sender, sid, session_type, message)

    def _open(
        self, sender: NodeId, sid: SessionId, session_type: SessionType[Any], message: Any
    ) -> None:
        """Let a participant's part begin, if the opening is what it says it is."""
        boot_nonce = self._openings.check(sender, sid, session_type.kind, message)
        if boot_nonce is None:
            log.debug("session_opening_refused", peer=sender, session=sid)
            return
        kind, request = session_type.kind, message.request
        now, subject = self._ports.clock.monotonic(), (kind, request.key_id)
        session = LiveSession((sid, Role.PARTICIPANT), sender, now, subject)
        is_known = sender in self._ports.node_sets.snapshot.all_nodes()  # else it may only ask
        if not is_known or self._table.is_full_for(sender, kind):
            refusal = Refusal.BUSY if is_known else Refusal.TEMPORARY
            self._send(session, Send(sender, Refuse(refusal)))
            return
        self._table.add(session)

        def runner(state: KeyState, authentic: Authentic | None = None) -> Runner:
            name = SessionName(sid, kind, sender, boot_nonce, message.counter)
            ctx = replace(self._contexts.make(name, request, state), authentic=authentic)
            return Runner(session_type, ctx, Role.PARTICIPANT)

        def begin(state: KeyState, authentic: Authentic | None) -> None:
            session.runner = runner(state, authentic)
            log_session(session, "session_joined")
            with self._presigning.cost_of(session):
                effects = session.runner.join(sender, message)
            self._take(session, effects)
            waiting, session.waiting = session.waiting, []
            for event in waiting:
                self._feed(session, event)

        first = runner(KeyState())
        try:
            authentic = authenticate(first.ctx) if kind in REQUESTED else None
        except Refused as refused:
            self._patience.note(sender, correct=refused.code is not Refusal.BAD)
            session.runner = first
            self._take(session, first.turn_away(refused))
        else:
            self._patience.note(sender, correct=True)
            self._spawn(self._let_in(session, authentic, begin))

    def _boot_nonce(self, peer: NodeId) -> Nonce32 | None:
        if peer == self._identity.me:
            return self._identity.boot_nonce
        known = self._ports.transport.boot_nonce(peer)
        return None if known is None else Nonce32(known)

    async def _let_in(
        self,
        session: LiveSession,
        authentic: Authentic | None,
        begin: Callable[[KeyState, Authentic | None], None],
    ) -> None:
        """Wait for what has to come before a session, then let it begin."""
        found = await self._admission.admit(session, authentic)
        if isinstance(found, Refusal):
            self._turn_away(session, found)
        elif self._table.get(session.key) is session:
            if session.subject[0] in EXCLUSIVE and authentic is not None:
                authentic = replace(authentic, chain_check=None)  # it was asked already
            begin(found, authentic)

    def _turn_away(self, session: LiveSession, refusal: Refusal) -> None:
        """End a participant's part that has not begun, unless it has ended meanwhile."""
        if self._table.get(session.key) is session:
            self._send(session, Send(session.coordinator, Refuse(refusal)))
            self._remove(session)

    # --- steps and effects --------------------------------------------------------------------

    def _feed(self, session: LiveSession, event: Event) -> None:
        if session.runner is not None:
            with self._presigning.cost_of(session):
                effects = session.runner.handle(event)
            self._take(session, effects)
            return
        match event:
            case PeerLost(peer) if peer == session.coordinator:
                self._remove(session)
            case Received(_, Cancel()):
                self._remove(session)
                self._clear_up(session)
            case Received() if len(session.waiting) < MAX_WAITING_MESSAGES:
                session.waiting.append(event)

    def _take(self, session: LiveSession, effects: tuple[Effect, ...]) -> None:
        session.effects.extend(effects)
        self._work_off(session)

    def _work_off(self, session: LiveSession) -> None:
        """Execute effects in order, as far as no write has to be waited for."""
        while session.effects and not session.persisting:
            self._execute_effect(session, session.effects.popleft())
        runner = session.runner
        if runner is not None and runner.outcome is not None and not session.persisting:
            self._finish(session, runner.outcome)

    def _execute_effect(self, session: LiveSession, effect: Effect) -> None:
        match effect:
            case Send():
                self._send(session, effect)
            case SetTimer(name, seconds):
                self._set_timer(session, name, seconds)
            case Authorise():
                self._spawn(self._authorise(session, effect))
            case Report():
                if self._links is not None:
                    self._links.on_report(effect)
            case Persist():
                session.persisting = True
                self._spawn(self._persist(session, effect))
            case Perform(work):
                session.works.append(self._spawn(self._perform(session, work)))

    def _send(self, session: LiveSession, effect: Send) -> None:
        sid, message, me = session.key[0], effect.message, self._identity.me
        if effect.to == me:
            self._post(lambda: self._deliver(me, sid, message))
        elif not self._ports.transport.send(effect.to, pack(sid, message)):
            self._post(lambda: self._feed(session, PeerLost(effect.to)))

    def _set_timer(self, session: LiveSession, name: str, seconds: float) -> None:
        timer = self._ports.clock.call_later(
            seconds, lambda: self._post(lambda: self._fire(session, name, timer))
        )
        session.set_timer(name, timer)

    def _fire(self, session: LiveSession, name: str, timer: TimerHandle) -> None:
        """Unless the timer was set anew, or the session ended, while it waited in the queue."""
        if session.timers.get(name) is timer:
            del session.timers[name]
            self._feed(session, TimerFired(name))

    async def _authorise(self, session: LiveSession, effect: Authorise) -> None:
        verdict = await self._ports.access.authorise(effect)
        self._post(lambda: self._feed(session, Authorised(verdict)))

    async def _perform(self, session: LiveSession, work: Any) -> None:
        result = await self.changes.perform(work, session.ended)
        self._post(lambda: self._feed(session, Performed(result)))

    async def _persist(self, session: LiveSession, effect: Persist) -> None:
        try:
            await self._ports.store.commit(effect.writes)
        except (VoteConflictError, StorageError) as problem:
            reason = str(problem)
            self._post(lambda: self._persist_failed(session, reason))
            return
        self._contexts.note_writes(effect.writes)
        announce(self._ports.outcomes, effect.writes)
        self._post(lambda: self._persisted(session))

    def _persisted(self, session: LiveSession) -> None:
        session.persisting = False
        self._work_off(session)

    def _persist_failed(self, session: LiveSession, reason: str) -> None:
        log.warning("session_write_failed", session=session.key[0], problem=reason)
        session.persisting = False
        session.effects.clear()
        self._send(session, Send(session.coordinator, Refuse(Refusal.TEMPORARY)))
        self._finish(session, Failed(UnavailableError(f"a write failed: {reason}")))

    def _finish(self, session: LiveSession, outcome: Completed | Failed) -> None:
        if self._table.get(session.key) is not session:
            return
        if session.runner is not None and isinstance(outcome, Completed):
            self._contexts.note(session.runner)
        self._remove(session)
        self._turns.note_end(session, outcome, self._ports.clock.monotonic())
        if isinstance(outcome, Failed) and isinstance(outcome.error, GivenUpError):
            self._clear_up(session)
        self._pace.note_end(session, outcome)
        log_end(session, outcome)
        observe(self._ports.observer, session, outcome, self._ports.clock.monotonic())
        session.tell(outcome)
        if isinstance(outcome, Completed) and isinstance(outcome.result, ForContract):
            self._ports.outcomes.on_outcome(outcome.result)

    def _clear_up(self, session: LiveSession) -> None:
        """What a session that agrees on something has left behind is in the way of the next."""
        kind, key_id = session.subject
        others = self._table.participants(session.subject)
        if kind in _SETTLED and not others and self._links:
            self._links.on_given_up(kind, key_id)

    def _remove(self, session: LiveSession) -> None:
        self._table.remove(session)
        session.end()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._tasks is None:
            work.close()
            raise RuntimeError("the driver does not run")
        return self._tasks.create_task(work)
