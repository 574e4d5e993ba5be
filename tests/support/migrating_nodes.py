"""Key servers of one set contract on an in-process chain, with everything that migrates them.

The chain, the contract, tracker, driver, queue, sender and store are the real ones; only the
session that moves the keys is scripted: it moves them at once, fails, or hangs, as the test says,
after every node has been asked whether it takes part.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum

from keyserver.chain.client import (
    HEAD,
    At,
    BlockId,
    BlockRef,
    BlockTag,
    CallResult,
    ChainClient,
    ContractCall,
)
from keyserver.chain.migration import MigrationDriver
from keyserver.chain.migration_transactions import (
    MigrationHandler,
    MigrationTransactions,
    migration_handlers,
)
from keyserver.chain.name_registry import SET_OPTION, ContractDirectory, FixedContract
from keyserver.chain.node_set import NodeSetTracker
from keyserver.chain.ports import ChainView, Evaluation
from keyserver.chain.reader import PinnedReader
from keyserver.chain.sender import Sender
from keyserver.chain.work_driver import WorkDriver
from keyserver.crypto.randomness import SeededRandom
from keyserver.devnet.embedded_node import EmbeddedNode
from keyserver.errors import StorageError
from keyserver.evm.artifacts import load_artifact
from keyserver.evm.transaction import TransactionSigner
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.model.set_change import MigrationOrder
from keyserver.storage.memory import MemoryDisk, MemoryWorkStore
from keyserver.tasks.migration import IDLE, SessionPhase, SessionState
from keyserver.tasks.migration_status import MigrationPhase, MigrationStatus
from keyserver.tasks.queue import TaskQueue
from tests.support.chain_stack import CHAIN_ID, INTERVAL, KEY_SERVER_SET, LIMITS, Tip
from tests.support.eth_tester_client import EthTesterClient
from tests.support.fake_cluster import node_of, secret_of
from tests.support.manual_clock import ManualClock
from tests.support.published_set import published_set

A, B, C, D, E, F = 8, 5, 7, 1, 9, 2
"""Numbers (private keys) of key servers, in the order of their node ids."""

OWNER = 9
"""The development account that owns the contract: no key server's."""

BLOCK_S = 12.0
CONFIRMATIONS = 3
KEY = KeyId(b"\x11" * 32)


def ids(*numbers: int) -> frozenset[NodeId]:
    return frozenset(node_of(number) for number in numbers)


class SharedReads(EthTesterClient):
    """Runs a call that is pinned to a block once, however many key servers ask for it."""

    def __init__(self, node: EmbeddedNode) -> None:
        super().__init__(node)
        self._answers: dict[tuple[ContractCall, Hash32], CallResult] = {}

    async def call(self, call: ContractCall, at: At = HEAD) -> CallResult:
        if at == HEAD:
            return await super().call(call, at)
        key = (call, at.hash)
        if key not in self._answers:
            self._answers[key] = await super().call(call, at)
        return self._answers[key]


class Script(Enum):
    """What becomes of sessions."""

    SUCCEED = "succeed"
    FAIL = "fail"
    HANG = "hang"


@dataclass
class StoredKey:
    """Who can still use a key, and how many of them it takes."""

    holders: frozenset[NodeId]
    threshold: int


class ScriptedSession:
    """The `SetChanges` of one node."""

    def __init__(self, world: "World", me: NodeId) -> None:
        self.world = world
        self.me = me
        self.state = IDLE

    @property
    def connected(self) -> frozenset[NodeId]:
        return self.world.alive - {self.me}

    async def keys_at_risk(self, target: NodeSet) -> tuple[KeyId, ...]:
        kept = frozenset(target.nodes)
        return tuple(
            key_id
            for key_id, key in self.world.keys.items()
            if key.holders - kept and len(key.holders & kept) <= key.threshold
        )

    def start(self, order: MigrationOrder) -> None:
        assert self.state == IDLE
        self.enter(SessionPhase.ACTIVE, order)
        self.world.sessions.append((self.me, order))
        self.world.history.append((self.me, order))

    def forget(self) -> None:
        self.state = IDLE
        self.world.sessions = [each for each in self.world.sessions if each[0] != self.me]

    def enter(self, phase: SessionPhase, order: MigrationOrder, reason: str = "") -> None:
        self.state = SessionState(phase, order.id, reason)


