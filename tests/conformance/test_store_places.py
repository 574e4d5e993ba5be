"""Where a store can be opened, and what is said where it cannot."""

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select, text, update
from sqlalchemy.util import await_only

from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import StorageError
from keyserver.model.identifiers import ZERO_HASH
from keyserver.sealing.errors import AlreadyInitialisedError
from keyserver.sealing.key_sources import KeyText
from keyserver.sealing.keyring import Keyring
from keyserver.sealing.opening import open_or_create
from keyserver.sealing.ports import StoredSeal
from keyserver.sessions.writes import PutActive, PutPrepared
from keyserver.storage.database import Database, opened
from keyserver.storage.inspection import catalogue, public_state
from keyserver.storage.records import SqlRecordStore
from keyserver.storage.schema import METADATA, OPEN_RECORDS, TASKS
from keyserver.storage.sealing import SqlSealStore
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.stored_values import (
    NODES,
    boxes,
    certified,
    digest,
    key_id,
    record,
    request,
    share,
)
from tests.support.stores import SqlSite

SEAL = StoredSeal("{}", 1, 1, 1, b"box")


async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(StorageError) as caught:
        await Database.open("postgresql://user:topsecret@127.0.0.1:1/name")
    assert "topsecret" not in str(caught.value)
    assert "user:***@127.0.0.1:1" in str(caught.value)


@pytest.mark.postgres
async def test_a_database_that_is_not_there_is_named(postgres: PostgresServer) -> None:
    url = (await postgres.new_database()).replace("/store_", "/missing_")
    with pytest.raises(StorageError, match=r'database "missing_.*" does not exist'):
        await Database.open(url)


@pytest.mark.postgres
async def test_options_of_libpq_are_understood(postgres: PostgresServer) -> None:
    url = await postgres.new_database()
    async with opened(f"{url}?sslmode=disable"):
        pass
    with pytest.raises(StorageError, match="SSL"):
        await Database.open(f"{url}?sslmode=require")


@pytest.mark.postgres
async def test_a_connection_that_fails_says_what_to_do(postgres: PostgresServer) -> None:
    url = await postgres.new_database()
    step = "database_url must name a server that runs, and a database and a user that it has"
    elsewhere = url.replace(f":{postgres.port}/", f":{free_port()}/")
    for wrong in (f"{url}_not", url.replace("//ks@", "//nobody@"), elsewhere):
        with pytest.raises(StorageError, match=f"; {step}$"):
            await Database.open(wrong)


@pytest.mark.postgres
async def test_a_server_that_ends_connections_costs_one_write(postgres: PostgresServer) -> None:
    url = await postgres.new_database()
    async with opened(url) as database:
        store = SqlRecordStore(database, boxes())
        await store.commit([PutPrepared(record(), share(1), digest("t"))])
        end_all = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        async with opened(url, read_only=True) as other:
            await other.read(lambda connection: connection.execute(end_all).all())
        with pytest.raises(StorageError):
            await store.commit([PutActive(certified(record()))])
        assert (await store.load(key_id(1))).prepared is not None
        await store.commit([PutActive(certified(record()))])
        assert (await store.load(key_id(1))).share == share(1)


async def test_a_reader_sees_one_state(sql_site: SqlSite) -> None:
    loop = asyncio.get_running_loop()

    def look_before_and_after_a_commit(connection: Connection) -> tuple[int, int]:
        before = open_records(connection)
        writes = [PutPrepared(record(), share(1), digest("t"))]
        run_meanwhile(loop, sql_site.records.commit(writes))
        return before, open_records(connection)

    assert await sql_site.database.read(look_before_and_after_a_commit) == (0, 0)
    assert await sql_site.database.read(open_records) == 1


def open_records(connection: Connection) -> int:
    return len(connection.execute(select(OPEN_RECORDS)).all())


