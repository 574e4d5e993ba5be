"""Whole nodes that migrate by themselves: real engine, real driver, a contract in a few lines.

What a node has decided to send is in the next block; the embedded chain, with mempool and nonces,
is in `tests.support.migrating_nodes`.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from keyserver.chain.client import BlockRef
from keyserver.chain.migration import MigrationDriver
from keyserver.chain.migration_sessions import MigrationJudge, MigrationSessions
from keyserver.chain.migration_transactions import MigrationTransactions
from keyserver.chain.ports import ChainView, Evaluation
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.set_change_needs import ChangeNeeds
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId
from keyserver.model.node_set import Migration, NodeSet, NodeSetSnapshot
from keyserver.model.set_change import MigrationOrder, SetChange, SetChangeOrder
from keyserver.sessions.set_change.phases import Report
from keyserver.simulation.cluster import SimulatedNode
from keyserver.storage.memory import MemoryWorkStore
from keyserver.tasks.migration import MigrationView, RunningMigration
from keyserver.tasks.migration_decision import NEW_SET_DELAY_BLOCKS
from keyserver.tasks.model import TaskKind, TaskState
from tests.support.changing_cluster import ChangingCluster

BLOCK_S = 12.0


@dataclass
class Contract:
    """The key server set: what its members may do with it."""

    current: NodeSet
    new: NodeSet
    block: int = 100
    new_since: int = 0
    epoch: int = 0
    running: RunningMigration | None = None
    last_id: Hash32 | None = None
    confirmations: list[NodeId] = field(default_factory=list)
    """Every one that was mined, in order."""

    @property
    def migration_view(self) -> MigrationView | None:
        old_enough = self.block - self.new_since >= NEW_SET_DELAY_BLOCKS
        shown = old_enough and self.running is None and self.new != self.current
        return MigrationView(
            self.block,
            self.current,
            self.new,
            self.new_since,
            shown,
            self.running,
            self.last_id,
        )

    def snapshot(self, before: NodeSetSnapshot) -> NodeSetSnapshot:
        running = self.running
        migration = None
        if running is not None and running.master is not None:
            members = frozenset(running.target.nodes)
            migration = Migration(running.id, members, running.master, False)
        new = running.target if running is not None else self.new
        return replace(
            before,
            current=self.current,
            new=new,
            migration=migration,
            epoch=self.epoch,
            block_number=self.block,
        )

    def edit(self, new: NodeSet) -> None:
        self.new, self.new_since = new, self.block

    def start(self, by: NodeId, migration_id: Hash32) -> None:
        assert self.running is None
        assert by in self.new
        self.running = RunningMigration(migration_id, self.new, by, frozenset())
        self.last_id = migration_id

    def confirm(self, by: NodeId, migration_id: Hash32) -> None:
        running = self.running
        assert running is not None
        assert running.id == migration_id
        assert by in running.target
        assert by not in running.confirmed
        self.confirmations.append(by)
        self.running = replace(running, confirmed=running.confirmed | {by})
        if self.running.confirmed == frozenset(running.target.nodes):
            self.current, self.running, self.epoch = running.target, None, self.block


@dataclass
class Carrier:
    """The engine of a node's present process."""

    node: SimulatedNode

    async def carry_out(self, order: MigrationOrder) -> Report:
        assert self.node.changes is not None
        return await self.node.changes.carry_out(order)

    async def stop(self) -> None:
        assert self.node.changes is not None
        await self.node.changes.stop()


@dataclass
class Orders:
    """A node that has no administrator."""

    migrations: MigrationJudge

    async def judge(self, order: SetChangeOrder) -> SetChange:
        assert isinstance(order, MigrationOrder)
        return await self.migrations.judge(order)


class Tip:
    """Tells when there was a block."""

    view = ChainView(None, None, None)

    def __init__(self) -> None:
        self.evaluated = asyncio.Event()

    async def next_evaluation(self) -> None:
        await self.evaluated.wait()

    def tell(self) -> None:
        self.evaluated.set()
        self.evaluated = asyncio.Event()


