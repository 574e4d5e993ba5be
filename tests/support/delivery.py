"""Sessions of several nodes in one process, without driver, clock or network.

Messages travel as bytes, first in, first out. A timer fires only when nothing else is left to do,
the earliest first. What happens at every node is written down step by step.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.randomness import RandomSource, SeededRandom
from keyserver.model.identifiers import Address, Hash32, NodeId, Nonce32, SessionId, Signature
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import AnyOperation, Credential, Operation, Request
from keyserver.sessions.bound_uses import BoundUses
from keyserver.sessions.core import (
    Authorise,
    Authorised,
    Completed,
    Context,
    Effect,
    Event,
    Failed,
    KeyState,
    PeerLost,
    Perform,
    Performed,
    Persist,
    Policy,
    Received,
    Refusal,
    Report,
    Send,
    SessionType,
    SetTimer,
    TimerFired,
    Verdict,
)
from keyserver.sessions.identity import session_id
from keyserver.sessions.presignature_pool import PresignaturePool
from keyserver.sessions.registry import MESSAGE_TABLE, OPENINGS
from keyserver.sessions.runner import Role, Runner
from keyserver.sessions.set_change.works import Declined
from keyserver.sessions.wire import pack
from keyserver.storage.stored_key import StoredKey, applied, check_vote, grouped
from tests.support.keys import node_secrets

CONTRACT = Address(b"\x5e" * 20)
NOW = 1_800_000_000
POLICY = Policy(service_contracts=frozenset((CONTRACT, operation) for operation in Operation))

Looped = tuple[SessionId, Any]
"""A message of a node to itself."""

Tamper = Callable[[NodeId, NodeId, Any], Any]
"""(sender, receiver, message) → what arrives instead; `None`: nothing."""


class KeySigner:
    """A node key in the open."""

    def __init__(self, secret: SecretScalar) -> None:
        self.secret = secret

    def sign(self, digest: Hash32) -> Signature:
        return Signature(sign_digest(self.secret, digest))


@dataclass
class Member:
    """A node: its key, its disk, what it was told to think of requests."""

    id: NodeId
    signer: KeySigner
    random: RandomSource
    stored: StoredKey = field(default_factory=StoredKey)
    votes: dict[Hash32, dict[Any, Any]] = field(default_factory=dict)
    verdict: Verdict = Verdict.ALLOWED
    policy: Policy = POLICY
    bound_uses: BoundUses = field(default_factory=BoundUses)
    presignatures: PresignaturePool = field(default_factory=PresignaturePool)
    perform: Callable[[Any], Any] = lambda work: Declined(Refusal.POLICY, type(work).__name__)
    """What the engine answers to `Perform`; `None`: nothing, it takes for ever."""

    @property
    def key(self) -> KeyState:
        return self.stored.state

    def persist(self, writes: Sequence[Any]) -> None:
        votes, by_key = grouped(writes)
        for vote in votes:
            cast = self.votes.setdefault(vote.subject, {})
            check_vote(cast, vote)
            cast[vote.round, vote.kind] = vote
        for key_writes in by_key.values():
            self.stored = applied(self.stored, key_writes)


@dataclass(frozen=True)
class Moment:
    """One event at one node: what it knew, what happened, what followed."""

    role: Role
    ctx: Context
    before: Any
    event: Event
    after: Any
    effects: tuple[Effect, ...]


class Delivery:
    """Runs sessions of a committee to their end."""

    def __init__(
        self,
        nodes: int,
        *,
        policy: Policy = POLICY,
        random: RandomSource | None = None,
        recording: bool = True,
    ) -> None:
        self.recording = recording
        """Whether everything is written down; otherwise only what happens matters."""
        self.members = [
            Member(
                NodeId.of(secret.public()),
                KeySigner(secret),
                random or SeededRandom(b"node" + secret.public().compressed),
                policy=policy,
            )
            for secret in node_secrets(nodes)
        ]
        self.by_id = {member.id: member for member in self.members}
        self.node_set = NodeSet(1, Address(bytes(20)), tuple(member.id for member in self.members))
        self.connected = frozenset(self.by_id)
        self.generated_by: NodeId | None = None
        self.avoided: frozenset[NodeId] = frozenset()
        self.target: NodeSet | None = None
        """Of the change that all nodes have accepted."""
        self.boot_nonce = Nonce32(b"\xb0" * 32)
        self.counter = 0
        self.tamper: Tamper = lambda _sender, _to, message: message
        self.moments: list[Moment] = []
        self.openings: list[tuple[Context, NodeId, Any]] = []
        """What participants' parts began with: context, sender, opening message."""
        self.sent: list[bytes] = []
        self.reports: list[Report] = []
        self.runners: dict[tuple[NodeId, Role], Runner] = {}
        self._queue: deque[tuple[NodeId, NodeId, bytes | Looped]] = deque()
        self._timers: dict[tuple[NodeId, Role, str], float] = {}
        self._time = 0.0

    def run(
        self,
        session_type: SessionType[Any],
        operation: AnyOperation,
        credential: Credential,
        argument: Any,
        *,
        coordinator: int = 0,
    ) -> Completed | Failed:
        """Run a session until nothing is left to do; returns the coordinator's outcome."""
        self.counter += 1
        self.runners, self._timers = {}, {}
        request = Request.of(operation, credential)
        me = self.members[coordinator].id
        sid = session_id(session_type.kind, me, self.boot_nonce, self.counter, request.hash)
        ctx = self._context(me, session_type, me, sid, self.counter, request)
        runner = self.runners[me, Role.COORDINATOR] = Runner(session_type, ctx, Role.COORDINATOR)
        self._execute(runner, runner.start(argument))
        self.drain()
        assert runner.outcome is not None, "the coordinator waits for ever"
        return runner.outcome

    def drain(self) -> None:
        """Deliver, and fire timers, until nothing is left."""
        while True:
            while self._queue:
                self._deliver(*self._queue.popleft())
            if not self._timers:
                return
            key = min(self._timers, key=lambda key: (self._timers[key], key[0], key[1].value))
            self._time = self._timers.pop(key)
            runner = self.runners.get(key[:2])
            if runner is not None and runner.outcome is None:
                self._feed(runner, TimerFired(key[2]))

    def _context(
        self,
        me: NodeId,
        session_type: SessionType[Any],
        coordinator: NodeId,
        sid: Any,
        counter: int,
        request: Request,
    ) -> Context:
        member = self.by_id[me]
        return Context(
            me=me,
            sid=sid,
            kind=session_type.kind,
            coordinator=coordinator,
            boot_nonce=self.boot_nonce,
            counter=counter,
            request=request,
            signer=member.signer,
            random=member.random,
            node_set=self.node_set,
            connected=self.connected,
            key=member.key,
            policy=member.policy,
            now=NOW,
            bound_uses=member.bound_uses,
            presignatures=member.presignatures,
            generated_by=self.generated_by,
            avoided=self.avoided - {me},
            target=self.target,
        )

    def _deliver(self, sender: NodeId, to: NodeId, data: bytes | Looped) -> None:
        sid, message = MESSAGE_TABLE.unpack(data) if isinstance(data, bytes) else data
        role = Role.COORDINATOR if message.TO_COORDINATOR else Role.PARTICIPANT
        runner = self.runners.get((to, role))
        if runner is not None:
            self._feed(runner, Received(sender, message))
            return
        session_type = OPENINGS.get(type(message))
        if session_type is None:
            return
        opening: Any = message
        ctx = self._context(to, session_type, sender, sid, opening.counter, opening.request)
        if self.recording:
            self.openings.append((ctx, sender, opening))
        runner = self.runners[to, role] = Runner(session_type, ctx, role)
        self._execute(runner, runner.join(sender, message))

    def _feed(self, runner: Runner, event: Event) -> None:
        before = runner.phase
        effects = runner.handle(event)
        if self.recording:
            moment = Moment(runner.role, runner.ctx, before, event, runner.phase, effects)
            self.moments.append(moment)
        self._execute(runner, effects)

    def _execute(self, runner: Runner, effects: tuple[Effect, ...]) -> None:
        member = self.by_id[runner.ctx.me]
        for effect in effects:
            match effect:
                case Send():
                    self._send(runner, effect)
                case SetTimer(name, seconds):
                    self._timers[member.id, runner.role, name] = self._time + seconds
                case Authorise():
                    self._feed(runner, Authorised(member.verdict))
                case Report():
                    self.reports.append(effect)
                case Persist(writes):
                    member.persist(writes)
                case Perform(work):
                    result = member.perform(work)
                    if result is not None:
                        self._feed(runner, Performed(result))

    def _send(self, runner: Runner, effect: Send) -> None:
        me = runner.ctx.me
        if effect.to not in self.connected:
            self._feed(runner, PeerLost(effect.to))
            return
        message = self.tamper(me, effect.to, effect.message)
        if message is not None:
            if effect.to == me and not self.recording and not isinstance(message, bytes):
                # as the driver does: what a node tells itself is never put into bytes
                self._queue.append((me, me, (runner.ctx.sid, message)))
                return
            data = message if isinstance(message, bytes) else pack(runner.ctx.sid, message)
            if self.recording:
                self.sent.append(data)
            self._queue.append((me, effect.to, data))


def changing(**by_type: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A change of messages by the name of their type; others pass."""
    return lambda message: by_type.get(type(message).__name__, lambda same: same)(message)


def lying(nodes: Mapping[NodeId, Callable[[Any], Any]]) -> Tamper:
    """These nodes change what they send to others and to themselves."""
    return lambda sender, _to, message: nodes.get(sender, lambda same: same)(message)


def received(net: Delivery, kind: type) -> list[Any]:
    """Every message of a kind that was handled, in order."""
    events = (moment.event for moment in net.moments)
    return [e.message for e in events if isinstance(e, Received) and isinstance(e.message, kind)]
