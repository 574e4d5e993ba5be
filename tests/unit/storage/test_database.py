import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from sqlalchemy import event, insert, select, text

from keyserver.errors import StorageError
from keyserver.storage import database as database_module
from keyserver.storage.database import Database, opened
from keyserver.storage.schema import READ_BLOCKS

HOLD_LOCK = """
import sys
from pathlib import Path
from keyserver.storage.process_lock import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest_asyncio.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with opened(url) as database:
        yield database


ROW = {"chain_id": 1, "number": 5, "hash": bytes(32)}


async def rows(database: Database) -> int:
    async with database.read() as connection:
        return len((await connection.execute(select(READ_BLOCKS))).all())


async def test_every_connection_is_set_up(database: Database, path: Path) -> None:
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }
    async with database.read() as one, database.read() as two:
        for connection in (one, two):
            for pragma, value in wanted.items():
                assert await connection.scalar(text(f"PRAGMA {pragma}")) == value
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_write_is_undone_by_an_exception(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as connection:
            await connection.execute(insert(READ_BLOCKS).values(**ROW))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await rows(database) == 0
    async with database.write() as connection:
        await connection.execute(insert(READ_BLOCKS).values(**ROW))
    assert await rows(database) == 1


async def test_a_read_sees_one_state(database: Database) -> None:
    async with database.read() as connection:
        before = (await connection.execute(select(READ_BLOCKS))).all()
        async with database.write() as writing:
            await writing.execute(insert(READ_BLOCKS).values(**ROW))
        assert (await connection.execute(select(READ_BLOCKS))).all() == before
    assert await rows(database) == 1


async def test_writers_follow_one_another(database: Database) -> None:
    async def add(number: int) -> None:
        async with database.write() as connection:
            known = (await connection.execute(select(READ_BLOCKS))).all()
            row = {**ROW, "number": len(known)}
            await connection.execute(insert(READ_BLOCKS).values(**row))

    await asyncio.gather(*(add(number) for number in range(20)))
    assert await rows(database) == 20


async def test_a_violated_rule_is_a_storage_error_without_values(database: Database) -> None:
    async def add_twice() -> None:
        async with database.write() as connection:
            for _ in range(2):
                await connection.execute(insert(READ_BLOCKS).values({**ROW, "hash": b"Z" * 32}))

    with pytest.raises(StorageError, match="UNIQUE constraint failed") as caught:
        await add_twice()
    assert "ZZZZ" not in str(caught.value)
    assert await rows(database) == 0


# --- what cannot be opened -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("no url", "not a URL"),
        ("mysql://host/name", "mysql:// is not known"),
        ("sqlite+aiosqlite:///x", "sqlite\\+aiosqlite:// is not known"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////nowhere/at/all.sqlite", "there is no folder /nowhere/at"),
    ],
)
async def test_an_unusable_url_says_what_to_write(url: str, said: str) -> None:
    with pytest.raises(StorageError, match=f"database_url: .*{said}"):
        await Database.open(url)


async def test_a_file_that_is_no_database_is_refused(url: str, path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(StorageError, match="file is not a database"):
        await Database.open(url)


async def test_a_folder_is_no_database(url: str, path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        await Database.open(url)


async def test_a_newer_schema_is_refused(url: str, path: Path) -> None:
    async with opened(url):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StorageError, match="schema 9999, written by a newer program"):
        await Database.open(url)


async def test_a_database_in_use_names_its_process(url: str, path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(StorageError, match=f"in use by another process.*{holder.pid}"):
            await Database.open(url)
    finally:
        holder.kill()
        holder.communicate()
    async with opened(url):  # the lock dies with its process
        pass


async def test_a_failed_start_lets_go_of_the_lock(url: str, path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(StorageError):
        await Database.open(url)
    path.unlink()
    async with opened(url):
        pass


# --- looking at a running node's database ----------------------------------------------------


async def test_a_reader_needs_no_lock_and_changes_nothing(database: Database, url: str) -> None:
    async with database.write() as connection:
        await connection.execute(insert(READ_BLOCKS).values(**ROW))
    async with opened(url, read_only=True) as reader:
        assert await rows(reader) == 1
        with pytest.raises(StorageError, match="opened read-only"):
            async with reader.write() as connection:
                await connection.execute(insert(READ_BLOCKS).values({**ROW, "number": 6}))
    assert await rows(database) == 1


async def test_a_reader_makes_no_file(url: str, path: Path) -> None:
    with pytest.raises(StorageError, match="there is no file"):
        await Database.open(url, read_only=True)
    assert not path.exists()


async def test_a_reader_does_not_migrate(url: str, path: Path) -> None:
    sqlite3.connect(path).close()
    path.touch()
    with pytest.raises(StorageError, match="schema none, not 0001; start the node once"):
        await Database.open(url, read_only=True)


# --- the write-ahead log ---------------------------------------------------------------------


async def test_the_log_is_emptied_after_erasures(database: Database, path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    async with database.write() as connection:
        await connection.execute(insert(READ_BLOCKS).values(**ROW))
    assert log.stat().st_size > 0
    await database.forget_erased()
    assert log.stat().st_size == 0
    assert not database.truncation_due


async def test_a_log_in_use_is_emptied_later(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = (*database_module._SQLITE_PRAGMAS, "PRAGMA busy_timeout = 0")
    monkeypatch.setattr(database_module, "_SQLITE_PRAGMAS", impatient)
    database = await Database.open(url)
    async with database.read() as reading:
        await reading.execute(select(READ_BLOCKS))
        async with database.write() as connection:
            await connection.execute(insert(READ_BLOCKS).values(**ROW))
        await database.forget_erased()
        due_with_a_reader = database.truncation_due
    await database.forget_erased()
    assert (due_with_a_reader, database.truncation_due) == (True, False)
    assert path.with_name(path.name + "-wal").stat().st_size == 0
    await database.close()


async def test_a_failing_truncation_is_logged_and_due_again(database: Database) -> None:
    @event.listens_for(database._engine.sync_engine, "before_cursor_execute")
    def fail(_: object, __: object, statement: str, *___: object) -> None:
        if "wal_checkpoint" in statement:
            raise sqlite3.OperationalError("disk I/O error")

    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logs:
        await database.forget_erased()
    assert database.truncation_due
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("wal_truncation_failed", "error")
    ]
