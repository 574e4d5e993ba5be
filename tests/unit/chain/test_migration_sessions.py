"""Between driver and engine: sessions led and followed, keys counted, orders judged."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
import structlog
import structlog.testing

from keyserver.chain.migration_sessions import MigrationJudge, MigrationSessions
from keyserver.chain.ports import ChainView
from keyserver.engine.ports import CatalogueEntry
from keyserver.errors import StorageError
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.keys import CertifiedRecord
from keyserver.model.node_set import Migration, NodeSetSnapshot
from keyserver.model.set_change import CompletedChange, MigrationOrder, SetChange
from keyserver.model.set_change_rules import OrderRefusedError, Rule
from keyserver.sessions.core import KeyState, UnavailableError
from keyserver.sessions.set_change.phases import Report
from keyserver.sessions.writes import (
    PutActive,
)
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore
from keyserver.tasks.migration import IDLE, MigrationView, SessionPhase, SessionState
from tests.support.keys import record_of
from tests.support.migrations import NODES, id_of, node, nodes, running, set_of, view
from tests.support.stored_values import certified

CURRENT, NEW = (1, 2, 3), (2, 3, 4)
MIGRATION = running(*NEW, master=2)
STARTED = view(CURRENT, NEW, MIGRATION)
ORDER = MigrationOrder(id_of(1), MIGRATION.target.nodes, node(2))
CHANGE = SetChange.ordered(STARTED.current, MIGRATION.target, id_of(1))
ACTIVE = SessionState(SessionPhase.ACTIVE, id_of(1))
FINISHED = SessionState(SessionPhase.FINISHED, id_of(1))


class Driver:
    def __init__(self) -> None:
        self.left_behind: list[tuple[NodeId, Hash32]] = []
        self.woken = 0
        self.objection: str | None = None
        self.blocks_until_known = 0

    def knows(self, migration_id: Hash32) -> bool:
        self.blocks_until_known -= 1
        return migration_id == ORDER.id and self.blocks_until_known < 0

    async def accepts(self, order: MigrationOrder) -> str | None:
        assert order == ORDER
        return self.objection

    def on_left_behind(self, node: NodeId, migration_id: Hash32) -> None:
        self.left_behind.append((node, migration_id))

    def wake(self) -> None:
        self.woken += 1


class Carrier:
    """The engine, as far as it is asked."""

    def __init__(self) -> None:
        self.orders: list[MigrationOrder] = []
        self.outcome: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self.stopped = 0

    async def carry_out(self, order: MigrationOrder) -> Report:
        self.orders.append(order)
        return await self.outcome

    async def stop(self) -> None:
        self.stopped += 1


class Views:
    migration_view: MigrationView | None = STARTED


class Bench:
    def __init__(self) -> None:
        self.carrier = Carrier()
        self.views = Views()
        self.driver = Driver()
        self.disk = MemoryDisk()
        self.sessions = MigrationSessions(
            carrier=self.carrier,
            records=MemoryRecordStore(self.disk),
            views=self.views,
            connected=lambda: nodes(1, 3),
        )
        self.sessions.follow(self.driver)

    async def turn(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def completed(change: SetChange = CHANGE) -> CompletedChange:
    return CompletedChange(1, change.id, change.old, change.new, 0)


async def test_a_session_that_is_led_ends_with_its_report() -> None:
    bench = Bench()
    assert bench.sessions.state == IDLE
    assert bench.sessions.connected == nodes(1, 3)
    bench.sessions.start(ORDER)
    assert bench.sessions.state == ACTIVE
    await bench.turn()
    assert bench.carrier.orders == [ORDER]
    bench.sessions.on_completed(completed())
    assert bench.sessions.state == ACTIVE, "others may still be at it"
    bench.carrier.outcome.set_result(Report(CHANGE, (), frozenset(NEW_NODES)))
    await bench.turn()
    assert bench.sessions.state == FINISHED
    assert bench.driver.woken == 2
    assert not bench.driver.left_behind
    bench.sessions.forget()
    assert bench.sessions.state == IDLE
    assert not bench.carrier.stopped


NEW_NODES = MIGRATION.target.nodes


async def test_members_that_have_not_written_it_down_are_left_behind() -> None:
    bench = Bench()
    bench.sessions.start(ORDER)
    bench.carrier.outcome.set_result(Report(CHANGE, (), nodes(1, 2)))
    await bench.turn()
    assert sorted(bench.driver.left_behind) == sorted([(node(3), id_of(1)), (node(4), id_of(1))])
    assert bench.sessions.state == FINISHED


@pytest.mark.parametrize(
    "error",
    [UnavailableError("a peer was lost"), OrderRefusedError(Rule.UNSETTLED, "too young")],
)
async def test_a_session_that_fails_tells_why(error: Exception) -> None:
    bench = Bench()
    bench.sessions.start(ORDER)
    bench.carrier.outcome.set_exception(error)
    await bench.turn()
    assert bench.sessions.state == SessionState(SessionPhase.FAILED, id_of(1), str(error))
    assert bench.driver.woken == 1


async def test_a_session_that_breaks_is_over_and_told() -> None:
    bench = Bench()
    bench.sessions.start(ORDER)
    bench.carrier.outcome.set_exception(KeyError("a mistake"))
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logs:
        await bench.turn()
    assert bench.sessions.state == SessionState(SessionPhase.FAILED, id_of(1), "'a mistake'")
    assert bench.driver.woken == 1
    assert [each["event"] for each in logs] == ["migration_session_broke"]
    bench.sessions.start(ORDER)
    bench.carrier.outcome = asyncio.get_running_loop().create_future()
    await bench.turn()
    bench.carrier.outcome.cancel()
    await bench.turn()
    assert bench.sessions.state == SessionState(
        SessionPhase.FAILED, id_of(1), "this node gave it up"
    )


async def test_what_is_forgotten_is_given_up() -> None:
    bench = Bench()
    bench.sessions.start(ORDER)
    await bench.turn()
    bench.sessions.forget()
    await bench.turn()
    assert bench.carrier.stopped == 1
    assert bench.carrier.outcome.cancelled()
    assert bench.sessions.state == IDLE
    assert not bench.driver.woken


async def test_where_another_node_leads_the_end_is_seen() -> None:
    bench = Bench()
    bench.sessions.on_completed(completed())
    assert bench.sessions.state == FINISHED
    assert bench.driver.woken == 1
    bench.sessions.forget()
    assert bench.sessions.state == IDLE
    bench.sessions.on_completed(completed())
    assert bench.sessions.state == FINISHED, "the master has led it once more"


async def test_what_was_completed_before_the_start_is_finished() -> None:
    bench = Bench()
    sessions = MigrationSessions(
        carrier=bench.carrier,
        records=MemoryRecordStore(bench.disk),
        views=bench.views,
        connected=frozenset,
        completed=[completed()],
    )
    assert sessions.state == FINISHED
    sessions.on_completed(completed(SetChange.ordered(CHANGE.new, CHANGE.old)))
    sessions.forget()
    assert sessions.state == IDLE


async def test_changes_of_no_running_migration_are_none_of_its_business() -> None:
    bench = Bench()
    for other in (
        SetChange.ordered(STARTED.current, MIGRATION.target, id_of(2)),
        SetChange.ordered(set_of(1, 2), MIGRATION.target, id_of(1)),
    ):
        bench.sessions.on_completed(completed(other))
    for without in (None, view(CURRENT, NEW)):
        bench.views.migration_view = without
        bench.sessions.on_completed(completed())
        assert bench.sessions.state == IDLE
        bench.sessions.forget()
    assert bench.sessions.state == IDLE


# --- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [1, 2, 1024])
async def test_keys_that_lose_too_many_holders_are_named(
    monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("keyserver.chain.migration_sessions.PAGE", page)
    bench = Bench()
    committees = {1: (1, 2, 3), 2: (1, 2), 3: (2, 3), 4: (1, 5), 5: (1, 2, 3, 5), 6: (1, 4)}
    store = MemoryRecordStore(bench.disk)
    for number, committee in committees.items():
        members = [NODES[each - 1] for each in committee]
        record = record_of(members, threshold=1, key_id=KeyId(bytes(31) + bytes([number])))
        await store.commit([PutActive(certified(record))])
    at_risk = await bench.sessions.keys_at_risk(MIGRATION.target)
    # 3 loses nobody, and of 1 and 5 enough are left
    assert [key_id[-1] for key_id in at_risk] == [2, 4, 6]
    assert await bench.sessions.keys_at_risk(set_of(1, 2, 3, 4, 5)) == ()


class CountingStore(MemoryRecordStore):
    """Reads pages when it may; of one key nothing can be read, of others only the whole."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__(disk)
        self.pages, self.loaded = 0, 0
        self.may_read = asyncio.Event()
        self.not_by_page = frozenset[KeyId]()
        self.broken: KeyId | None = None
        self.gone = False

    async def catalogue(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        await self.may_read.wait()
        if self.gone:
            raise StorageError("the disk is gone")
        return await super().catalogue(after, limit)

    async def records(self, after: KeyId | None, limit: int) -> Sequence[CertifiedRecord]:
        self.pages += 1
        found = await super().records(after, limit)
        return [one for one in found if one.record.key_id not in self.not_by_page]

    async def load(self, key_id: KeyId) -> KeyState:
        self.loaded += 1
        if key_id == self.broken:
            raise StorageError("a row does not parse")
        return await super().load(key_id)


async def look_at(bench: Bench, *numbers: int) -> tuple[MigrationSessions, CountingStore]:
    """Keys that are all at risk."""
    store = CountingStore(bench.disk)
    for number in numbers:
        record = record_of(list(NODES[:2]), threshold=1, key_id=KeyId(bytes([number]) * 32))
        await store.commit([PutActive(certified(record))])
    sessions = MigrationSessions(
        carrier=bench.carrier, records=store, views=bench.views, connected=frozenset
    )
    return sessions, store


async def test_one_look_is_good_for_all_who_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, store = await look_at(Bench(), *range(1, 6))
    target = MIGRATION.target
    impatient, patient = (asyncio.create_task(sessions.keys_at_risk(target)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    store.may_read.set()
    assert len(await patient) == len(await sessions.keys_at_risk(target)) == 5
    assert (store.pages, store.loaded) == (1, 0)
    assert await sessions.keys_at_risk(set_of(1, 2)) == ()
    assert store.pages == 2
    monkeypatch.setattr("keyserver.chain.migration_sessions.LOOK_HOLDS_S", -1)
    assert await sessions.keys_at_risk(set_of(1, 2)) == ()
    assert store.pages == 3


async def test_a_look_that_failed_is_not_kept() -> None:
    sessions, store = await look_at(Bench())
    store.gone = True
    store.may_read.set()
    for _ in range(2):
        with pytest.raises(StorageError, match="the disk is gone"):
            await sessions.keys_at_risk(MIGRATION.target)


async def test_a_key_that_cannot_be_read_keeps_no_other_from_being_looked_at() -> None:
    sessions, store = await look_at(Bench(), 1, 2, 3)
    store.may_read.set()
    store.not_by_page = frozenset({KeyId(bytes([2]) * 32), KeyId(bytes([3]) * 32)})
    store.broken = KeyId(bytes([2]) * 32)
    found = await sessions.keys_at_risk(MIGRATION.target)
    assert [key_id[0] for key_id in found] == [1, 3]
    assert store.loaded == 2


# --- judging ----------------------------------------------------------------------------------


class Tip:
    """Shows the next snapshot when it is waited for."""

    def __init__(self) -> None:
        self.snapshot = snapshot_of(None)
        self.coming: list[NodeSetSnapshot] = []

    view = ChainView(None, None, None)

    async def next_evaluation(self) -> None:
        if not self.coming:
            await asyncio.Event().wait()
        self.snapshot = self.coming.pop(0)


def snapshot_of(migration: Migration | None, *, stale: bool = False) -> NodeSetSnapshot:
    return NodeSetSnapshot(set_of(*CURRENT), set_of(*NEW), migration, (), 0, 9, stale)


SHOWN = Migration(id_of(1), frozenset(NEW_NODES), node(2), confirmed_by_self=False)


async def test_an_order_that_the_chain_shows_is_the_change_it_orders() -> None:
    tip = Tip()
    tip.coming = [snapshot_of(None), snapshot_of(replace(SHOWN, id=id_of(9))), snapshot_of(SHOWN)]
    judge = MigrationJudge(driver=Driver(), node_sets=tip, tip=tip)
    assert await judge.judge(ORDER) == CHANGE
    assert not tip.coming


async def test_an_order_is_not_judged_before_the_driver_has_looked() -> None:
    tip, driver = Tip(), Driver()
    tip.snapshot = snapshot_of(SHOWN)
    tip.coming = [snapshot_of(SHOWN)] * 3
    driver.blocks_until_known = 2
    assert await MigrationJudge(driver=driver, node_sets=tip, tip=tip).judge(ORDER) == CHANGE
    assert len(tip.coming) == 1


async def test_an_order_that_the_driver_objects_to_is_refused() -> None:
    tip, driver = Tip(), Driver()
    tip.snapshot = snapshot_of(SHOWN)
    driver.objection = "too young"
    judge = MigrationJudge(driver=driver, node_sets=tip, tip=tip)
    with pytest.raises(OrderRefusedError, match="too young"):
        await judge.judge(ORDER)


@pytest.mark.parametrize(
    ("shown", "rule"),
    [
        (snapshot_of(SHOWN, stale=True), Rule.STALE_VIEW),
        (snapshot_of(replace(SHOWN, nodes=nodes(2, 3))), Rule.OTHER_TARGET),
        (snapshot_of(replace(SHOWN, master=node(3))), Rule.OTHER_MASTER),
    ],
)
async def test_an_order_that_says_another_thing_than_the_chain_is_refused(
    shown: NodeSetSnapshot, rule: Rule
) -> None:
    tip = Tip()
    tip.snapshot = shown
    with pytest.raises(OrderRefusedError) as refused:
        await MigrationJudge(driver=Driver(), node_sets=tip, tip=tip).judge(ORDER)
    assert refused.value.rule is rule


async def test_an_order_that_never_shows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyserver.chain.migration_sessions.JUDGE_WITHIN_S", 0)
    tip = Tip()
    with pytest.raises(OrderRefusedError) as refused:
        await MigrationJudge(driver=Driver(), node_sets=tip, tip=tip).judge(ORDER)
    assert refused.value.rule is Rule.NO_MIGRATION
