"""A cluster of nodes with real drivers, memory stores and a scripted chain.

Everything random comes from one seed; a run is replayed by its seed.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.catalogue import Catalogue
from keyserver.engine.driver import Driver, Identity, Ports
from keyserver.engine.key_server import KeyServer
from keyserver.engine.outcomes import Outcome
from keyserver.engine.ports import TimerCallback, TimerHandle
from keyserver.engine.redistributions import Redistributions
from keyserver.engine.refresh_turns import RefreshTurns
from keyserver.engine.refreshes import Refreshes, RefreshRules
from keyserver.engine.set_change_lock import ChangeLock
from keyserver.engine.set_change_needs import ChangeNeeds
from keyserver.engine.set_changes import SetChanges
from keyserver.engine.share_additions import ShareAdditions
from keyserver.model.blocks import BlockId
from keyserver.model.identifiers import (
    Address,
    Hash32,
    KeyId,
    NodeId,
    Nonce32,
    SessionId,
    Signature,
)
from keyserver.model.node_set import NodeAddress, NodeSet, NodeSetSnapshot
from keyserver.model.requests import Operation, Request
from keyserver.sessions.core import Authorise, KeyState, Policy, Verdict
from keyserver.sessions.runner import Role, Runner
from keyserver.simulation.clock import VirtualClock
from keyserver.simulation.disk import FaultyDisk, SimulatedRecordStore
from keyserver.simulation.network import Faults, Network, SimulatedTransport
from keyserver.simulation.process import Process, never
from keyserver.storage.memory import MemoryRecordStore

T = TypeVar("T")

CONTRACT = Address(b"\x5e" * 20)
"""The service contract of every simulated request."""


class CrashedError(Exception):
    """The process that was asked is not there any more."""


class KeySigner:
    """The node key of a simulated node."""

    def __init__(self, secret: SecretScalar) -> None:
        self._secret = secret

    def sign(self, digest: Hash32) -> Signature:
        """Sign a tagged hash."""
        return Signature(sign_digest(self._secret, digest))


class ScriptedAccess:
    """What the simulated chain says; allowed unless told otherwise."""

    def __init__(self) -> None:
        self.verdict: Callable[[Request, Address], Verdict] = lambda _request, _who: Verdict.ALLOWED
        self.delay_s = 0.0

    permission_block: BlockId | None = None

    async def authorise(self, check: Authorise) -> Verdict:
        """Answer after the scripted delay."""
        await asyncio.sleep(self.delay_s)
        return self.verdict(check.request, check.requester)


class ProcessAccess:
    """The chain as a process asks it; one that has ended gets no answer."""

    def __init__(self, access: ScriptedAccess, process: Process) -> None:
        self._access = access
        self._process = process

    @property
    def permission_block(self) -> BlockId | None:
        """The head of the scripted chain."""
        return self._access.permission_block

    async def authorise(self, check: Authorise) -> Verdict:
        """Pass the question on."""
        if not self._process.acts():
            await never()
        return await self._access.authorise(check)


class ProcessClock:
    """The clock as a process uses it: to set a timer is something it does."""

    def __init__(self, clock: VirtualClock, process: Process) -> None:
        self._clock = clock
        self._process = process
        self.monotonic = clock.monotonic
        self.unix = clock.unix

    def call_later(self, seconds: float, callback: TimerCallback) -> TimerHandle:
        """Run `callback` once, later, if the process still runs."""
        self._process.acts()

        def fire() -> None:
            if self._process.alive:
                callback()

        return self._clock.call_later(seconds, fire)


@dataclass
class FixedSets:
    """A node set that never changes."""

    snapshot: NodeSetSnapshot


@dataclass
class ScriptedSuccessions:
    """Changes of the node set that all nodes have accepted; zeros: a refresh is always due."""

    targets: dict[Hash32, NodeSet] = field(default_factory=dict)

    def target(
        self, change_id: Hash32, _key_id: KeyId, _state: KeyState, _coordinator: NodeId
    ) -> NodeSet | None:
        """The target of a change."""
        return self.targets.get(change_id)


@dataclass
class Recorder:
    """Takes down what a node tells the rest of its process."""

    outcomes: list[Outcome] = field(default_factory=list)
    sessions: list[tuple[str, str, str]] = field(default_factory=list)
    culprits: set[NodeId] = field(default_factory=set)

    def on_outcome(self, outcome: Outcome) -> None:
        """Take down an outcome."""
        self.outcomes.append(outcome)

    def on_session(self, name: str, role: str, outcome: str, seconds: float) -> None:
        """Take down the end of a session."""
        self.sessions.append((name, role, outcome))

    def on_misbehaviour(self, culprits: frozenset[NodeId], what: str, evidence: bytes) -> None:
        """Take down who was caught."""
        self.culprits |= culprits


class SimulatedNode:
    """A node: its disk survives a crash, everything else does not."""

    def __init__(self, world: "Cluster", secret: SecretScalar) -> None:
        self.id = NodeId.of(secret.public())
        self.disk = FaultyDisk()
        self.store = MemoryRecordStore(self.disk.platter)
        """What is on disk, whether the process runs or not, and the disk works or not."""
        self.clock = VirtualClock()
        self.access = ScriptedAccess()
        self.process = Process(self._died)
        self.down = asyncio.Event()
        """Set while no process runs."""
        self.recorder = Recorder()
        self.policy = world.policy
        self._world = world
        self._signer = KeySigner(secret)
        self._boots = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._callers: set[asyncio.Future[Any]] = set()
        self._ending: asyncio.Future[None] | None = None
        self._driver: Driver | None = None
        self.key_server: KeyServer | None = None
        self.changes: SetChanges | None = None
        """Of the process that runs or ran last; `None` where the world has no such changes."""
        self.redistributions: Redistributions | None = None
        self.refreshes: Refreshes | None = None
        """Of the process that runs or ran last."""

    @property
    def is_up(self) -> bool:
        """Whether the process runs."""
        return self.key_server is not None

    @property
    def api(self) -> KeyServer:
        """The engine's surface; only while the node is up."""
        if self.key_server is None:
            raise RuntimeError("the node is down")
        return self.key_server

    async def call(self, work: Callable[[KeyServer], Coroutine[Any, Any, T]]) -> T:
        """Use the engine as a caller inside the process: it dies with it.

        Raises `CrashedError` if the node is down or goes down meanwhile.
        """
        if self.key_server is None:
            raise CrashedError
        task = asyncio.ensure_future(work(self.key_server))
        self._callers.add(task)
        process = self.process
        try:
            result = await task
        except asyncio.CancelledError:
            if task in self._callers:
                raise
            raise CrashedError from None
        finally:
            self._callers.discard(task)
        if not process.alive:
            raise CrashedError
        return result

    def boot(self) -> None:
        """Start the process: a new boot nonce, nothing in memory."""
        self._boots += 1
        world, process = self._world, Process(self._died)
        self.process = process
        self.down.clear()
        random = SeededRandom(world.seed + self.id + self._boots.to_bytes(4, "big"))
        nonce = Nonce32(random.bytes(32))
        store = SimulatedRecordStore(self.disk, process, world.random, self.clock.unix)
        lock, turns = ChangeLock(), RefreshTurns(world.refresh_interval_s)
        sets, clock = world.sets_of(self), ProcessClock(self.clock, process)
        rules = RefreshRules(self.id, lock, sets, clock, turns)
        ports = Ports(
            SimulatedTransport(world.network, self.id, process),
            store,
            ProcessAccess(self.access, process),
            sets,
            clock,
            self.recorder,
            self.recorder,
            rules if world.refresh_interval_s or world.change_needs else world.successions,
        )
        identity = Identity(self.id, self._signer, nonce, random, lambda: self.policy)
        driver = Driver(identity, ports)
        catalogue = Catalogue(identity, ports)
        driver.serve_links(catalogue)
        self._driver = driver
        self.key_server = KeyServer(driver, store, catalogue, random, world.presignatures)
        self.redistributions = Redistributions(
            self.id, driver, store, ports.transport, catalogue, random
        )
        if world.change_needs is not None:
            needs = world.change_needs(self)
            self.changes = SetChanges(identity, ports, driver, catalogue, needs, lock)
            driver.changes.serve(self.changes)
        additions = ShareAdditions(identity, ports, driver, catalogue)
        self.refreshes = Refreshes(identity, ports, self.redistributions, rules, turns)
        self._tasks = [
            asyncio.ensure_future(driver.run()),
            asyncio.ensure_future(catalogue.run()),
            asyncio.ensure_future(additions.run()),
            asyncio.ensure_future(self.refreshes.run()),
            asyncio.ensure_future(self.key_server.signing.keep_stocked()),
        ]
        world.network.attach(self.id, nonce, driver)

    async def crash(self) -> None:
        """Stop at once: what is not on disk is gone."""
        self.process.alive = False
        self._world.network.detach(self.id)
        self.key_server = self.redistributions = self._driver = None
        self.down.set()
        callers, self._callers = self._callers, set()
        for task in (*self._tasks, *callers):
            task.cancel()
        if self.changes is not None:
            await self.changes.stop()
        ended, self._tasks = self._tasks, []
        await asyncio.gather(*ended, *callers, return_exceptions=True)

    def _died(self) -> None:
        """The process ended by itself, in the middle of something: clear up what it leaves."""
        self._ending = asyncio.ensure_future(self.crash())

    @property
    def boots(self) -> int:
        """How often a process was started."""
        return self._boots

    @property
    def open_sessions(self) -> int:
        """How many roles of sessions are live."""
        return 0 if self._driver is None else self._driver.open_sessions

    @property
    def presignatures(self) -> frozenset[Hash32]:
        """The names of those that the process holds a share of."""
        if self._driver is None:
            return frozenset()
        return self._driver._contexts.presignatures.names

    def session_of(self, sid: SessionId, role: Role) -> Runner | None:
        """What lives of a session in the process that runs."""
        return None if self._driver is None else runner_of(self._driver, sid, role)

    @property
    def is_sound(self) -> bool:
        """Whether every part of the process still runs."""
        return self.is_up and not any(task.done() for task in self._tasks)


