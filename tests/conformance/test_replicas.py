"""Which process of a node acts: the lease and the fence, in a file and on a server."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import await_only

from keyserver.errors import StorageError
from keyserver.sealing.ports import SealState
from keyserver.storage import postgres as postgres_access
from keyserver.storage.access import FenceLostError
from keyserver.storage.database import Database, opened
from keyserver.storage.replicas import (
    LEASE_MS,
    LIVE_MS,
    Hold,
    HoldFence,
    Report,
    SqlReplicas,
    require_stopped,
)
from keyserver.storage.schema import READ_BLOCKS, REPLICAS
from tests.conformance.shared_database import add, count, let_time_pass
from tests.support.postgres import PostgresServer
from tests.support.stores import SqlSite

REPORT = Report("one", "http://127.0.0.1:8090", SealState.UNSEALING, 1, 2, 3, 4, "0.1.0")


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
async def test_the_list_tells_the_living_from_the_dead(postgres_url: str) -> None:
    async with opened(postgres_url) as database:
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
async def test_tools_wait_until_all_have_stopped(postgres_url: str) -> None:
    async with opened(postgres_url) as database:
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
async def test_a_lease_is_taken_by_one(postgres_url: str) -> None:
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(opened(postgres_url)) for _ in range(3)]
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
async def test_a_lease_that_was_cleared_is_free_at_once(postgres_url: str) -> None:
    async with opened(postgres_url) as database:
        replicas = SqlReplicas(database)
        hold = await replicas.take("a", unsealed=True)
        assert hold is not None
        await replicas.release(hold)
        assert not await replicas.renew(hold, unsealed=True)
        assert await replicas.take("b", unsealed=False) == Hold("b", 2)


@pytest.mark.postgres
async def test_a_lease_whose_taking_was_not_heard_of_is_taken_again(postgres_url: str) -> None:
    async with opened(postgres_url) as database:
        replicas = SqlReplicas(database)
        await replicas.take("a", unsealed=True)
        assert await replicas.take("a", unsealed=True) == Hold("a", 2)


@pytest.mark.postgres
async def test_an_unsealed_process_displaces_a_sealed_one_only(postgres_url: str) -> None:
    async with opened(postgres_url) as database:
        replicas = SqlReplicas(database)
        sealed = await replicas.take("a", unsealed=False)
        assert sealed is not None
        assert await replicas.take("b", unsealed=False) is None
        assert await replicas.take("c", unsealed=True) == Hold("c", 2)
        assert await replicas.take("a", unsealed=True) is None


@pytest.mark.postgres
async def test_a_holder_that_was_unsealed_is_not_displaced(postgres_url: str) -> None:
    async with opened(postgres_url) as database:
        replicas = SqlReplicas(database)
        hold = await replicas.take("a", unsealed=False)
        assert hold is not None
        assert await replicas.renew(hold, unsealed=True)
        assert await replicas.take("b", unsealed=True) is None


# --- the fence --------------------------------------------------------------------------------


@pytest.mark.postgres
async def test_only_the_holder_writes(postgres_url: str) -> None:
    lost: list[str] = []
    async with opened(postgres_url) as first, opened(postgres_url) as second:
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
async def test_a_change_of_hands_waits_for_a_write_that_has_begun(postgres_url: str) -> None:
    async with opened(postgres_url) as first, opened(postgres_url) as second:
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
@pytest.mark.parametrize("has_written", [False, True])
async def test_a_holder_that_stands_still_in_a_write_keeps_nobody_longer(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, has_written: bool
) -> None:
    monkeypatch.setattr(postgres_access, "IDLE_TIMEOUT_S", 0.2)
    async with opened(postgres_url) as first, opened(postgres_url) as second:
        hold = await SqlReplicas(first).take("a", unsealed=True)
        first.fence = HoldFence(lambda: hold, lambda: None)
        await let_time_pass(first, LEASE_MS)
        begun, may_go_on = asyncio.Event(), asyncio.Event()

        def stand_still(connection: Connection) -> None:
            row = {"chain_id": 1, "number": 1, "hash": bytes(32)}
            if has_written:
                connection.execute(insert(READ_BLOCKS).values(**row))
            begun.set()
            await_only(may_go_on.wait())
            if not has_written:
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


@pytest.mark.postgres
async def test_a_process_that_was_stopped_in_a_write_loses_this_write_only(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not read yet that its connection was ended when it goes on."""
    monkeypatch.setattr(postgres_access, "IDLE_TIMEOUT_S", 0.1)
    async with opened(postgres_url) as database:

        def be_stopped(connection: Connection) -> None:
            connection.execute(delete(READ_BLOCKS))
            time.sleep(0.3)  # the whole process

        with pytest.raises(StorageError):
            await database.write(be_stopped)
        await add(database, 1)
        with pytest.raises(StorageError):
            await database.write_shared(be_stopped)
        await database.write_shared(lambda connection: connection.execute(delete(READ_BLOCKS)))
        assert await database.read(count) == 0


# --- conflicts --------------------------------------------------------------------------------


@pytest.mark.postgres
async def test_writers_that_meet_on_a_row_all_get_through(postgres_url: str) -> None:
    """As rotation, service keys and the acting node's own work may, from several processes."""
    more = update(READ_BLOCKS).values(number=READ_BLOCKS.c.number + 1)

    def count_up(connection: Connection) -> None:
        connection.scalar(select(READ_BLOCKS.c.number))
        connection.execute(more)

    async with opened(postgres_url) as first, opened(postgres_url) as second:
        await add(first, 0)
        await asyncio.gather(
            *(database.write_shared(count_up) for database in (first, second) for _ in range(3)),
            *(database.write(count_up) for database in (first, second) for _ in range(3)),
        )
        number = select(READ_BLOCKS.c.number)
        assert await first.read(lambda connection: connection.scalar(number)) == 12


@pytest.mark.postgres
async def test_what_any_process_may_write_is_written_one_after_the_other(postgres_url: str) -> None:
    """So that what one has found missing is missing still when it writes."""

    def add_unless_there_is_one(connection: Connection, number: int) -> None:
        if count(connection) == 0:
            row = {"chain_id": 1, "number": number, "hash": bytes(32)}
            connection.execute(insert(READ_BLOCKS).values(**row))

    async with opened(postgres_url) as first, opened(postgres_url) as second:
        await asyncio.gather(
            *(
                database.write_shared(partial(add_unless_there_is_one, number=number))
                for number, database in enumerate((first, second) * 10)
            )
        )
        assert await first.read(count) == 1


@pytest.mark.postgres
async def test_a_conflict_that_does_not_end_is_told(postgres_url: str) -> None:
    async with opened(postgres_url) as database:
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
