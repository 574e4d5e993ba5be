"""Which process of a node acts: the lease and the fence, in a file and on a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import await_only

from keyserver.app.replica import ACT_FOR_S, LOOK_EVERY_S, RENEW_EVERY_S, Replica
from keyserver.engine.ports import TimerCallback
from keyserver.errors import StorageError
from keyserver.sealing.ports import SealState, SealStatus
from keyserver.sessions.writes import PutPrepared
from keyserver.storage import postgres as postgres_access
from keyserver.storage.access import FenceLostError
from keyserver.storage.database import Database, opened
from keyserver.storage.records import SqlRecordStore
from keyserver.storage.replicas import (
    LEASE_MS,
    LIVE_MS,
    Hold,
    HoldFence,
    Report,
    SqlReplicas,
    require_stopped,
)
from keyserver.storage.schema import ACTIVE_REPLICA, OPEN_RECORDS, READ_BLOCKS, REPLICAS
from tests.support.manual_clock import ManualClock, ManualTimer
from tests.support.postgres import PostgresServer
from tests.support.stored_values import boxes, digest, record, share
from tests.support.stores import SqlSite

REPORT = Report("one", "http://127.0.0.1:8090", SealState.UNSEALING, 1, 2, 3, 4, "0.1.0")


@pytest_asyncio.fixture
async def url(postgres: PostgresServer) -> str:
    url = await postgres.new_database()
    async with opened(url):
        return url


async def let_time_pass(database: Database, milliseconds: int) -> None:
    """For the rows: what lies in the database is so much older."""
    earlier = update(ACTIVE_REPLICA).values(expires_at=ACTIVE_REPLICA.c.expires_at - milliseconds)
    seen = update(REPLICAS).values(seen_at=REPLICAS.c.seen_at - milliseconds)
    await database.write_shared(
        lambda connection: (connection.execute(earlier), connection.execute(seen))
    )


# --- rows -------------------------------------------------------------------------------------


async def test_a_process_says_what_it_is(sql_site: SqlSite) -> None:
    replicas = SqlReplicas(sql_site.database)
    await replicas.report(REPORT)
    (first,) = await replicas.all()
    await let_time_pass(sql_site.database, 1000)
    await replicas.report(replace(REPORT, state=SealState.UNSEALED, progress=0))
    (second,) = await replicas.all()
    assert (first.replica_id, first.operator_url, first.software) == (
        "one",
        "http://127.0.0.1:8090",
        "0.1.0",
    )
    assert (first.state, first.progress, first.required) == (SealState.UNSEALING, 1, 2)
    assert (first.epoch, first.term, first.live, first.active) == (3, 4, True, False)
    assert (second.state, second.progress) == (SealState.UNSEALED, 0)
    assert second.started_at == first.started_at
    assert second.seen_at > first.seen_at - 1000


async def test_a_process_that_stops_is_forgotten(sql_site: SqlSite) -> None:
    replicas = SqlReplicas(sql_site.database)
    await replicas.report(REPORT)
    await replicas.forget("one")
    assert await replicas.all() == []


async def test_a_state_that_no_program_knows_is_named(sql_site: SqlSite) -> None:
    replicas = SqlReplicas(sql_site.database)
    await replicas.report(REPORT)
    bad = update(REPLICAS).values(state="asleep")
    await sql_site.database.write(lambda connection: connection.execute(bad))
    with pytest.raises(StorageError, match="replicas, row one: no state is called asleep"):
        await replicas.all()


@pytest.mark.postgres
async def test_the_list_tells_the_living_from_the_dead(url: str) -> None:
    async with opened(url) as database:
        replicas = SqlReplicas(database)
        await replicas.report(REPORT)
        await let_time_pass(database, LIVE_MS)
        await replicas.report(replace(REPORT, replica_id="two"))
        await replicas.take("two", unsealed=True)
        assert [(each.replica_id, each.live, each.active) for each in await replicas.all()] == [
            ("two", True, True),
            ("one", False, False),
        ]
        await let_time_pass(database, 24 * 60 * 60 * 1000)
        await replicas.report(replace(REPORT, replica_id="three"))
        assert [each.replica_id for each in await replicas.all()] == ["three"]


@pytest.mark.postgres
async def test_tools_wait_until_all_have_stopped(url: str) -> None:
    async with opened(url) as database:
        await require_stopped(database)
        await SqlReplicas(database).report(REPORT)
        with pytest.raises(StorageError, match=r"1 running processes \(one\); stop"):
            await require_stopped(database)
        await let_time_pass(database, LIVE_MS)
        await require_stopped(database)


async def test_a_file_has_one_process_and_its_lock_says_so(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite'}") as database:
        replicas = SqlReplicas(database)
        await replicas.report(REPORT)
        await require_stopped(database)
        await replicas.take("one", unsealed=True)
        assert await replicas.take("two", unsealed=False) == Hold("two", 2)
        await replicas.report(replace(REPORT, replica_id="two"))
        await let_time_pass(database, LEASE_MS)
        assert [(each.replica_id, each.active) for each in await replicas.all()] == [("two", True)]


# --- the lease --------------------------------------------------------------------------------


@pytest.mark.postgres
async def test_a_lease_is_taken_by_one(url: str) -> None:
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(opened(url)) for _ in range(3)]
        names = ["a", "b", "c"]
        holds = await asyncio.gather(
            *(
                SqlReplicas(database).take(name, unsealed=True)
                for database, name in zip(databases, names, strict=True)
            )
        )
        (hold,) = [hold for hold in holds if hold is not None]
        assert hold.fence == 1
        replicas = SqlReplicas(databases[0])
        assert await replicas.take("d", unsealed=True) is None
        await let_time_pass(databases[0], LEASE_MS)
        assert await replicas.take("d", unsealed=True) == Hold("d", 2)
        assert not await replicas.renew(hold, unsealed=True)
        await replicas.release(hold)
        assert await replicas.take("e", unsealed=True) is None


@pytest.mark.postgres
async def test_a_lease_that_was_cleared_is_free_at_once(url: str) -> None:
    async with opened(url) as database:
        replicas = SqlReplicas(database)
        hold = await replicas.take("a", unsealed=True)
        assert hold is not None
        await replicas.release(hold)
        assert not await replicas.renew(hold, unsealed=True)
        assert await replicas.take("b", unsealed=False) == Hold("b", 2)


@pytest.mark.postgres
async def test_a_lease_whose_taking_was_not_heard_of_is_taken_again(url: str) -> None:
    async with opened(url) as database:
        replicas = SqlReplicas(database)
        await replicas.take("a", unsealed=True)
        assert await replicas.take("a", unsealed=True) == Hold("a", 2)


@pytest.mark.postgres
async def test_an_unsealed_process_displaces_a_sealed_one_only(url: str) -> None:
    async with opened(url) as database:
        replicas = SqlReplicas(database)
        sealed = await replicas.take("a", unsealed=False)
        assert sealed is not None
        assert await replicas.take("b", unsealed=False) is None
        assert await replicas.take("c", unsealed=True) == Hold("c", 2)
        assert await replicas.take("a", unsealed=True) is None


@pytest.mark.postgres
async def test_a_holder_that_was_unsealed_is_not_displaced(url: str) -> None:
    async with opened(url) as database:
        replicas = SqlReplicas(database)
        hold = await replicas.take("a", unsealed=False)
        assert hold is not None
        assert await replicas.renew(hold, unsealed=True)
        assert await replicas.take("b", unsealed=True) is None


# --- the fence --------------------------------------------------------------------------------


def count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(READ_BLOCKS)) or 0


async def add(database: Database, number: int) -> None:
    row = {"chain_id": 1, "number": number, "hash": bytes(32)}
    await database.write(lambda connection: connection.execute(insert(READ_BLOCKS).values(**row)))


@pytest.mark.postgres
async def test_only_the_holder_writes(url: str) -> None:
    lost: list[str] = []
    async with opened(url) as first, opened(url) as second:
        first_hold = await SqlReplicas(first).take("a", unsealed=True)
        second_hold = await SqlReplicas(second).take("b", unsealed=True)
        first.fence = HoldFence(lambda: first_hold, lambda: lost.append("a"))
        second.fence = HoldFence(lambda: second_hold, lambda: lost.append("b"))
        await add(first, 1)
        with pytest.raises(FenceLostError) as caught:
            await add(second, 2)
        assert (caught.value.code, caught.value.retriable, lost) == ("STANDBY", True, [])

        await let_time_pass(second, LEASE_MS)
        second_hold = await SqlReplicas(second).take("b", unsealed=True)
        with pytest.raises(FenceLostError):
            await add(first, 3)
        await add(second, 4)
        assert lost == ["a"]
        assert await second.read(count) == 2
        shared = insert(READ_BLOCKS).values(chain_id=1, number=5, hash=bytes(32))
        await first.write_shared(lambda connection: connection.execute(shared))
        assert await second.read(count) == 3


@pytest.mark.postgres
async def test_a_change_of_hands_waits_for_a_write_that_has_begun(url: str) -> None:
    async with opened(url) as first, opened(url) as second:
        hold = await SqlReplicas(first).take("a", unsealed=True)
        first.fence = HoldFence(lambda: hold, lambda: None)
        await let_time_pass(first, LEASE_MS)
        begun, may_end = asyncio.Event(), asyncio.Event()

        def write_slowly(connection: Connection) -> None:
            begun.set()
            await_only(may_end.wait())
            row = {"chain_id": 1, "number": 1, "hash": bytes(32)}
            connection.execute(insert(READ_BLOCKS).values(**row))

        writing = asyncio.ensure_future(first.write(write_slowly))
        await begun.wait()
        taking = asyncio.ensure_future(SqlReplicas(second).take("b", unsealed=True))
        await asyncio.wait([taking], timeout=0.2)
        assert not taking.done()
        may_end.set()
        await writing
        assert await taking == Hold("b", 2)
        assert await second.read(count) == 1


@pytest.mark.postgres
async def test_a_holder_that_stands_still_in_a_write_keeps_nobody_longer(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_access, "IDLE_TIMEOUT_S", 0.2)
    async with opened(url) as first, opened(url) as second:
        hold = await SqlReplicas(first).take("a", unsealed=True)
        first.fence = HoldFence(lambda: hold, lambda: None)
        await let_time_pass(first, LEASE_MS)
        begun, may_go_on = asyncio.Event(), asyncio.Event()

        def stand_still(connection: Connection) -> None:
            begun.set()
            await_only(may_go_on.wait())
            row = {"chain_id": 1, "number": 1, "hash": bytes(32)}
            connection.execute(insert(READ_BLOCKS).values(**row))

        writing = asyncio.ensure_future(first.write(stand_still))
        await begun.wait()
        assert await SqlReplicas(second).take("b", unsealed=True) == Hold("b", 2)
        may_go_on.set()
        with pytest.raises(StorageError):
            await writing
        with pytest.raises(FenceLostError):
            await add(first, 2)
        assert await second.read(count) == 0


# --- conflicts --------------------------------------------------------------------------------


@pytest.mark.postgres
async def test_writers_that_meet_on_a_row_all_get_through(url: str) -> None:
    """As rotation, service keys and the acting node's own work may, from several processes."""
    more = update(READ_BLOCKS).values(number=READ_BLOCKS.c.number + 1)

    def count_up(connection: Connection) -> None:
        connection.scalar(select(READ_BLOCKS.c.number))
        connection.execute(more)

    async with opened(url) as first, opened(url) as second:
        await add(first, 0)
        await asyncio.gather(
            *(database.write_shared(count_up) for database in (first, second) for _ in range(3)),
            *(database.write(count_up) for database in (first, second) for _ in range(3)),
        )
        number = select(READ_BLOCKS.c.number)
        assert await first.read(lambda connection: connection.scalar(number)) == 12


