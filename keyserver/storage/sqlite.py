"""A database in a file: SQLite with write-ahead log, `synchronous = FULL`, `secure_delete = ON`.

A transaction is one visit to a thread, however many statements it has: waiting for the disk does
not stop the event loop, and going there and back costs more than the statements do.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from keyserver.storage.access import POOL_SIZE, Transaction

_log = structlog.get_logger(__name__)

T = TypeVar("T")

BUSY_TIMEOUT_S: Final = 5

_NO_TRANSACTION: Final = {"keyserver_no_transaction": True}
"""Execution option for the few statements that are taken outside transactions only."""

_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}",
)


class SqliteAccess:
    """A file and the threads that use it: one for all writers, some for readers.

    A lock beside the file keeps other processes away (`process_lock`).
    """

    is_shared = False

    def __init__(self, url: URL, *, read_only: bool) -> None:
        """Nothing is opened before the first transaction."""
        self.engine = _engine(url, read_only=read_only)
        self.truncation_due = False
        self._writer = ThreadPoolExecutor(1, "database-writer")
        self._readers = ThreadPoolExecutor(POOL_SIZE - 1, "database-reader")

    async def migrate(self, work: Transaction[None]) -> None:
        """Run `work`."""
        await self.write(work)

    async def read(self, work: Transaction[T]) -> T:
        """Run `work` in a reader's thread."""

        def transaction() -> T:
            with self.engine.connect() as connection:
                return work(connection)

        return await _in_thread(self._readers, transaction)

    async def write(self, work: Transaction[T]) -> T:
        """Run `work` in the writer's thread; one that runs is finished even if nobody waits."""

        def transaction() -> T:
            with self.engine.begin() as connection:
                return work(connection)

        return await _in_thread(self._writer, transaction)

    async def write_shared(self, work: Transaction[T]) -> T:
        """The same: a file has one writer at a time."""
        return await self.write(work)

    async def forget_erased(self) -> None:
        """Empty the write-ahead log; when a reader is in the way, the next call makes up for it."""
        try:
            self.truncation_due = await _in_thread(self._writer, self._truncate)
        except DBAPIError as problem:
            # what was committed stays committed: no reason for the caller to think otherwise
            self.truncation_due = True
            name = self.engine.url.render_as_string(hide_password=True)
            _log.error("wal_truncation_failed", database=name, error=str(problem))

    def _truncate(self) -> bool:
        with self.engine.connect() as connection:
            connection.execution_options(**_NO_TRANSACTION)
            return bool(connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).one().busy)

    async def close(self) -> None:
        """Wait for both kinds of threads."""
        for threads in (self._writer, self._readers):
            await asyncio.to_thread(threads.shutdown)
        self.engine.dispose()


async def _in_thread(threads: ThreadPoolExecutor, act: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, act)


class _DriverConnection(Protocol):
    def cursor(self) -> Any:  # untyped by the driver
        """Open a cursor."""
        ...


def _engine(url: URL, *, read_only: bool) -> Engine:
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        pool_use_lifo=True,  # a writer that stays on its connection finds its pages in memory
        hide_parameters=True,
        connect_args={"isolation_level": None},  # transactions begin where we say so
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: _DriverConnection, _: object) -> None:
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().keys() & _NO_TRANSACTION.keys():
            connection.exec_driver_sql("BEGIN")

    return engine
