"""The migration driver on its own: what it stores, whom it tells, when it looks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest
import pytest_asyncio
import structlog.testing

from keyserver.chain.client import BlockRef
from keyserver.chain.migration import CHECK_AGAIN_S, INTERVAL_S, MigrationDriver
from keyserver.chain.migration_transactions import MigrationTransactions
from keyserver.chain.ports import Evaluation
from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import StorageError
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import MigrationOrder
from keyserver.storage.memory import MemoryDisk, MemoryWorkStore
from keyserver.tasks.migration import (
    IDLE,
    MigrationView,
    Refusal,
    SessionPhase,
    SessionState,
    Waiting,
)
from keyserver.tasks.migration_status import MigrationPhase
from keyserver.tasks.model import Task, TaskKind, TaskState
from tests.support.manual_clock import ManualClock
from tests.support.migrations import BLOCK, CHAIN, CONTRACT, id_of, node, nodes, running, view

CURRENT, NEW = (1, 2, 3), (2, 3, 4)
MIGRATION = running(*NEW, master=2)
REQUIRED = view(CURRENT, NEW)
STARTED = view(CURRENT, NEW, MIGRATION)
ORDER = MigrationOrder(id_of(1), MIGRATION.target.nodes, node(2))
KEY = KeyId(b"\x07" * 32)


class Views:
    def __init__(self, shown: MigrationView | None) -> None:
        self.migration_view = shown


class Changes:
    def __init__(self) -> None:
        self.state = IDLE
        self.connected = nodes(1, 2, 3, 4)
        self.at_risk: tuple[KeyId, ...] = ()
        self.counted = 0
        self.led: list[MigrationOrder] = []
        self.forgotten = 0
        self.broken: StorageError | None = None
        self.may_look = asyncio.Event()
        self.may_look.set()

    async def keys_at_risk(self, target: NodeSet) -> tuple[KeyId, ...]:
        if self.broken is not None:
            raise self.broken
        self.counted += 1
        await self.may_look.wait()
        return self.at_risk

    def start(self, order: MigrationOrder) -> None:
        self.led.append(order)
        self.state = SessionState(SessionPhase.ACTIVE, order.id)

    def forget(self) -> None:
        self.forgotten += 1
        self.state = IDLE


def block(number: int) -> BlockRef:
    digest = number.to_bytes(32, "big")
    return BlockRef(number, Hash32(digest), Hash32(bytes(32)), 0, None)


class Bench:
    """Node 2, unless said otherwise."""

    def __init__(self, shown: MigrationView | None = REQUIRED, me: int = 2) -> None:
        self.disk = MemoryDisk()
        self.store = MemoryWorkStore(self.disk, CHAIN)
        self.views = Views(shown)
        self.changes = Changes()
        self.clock = ManualClock()
        self.woken = 0
        self.driver = MigrationDriver(
            me=node(me),
            views=self.views,
            changes=self.changes,
            transactions=MigrationTransactions(self.store, CHAIN, self._wake_queue),
            store=self.store,
            clock=self.clock,
            random=SeededRandom(1),
        )

    def _wake_queue(self) -> None:
        self.woken += 1

    async def see(self, shown: MigrationView | None = None, number: int = BLOCK) -> None:
        """A block, with what the contract says there."""
        if shown is not None:
            self.views.migration_view = shown
        head = block(number)
        await self.driver.on_evaluation(Evaluation(head, head.id, frozenset(), reread=False))
        await self.driver.advance()

    def end(self, phase: SessionPhase, reason: str = "") -> None:
        self.changes.state = SessionState(phase, id_of(1), reason)

    async def tasks(self) -> list[Task]:
        return list(await self.store.open_tasks())


# --- steps ------------------------------------------------------------------------------------


async def test_before_the_first_block_it_knows_nothing() -> None:
    bench = Bench(STARTED)
    assert bench.driver.wanted(TaskKind.START_MIGRATION, id_of(1)) is None
    assert await bench.driver.status() is None
    assert await bench.driver.accepts(ORDER) == "no migration is known"
    assert not bench.driver.knows(id_of(1))
    await bench.driver.advance()
    bench.driver.on_unavailable()
    bench.views.migration_view = None
    await bench.see()
    assert await bench.driver.status() is None
    assert not bench.changes.led


async def test_a_start_is_stored_before_it_is_sent() -> None:
    bench = Bench()
    await bench.see()
    plan = await bench.store.planned_start(CONTRACT)
    assert plan is not None
    assert plan.fits(REQUIRED)
    (task,) = await bench.tasks()
    assert task.key.kind is TaskKind.START_MIGRATION
    assert task.key.contract == CONTRACT
    assert task.key.key_id == KeyId(plan.id)
    assert bench.woken == 1
    assert bench.driver.wanted(TaskKind.START_MIGRATION, plan.id)
    assert not bench.driver.wanted(TaskKind.START_MIGRATION, id_of(1))
    await bench.see(number=BLOCK + 1)
    assert len(await bench.tasks()) == 1
    status = await bench.driver.status()
    assert status is not None
    assert (status.phase, status.id) == (MigrationPhase.REQUIRED, plan.id)


async def test_success_is_stored_before_the_confirmation_is_sent() -> None:
    bench = Bench(STARTED)
    await bench.see()
    assert bench.changes.led == [ORDER]
    bench.end(SessionPhase.FINISHED)
    bench.disk.fail_commit()
    with pytest.raises(StorageError):
        await bench.driver.advance()
    assert not await bench.tasks()
    await bench.driver.advance()
    joined = await bench.store.joined_migration(CONTRACT, id_of(1))
    assert joined is not None
    assert joined.succeeded_block == BLOCK
    (task,) = await bench.tasks()
    assert task.key.kind is TaskKind.CONFIRM_MIGRATION
    assert bench.driver.wanted(TaskKind.CONFIRM_MIGRATION, id_of(1))


async def test_a_failed_session_is_repeated_by_the_master_after_a_pause() -> None:
    member = Bench(STARTED, me=3)
    await member.see()
    member.end(SessionPhase.FAILED, "lost a peer")
    await member.driver.advance()
    assert not member.changes.led
    assert member.changes.state == IDLE
    master = Bench(STARTED)
    for failures in range(1, 4):
        await master.see()
        assert len(master.changes.led) == failures
        master.end(SessionPhase.FAILED, "lost a peer")
        await master.driver.advance()
        master.clock.advance(10 * 2 ** (failures - 1) - 0.5)
        await master.driver.advance()
        assert len(master.changes.led) == failures
        status = await master.driver.status()
        assert status is not None
        assert status.waiting_for is Waiting.BACK_OFF
        master.clock.advance(0.5)


async def test_a_member_that_was_left_behind_gets_another_session() -> None:
    bench = Bench(STARTED)
    await bench.see()
    bench.end(SessionPhase.FINISHED)
    await bench.driver.advance()
    for stranger, migration in ((node(7), id_of(1)), (node(3), id_of(2)), (node(1), id_of(1))):
        bench.driver.on_left_behind(stranger, migration)
    bench.clock.advance(1000)
    await bench.driver.advance()
    assert len(bench.changes.led) == 1
    bench.driver.on_left_behind(node(3), id_of(1))
    bench.driver.on_left_behind(node(4), id_of(1))
    await bench.driver.advance()
    assert len(bench.changes.led) == 1, "not before a pause"
    bench.clock.advance(10)
    await bench.driver.advance()
    assert len(bench.changes.led) == 2


async def test_a_report_during_the_session_counts_when_it_succeeds() -> None:
    bench = Bench(STARTED)
    await bench.see()
    bench.driver.on_left_behind(node(3), id_of(1))
    bench.end(SessionPhase.FINISHED)
    await bench.driver.advance()
    assert len(bench.changes.led) == 1
    bench.clock.advance(10)
    await bench.driver.advance()
    assert len(bench.changes.led) == 2


async def test_a_report_without_a_migration_is_nothing() -> None:
    bench = Bench(REQUIRED)
    bench.driver.on_left_behind(node(3), id_of(1))
    await bench.see()
    assert not bench.changes.led


async def test_a_session_of_no_migration_is_forgotten() -> None:
    bench = Bench(REQUIRED)
    bench.end(SessionPhase.ACTIVE)
    await bench.see()
    assert bench.changes.forgotten == 1
    assert len(await bench.tasks()) == 1


# --- keys at risk -----------------------------------------------------------------------------


async def test_keys_at_risk_are_told_once_and_counted_again_now_and_then() -> None:
    bench = Bench()
    bench.changes.at_risk = (KEY,)
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await bench.see()
        assert bench.changes.counted == 1
        bench.clock.advance(CHECK_AGAIN_S)
        await bench.see()
    assert bench.changes.counted == 2
    refused = [each for each in logs if each["event"] == "migration_refused"]
    assert [(each["keys"], each["log_level"]) for each in refused] == [(1, "error")]
    assert not await bench.tasks()
    status = await bench.driver.status()
    assert status is not None
    assert status.keys_at_risk == (KEY,)
    bench.changes.at_risk = ()
    bench.clock.advance(CHECK_AGAIN_S)
    await bench.see()
    assert len(await bench.tasks()) == 1


async def test_keys_are_counted_anew_before_each_session() -> None:
    bench = Bench(STARTED)
    await bench.see()
    bench.end(SessionPhase.FAILED)
    await bench.driver.advance()
    bench.changes.at_risk = (KEY,)
    bench.clock.advance(10)
    await bench.driver.advance()
    assert (bench.changes.counted, len(bench.changes.led)) == (2, 1)


async def test_a_look_at_many_keys_keeps_no_block_waiting() -> None:
    bench = Bench(STARTED, me=4)
    await bench.see()
    bench.changes.may_look.clear()
    accepting = asyncio.create_task(bench.driver.accepts(ORDER))
    leader = Bench(STARTED)
    leader.changes.may_look.clear()
    leading = asyncio.create_task(leader.see())
    while not (bench.changes.counted and leader.changes.counted):
        await asyncio.sleep(0)
    head = block(BLOCK + 1)
    cancelled = view(CURRENT, CURRENT, last=1)
    for each in (bench, leader):
        each.views.migration_view = cancelled
        await each.driver.on_evaluation(Evaluation(head, head.id, frozenset(), reread=False))
        each.changes.may_look.set()
    assert await accepting == "no migration is known", "what the last block says counts"
    await leading
    assert not leader.changes.led


# --- taking part ------------------------------------------------------------------------------


async def test_what_is_accepted_for_a_session_is_stored() -> None:
    bench = Bench(STARTED, me=4)
    head = block(BLOCK)
    await bench.driver.on_evaluation(Evaluation(head, head.id, frozenset(), reread=False))
    assert bench.driver.knows(id_of(1))
    assert not bench.driver.knows(id_of(2))
    assert await bench.driver.accepts(ORDER) is None
    assert await bench.store.joined_migration(CONTRACT, id_of(1)) is not None
    edited = view(CURRENT, (2, 3, 5), MIGRATION, age=0)
    await bench.see(edited, BLOCK + 1)
    assert await bench.driver.accepts(ORDER) is None
    commits = bench.disk.commits
    assert await bench.driver.accepts(ORDER) is None
    assert bench.disk.commits == commits


@pytest.mark.parametrize(
    ("shown", "order", "reason"),
    [
        (view(CURRENT, NEW, MIGRATION, age=4), ORDER, Waiting.DELAY.value),
        (view(CURRENT, (2, 3), MIGRATION), ORDER, Refusal.FOREIGN_SET.value),
        (STARTED, replace(ORDER, id=id_of(2)), "no such migration runs"),
        (REQUIRED, ORDER, "no migration is known"),
    ],
)
async def test_orders_are_judged_by_what_this_node_sees(
    shown: MigrationView, order: MigrationOrder, reason: str
) -> None:
    bench = Bench(shown, me=4)
    head = block(BLOCK)
    await bench.driver.on_evaluation(Evaluation(head, head.id, frozenset(), reread=False))
    assert await bench.driver.accepts(order) == reason
    assert await bench.store.joined_migration(CONTRACT, id_of(1)) is None


# --- transactions taken back ------------------------------------------------------------------


async def test_a_start_that_has_become_pointless_is_withdrawn() -> None:
    for later in (
        view(CURRENT, CURRENT),
        view(CURRENT, (2, 3, 5)),
        view(CURRENT, NEW, running(*NEW, number=7, master=3)),
    ):
        bench = Bench()
        await bench.see()
        (before,) = await bench.tasks()
        head = block(BLOCK + 1)
        bench.views.migration_view = later
        await bench.driver.on_evaluation(Evaluation(head, head.id, frozenset(), reread=False))
        task = await bench.store.task(before.id)
        assert task is not None
        assert (task.state, task.reason) == (TaskState.REJECTED, "no longer wanted")


async def test_a_start_that_is_being_handled_or_mined_is_left_alone() -> None:
    bench = Bench()
    await bench.see()
    (task,) = await bench.tasks()
    await bench.store.commit(tasks=[task.moved_to(TaskState.RUNNING)])
    await bench.see(view(CURRENT, CURRENT), BLOCK + 1)
    assert [each.state for each in await bench.tasks()] == [TaskState.RUNNING]
    own = Hash32(task.key.key_id)
    mined = replace(running(*NEW, master=2), id=own)
    await bench.see(view(CURRENT, NEW, mined), BLOCK + 2)
    assert len(await bench.tasks()) == 1


async def test_a_confirmation_of_a_cancelled_migration_is_withdrawn() -> None:
    bench = Bench(STARTED)
    await bench.see()
    bench.end(SessionPhase.FINISHED)
    await bench.driver.advance()
    assert len(await bench.tasks()) == 1
    await bench.see(view(CURRENT, NEW, age=0, last=1), BLOCK + 1)
    assert not await bench.tasks()
    assert not bench.driver.wanted(TaskKind.CONFIRM_MIGRATION, id_of(1))


# --- the loop ---------------------------------------------------------------------------------

Turn = Callable[[], Awaitable[None]]


@pytest_asyncio.fixture
async def turn() -> AsyncIterator[Turn]:
    """Let other tasks run until they wait."""

    async def run() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    yield run


async def test_it_looks_every_ten_seconds_and_when_it_is_woken(turn: Turn) -> None:
    bench = Bench(STARTED)
    await bench.see()
    bench.end(SessionPhase.FINISHED)
    task = asyncio.create_task(bench.driver.run())
    await turn()
    assert bench.changes.state == IDLE, "at once"
    ticks: list[Callable[[], None]] = [partial(bench.clock.advance, INTERVAL_S), bench.driver.wake]
    for again in ticks:
        bench.end(SessionPhase.FINISHED)
        await turn()
        assert bench.changes.state != IDLE
        again()
        await turn()
        assert bench.changes.state == IDLE
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    bench.end(SessionPhase.FINISHED)
    bench.clock.advance(10 * INTERVAL_S)
    await turn()
    assert bench.changes.state != IDLE


async def test_trouble_with_the_store_is_told_and_tried_again(turn: Turn) -> None:
    bench = Bench()
    bench.changes.broken = StorageError("the disk is full")
    head = block(BLOCK)
    await bench.driver.on_evaluation(Evaluation(head, head.id, frozenset(), reread=False))
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(bench.driver.run())
        await turn()
    assert [each["reason"] for each in logs] == ["the disk is full"]
    assert not await bench.tasks()
    bench.changes.broken = None
    bench.clock.advance(INTERVAL_S)
    await turn()
    assert len(await bench.tasks()) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
