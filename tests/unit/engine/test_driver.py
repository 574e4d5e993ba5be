"""The driver with one session at a time: order of effects, timers, failures, limits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.credentials import Opening
from keyserver.engine.driver import Driver, Identity, Ports
from keyserver.engine.inbox import MAX_QUEUED_MESSAGES
from keyserver.engine.outcomes import DocumentInstalled, Outcome, RecordInstalled
from keyserver.engine.patience import MAX_IN_A_ROW
from keyserver.engine.ports import VoteConflictError
from keyserver.engine.session_table import MAX_SESSIONS_PER_PEER, MAX_WAITING_MESSAGES
from keyserver.engine.turns import rank
from keyserver.errors import StorageError
from keyserver.model.blocks import BlockId
from keyserver.model.identifiers import Address, KeyId, NodeId, Nonce32, SessionId
from keyserver.model.keys import CertifiedRecord
from keyserver.model.node_set import NodeAddress, NodeSet, NodeSetSnapshot
from keyserver.model.requests import (
    Credential,
    GenerateServerKey,
    LegacyCredential,
    OnChainAddress,
    Proof,
    Request,
    RetrieveDocumentKey,
    StoreDocumentKey,
)
from keyserver.sessions.bound_uses import BoundUses
from keyserver.sessions.core import (
    Authorise,
    Completed,
    Context,
    Event,
    KeyState,
    PeerLost,
    Refusal,
    Report,
    SessionKind,
    SessionType,
    SetTimer,
    Step,
    TimerFired,
    UnavailableError,
    Verdict,
)
from keyserver.sessions.identity import session_id
from keyserver.sessions.messages import Cancel, Refuse
from keyserver.sessions.outcomes import ShadowReady
from keyserver.sessions.presignature_pool import PresignaturePool
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.retrieval import RETRIEVAL, Target
from keyserver.sessions.sharing import GENERATION
from keyserver.sessions.sharing.messages import Accept, Propose, Start
from keyserver.sessions.sharing.terms import generation_params
from keyserver.sessions.storing import STORING
from keyserver.sessions.storing import Target as StoringTarget
from keyserver.sessions.wire import pack
from keyserver.sessions.writes import Write
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore
from tests.support.delivery import POLICY, KeySigner
from tests.support.fake_cluster import point_of
from tests.support.key_life import (
    AUTHOR,
    KEY_ID,
    ON_CHAIN,
    SHADOW_ON_CHAIN,
    document_for,
)
from tests.support.keys import node_secrets
from tests.support.manual_clock import ManualClock

BOOT = Nonce32(b"\xb0" * 32)
OTHER_KEY = KeyId(b"\x0e" * 32)
PEER_BOOT = Nonce32(b"\xb1" * 32)


@dataclass
class FakeTransport:
    peers: dict[NodeId, bytes] = field(default_factory=dict)
    sent: list[tuple[NodeId, Any]] = field(default_factory=list)
    broken: bool = False

    @property
    def connected(self) -> frozenset[NodeId]:
        return frozenset(self.peers)

    def send(self, to: NodeId, message: bytes) -> bool:
        if self.broken or to not in self.peers:
            return False
        self.sent.append((to, MESSAGE_TABLE.unpack(message)[1]))
        return True

    def boot_nonce(self, peer: NodeId) -> bytes | None:
        return self.peers.get(peer)


class GatedStore(MemoryRecordStore):
    """A store that waits where the test wants it to."""

    def __init__(self) -> None:
        super().__init__(MemoryDisk())
        self.loading = asyncio.Event()
        self.loading.set()
        self.writing = asyncio.Event()
        self.writing.set()
        self.load_error: StorageError | None = None
        self.commit_error: Exception | None = None
        self.committed: list[Write] = []

    async def load(self, key_id: KeyId) -> KeyState:
        await self.loading.wait()
        if self.load_error is not None:
            raise self.load_error
        return await super().load(key_id)

    async def commit(self, writes: Sequence[Write]) -> None:
        await self.writing.wait()
        if self.commit_error is not None:
            raise self.commit_error
        await super().commit(writes)
        self.committed.extend(writes)


class GatedAccess:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.verdict = Verdict.ALLOWED

    permission_block: BlockId | None = None

    async def authorise(self, check: Authorise) -> Verdict:
        await self.gate.wait()
        return self.verdict


@dataclass
class FakeLinks:
    messages: list[bytes] = field(default_factory=list)
    peers: list[NodeId] = field(default_factory=list)
    given_up: list[KeyId] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    avoided: frozenset[NodeId] = frozenset()

    def on_report(self, report: Report) -> None:
        self.reports.append(report)

    def on_connected(self, peer: NodeId) -> None:
        self.peers.append(peer)

    def watch_writes(self, watcher: object) -> None:
        pass

    def on_given_up(self, kind: SessionKind, key_id: KeyId) -> None:
        self.given_up.append(key_id)

    def on_link_message(self, peer: NodeId, message: bytes) -> bool:
        self.messages.append(message)
        return len(self.messages) == 1


@dataclass
class World:
    """One driver with everything around it in the test's hands."""

    driver: Driver
    nodes: tuple[NodeId, ...]
    transport: FakeTransport
    store: GatedStore
    access: GatedAccess
    clock: ManualClock
    outcomes: list[Outcome]
    sessions: list[tuple[str, str, str]]
    culprits: list[NodeId]
    node_set: NodeSet
    counter: int = 0

    @property
    def me(self) -> NodeId:
        return self.nodes[0]

    @property
    def peer(self) -> NodeId:
        return self.nodes[1]

    async def settle(self) -> None:
        """Let everything that can happen now happen."""
        for _ in range(200):
            await asyncio.sleep(0)

    def sent(self, kind: type) -> list[Any]:
        return [message for _, message in self.transport.sent if isinstance(message, kind)]

    def proposal(
        self,
        threshold: int = 0,
        counter: int | None = None,
        key_id: KeyId = KEY_ID,
        credential: Credential = ON_CHAIN,
    ) -> tuple[SessionId, Propose]:
        """The opening of a generation by the peer."""
        self.counter += 1
        number = self.counter if counter is None else counter
        request = Request.of(GenerateServerKey(key_id, threshold), credential)
        sid = session_id(SessionKind.GENERATION, self.peer, PEER_BOOT, number, request.hash)
        ctx = _context(self, sid, request, number)
        params = generation_params(ctx, AUTHOR, threshold, ())
        return sid, Propose(1, number, request, params, ())

    def receive(self, sid: SessionId, message: Any) -> bool:
        return self.driver.on_message(self.peer, pack(sid, message))