def run_meanwhile(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
    """Have the event loop do something while a transaction is open, in a thread or on the loop."""
    if threading.current_thread() is threading.main_thread():
        await_only(work)
    else:
        asyncio.run_coroutine_threadsafe(work, loop).result(timeout=10)


async def test_one_process_uses_a_file_and_several_a_server(sql_site: SqlSite) -> None:
    if sql_site.database.is_shared:
        async with opened(sql_site.url) as other:
            assert await other.read(open_records) == 0
    else:
        with pytest.raises(StorageError, match="in use by another process"):
            await Database.open(sql_site.url)
    await sql_site.reopen()


async def test_another_may_look_at_it(sql_site: SqlSite) -> None:
    await SqlSealStore(sql_site.database).create(SEAL)
    async with opened(sql_site.url, read_only=True) as reader:
        assert await SqlSealStore(reader).load() == SEAL
        writer = SqlRecordStore(reader, boxes())
        with pytest.raises(StorageError, match="opened read-only"):
            await writer.commit([PutPrepared(record(), share(1), digest("t"))])


async def test_the_steps_lead_to_the_schema(sql_site: SqlSite) -> None:
    def differences(connection: Connection) -> object:
        migrated = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(migrated, METADATA)

    assert await sql_site.database.read(differences) == []


async def test_a_row_that_tells_no_message_is_about_none(sql_site: SqlSite) -> None:
    """As those have become that were there before messages were told apart."""
    await sql_site.work.admit([request()])
    others = [column.name for column in TASKS.columns if column.name not in ("id", "message")]
    copied = select(*(TASKS.c[name] for name in others)).where(TASKS.c.id == 1)
    await sql_site.database.write(
        lambda connection: (
            connection.execute(update(TASKS).values(state="rejected")),
            connection.execute(TASKS.insert().from_select(others, copied)),
        )
    )
    for number in (1, 2):
        task = await sql_site.work.task(number)
        assert task is not None
        assert task.key.message == ZERO_HASH


# --- the seal --------------------------------------------------------------------------------


async def test_a_seal_is_stored_once(sql_site: SqlSite) -> None:
    assert await SqlSealStore(sql_site.database).load() is None
    await SqlSealStore(sql_site.database).create(SEAL)
    await sql_site.reopen()
    store = SqlSealStore(sql_site.database)
    assert await store.load() == SEAL
    with pytest.raises(AlreadyInitialisedError, match="sealed already"):
        await store.create(SEAL)


async def test_sealed_rows_are_never_given_a_new_seal(sql_site: SqlSite) -> None:
    await sql_site.records.commit([PutPrepared(record(), share(1), digest("t"))])
    with pytest.raises(StorageError, match="the seal is missing, but sealed rows are there"):
        await SqlSealStore(sql_site.database).create(SEAL)


@pytest.mark.parametrize("table", ["seal", "seal_keyring"])
async def test_half_a_seal_is_an_error(sql_site: SqlSite, table: str) -> None:
    store = SqlSealStore(sql_site.database)
    await store.create(SEAL)
    delete = text(f"DELETE FROM {table}")
    await sql_site.database.write(lambda connection: connection.execute(delete))
    with pytest.raises(StorageError, match=f"the row of table {table} is missing"):
        await store.load()


async def test_a_node_opens_what_it_sealed(sql_site: SqlSite) -> None:
    keyrings: list[Keyring] = []
    for _ in range(2):
        opening = await open_or_create(
            SqlSealStore(sql_site.database),
            node_id=NODES[0],
            source=KeyText("KEY", "ab" * 32),
            random=SeededRandom(len(keyrings)),
            now_ms=0,
        )
        keyrings.append(opening.keyring)
        await sql_site.reopen()
    assert keyrings[0] == keyrings[1]


async def test_public_facts_need_no_seal(sql_site: SqlSite) -> None:
    await sql_site.records.commit([PutPrepared(record(), share(1), digest("t"))])
    await sql_site.records.commit([PutActive(certified(record()))])
    async with opened(sql_site.url, read_only=True) as reader:
        state = await public_state(reader, key_id(1))
        (entry,) = await catalogue(reader, None, 10)
    assert state == replace(await sql_site.records.load(key_id(1)), share=None)
    assert entry.has_share