@pytest.mark.postgres
async def test_what_any_process_may_write_is_written_one_after_the_other(url: str) -> None:
    """So that what one has found missing is missing still when it writes."""

    def add_unless_there_is_one(connection: Connection, number: int) -> None:
        if count(connection) == 0:
            row = {"chain_id": 1, "number": number, "hash": bytes(32)}
            connection.execute(insert(READ_BLOCKS).values(**row))

    async with opened(url) as first, opened(url) as second:
        await asyncio.gather(
            *(
                database.write_shared(partial(add_unless_there_is_one, number=number))
                for number, database in enumerate((first, second) * 10)
            )
        )
        assert await first.read(count) == 1


@pytest.mark.postgres
async def test_a_conflict_that_does_not_end_is_told(url: str) -> None:
    async with opened(url) as database:
        await add(database, 0)
        tries = 0

        def meet_somebody(connection: Connection) -> None:
            nonlocal tries
            tries += 1
            connection.scalar(select(READ_BLOCKS.c.number))
            await_only(
                database.write(
                    lambda other: other.execute(update(READ_BLOCKS).values(hash=bytes([tries])))
                )
            )
            connection.execute(update(READ_BLOCKS).values(hash=b""))

        with pytest.raises(StorageError, match="could not serialize"):
            await database.write_shared(meet_somebody)
        assert tries == postgres_access.TRIES