def _context(world: World, sid: SessionId, request: Request, counter: int) -> Context:
    return Context(
        me=world.peer,
        sid=sid,
        kind=SessionKind.GENERATION,
        coordinator=world.peer,
        boot_nonce=PEER_BOOT,
        counter=counter,
        request=request,
        signer=KeySigner(node_secrets(1)[0]),
        random=SeededRandom(0),
        node_set=world.node_set,
        connected=frozenset(world.nodes),
        key=KeyState(),
        policy=POLICY,
        now=world.clock.unix(),
        bound_uses=BoundUses(),
        presignatures=PresignaturePool(),
    )


@dataclass
class Listener:
    """Takes down what the driver tells the rest of the node."""

    outcomes: list[Outcome]
    sessions: list[tuple[str, str, str]]
    culprits: list[NodeId]

    def on_outcome(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def on_session(self, name: str, role: str, outcome: str, seconds: float) -> None:
        self.sessions.append((name, role, outcome))

    def on_misbehaviour(self, culprits: frozenset[NodeId], what: str, evidence: bytes) -> None:
        self.culprits.extend(culprits)


@dataclass
class Sets:
    snapshot: NodeSetSnapshot


@asynccontextmanager
async def running(nodes: int = 1, *, start: bool = True) -> AsyncIterator[World]:
    secrets = node_secrets(nodes)
    ids = tuple(NodeId.of(secret.public()) for secret in secrets)
    node_set = NodeSet(1, Address(bytes(20)), ids)
    addresses = tuple((node, NodeAddress("x", 1)) for node in ids)
    snapshot = NodeSetSnapshot(node_set, node_set, None, addresses, 0, 0)
    transport = FakeTransport(dict.fromkeys(ids[1:], PEER_BOOT))
    store, access, clock = GatedStore(), GatedAccess(), ManualClock()
    listener = Listener([], [], [])
    ports = Ports(transport, store, access, Sets(snapshot), clock, listener, listener)
    identity = Identity(ids[0], KeySigner(secrets[0]), BOOT, SeededRandom(1), lambda: POLICY)
    driver = Driver(identity, ports)
    world = World(
        driver,
        ids,
        transport,
        store,
        access,
        clock,
        listener.outcomes,
        listener.sessions,
        listener.culprits,
        node_set,
    )
    task = asyncio.ensure_future(driver.run()) if start else None
    try:
        yield world
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _always(_: Opening) -> OnChainAddress:
    return ON_CHAIN


async def _generate(world: World, key_id: KeyId = KEY_ID) -> CertifiedRecord:
    result = await world.driver.execute(GENERATION, GenerateServerKey(key_id, 0), _always, None)
    assert isinstance(result, CertifiedRecord)
    return result


async def test_a_node_alone_lives_the_life_of_a_key() -> None:
    async with running() as world:
        record = await _generate(world)
        await world.settle()
        assert world.driver.open_sessions == 0
        operation = StoreDocumentKey(KEY_ID, document_for(record.record.public))
        document = await world.driver.execute(
            STORING, operation, _always, StoringTarget(record, ())
        )
        target = Target(record, document, (world.me,))
        await world.driver.execute(
            RETRIEVAL, RetrieveDocumentKey(KEY_ID), lambda _: SHADOW_ON_CHAIN, target
        )
        await world.settle()
        kinds = [type(outcome) for outcome in world.outcomes]
        assert kinds == [RecordInstalled, DocumentInstalled, ShadowReady]
        assert sorted(world.sessions) == sorted(
            (name, role, "completed")
            for name in ("generation", "storing", "retrieval")
            for role in ("coordinator", "participant")
        )
        assert world.driver.me == world.me
        assert world.driver.connected == {world.me}


async def test_nothing_leaves_before_what_it_relies_on_is_written() -> None:
    async with running(2) as world:
        world.store.writing.clear()
        task = asyncio.ensure_future(_generate(world))
        await world.settle()
        sid, proposal = world.proposal(key_id=KeyId(b"\x4c" * 32))
        assert world.receive(sid, proposal)
        await world.settle()
        assert len(world.sent(Accept)) == 1, "another session goes on"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_caller_that_goes_away_takes_the_session_along() -> None:
    async with running(2) as world:
        task = asyncio.ensure_future(_generate(world))
        await world.settle()
        assert len(world.sent(Propose)) == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await world.settle()
        assert len(world.sent(Cancel)) == 1
        assert world.driver.open_sessions == 0


async def test_who_waits_when_the_driver_ends_learns_it_at_once() -> None:
    async with running() as world:
        world.store.writing.clear()
        waiting = asyncio.ensure_future(_generate(world))
        await world.settle()
        world.store.loading.clear()
        late = asyncio.ensure_future(_generate(world, OTHER_KEY))
        await world.settle()
        assert not waiting.done()
    assert world.driver.open_sessions == 0
    with pytest.raises(UnavailableError, match="does not act"):
        await asyncio.wait_for(waiting, 1)
    world.store.loading.set()
    with pytest.raises(UnavailableError, match="does not act"):
        await asyncio.wait_for(late, 1)
    assert world.driver.open_sessions == 0


async def test_a_failing_write_ends_the_part_of_this_node() -> None:
    for error in (StorageError("disk full"), VoteConflictError("voted")):
        async with running() as world:
            world.store.commit_error = error
            with pytest.raises(UnavailableError):
                await _generate(world)
            await world.settle()
            assert world.driver.open_sessions == 0
            assert ("generation", "participant", "ConsensusTemporaryUnreachable") in world.sessions


async def test_an_unreadable_row_is_a_refusal() -> None:
    async with running(2) as world:
        world.store.load_error = StorageError("row does not open")
        world.receive(*world.proposal())
        await world.settle()
        assert [refuse.refusal for refuse in world.sent(Refuse)] == [Refusal.TEMPORARY]
        assert world.driver.open_sessions == 0


async def test_messages_wait_while_the_record_is_loaded() -> None:
    async with running(2) as world:
        world.store.loading.clear()
        sid, proposal = world.proposal()
        world.receive(sid, proposal)
        world.receive(sid, Start(()))
        await world.settle()
        assert world.driver.open_sessions == 1
        world.store.loading.set()
        await world.settle()
        assert len(world.sent(Accept)) == 1
        assert [refuse.refusal for refuse in world.sent(Refuse)] == [Refusal.BAD]


async def test_only_so_many_messages_wait_for_a_session_that_has_not_begun() -> None:
    async with running(2) as world:
        world.store.loading.clear()
        sid, proposal = world.proposal()
        world.receive(sid, proposal)
        for _ in range(10 * MAX_WAITING_MESSAGES):
            world.receive(sid, Start(()))
        await world.settle()
        (session,) = world.driver._table
        assert len(session.waiting) == MAX_WAITING_MESSAGES


async def test_a_session_may_be_given_up_while_the_record_is_loaded() -> None:
    async with running(2) as world:
        world.store.loading.clear()
        sid, proposal = world.proposal()
        world.receive(sid, proposal)
        world.receive(sid, Cancel(5))
        await world.settle()
        assert world.driver.open_sessions == 0
        world.store.loading.set()
        await world.settle()
        assert world.transport.sent == []


async def test_a_coordinator_lost_while_the_record_is_loaded() -> None:
    async with running(2) as world:
        world.store.loading.clear()
        world.receive(*world.proposal())
        await world.settle()
        world.driver.on_disconnected(world.peer)
        await world.settle()
        assert world.driver.open_sessions == 0
        world.store.loading.set()
        await world.settle()
        assert world.transport.sent == []


async def test_what_a_generation_leaves_behind_is_cleared_up_when_it_is_the_last() -> None:
    async with running(2) as world:
        links = FakeLinks()
        world.driver.serve_links(links)
        first, proposal = world.proposal()
        world.receive(first, proposal)
        await world.settle()
        second, waiting = world.proposal()
        world.receive(second, waiting)
        world.receive(first, Cancel(5))
        await world.settle()
        assert links.given_up == []
        assert len(world.sent(Accept)) == 2
        world.receive(second, Cancel(5))
        await world.settle()
        assert links.given_up == [KEY_ID]


async def test_a_worse_coordinator_is_turned_away_while_a_better_one_is_here() -> None:
    async with running(2) as world:
        better, worse = (rank(KEY_ID, node, world.nodes) for node in (world.me, world.peer))
        assert better < worse
        own = asyncio.ensure_future(_generate(world))
        await world.settle()
        world.receive(*world.proposal())
        await world.settle()
        refusals = [refuse.refusal for refuse in world.sent(Refuse)]
        assert refusals == [Refusal.EXCLUSIVE]
        assert world.driver.takes_part(SessionKind.GENERATION, KEY_ID)
        own.cancel()
        await asyncio.gather(own, return_exceptions=True)


FORGED = LegacyCredential(point_of(5), point_of(6), Proof(b"\x01" * 64))
LAST_KEY = KeyId(b"\xfe" + b"\xff" * 31)
"""The peer is the best coordinator for it."""


async def test_a_request_that_is_not_authentic_keeps_nobody_waiting() -> None:
    """Nothing is read for it, and no turn is taken in its name, however good its rank."""
    async with running(2) as world:
        assert rank(LAST_KEY, world.peer, world.nodes) < rank(LAST_KEY, world.me, world.nodes)
        world.store.loading.clear()
        for _ in range(20):
            world.receive(*world.proposal(key_id=LAST_KEY, credential=FORGED))
        await world.settle()
        assert [refuse.refusal for refuse in world.sent(Refuse)] == [Refusal.BAD] * 20
        assert world.driver.open_sessions == 0
        world.store.loading.set()
        own = asyncio.ensure_future(_generate(world, LAST_KEY))
        await world.settle()
        world.receive(*world.proposal(key_id=LAST_KEY, credential=FORGED))
        await world.settle()
        assert world.driver.takes_part(SessionKind.GENERATION, LAST_KEY)
        own.cancel()
        await asyncio.gather(own, return_exceptions=True)


async def test_a_peer_that_goes_on_sending_forged_requests_has_to_go() -> None:
    async with running(3) as world:

        async def forged(count: int) -> list[bool]:
            taken = []
            for _ in range(count):
                taken.append(world.receive(*world.proposal(credential=FORGED)))
                await world.settle()
            return taken

        assert await forged(MAX_IN_A_ROW - 1) == [True] * (MAX_IN_A_ROW - 1)
        assert world.receive(*world.proposal(key_id=LAST_KEY))
        await world.settle()
        assert await forged(MAX_IN_A_ROW + 1) == [True] * MAX_IN_A_ROW + [False]
        assert world.driver.on_message(world.nodes[2], pack(SessionId(bytes(32)), Cancel(5)))
        assert await forged(1) == [True], "it may begin anew when it comes back"


@pytest.mark.parametrize(
    ("verdict", "refusal"),
    [(Verdict.DENIED, Refusal.DENIED), (Verdict.UNAVAILABLE, Refusal.TEMPORARY)],
)
async def test_a_request_that_the_chain_does_not_show_keeps_nobody_waiting(
    verdict: Verdict, refusal: Refusal
) -> None:
    async with running(2) as world:
        world.access.gate.clear()
        world.receive(*world.proposal(key_id=LAST_KEY))
        await world.settle()
        assert not world.driver.takes_part(SessionKind.GENERATION, LAST_KEY)
        world.access.verdict = verdict
        world.access.gate.set()
        await world.settle()
        assert [refuse.refusal for refuse in world.sent(Refuse)] == [refusal]
        assert world.driver.open_sessions == 0


async def test_a_slow_answer_of_the_chain_to_a_session_that_has_ended() -> None:
    async with running(2) as world:
        world.access.gate.clear()
        sid, proposal = world.proposal()
        world.receive(sid, proposal)
        await world.settle()
        world.receive(sid, Cancel(5))
        await world.settle()
        assert world.driver.open_sessions == 0
        world.access.gate.set()
        await world.settle()
        assert world.sent(Accept) == []


async def test_a_participant_does_not_wait_for_ever() -> None:
    async with running(2) as world:
        world.receive(*world.proposal())
        await world.settle()
        assert len(world.sent(Accept)) == 1
        world.clock.advance(59)
        await world.settle()
        assert world.driver.open_sessions == 1
        world.clock.advance(2)
        await world.settle()
        assert world.driver.open_sessions == 0


# --- openings ----------------------------------------------------------------------------------


async def test_an_opening_counts_once() -> None:
    async with running(2) as world:
        sid, proposal = world.proposal()
        world.receive(sid, proposal)
        await world.settle()
        world.receive(sid, Cancel(5))
        await world.settle()
        world.receive(sid, proposal)
        await world.settle()
        assert len(world.sent(Accept)) == 1


async def test_an_opening_under_another_name_is_ignored() -> None:
    async with running(2) as world:
        sid, proposal = world.proposal()
        world.receive(SessionId(bytes(32)), proposal)
        world.receive(sid, replace(proposal, counter=proposal.counter + 1))
        world.transport.peers[world.peer] = bytes(32)
        world.receive(sid, proposal)
        del world.transport.peers[world.peer]
        world.receive(sid, proposal)
        await world.settle()
        assert world.driver.open_sessions == 0
        assert world.transport.sent == []


async def test_messages_of_sessions_that_do_not_exist_are_dropped() -> None:
    async with running(2) as world:
        assert world.receive(SessionId(bytes(32)), Start(()))
        assert world.receive(SessionId(bytes(32)), Refuse(1))
        await world.settle()
        assert world.driver.open_sessions == 0


async def test_only_the_coordinator_speaks_to_participants() -> None:
    async with running(3) as world:
        sid, proposal = world.proposal()
        world.receive(sid, proposal)
        await world.settle()
        world.driver.on_message(world.nodes[2], pack(sid, Cancel(5)))
        await world.settle()
        assert world.driver.open_sessions == 1


async def test_a_peer_may_keep_so_many_sessions_open() -> None:
    async with running(2) as world:
        world.access.gate.clear()
        for _ in range(MAX_SESSIONS_PER_PEER + 1):
            world.receive(*world.proposal())
            await asyncio.sleep(0)
        await world.settle()
        assert world.driver.open_sessions == MAX_SESSIONS_PER_PEER
        assert [refuse.refusal for refuse in world.sent(Refuse)] == [Refusal.BUSY]


async def test_a_peer_that_floods_is_to_be_disconnected_and_others_are_not() -> None:
    async with running(3) as world:
        flood = pack(SessionId(bytes(32)), Cancel(5))
        taken = [world.driver.on_message(world.peer, flood) for _ in range(MAX_QUEUED_MESSAGES + 1)]
        assert taken == [True] * MAX_QUEUED_MESSAGES + [False]
        assert world.driver.on_message(world.nodes[2], flood)
        await world.settle()
        assert world.driver.on_message(world.peer, flood), "what was worked off counts no more"


async def test_garbage_and_link_messages() -> None:
    async with running(2) as world:
        assert not world.driver.on_message(world.peer, b"")
        assert not world.driver.on_message(world.peer, b"\x01\x01" + bytes(40))
        assert not world.driver.on_message(world.peer, b"\x00\x03" + bytes(32)), "nobody serves it"
        world.driver.on_connected(world.peer)
        links = FakeLinks()
        world.driver.serve_links(links)
        world.driver.on_connected(world.peer)
        assert world.driver.on_message(world.peer, b"\x00\x03" + bytes(32))
        assert not world.driver.on_message(world.peer, b"\x00\x03" + bytes(32))
        assert links.peers == [world.peer]


# --- effects, with a session made for the purpose ----------------------------------------------


@dataclass(frozen=True)
class Waiting:
    events: tuple[Event, ...] = ()


Stepping = Callable[[Context, Waiting, Event], Step[Waiting]]


def _toy(
    start: Callable[[Context, Any], Step[Waiting]], step: Stepping | None = None
) -> SessionType[Waiting]:
    def collect(_: Context, phase: Waiting, event: Event) -> Step[Waiting]:
        return Step(Completed((*phase.events, event)))

    def join(_: Context, __: NodeId, ___: Any) -> Step[Waiting]:
        raise NotImplementedError

    return SessionType(
        name="toy",
        kind=SessionKind.GENERATION,
        messages=(),
        start=start,
        join=join,
        step=step or collect,
    )


def _run(world: World, session_type: SessionType[Waiting]) -> Awaitable[Any]:
    operation = GenerateServerKey(KEY_ID, 0)
    return asyncio.ensure_future(world.driver.execute(session_type, operation, _always, None))


async def test_a_timer_that_was_set_anew_does_not_fire_in_its_old_place() -> None:
    """It may have fired already and wait in the queue behind what set it anew."""

    def start(_: Context, __: None) -> Step[Waiting]:
        return Step(Waiting(), (SetTimer("round", 5), SetTimer("other", 5)))

    def step(_: Context, phase: Waiting, event: Event) -> Step[Waiting]:
        after = Waiting((*phase.events, event))
        if event == TimerFired("other"):
            return Step(after, (SetTimer("round", 5),))
        return Step(Completed(after.events)) if len(after.events) == 2 else Step(after)

    async with running() as world:
        running_session = _run(world, _toy(start, step))
        await world.settle()
        session = next(iter(world.driver._table))
        handles = session.timers["round"], session.timers["other"]
        world.clock.advance(0)
        # Both are due at once; "other" is served first and sets "round" anew.
        handles[1].fire()  # type: ignore[attr-defined]
        handles[0].fire()  # type: ignore[attr-defined]
        await world.settle()
        assert session.runner is not None
        assert session.runner.phase == Waiting((TimerFired("other"),))
        world.clock.advance(5)
        assert await running_session == (TimerFired("other"), TimerFired("round"))


async def test_a_message_that_cannot_be_sent_is_a_lost_peer() -> None:
    async with running(2) as world:
        world.transport.broken = True
        with pytest.raises(UnavailableError) as failed:
            await _generate(world)
        assert failed.value.code == "NodeDisconnected"


async def test_losing_a_peer_reaches_every_session() -> None:
    async with running(2) as world:
        session = _run(world, _toy(lambda _ctx, _: Step(Waiting())))
        await world.settle()
        world.driver.on_disconnected(world.peer)
        assert await session == (PeerLost(world.peer),)


async def test_misbehaviour_is_told() -> None:
    async with running(2) as world:
        links = FakeLinks()
        world.driver.serve_links(links)
        report = Report(frozenset({world.peer}), "lied", b"evidence")
        await _run(world, _toy(lambda _ctx, _: Step(Completed(None), (report,))))
        assert links.reports == [report]


async def test_sessions_need_a_driver_that_runs() -> None:
    async with running(2, start=False) as world:
        sid, proposal = world.proposal()
        assert world.receive(sid, proposal)
        with pytest.raises(RuntimeError, match="does not run"):
            world.driver._deliver(world.peer, sid, proposal)


async def test_a_peer_outside_all_sets_has_nobody_take_part() -> None:
    """One that has left may be connected still, to learn that its keys have moved."""
    async with running(2) as world:
        alone = NodeSet(1, Address(bytes(20)), (world.me,))
        sets = world.driver._ports.node_sets
        assert isinstance(sets, Sets)
        sets.snapshot = replace(sets.snapshot, current=alone, new=alone)
        world.receive(*world.proposal())
        await world.settle()
        assert world.driver.open_sessions == 0
        assert [refuse.refusal for refuse in world.sent(Refuse)] == [Refusal.TEMPORARY]