class MigratingCluster(ChangingCluster):
    """A cluster whose set is a contract's; build and use it inside a `run_virtual`."""

    def __init__(self, nodes: int, first: int) -> None:
        super().__init__(nodes, first)
        current = self.cluster.sets.snapshot.current
        self.contract = Contract(current, current)
        self.tip = Tip()
        self.drivers: dict[NodeId, MigrationDriver] = {}
        self.running: dict[NodeId, asyncio.Task[None]] = {}

    async def __aenter__(self) -> "MigratingCluster":
        await super().__aenter__()
        return self

    def store_of(self, node: SimulatedNode) -> MemoryWorkStore:
        return MemoryWorkStore(node.disk.platter, self.contract.current.chain_id)

    def _needs(self, node: SimulatedNode) -> ChangeNeeds:
        needs, store = super()._needs(node), self.store_of(node)
        sessions = MigrationSessions(
            carrier=Carrier(node),
            records=node.store,
            views=self.contract,
            connected=lambda: node.api.connected if node.is_up else frozenset(),
        )
        driver = MigrationDriver(
            me=node.id,
            views=self.contract,
            changes=sessions,
            transactions=MigrationTransactions(store, self.contract.current.chain_id, lambda: None),
            store=store,
            clock=node.clock,
            random=SeededRandom(node.id + bytes([node.boots])),
        )
        sessions.follow(driver)
        earlier = self.running.get(node.id)
        if earlier is not None:
            earlier.cancel()
        self.drivers[node.id] = driver
        self.running[node.id] = asyncio.ensure_future(driver.run())
        judge = MigrationJudge(driver=driver, node_sets=self.cluster.sets, tip=self.tip)
        return replace(needs, judge=Orders(judge), on_completed=sessions.on_completed)

    # --- time -----------------------------------------------------------------------------

    async def mine(self, blocks: int = 1) -> None:
        """Let blocks come, with what the nodes that are up have decided to send."""
        for _ in range(blocks):
            await asyncio.sleep(BLOCK_S)
            self.contract.block += 1
            for node in self.nodes:
                if node.is_up:
                    await self._mine_tasks(node)
            sets = self.cluster.sets
            sets.snapshot = self.contract.snapshot(sets.snapshot)
            head = BlockRef(self.contract.block, ZERO_HASH, ZERO_HASH, 0, None)
            evaluation = Evaluation(head, head.id, frozenset(), reread=False)
            for node in self.nodes:
                if node.is_up:
                    await self.drivers[node.id].on_evaluation(evaluation)
            self.tip.tell()

    async def _mine_tasks(self, node: SimulatedNode) -> None:
        store, driver = self.store_of(node), self.drivers[node.id]
        for task in await store.open_tasks():
            migration_id = Hash32(task.key.key_id)
            if not driver.wanted(task.key.kind, migration_id):
                continue
            starts = task.key.kind is TaskKind.START_MIGRATION
            (self.contract.start if starts else self.contract.confirm)(node.id, migration_id)
            for state in (TaskState.RUNNING, TaskState.ANSWERED):
                await store.commit(tasks=[task.moved_to(state)])
                found = await store.task(task.id)
                assert found is not None
                task = found
            await store.commit(tasks=[task.closed(TaskState.SETTLED, self.contract.block)])

    async def mine_until_current(self, places: Iterable[int], most: int = 60) -> int:
        target = self.set_of(places)
        for count in range(1, most + 1):
            await self.mine()
            if self.contract.current == target:
                return count
        raise AssertionError(f"not the current set within {most} blocks")

    async def check_moved(self, keys: Iterable[KeyId], places: Iterable[int]) -> None:
        """Every key is on this set, with a share at each member and none elsewhere."""
        target = self.set_of(places)
        for key_id in keys:
            for node in self.nodes:
                state = await node.store.load(key_id)
                assert state.active is not None
                assert state.active.record.set_id == target.id
                assert (state.share is not None) == (node.id in target)

    async def crash(self, place: int) -> None:
        node = self.nodes[place]
        self.running[node.id].cancel()
        await node.crash()
