"""Records by the page, where some of them cannot be used."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from sqlalchemy import Connection, update

from keyserver.sessions.writes import PutActive
from keyserver.storage.database import Database, opened
from keyserver.storage.records import SqlRecordStore
from keyserver.storage.schema import KEY_RECORDS
from tests.support.stored_values import boxes, certified, key_id, record


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(f"sqlite:///{tmp_path / 'node.sqlite'}") as database:
        yield database


async def test_a_record_that_does_not_parse_is_left_out(database: Database) -> None:
    store = SqlRecordStore(database, boxes())
    for number in (1, 2, 3):
        await store.commit([PutActive(certified(record(number)))])

    def damage(connection: Connection) -> None:
        wanted = KEY_RECORDS.c.key_id == bytes(key_id(2))
        connection.execute(update(KEY_RECORDS).where(wanted).values(certified=b"damaged"))

    await database.write(damage)
    assert await store.records(None, 10) == [certified(record(1)), certified(record(3))]
