"""How often the write-ahead log is emptied of what was erased."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Connection, event, insert

from keyserver.storage import database as module
from keyserver.storage.database import FORGET_AT_ONCE, Database
from keyserver.storage.schema import READ_BLOCKS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


@pytest_asyncio.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = await Database.open(f"sqlite:///{path}")
    yield database
    await database.close()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second passes; the machine has just started, by the same measure."""
    monkeypatch.setattr(module, "FORGET_EVERY_S", 1e9)


def emptied(database: Database) -> list[str]:
    """The statements that empty the log, from now on."""
    seen: list[str] = []

    @event.listens_for(database._access.engine, "before_cursor_execute")
    def note(_: object, __: object, statement: str, *___: object) -> None:
        if "wal_checkpoint" in statement:
            seen.append(statement)

    return seen


async def write(database: Database, number: int) -> None:
    def row(connection: Connection) -> None:
        values = {"chain_id": number, "number": 1, "hash": bytes(32)}
        connection.execute(insert(READ_BLOCKS).values(**values))

    await database.write(row)


async def write_and_forget(database: Database, times: int, first: int = 0) -> None:
    for number in range(first, first + times):
        await write(database, number)
        await database.forget_erased_soon()


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


async def test_a_few_erasures_are_forgotten_at_once(database: Database, path: Path) -> None:
    seen = emptied(database)
    for number in range(FORGET_AT_ONCE):
        await write_and_forget(database, 1, number)
        assert len(seen) == number + 1
        assert log_of(path).stat().st_size == 0


@pytest.mark.usefixtures("unhurried")
async def test_many_are_forgotten_together(database: Database) -> None:
    seen = emptied(database)
    await write_and_forget(database, 3 * FORGET_AT_ONCE)
    assert len(seen) == FORGET_AT_ONCE


async def test_the_last_of_many_is_forgotten_soon(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORGET_EVERY_S", 0.01)
    database._forgets_from = asyncio.get_running_loop().time() + 10  # as after a great many
    await write_and_forget(database, 1)
    assert log_of(path).stat().st_size > 0
    last = database._forgetting
    assert last is not None
    await last
    assert log_of(path).stat().st_size == 0
    assert database._forgetting is None


@pytest.mark.usefixtures("unhurried")
async def test_a_database_that_is_closed_forgets_first(path: Path) -> None:
    database = await Database.open(f"sqlite:///{path}")
    seen = emptied(database)
    await write_and_forget(database, FORGET_AT_ONCE + 1)
    assert len(seen) == FORGET_AT_ONCE
    await database.close()
    assert len(seen) == FORGET_AT_ONCE + 1


@pytest.mark.usefixtures("unhurried")
async def test_what_a_process_that_died_had_not_forgotten(
    database: Database, path: Path, tmp_path: Path
) -> None:
    await write_and_forget(database, FORGET_AT_ONCE + 1)
    assert log_of(path).stat().st_size > 0
    left = tmp_path / "left.sqlite"
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{left}{suffix}")
    again = await Database.open(f"sqlite:///{left}")
    assert log_of(left).stat().st_size == 0
    await again.close()
