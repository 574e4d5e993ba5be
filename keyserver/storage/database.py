"""Opens the node's database; every access is one short transaction.

SQLite with write-ahead log, `synchronous = FULL` and `secure_delete = ON`, or PostgreSQL through
asyncpg. One process at a time uses a database (engine design, section 15): a lock says so, and
what is read from it may therefore be cached. Inside the process one writer follows another.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, Self

import structlog
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from keyserver.errors import StorageError
from keyserver.storage.process_lock import ProcessLock
from keyserver.storage.schema import SCHEMA_VERSION

_log = structlog.get_logger(__name__)

BUSY_TIMEOUT_S: Final = 5
CONNECT_TIMEOUT_S: Final = 10
POOL_SIZE: Final = 3

_ADVISORY_LOCK: Final = 0x6B657973657276
"""PostgreSQL's name of the lock that one process per database holds."""

_NO_TRANSACTION: Final = {"keyserver_no_transaction": True}
"""Execution option for the few statements that SQLite takes outside transactions only."""

_SQLITE_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}",
)


class Database:
    """An open database of the present schema."""

    def __init__(self, engine: AsyncEngine, name: str, *, read_only: bool) -> None:
        """Wrap an engine; use `open`."""
        self.name = name
        """The URL without its password, for messages."""
        self.read_only = read_only
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._writing = asyncio.Lock()
        self._process_lock: ProcessLock | None = None
        self._writer: AsyncConnection | None = None
        self._truncation_due = False

    @classmethod
    async def open(cls, url: str, *, read_only: bool = False) -> Self:
        """Open `sqlite:///FILE` or `postgresql://…`, bringing the schema up to date.

        A missing SQLite file is made, readable by the owner only. `read_only` is for looking at
        the database of a running node: it takes no lock and changes nothing. Raises
        `StorageError`: unknown URL, no such place, in use by another process, not a database,
        a schema of a newer program.
        """
        parsed = _parsed(url)
        name = parsed.render_as_string(hide_password=True)
        path = Path(parsed.database or "") if parsed.drivername == "sqlite" else None
        lock = _prepare_file(path, read_only=read_only) if path else None
        database = cls(_engine_of(parsed, read_only=read_only), name, read_only=read_only)
        database._process_lock = lock
        try:
            with _database_errors(name):
                await database._start()
        except BaseException:
            await database.close()
            raise
        return database

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees one state of the database and changes nothing."""
        with _database_errors(self.name):
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, durable when the block has ended; an exception undoes it."""
        if self.read_only:
            raise StorageError(f"database {self.name}: opened read-only")
        async with self._writing:
            with _database_errors(self.name):
                if self._is_sqlite:
                    async with self._engine.begin() as connection:
                        yield connection
                else:
                    connection = await self._lock_holder()
                    async with connection.begin():
                        yield connection

    async def forget_erased(self) -> None:
        """After secrets were erased: let nothing of them stay in the write-ahead log.

        When a reader is in the way this is made up for at the next call. PostgreSQL has no such
        step; there the boxes of erased rows stay until vacuum and log rotation.
        """
        if not self._is_sqlite:
            return
        async with self._writing:
            try:
                async with self._engine.connect() as connection:
                    await connection.execution_options(**_NO_TRANSACTION)
                    result = await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
                    self._truncation_due = bool(result.one().busy)
            except DBAPIError as problem:
                # what was committed stays committed: no reason for the caller to think otherwise
                self._truncation_due = True
                _log.error("wal_truncation_failed", database=self.name, error=str(problem))

    @property
    def truncation_due(self) -> bool:
        """Whether the last `forget_erased` found a reader in its way."""
        return self._truncation_due

    async def close(self) -> None:
        """Wait for the transaction under way, then release everything."""
        async with self._writing:
            if self._writer is not None:
                await self._writer.close()
            await self._engine.dispose()
            if self._process_lock is not None:
                self._process_lock.release()
                self._process_lock = None

    async def _start(self) -> None:
        if not self._is_sqlite and not self.read_only:
            await self._lock_holder()
        found = await self._schema_version()
        if found == SCHEMA_VERSION:
            return
        if found is not None and found > SCHEMA_VERSION:
            raise StorageError(
                f"database_url: {self.name} has schema {found}, written by a newer program; "
                f"this one knows schemas up to {SCHEMA_VERSION}"
            )
        if self.read_only:
            raise StorageError(
                f"database_url: {self.name} has schema {found or 'none'}, not {SCHEMA_VERSION}; "
                "start the node once to bring it up to date"
            )
        await self._migrate()

    async def _lock_holder(self) -> AsyncConnection:
        """PostgreSQL's only writing connection: it holds the lock, or there is another process.

        When the server ends the connection, the lock goes with it: one write fails, and the next
        takes the lock anew.
        """
        if self._writer is not None and self._writer.invalidated:
            await self._writer.close()
            self._writer = None
        if self._writer is None:
            connection = await self._engine.connect()
            taken = await connection.scalar(
                text("SELECT pg_try_advisory_lock(:name)"), {"name": _ADVISORY_LOCK}
            )
            await connection.commit()
            if not taken:
                await connection.close()
                raise StorageError(
                    f"database_url: {self.name} is in use by another process; one database "
                    "serves one node"
                )
            self._writer = connection
        return self._writer

    async def _schema_version(self) -> str | None:
        async with self.read() as connection:
            names = await connection.run_sync(
                lambda sync: sync.dialect.get_table_names(sync)  # inspect() would load more
            )
            if "alembic_version" not in names:
                return None
            version: str | None = await connection.scalar(
                text("SELECT version_num FROM alembic_version")
            )
            return version

    async def _migrate(self) -> None:
        # Only here: importing Alembic takes a quarter of a second, and most starts need none.
        from keyserver.storage.migrations import upgrade

        async with self.write() as connection:
            await connection.run_sync(upgrade)