def runner_of(driver: Driver, sid: SessionId, role: Role) -> Runner | None:
    """A session's phase and everything around it; `None` if it does not live."""
    session = driver._table.get((sid, role))
    return None if session is None else session.runner


class Cluster:
    """Nodes on one network; build and use it inside a `run_virtual`."""

    def __init__(
        self,
        nodes: int,
        *,
        seed: int,
        faults: Faults | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.seed = seed.to_bytes(8, "big")
        self.random = Random(seed)  # noqa: S311 - chooses faults, no secrets
        self.policy = policy or Policy(
            service_contracts=frozenset((CONTRACT, operation) for operation in Operation)
        )
        self.successions = ScriptedSuccessions()
        self.change_needs: Callable[[SimulatedNode], ChangeNeeds] | None = None
        """What changes of the node set need; to be set before the nodes start."""
        self.refresh_interval_s = 0
        """How often shares are renewed, 0 for never; to be set before the nodes start."""
        self.presignatures = 0
        """How many nodes have ready for each key; to be set before the nodes start."""
        self.network = Network(self.random, faults or Faults())
        source = SeededRandom(b"keys" + self.seed)
        made = [SimulatedNode(self, SecretScalar.random(source)) for _ in range(nodes)]
        self.nodes = sorted(made, key=lambda node: node.id)
        current = NodeSet(1, Address(bytes(20)), tuple(node.id for node in self.nodes))
        addresses = tuple((node.id, NodeAddress("sim", 1)) for node in self.nodes)
        self.sets = FixedSets(NodeSetSnapshot(current, current, None, addresses, 0, 0))
        self.sets_of: Callable[[SimulatedNode], FixedSets] = lambda _: self.sets
        """What a process that starts takes for the set; the same for all unless told otherwise."""

    async def __aenter__(self) -> "Cluster":
        for node in self.nodes:
            node.boot()
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes:
            await node.crash()

    def node(self, id_: NodeId) -> SimulatedNode:
        """The node of an id."""
        return next(node for node in self.nodes if node.id == id_)
