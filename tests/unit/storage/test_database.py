import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from sqlalchemy import Connection, event, insert, select, text

from keyserver.errors import ConfigError, StorageError
from keyserver.storage import sqlite
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


def count(connection: Connection) -> int:
    return len(connection.execute(select(READ_BLOCKS)).all())


async def rows(database: Database) -> int:
    return await database.read(count)


async def add(database: Database, row: Mapping[str, object] = ROW) -> None:
    await database.write(lambda connection: connection.execute(insert(READ_BLOCKS).values(**row)))


def during_a_read(
    loop: asyncio.AbstractEventLoop, connection: Connection, work: Coroutine[Any, Any, None]
) -> tuple[int, int]:
    """How many rows a transaction sees before and after something else was done."""
    before = count(connection)
    asyncio.run_coroutine_threadsafe(work, loop).result(timeout=10)
    return before, count(connection)


async def test_every_connection_is_set_up(database: Database, path: Path) -> None:
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }
    both_there = threading.Barrier(2, timeout=10)

    def settings(connection: Connection) -> dict[str, object]:
        both_there.wait()
        return {name: connection.scalar(text(f"PRAGMA {name}")) for name in wanted}

    for found in await asyncio.gather(database.read(settings), database.read(settings)):
        assert found == wanted
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_write_is_undone_by_an_exception(database: Database) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(insert(READ_BLOCKS).values(**ROW))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.write(fail)
    assert await rows(database) == 0
    await add(database)
    assert await rows(database) == 1


async def test_a_read_sees_one_state(database: Database) -> None:
    loop = asyncio.get_running_loop()
    seen = await database.read(lambda connection: during_a_read(loop, connection, add(database)))
    assert seen == (0, 0)
    assert await rows(database) == 1


async def test_writers_follow_one_another(database: Database) -> None:
    def add_next(connection: Connection) -> None:
        row = {**ROW, "number": count(connection)}
        connection.execute(insert(READ_BLOCKS).values(**row))

    await asyncio.gather(*(database.write(add_next) for _ in range(20)))
    assert await rows(database) == 20


async def test_a_write_that_nobody_waits_for_is_finished(database: Database) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def add_slowly(connection: Connection) -> None:
        connection.execute(insert(READ_BLOCKS).values(**ROW))
        begun.set()
        assert may_end.wait(10)

    writing = asyncio.ensure_future(database.write(add_slowly))
    await asyncio.to_thread(begun.wait, 10)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    may_end.set()
    await add(database, {**ROW, "number": 6})
    assert await rows(database) == 2


async def test_a_violated_rule_is_a_storage_error_without_values(database: Database) -> None:
    def add_twice(connection: Connection) -> None:
        for _ in range(2):
            connection.execute(insert(READ_BLOCKS).values({**ROW, "hash": b"Z" * 32}))

    with pytest.raises(StorageError, match="UNIQUE constraint failed") as caught:
        await database.write(add_twice)
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


async def test_an_option_that_the_driver_does_not_take_is_told() -> None:
    with pytest.raises(ConfigError, match=r"database_url: an option in .*sslmod=.* is wrong: "):
        await Database.open("postgresql://127.0.0.1/name?sslmod=require")


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
    await add(database)
    async with opened(url, read_only=True) as reader:
        assert await rows(reader) == 1
        with pytest.raises(StorageError, match="opened read-only"):
            await add(reader, {**ROW, "number": 6})
    assert await rows(database) == 1


async def test_a_reader_makes_no_file(url: str, path: Path) -> None:
    with pytest.raises(StorageError, match="there is no file"):
        await Database.open(url, read_only=True)
    assert not path.exists()


async def test_a_reader_does_not_migrate(url: str, path: Path) -> None:
    sqlite3.connect(path).close()
    path.touch()
    with pytest.raises(StorageError, match="schema none, not 0008; start the node once"):
        await Database.open(url, read_only=True)


# --- the write-ahead log ---------------------------------------------------------------------


async def test_the_log_is_emptied_after_erasures(database: Database, path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    await add(database)
    assert log.stat().st_size > 0
    await database.forget_erased()
    assert log.stat().st_size == 0
    assert not database.truncation_due


async def test_a_log_in_use_is_emptied_later(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = (*sqlite._PRAGMAS, "PRAGMA busy_timeout = 0")
    monkeypatch.setattr(sqlite, "_PRAGMAS", impatient)
    database = await Database.open(url)
    loop = asyncio.get_running_loop()

    async def write_and_forget() -> None:
        await add(database)
        await database.forget_erased()

    await database.read(lambda connection: during_a_read(loop, connection, write_and_forget()))
    due_with_a_reader = database.truncation_due
    await database.forget_erased()
    assert (due_with_a_reader, database.truncation_due) == (True, False)
    assert path.with_name(path.name + "-wal").stat().st_size == 0
    await database.close()


async def test_a_failing_truncation_is_logged_and_due_again(database: Database) -> None:
    @event.listens_for(database._access.engine, "before_cursor_execute")
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
