"""Whole processes of one node: which of them acts, and what the others may do meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from keyserver.app.replica import ACT_FOR_S, LOOK_EVERY_S, RENEW_EVERY_S, Replica
from keyserver.engine.ports import TimerCallback
from keyserver.errors import StorageError
from keyserver.sealing.ports import SealState, SealStatus
from keyserver.sessions.writes import PutPrepared
from keyserver.storage.access import FenceLostError
from keyserver.storage.database import Database, opened
from keyserver.storage.records import SqlRecordStore
from keyserver.storage.replicas import (
    LEASE_MS,
    Hold,
    SqlReplicas,
)
from keyserver.storage.schema import OPEN_RECORDS
from tests.conformance.shared_database import add, count, let_time_pass
from tests.support.manual_clock import ManualClock, ManualTimer
from tests.support.postgres import PostgresServer
from tests.support.stored_values import boxes, digest, record, share
from tests.support.stores import SqlSite


class LookingClock(ManualClock):
    """Tells when a process has looked round and waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()

    def call_later(self, seconds: float, callback: TimerCallback) -> ManualTimer:
        if seconds == LOOK_EVERY_S:
            self.waits.set()
        return super().call_later(seconds, callback)

    def stand_still(self, seconds: float) -> None:
        """Let time pass in which no timer runs."""
        self._now += seconds


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
async def test_one_of_three_acts_and_all_are_seen_from_each(postgres_url: str) -> None:
    async with processes(postgres_url, SEALED, UNSEALED, UNSEALED) as started:
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
async def test_while_all_are_sealed_one_acts_until_one_is_unsealed(postgres_url: str) -> None:
    async with processes(postgres_url, SEALED, SEALED) as (first, second):
        assert (await first.look(), await second.look()) == (True, False)
        second.state = UNSEALED
        assert await second.look()
        with pytest.raises(FenceLostError):
            await add(first.database, 1)
        await asyncio.wait_for(first.replica.until(False), 10)
        first.state = UNSEALED
        assert (await first.look(), await second.look()) == (False, True)


@pytest.mark.postgres
async def test_an_acting_process_that_was_unsealed_says_so_before_it_is_displaced(
    postgres_url: str,
) -> None:
    async with processes(postgres_url, SEALED, SEALED) as (first, second):
        assert await first.look()
        await second.look()
        first.state = second.state = UNSEALED
        assert (await first.look(), await second.look()) == (True, False)


@pytest.mark.postgres
async def test_another_acts_when_one_stops(postgres_url: str) -> None:
    async with processes(postgres_url, UNSEALED, UNSEALED) as (first, second):
        assert (await first.look(), await second.look()) == (True, False)
        await first.replica.release()
        assert (await first.look(), await second.look()) == (False, True)
        assert await facts(second) == {"1": (True, "unsealed", 2)}


@pytest.mark.postgres
async def test_another_acts_when_one_has_died(postgres_url: str) -> None:
    async with processes(postgres_url, UNSEALED, UNSEALED) as (first, second):
        assert (await first.look(), await second.look()) == (True, False)
        await first.stop()
        await let_time_pass(second.database, LEASE_MS - 5000)
        assert not await second.look()
        await let_time_pass(second.database, 5000)
        assert await second.look()


@pytest.mark.postgres
async def test_one_that_was_paused_writes_nothing(postgres_url: str) -> None:
    """Its own clock has stood still, so that it does not know how long it was away."""
    async with processes(postgres_url, UNSEALED, UNSEALED) as (first, second):
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
async def test_one_that_was_too_busy_to_notice_acts_no_more(postgres_url: str) -> None:
    """Its time runs out by its own clock, even if no timer has run."""
    async with processes(postgres_url, UNSEALED) as (process,):
        assert await process.look()
        process.clock.stand_still(ACT_FOR_S - 0.1)
        before = process.replica.is_active
        await add(process.database, 1)
        process.clock.stand_still(0.1)
        assert (before, process.replica.is_active) == (True, False)
        with pytest.raises(FenceLostError):
            await add(process.database, 2)


@pytest.mark.postgres
async def test_one_that_cannot_renew_stops_before_another_may_act(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with processes(postgres_url, UNSEALED) as (process,):
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
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with processes(postgres_url, UNSEALED) as (process,):
        assert await process.look()
        renew = SqlReplicas.renew

        async def renew_slowly(table: SqlReplicas, hold: Hold, *, unsealed: bool) -> bool:
            process.clock.advance(ACT_FOR_S)
            return await renew(table, hold, unsealed=unsealed)

        monkeypatch.setattr(SqlReplicas, "renew", renew_slowly)
        assert not await process.look(RENEW_EVERY_S)
        assert await process.look()


@pytest.mark.postgres
async def test_the_database_may_be_gone_for_a_while(
    postgres: PostgresServer, postgres_url: str
) -> None:
    async with processes(postgres_url, UNSEALED, UNSEALED) as (first, second):
        assert (await first.look(), await second.look()) == (True, False)
        end_all = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        async with opened(postgres_url, read_only=True) as other:
            await other.read(lambda connection: connection.execute(end_all).all())
        assert await first.look(RENEW_EVERY_S)
        assert not await second.look()
        assert await first.look()
        await add(first.database, 1)