class MigratingNode:
    """One key server's process, and its disk."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        self.me = node_of(number)
        self.disk = MemoryDisk()
        self.running: asyncio.Task[None] | None = None
        self.starts = 0
        self.chain: ChainClient = world.chain

    def start(self) -> None:
        """Begin, or begin again after `kill`, with what the disk holds."""
        store = MemoryWorkStore(self.disk, CHAIN_ID)
        self.store = store
        directory = ContractDirectory(
            client=self.chain,
            registry=None,
            sources={SET_OPTION: FixedContract(self.world.contract)},
            services=(),
            retry_interval_blocks=INTERVAL,
        )
        self.directory = directory
        self.tracker = NodeSetTracker(
            client=self.chain,
            contracts=directory,
            chain_id=CHAIN_ID,
            me=self.me,
            with_migration=True,
            clock=self.world.clock,
        )
        self.session = ScriptedSession(self.world, self.me)
        self.driver = MigrationDriver(
            me=self.me,
            views=self.tracker,
            changes=self.session,
            transactions=MigrationTransactions(store, CHAIN_ID, lambda: self.queue.wake()),
            store=store,
            clock=self.world.clock,
            random=SeededRandom(f"{self.number} {self.starts}"),
        )
        self.starts += 1
        handler = MigrationHandler(
            client=self.chain,
            me=self.me.address,
            node_sets=self.tracker,
            wanted=self.driver.wanted,
        )
        self.queue = TaskQueue(
            store=store,
            handlers=migration_handlers(handler),
            me=self.me,
            interval=INTERVAL,
            on_answer=lambda: self.sender.wake(),
        )
        self.tip = Tip()
        self.sender = Sender(
            client=self.chain,
            store=store,
            reader=PinnedReader(self.chain, self.tip),
            node_sets=self.tracker,
            signer=TransactionSigner(secret_of(self.number)),
            chain_id=CHAIN_ID,
            limits=LIMITS,
            on_task=self.queue.wake,
        )
        self.work = WorkDriver(queue=self.queue, store=store, node_sets=self.tracker)
        self.fresh = True
        self.running = asyncio.create_task(self.queue.run())

    async def kill(self) -> None:
        """End the process: only the disk is left."""
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
        self.running = None

    async def see(self, head: BlockRef, confirmed: BlockId) -> None:
        """Evaluate a new head, as the watcher does."""
        if self.fresh:
            await self.directory.refresh(head, confirmed)
        logs = await self.world.chain.logs([self.world.contract], confirmed.number, head.number)
        touched = frozenset(log.address for log in logs)
        evaluation = Evaluation(head, confirmed, touched, reread=self.fresh)
        self.fresh = False
        self.tip.view = ChainView(head, confirmed, None)
        for observer in (self.tracker, self.driver, self.work, self.sender):
            await observer.on_evaluation(evaluation)

    async def rest(self) -> None:
        """Do what can be done at this block."""
        assert self.running is not None
        await self.driver.advance()
        for _ in range(1000):
            await asyncio.sleep(0)
            if self.queue.idle:
                break
        if self.running.done():
            self.running.result()
        await self.sender.advance()

    @property
    def first_id(self) -> bytes:
        """The id it chooses first in its first life."""
        return SeededRandom(f"{self.number} 0").bytes(32)

    @property
    def snapshot(self) -> NodeSetSnapshot:
        return self.tracker.snapshot

    async def status(self) -> MigrationStatus:
        status = await self.driver.status()
        assert status is not None
        return status


@dataclass
class World:
    """The chain, the contract, its owner, and key servers."""

    chain: EthTesterClient
    contract: Address
    clock: ManualClock = field(default_factory=ManualClock)
    nodes: dict[int, MigratingNode] = field(default_factory=dict)
    keys: dict[KeyId, StoredKey] = field(default_factory=dict)
    sessions: list[tuple[NodeId, MigrationOrder]] = field(default_factory=list)
    history: list[tuple[NodeId, MigrationOrder]] = field(default_factory=list)
    """Every session that was led, by whom."""
    script: Script = Script.SUCCEED
    dead: list[int] = field(default_factory=list)
    """Processes to be started again at the next block."""
    deaths: int = 0

    @classmethod
    async def of(
        cls,
        *members: int,
        published: bool = False,
        spare: tuple[int, ...] = (),
        kind: type[SharedReads] = SharedReads,
    ) -> "World":
        """An initialised set of these members, all running, with one key of threshold 1.

        `spare`: key servers that run and are no members. `published`: no additions of ours.
        """
        numbers = (*members, *spare)
        funded = [node_of(number).address for number in numbers]
        chain = kind.start(chain_id=CHAIN_ID, funded=funded)
        artifact = load_artifact("OwnedKeyServerSetWithMigration").bytecode
        contract = chain.deploy(published_set() if published else artifact, sender=OWNER)
        world = cls(chain, contract)
        for number in members:
            world.add(number)
            chain.mine()
        world.owner("completeInitialization")
        world.keys[KEY] = StoredKey(ids(*members), 1)
        for number in numbers:
            world.nodes[number] = MigratingNode(world, number)
            world.nodes[number].start()
        await world.mine()
        return world

    # --- people ---------------------------------------------------------------------------

    def owner(self, method: str, *arguments: object) -> None:
        """Put a transaction of the owner into the mempool."""
        data = KEY_SERVER_SET.function(method).encode(*arguments)
        self.chain.transact(self.contract, data, sender=OWNER)

    def add(self, number: int, address: str = "") -> None:
        self.owner("addKeyServer", node_of(number), address or f"127.0.0.1:{8000 + number}")

    def remove(self, number: int) -> None:
        self.owner("removeKeyServer", node_of(number).address)

    def by_hand(self, number: int, method: str, *arguments: object) -> None:
        """Put a transaction of a key server's account into the mempool, not made by its node."""
        data = KEY_SERVER_SET.function(method).encode(*arguments)
        self.chain.transact(self.contract, data, sender=number - 1)

    def waiting(self, number: int) -> list[bytes]:
        """Hashes of a key server's transactions in the mempool."""
        pool = self.chain.node.mempool
        found = [pool.get(tx_hash) for tx_hash in pool.hashes()]
        account = node_of(number).address
        return [tx.hash for tx in found if tx is not None and Address(tx.sender) == account]

    def raw_of(self, number: int) -> bytes:
        """The bytes that a key server signed last."""
        entries = self.nodes[number].disk.state.entries
        return entries[max(entries)].attempts[-1].raw

    # --- time -----------------------------------------------------------------------------

    async def mine(self, count: int = 1) -> None:
        """Mine blocks and let every node come to rest at each."""
        for _ in range(count):
            self.clock.advance(BLOCK_S)
            self.chain.mine()
            while self.dead:
                self.nodes[self.dead.pop()].start()
            await self.look()

    async def look(self) -> None:
        """Let every node that runs act on the present head."""
        head = await self.chain.block(BlockTag.LATEST)
        assert head is not None
        confirmed = await self.chain.block(max(head.number - CONFIRMATIONS, 0))
        assert confirmed is not None
        for node in self._running():
            await self._unless_it_dies(node, node.see(head, confirmed.id))
        for _ in range(3):
            for node in self._running():
                await self._unless_it_dies(node, node.rest())
            await self._play()

    async def _unless_it_dies(self, node: MigratingNode, work: Awaitable[None]) -> None:
        """A process whose disk fails ends, and is started again by `mine`."""
        try:
            await work
        except* StorageError:
            self.deaths += 1
            await self.kill(node.number)
            self.dead.append(node.number)

    async def reorganise(self, depth: int) -> None:
        """Replace the newest blocks by empty ones; every node reads everything again."""
        self.chain.reorganise(depth)
        for node in self._running():
            node.fresh = True
        await self.look()

    async def mine_until_current(self, *numbers: int, most: int = 30) -> int:
        """Mine until the contract's current set is this one; returns how many blocks it took."""
        for count in range(1, most + 1):
            await self.mine()
            if self.current() == ids(*numbers):
                return count
        raise AssertionError(f"not the current set within {most} blocks")

    async def kill(self, number: int) -> None:
        """End a key server's process; what it led fails at the others."""
        await self.nodes[number].kill()
        lost = [each for each in self.sessions if each[0] == node_of(number)]
        for leader, order in lost:
            self.sessions.remove((leader, order))
            self._end(order, SessionPhase.FAILED, "the master was lost")

    async def restart(self, number: int) -> None:
        """Start it again, and show it the head."""
        self.nodes[number].start()
        await self.look()

    async def close(self) -> None:
        for node in self.nodes.values():
            await node.kill()

    # --- what there is --------------------------------------------------------------------

    def node(self, node: NodeId) -> MigratingNode:
        return next(each for each in self.nodes.values() if each.me == node)

    @property
    def alive(self) -> frozenset[NodeId]:
        return frozenset(node.me for node in self._running())

    def current(self) -> frozenset[NodeId]:
        """The contract's current set at the head."""
        function = KEY_SERVER_SET.function("getCurrentKeyServers")
        message = self.chain.message(self.contract, function.encode())
        answer = self.chain.node.evm.call(self.chain.node.head.header, message)
        addresses = function.decode_single(answer)
        return frozenset(
            node_of(number) for number in (A, B, C, D, E, F) if node_of(number).address in addresses
        )

    def calls(self, method: str) -> list[tuple[NodeId, bytes, bool]]:
        """Mined transactions that call the method: by whom, with which id, whether it worked."""
        selector = KEY_SERVER_SET.function(method).selector
        accounts = {node_of(number).address: node_of(number) for number in (A, B, C, D, E, F)}
        return [
            (accounts[Address(executed.transaction.sender)], executed.transaction.data[4:],
             executed.succeeded)
            for block in self.chain.node.blocks(0, self.chain.node.head.number)
            for executed in block.executed
            if executed.transaction.data[:4] == selector
        ]  # fmt: skip

    def usable(self, key_id: KeyId = KEY) -> bool:
        """Whether enough members of the current set hold the key."""
        key = self.keys[key_id]
        return len(key.holders & self.current()) > key.threshold

    # --- sessions -------------------------------------------------------------------------

    def _running(self) -> list[MigratingNode]:
        return [node for node in self.nodes.values() if node.running is not None]

    async def _play(self) -> None:
        for leader, order in tuple(self.sessions):
            if not frozenset(order.new_nodes) <= self.alive:
                self.sessions.remove((leader, order))
                self._end(order, SessionPhase.FAILED, "a member was lost")
                continue
            asked = [self.node(node) for node in order.new_nodes]
            refusals = [why for node in asked if (why := await node.driver.accepts(order))]
            if self.script is Script.HANG and not refusals:
                self._end(order, SessionPhase.ACTIVE)
                continue
            self.sessions.remove((leader, order))
            if refusals or self.script is Script.FAIL:
                self._end(order, SessionPhase.FAILED, "; ".join(refusals) or "scripted")
            else:
                for key in self.keys.values():
                    key.holders = frozenset(order.new_nodes)
                self._end(order, SessionPhase.FINISHED)

    def _end(self, order: MigrationOrder, phase: SessionPhase, reason: str = "") -> None:
        for node in self._running():
            if node.me in order.new_nodes:
                node.session.enter(phase, order, reason)
                node.driver.wake()


MakeWorld = Callable[..., Awaitable[World]]
"""As `World.of`; the nodes end with the test."""


# --- what must be true -----------------------------------------------------------------------


async def settled(world: World) -> None:
    """Everything sent is final, and nobody wants anything more."""
    calls = len(world.calls("startMigration")) + len(world.calls("confirmMigration"))
    sessions = len(world.history)
    await world.mine(35)
    assert calls == len(world.calls("startMigration")) + len(world.calls("confirmMigration"))
    assert sessions == len(world.history)
    for node in world.nodes.values():
        if node.running is not None:
            assert (await node.status()).phase is MigrationPhase.IDLE
            assert not await node.store.open_tasks()
            assert not await node.store.open_entries(node.me.address)


def assert_one_start(world: World, by: int) -> None:
    (start,) = world.calls("startMigration")
    assert (start[0], start[2]) == (node_of(by), True)


def assert_each_confirmed_once(world: World, *numbers: int) -> None:
    confirmations = world.calls("confirmMigration")
    assert all(worked for _, _, worked in confirmations)
    assert sorted(node for node, _, _ in confirmations) == sorted(ids(*numbers))