@pytest.mark.postgres
async def test_processes_that_start_at_once_make_the_tables_once(postgres: PostgresServer) -> None:
    url = await postgres.new_database()
    databases = await asyncio.gather(*(Database.open(url) for _ in range(3)))
    for database in databases:
        assert await database.read(count) == 0
        await database.close()


@pytest.mark.postgres
async def test_tables_are_not_changed_under_a_program_that_knows_no_replicas(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_access, "SCHEMA_TIMEOUT_S", 0.1)
    url = await postgres.new_database()
    held = text(f"SELECT pg_advisory_lock({postgres_access._SCHEMA_LOCK})")
    earlier = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    async with earlier.connect() as connection:
        await connection.execute(held)
        with pytest.raises(StorageError, match="in use by a process of an earlier version"):
            await Database.open(url)
    await earlier.dispose()
    async with opened(url):
        pass


# --- whole processes --------------------------------------------------------------------------


class LookingClock(ManualClock):
    """Tells when a process has looked round and waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()

    def call_later(self, seconds: float, callback: TimerCallback) -> ManualTimer:
        if seconds == LOOK_EVERY_S:
            self.waits.set()
        return super().call_later(seconds, callback)


class Process:
    """A replica whose clock stands still until the test moves it."""

    def __init__(self, database: Database, seed: int, state: SealState) -> None:
        self.database = database
        self.clock = LookingClock()
        self.state = state
        self.ended = asyncio.Event()
        """What it did while it acted ends at once; clear this, and it goes on."""
        self.ended.set()
        self.replica = Replica(
            database,
            replica_id=f"replica-{seed}",
            clock=self.clock,
            operator_url=f"http://127.0.0.1:{seed}",
            software="0.1.0",
            seal=self.status,
        )
        self._running: asyncio.Future[None] | None = None

    async def look(self, after: float = LOOK_EVERY_S) -> bool:
        """Let it look round once, for the first time at its start; whether it acts then."""
        if self._running is None:
            self._running = asyncio.ensure_future(self._live())
        else:
            self.clock.waits.clear()
            self.clock.advance(after)
        await asyncio.wait_for(self.clock.waits.wait(), 10)
        return self.replica.is_active

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._act_and_stand_by())
            await asyncio.sleep(0)
            tasks.create_task(self.replica.run())

    async def _act_and_stand_by(self) -> None:
        while True:
            await self.replica.until(True)
            await self.replica.until(False)
            await self.ended.wait()

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def status(self) -> SealStatus:
        return SealStatus(
            state=self.state,
            seal_id=bytes(16),
            node_id=None,
            epoch=1,
            identifier=7,
            progress=0,
            required=2,
            shares=3,
            reason=None,
            opens_itself=False,
            term=1,
        )


@asynccontextmanager
async def processes(url: str, *states: SealState) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as stack:
        started = []
        for seed, state in enumerate(states):
            process = Process(await stack.enter_async_context(opened(url)), seed, state)
            stack.push_async_callback(process.stop)
            started.append(process)
        yield started


UNSEALED, SEALED = SealState.UNSEALED, SealState.SEALED


async def acting(started: list[Process]) -> list[bool]:
    return [await each.look() for each in started]


async def facts(process: Process) -> dict[str, tuple[bool, str, int]]:
    """By the end of the operator's URL: whether it acts, its state, the required shares."""
    return {
        each.operator_url[-1]: (each.active, each.state.value, each.required)
        for each in await process.replica.all()
    }


