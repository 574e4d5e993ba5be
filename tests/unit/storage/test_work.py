"""Rows of durable work that do not parse: named where asked for, left out of lists."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from sqlalchemy import insert, text

from keyserver.errors import StorageError
from keyserver.model.identifiers import Address
from keyserver.storage.database import Database, opened
from keyserver.storage.schema import READ_BLOCKS
from keyserver.storage.work import SqlWorkStore
from keyserver.tasks.model import ReadBlock, SetEpoch
from keyserver.tasks.outbox import Answer, new_entry
from tests.support.stored_values import CHAIN, digest, request, task_key

ME = Address(bytes(20))


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(f"sqlite:///{tmp_path / 'node.sqlite'}") as database:
        yield database


@pytest_asyncio.fixture
async def work(database: Database) -> SqlWorkStore:
    """Tasks of keys 1 and 2 with an answer each."""
    store = SqlWorkStore(database, CHAIN)
    await store.admit([request(1), request(2)])
    answer = Answer(SetEpoch(ME, 1), "method", b"data")
    await store.commit(new_entries=[new_entry(n, ME, ME, answer) for n in (1, 2)])
    return store


async def change(database: Database, statement: str) -> None:
    changed = await database.write(lambda connection: connection.execute(text(statement)).rowcount)
    assert changed == 1


@pytest.mark.parametrize(
    "damage",
    [
        "requester = x'00'",
        "last_hash = x'00'",
        "first_hash = x'00'",
        "key_id = x'00'",
        "contract = x'00'",
        "kind = 99",
    ],
)
async def test_a_bad_task_does_not_stop_the_others(
    work: SqlWorkStore, database: Database, damage: str
) -> None:
    await change(database, f"UPDATE tasks SET {damage} WHERE id = 1")
    with pytest.raises(StorageError, match="tasks, row 1"):
        await work.task(1)
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logs:
        assert [task.id for task in await work.open_tasks()] == [2]
        assert [task.id for task in await work.due(100, 9)] == [2]
    assert {entry["event"] for entry in logs} == {"row_unreadable"}


async def test_a_task_in_no_known_state_is_left_alone(
    work: SqlWorkStore, database: Database
) -> None:
    await change(database, "UPDATE tasks SET state = 'lost' WHERE id = 1")
    with pytest.raises(StorageError, match="tasks, row 1: 'lost' is not a valid TaskState"):
        await work.latest(task_key(1))
    opened_now = await work.accept_blocks(
        dropped=[],
        requests=[request(1, block=50), request(3, block=50)],
        blocks=[ReadBlock(50, digest("block 50"))],
        keep=9,
    )
    assert opened_now == 1
    assert [task.id for task in await work.open_tasks()] == [2, 3]


@pytest.mark.parametrize(
    "damage",
    [
        "attempts = x'00'",
        "mined = x'00'",
        "sender = x'00'",
        "variant = x''",
        "epoch_contract = x''",
        "contract = x'00'",
    ],
)
async def test_a_bad_answer_does_not_stop_the_others(
    work: SqlWorkStore, database: Database, damage: str
) -> None:
    await change(database, f"UPDATE outbox SET {damage} WHERE id = 1")
    with pytest.raises(StorageError, match="outbox, row 1"):
        await work.entry(1)
    assert await work.entries_of(1) == []
    assert [entry.id for entry in await work.open_entries(ME)] == [2]


async def test_a_bad_block_is_left_out(work: SqlWorkStore, database: Database) -> None:
    good = ReadBlock(8, digest("block 8"))
    await work.accept_blocks(dropped=[], requests=[], blocks=[good], keep=9)
    bad = insert(READ_BLOCKS).values(chain_id=CHAIN, number=9, hash=b"short")
    await database.write(lambda connection: connection.execute(bad))
    assert await work.history() == [good]


async def test_a_second_open_task_of_a_key_is_impossible(
    work: SqlWorkStore, database: Database
) -> None:
    await change(database, "UPDATE tasks SET state = 'settled' WHERE id = 1")
    await work.admit([request(1, block=60)])
    with pytest.raises(StorageError, match="UNIQUE"):
        await change(database, "UPDATE tasks SET state = 'pending' WHERE id = 1")


async def test_a_reorganisation_leaves_other_chains_alone(database: Database) -> None:
    here, there = SqlWorkStore(database, CHAIN), SqlWorkStore(database, CHAIN + 1)
    seen = request(1, block=10)
    await here.admit([seen])
    await there.admit([replace(seen, key=replace(seen.key, chain_id=CHAIN + 1))])
    block = ReadBlock(10, seen.seen.block_hash)
    await there.accept_blocks(dropped=[block], requests=[], blocks=[], keep=9)
    assert len(await here.open_tasks()) == 1
    assert await there.open_tasks() == []
