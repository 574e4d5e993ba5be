"""A whole node in a simulation: engine, tasks, outbox, watcher and sender as in a real process.

The disk, the clock and the state of its endpoints survive a crash, everything else does not. A
node whose process ends by itself, as over a full disk, is started again as a service manager would.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from keyserver.app.compose import PolicySource
from keyserver.app.compose_chain import (
    ChainReading,
    ChainWork,
    compose_client,
    compose_reading,
    compose_work,
)
from keyserver.app.compose_engine import Engine, compose_engine
from keyserver.app.config import Config
from keyserver.app.late_binding import LateOutcomes
from keyserver.app.observer import PeerReturns
from keyserver.app.set_changes import LeftShares, OrderJudges
from keyserver.app.signing import LocalSigner
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.ports import Identity, Ports
from keyserver.engine.set_change_lock import ChangeLock
from keyserver.engine.set_change_needs import ChangeNeeds, ChangeOptions, KeyMover
from keyserver.errors import StorageError
from keyserver.model.identifiers import NodeId, Nonce32, SessionId
from keyserver.sessions.runner import Role, Runner
from keyserver.simulation.chain import VirtualChain
from keyserver.simulation.clock import VirtualClock
from keyserver.simulation.cluster import KeySigner, ProcessClock, Recorder, runner_of
from keyserver.simulation.disk import FaultyDisk, SimulatedRecordStore
from keyserver.simulation.network import Network, SimulatedTransport
from keyserver.simulation.process import Process
from keyserver.simulation.rpc import Condition, SimulatedEndpoint
from keyserver.simulation.work_store import SimulatedWorkStore
from keyserver.storage.memory import MemoryRecordStore, MemoryWorkStore
from keyserver.storage.set_changes import MemorySetChangeStore

RESTART_S: Final = 5.0
"""After so long a process that ended by itself is started again."""


@dataclass(frozen=True)
class Surroundings:
    """What all nodes of a world have in common."""

    seed: bytes
    random: Random
    config: Config
    network: Network
    chain: VirtualChain
    pushes: bool
    """Whether endpoints tell of new heads."""


@dataclass(frozen=True)
class Parts:
    """What runs while the process does."""

    engine: Engine
    reading: ChainReading
    work: ChainWork
    runs: tuple[Callable[[], Coroutine[Any, Any, None]], ...]


class WholeNode:
    """A node of a `World`."""

    def __init__(self, around: Surroundings, secret: SecretScalar, endpoints: int) -> None:
        self.id = NodeId.of(secret.public())
        self.address = self.id.address
        self.disk = FaultyDisk()
        self.store = MemoryRecordStore(self.disk)
        """The keys on disk, whether the process runs or not."""
        self.work = MemoryWorkStore(self.disk, around.chain.chain_id)
        """The tasks and answers on disk."""
        self.clock = VirtualClock()
        self.conditions = [Condition() for _ in range(endpoints)]
        self.recorder = Recorder()
        self.process = Process(self._died)
        self.down = asyncio.Event()
        """Set while no process runs."""
        self.failure: BaseException | None = None
        """What ended a process that must not have ended."""
        self.parts: Parts | None = None
        self._around = around
        self._secret = secret
        self._signer = KeySigner(secret)
        self._boots = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Future[None]] = set()

    @property
    def is_up(self) -> bool:
        """Whether the process runs."""
        return self.parts is not None

    def boot(self) -> None:
        """Start the process, if none runs."""
        if self.is_up:
            return
        self._boots += 1
        around, process = self._around, Process(self._died)
        self.process = process
        self.down.clear()
        random = SeededRandom(around.seed + self.id + self._boots.to_bytes(4, "big"))
        boot_nonce = Nonce32(random.bytes(32))
        self.parts, listener = self._compose(process, random, boot_nonce)
        self._tasks = [self._run(part, process) for part in self.parts.runs]
        around.network.attach(self.id, boot_nonce, listener)

    async def crash(self) -> None:
        """Stop at once: what is not on disk is gone."""
        self.process.alive = False
        self._around.network.detach(self.id)
        parts, self.parts = self.parts, None
        self.down.set()
        if parts is not None:
            await parts.engine.set_changes.stop()
        ended, self._tasks = self._tasks, []
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)

    def session_of(self, sid: SessionId, role: Role) -> Runner | None:
        """What lives of a session in the process that runs."""
        return None if self.parts is None else runner_of(self.parts.engine.driver, sid, role)

    # --- making it ----------------------------------------------------------------------------

    def _compose(
        self, process: Process, random: SeededRandom, boot_nonce: Nonce32
    ) -> tuple[Parts, PeerReturns]:
        around, config = self._around, self._around.config
        clock = ProcessClock(self.clock, process)
        client = compose_client(
            config,
            endpoints=[self._endpoint(place, process) for place in range(len(self.conditions))],
            clock=clock,
            fraction=around.random.random,
        )
        completed = self.disk.state.set_changes
        reading = compose_reading(
            config,
            client=client,
            me=self.id,
            static_sets=None,
            completed=completed,
            clock=clock,
        )
        migrations = reading.migrations
        records = SimulatedRecordStore(self.disk, process, around.random)
        outcomes = LateOutcomes()
        transport = SimulatedTransport(around.network, self.id, process)
        lock = ChangeLock()
        ports = Ports(
            transport,
            records,
            reading.access,
            reading.key_sets,
            clock,
            outcomes,
            self.recorder,
            lock,
        )

        def needs_of(mover: KeyMover) -> ChangeNeeds:
            return ChangeNeeds(
                judge=OrderJudges(None, migrations.late if migrations else None),
                mover=mover,
                eraser=LeftShares(records),
                store=MemorySetChangeStore(self.disk),
                options=ChangeOptions,
                on_completed=migrations.on_completed if migrations else lambda _: None,
            )

        policy = PolicySource(config, reading.node_sets, reading)
        identity = Identity(self.id, LocalSigner(self._secret), boot_nonce, random, policy)
        engine = compose_engine(identity, ports, lock, needs_of)
        work = compose_work(
            config,
            reading=reading,
            me=self.id,
            secret=self._secret,
            engine=engine,
            records=records,
            store=SimulatedWorkStore(self.disk, reading.chain_id, process, around.random),
            completed=completed,
            clock=clock,
            random=random,
            fraction=around.random.random,
        )
        outcomes.listener = work.recorder
        peers = work.returns_to(engine.driver)
        following = () if work.migrations is None else (work.migrations.driver.run,)
        runs = (
            *following,
            work.watcher.run,
            work.queue.run,
            work.sender.run,
            peers.run,
            engine.share_additions.run,
            engine.catalogue.run,
            engine.driver.run,
            work.recorder.run,
        )
        return Parts(engine, reading, work, runs), peers

    def _endpoint(self, place: int, process: Process) -> SimulatedEndpoint:
        return SimulatedEndpoint(
            f"sim://{place}",
            self._around.chain,
            self.conditions[place],
            process,
            self._around.random,
            pushes=self._around.pushes,
        )

    # --- its end ------------------------------------------------------------------------------

    def _run(
        self, part: Callable[[], Coroutine[Any, Any, None]], process: Process
    ) -> asyncio.Task[None]:
        task = asyncio.ensure_future(part())
        task.add_done_callback(lambda done: self._ended(done, process))
        return task

    def _ended(self, task: asyncio.Task[None], process: Process) -> None:
        """A part has ended; the process does so too, unless it already has."""
        if task.cancelled():
            return
        error = task.exception()
        if not process.alive:
            return
        if error is None or not all(isinstance(each, StorageError) for each in leaves(error)):
            self.failure = error or RuntimeError("a part has returned")
        process.alive = False
        self._start(self._restart())

    def _died(self) -> None:
        """The process ended in the middle of something: clear up what it leaves."""
        self._start(self.crash())

    async def _restart(self) -> None:
        await self.crash()
        await asyncio.sleep(RESTART_S)
        self.boot()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        future = asyncio.ensure_future(work)
        self._background.add(future)
        future.add_done_callback(self._background.discard)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group of errors, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error