async def test_the_only_process_acts_at_once_and_always(sql_site: SqlSite) -> None:
    process = Process(sql_site.database, 0, SEALED)
    taking = asyncio.ensure_future(process.replica.looked())
    assert await process.look()
    await asyncio.wait_for(taking, 10)
    await process.replica.until(True)
    assert await facts(process) == {"0": (True, "sealed", 2)}
    await add(sql_site.database, 1)
    await process.stop()
    await process.replica.release()
    assert (process.replica.is_active, await facts(process)) == (False, {})


async def test_a_file_is_acted_on_however_long_its_process_was_busy(tmp_path: Path) -> None:
    async with processes(f"sqlite:///{tmp_path / 'store.sqlite'}", UNSEALED) as (process,):
        assert await process.look()
        process.clock.advance(3600)
        assert process.replica.is_active


@pytest.mark.postgres
async def test_one_of_three_acts_and_all_are_seen_from_each(url: str) -> None:
    async with processes(url, SEALED, UNSEALED, UNSEALED) as started:
        assert await started[1].look()
        for _ in range(3):
            assert await acting(started) == [False, True, False]
        wanted = {
            "0": (False, "sealed", 2),
            "1": (True, "unsealed", 2),
            "2": (False, "unsealed", 2),
        }
        assert [await facts(each) for each in started] == [wanted] * 3