@asynccontextmanager
async def opened(url: str, *, read_only: bool = False) -> AsyncIterator[Database]:
    """`Database.open` for an `async with`."""
    database = await Database.open(url, read_only=read_only)
    try:
        yield database
    finally:
        await database.close()


@contextmanager
def _database_errors(name: str) -> Iterator[None]:
    """Turn the driver's errors into `StorageError`, without values and passwords."""
    try:
        yield
    except DBAPIError as problem:
        raise StorageError(f"database {name}: {problem.orig}") from problem
    except (OSError, PoolTimeoutError) as problem:
        raise StorageError(f"database {name}: {problem}") from problem


class _DriverConnection(Protocol):
    def cursor(self) -> Any:  # untyped by every driver
        """Open a cursor."""
        ...


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as problem:
        raise StorageError(
            "database_url: not a URL; use sqlite:///FILE or postgresql://USER@HOST/NAME"
        ) from problem
    if parsed.drivername not in ("sqlite", "postgresql"):
        raise StorageError(
            f"database_url: {parsed.drivername}:// is not known; use sqlite:///FILE or "
            "postgresql://USER@HOST/NAME"
        )
    if parsed.drivername == "sqlite" and (parsed.database or ":memory:") == ":memory:":
        raise StorageError("database_url: sqlite:// needs a file: sqlite:///FILE")
    return parsed


def _prepare_file(path: Path, *, read_only: bool) -> ProcessLock | None:
    if read_only:
        if not path.is_file():
            raise StorageError(f"database_url: there is no file {path}")
        return None
    if not path.parent.is_dir():
        raise StorageError(f"database_url: there is no folder {path.parent}")
    lock = ProcessLock(path)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as problem:
        lock.release()
        raise StorageError(f"database_url: {path}: {problem.strerror}") from problem
    return lock


def _engine_of(url: URL, *, read_only: bool) -> AsyncEngine:
    if url.drivername == "postgresql":
        # libpq and asyncpg call the same option by two names
        query = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
        return create_async_engine(
            url.set(drivername="postgresql+asyncpg", query=query),
            pool_size=POOL_SIZE,
            pool_pre_ping=True,
            isolation_level="REPEATABLE READ",  # one state for all statements, as in SQLite
            hide_parameters=True,
            connect_args={
                "timeout": CONNECT_TIMEOUT_S,
                "server_settings": {"default_transaction_read_only": "on" if read_only else "off"},
            },
        )
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=POOL_SIZE,
        hide_parameters=True,
        connect_args={"isolation_level": None},  # transactions begin where we say so
    )

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: _DriverConnection, _: object) -> None:
        cursor = connection.cursor()
        for pragma in _SQLITE_PRAGMAS:
            cursor.execute(pragma)
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().keys() & _NO_TRANSACTION.keys():
            connection.exec_driver_sql("BEGIN")

    return engine