@pytest.mark.postgres
async def test_while_all_are_sealed_one_acts_until_one_is_unsealed(url: str) -> None:
    async with processes(url, SEALED, SEALED) as (first, second):
        assert (await first.look(), await second.look()) == (True, False)
        second.state = UNSEALED
        assert await second.look()
        with pytest.raises(FenceLostError):
            await add(first.database, 1)
        await asyncio.wait_for(first.replica.until(False), 10)
        first.state = UNSEALED
        assert (await first.look(), await second.look()) == (False, True)


@pytest.mark.postgres
async def test_an_acting_process_that_was_unsealed_says_so_before_it_is_displaced(url: str) -> None:
    async with processes(url, SEALED, SEALED) as (first, second):
        assert await first.look()
        await second.look()
        first.state = second.state = UNSEALED
        assert (await first.look(), await second.look()) == (True, False)


@pytest.mark.postgres
async def test_another_acts_when_one_stops(url: str) -> None:
    async with processes(url, UNSEALED, UNSEALED) as (first, second):
        assert (await first.look(), await second.look()) == (True, False)
        await first.replica.release()
        assert (await first.look(), await second.look()) == (False, True)
        assert await facts(second) == {"1": (True, "unsealed", 2)}


@pytest.mark.postgres
async def test_another_acts_when_one_has_died(url: str) -> None:
    async with processes(url, UNSEALED, UNSEALED) as (first, second):
        assert (await first.look(), await second.look()) == (True, False)
        await first.stop()
        await let_time_pass(second.database, LEASE_MS - 5000)
        assert not await second.look()
        await let_time_pass(second.database, 5000)
        assert await second.look()


@pytest.mark.postgres
async def test_one_that_was_paused_writes_nothing(url: str) -> None:
    """Its own clock has stood still, so that it does not know how long it was away."""
    async with processes(url, UNSEALED, UNSEALED) as (first, second):
        assert (await first.look(), await second.look()) == (True, False)
        await let_time_pass(second.database, LEASE_MS)
        assert await second.look()
        assert first.replica.is_active
        loss = asyncio.ensure_future(first.replica.until(False))
        keys = SqlRecordStore(first.database, boxes())
        with pytest.raises(FenceLostError):
            await keys.commit([PutPrepared(record(), share(1), digest("t"))])
        await asyncio.wait_for(loss, 10)
        with pytest.raises(FenceLostError):
            await add(first.database, 1)
        nothing = select(func.count()).select_from(OPEN_RECORDS)
        assert await second.database.read(lambda connection: connection.scalar(nothing)) == 0
        assert await second.database.read(count) == 0
        assert (await first.look(), await second.look()) == (False, True)


@pytest.mark.postgres
async def test_one_that_cannot_renew_stops_before_another_may_act(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with processes(url, UNSEALED) as (process,):
        assert await process.look()

        async def fail(*_: object, **__: object) -> bool:
            raise StorageError("the server is gone")

        with monkeypatch.context() as patch:
            patch.setattr(SqlReplicas, "renew", fail)
            for second in range(1, round(ACT_FOR_S)):
                assert await process.look(), f"after {second} s"
            process.ended.clear()
            loss = asyncio.ensure_future(process.replica.until(False))
            assert not await process.look()
            await asyncio.wait_for(loss, 10)
            with pytest.raises(FenceLostError):
                await add(process.database, 1)
        assert not await process.look()  # nothing may be left of the time before
        process.ended.set()
        assert await process.look()  # nobody else has taken the lease
        await add(process.database, 1)
    assert ACT_FOR_S * 1000 < LEASE_MS


@pytest.mark.postgres
async def test_a_renewal_that_was_too_late_counts_for_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with processes(url, UNSEALED) as (process,):
        assert await process.look()
        renew = SqlReplicas.renew

        async def renew_slowly(table: SqlReplicas, hold: Hold, *, unsealed: bool) -> bool:
            process.clock.advance(ACT_FOR_S)
            return await renew(table, hold, unsealed=unsealed)

        monkeypatch.setattr(SqlReplicas, "renew", renew_slowly)
        assert not await process.look(RENEW_EVERY_S)
        assert await process.look()


@pytest.mark.postgres
async def test_the_database_may_be_gone_for_a_while(postgres: PostgresServer, url: str) -> None:
    async with processes(url, UNSEALED, UNSEALED) as (first, second):
        assert (await first.look(), await second.look()) == (True, False)
        end_all = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        async with opened(url, read_only=True) as other:
            await other.read(lambda connection: connection.execute(end_all).all())
        assert await first.look(RENEW_EVERY_S)
        assert not await second.look()
        assert await first.look()
        await add(first.database, 1)
