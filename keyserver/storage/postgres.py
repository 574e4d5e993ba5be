"""A database on a PostgreSQL server, through asyncpg."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sqlalchemy import Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from keyserver.errors import StorageError
from keyserver.storage.access import POOL_SIZE, Transaction

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 10.0
"""How long the server may take for a connection."""

ANSWER_TIMEOUT_S: Final = 60.0
"""How long it may take for a statement. More than it waits by itself for anything, so that only one
that hangs takes longer."""

IDLE_TIMEOUT_S: Final = 5
"""After which the server ends a transaction of a process that has stopped in the middle of it, so
that its locks keep nobody longer; less than a lease lasts (`keyserver.storage.replicas`)."""

SCHEMA_TIMEOUT_S: Final = 30
"""How long a process waits for another one that changes tables."""

TRIES: Final = 10
"""How often a transaction is begun that always conflicts with others."""

_CONFLICTS: Final = ("40001", "40P01")
"""The server's codes: could not serialise access, deadlock."""

_LOCK_TIMEOUT: Final = "55P03"

_SCHEMA_LOCK: Final = 0x6B657973657276
"""The name of the lock for changing tables. Programs that knew no replicas held it all the time."""

_ONE_AFTER_THE_OTHER: Final = text("LOCK TABLE seal IN SHARE ROW EXCLUSIVE MODE")
"""Readers do not wait for it, and it comes before the state that the transaction sees. The acting
node writes no row of this table."""


class PostgresAccess:
    """A server's database.

    Writes of the acting node follow one another, as do those that any process may make; a lock on
    a table says so across processes. Each sees one state of the database from its first statement
    on (REPEATABLE READ). One that would change what another has changed since then is undone by
    the server; it is run again, some times.
    """

    is_shared = True
    truncation_due = False

    def __init__(self, url: URL, *, read_only: bool) -> None:
        """Nothing is opened before the first transaction."""
        self._engine = _engine(url, read_only=read_only)
        self._name = url.render_as_string(hide_password=True)
        self._writing = asyncio.Lock()
        self._writer: AsyncConnection | None = None
        self._sharing = asyncio.Lock()
        """So that one connection waits for other processes, not all of the pool."""

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine."""
        return self._engine.sync_engine

    async def migrate(self, work: Transaction[None]) -> None:
        """Run `work` while no other process changes tables.

        Raises `StorageError` if another one does so for long, or is of an earlier version.
        """
        # The lock first, in a transaction of its own: what `work` sees must not be older.
        connection = await self._engine.connect()
        try:
            await _lock_schema(connection, self._name)
            async with connection.begin():
                await connection.run_sync(work)
        finally:
            await connection.invalidate()  # the lock goes with the connection
            await connection.close()

    async def read(self, work: Transaction[T]) -> T:
        """Run `work` on a connection of the pool."""
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Transaction[T]) -> T:
        """Run `work` on the connection kept for it, after the writers before it."""

        async def transaction() -> T:
            connection = await self._kept_connection()
            async with connection.begin():
                return await connection.run_sync(work)

        async with self._writing:
            return await _tried(transaction)

    async def write_shared(self, work: Transaction[T]) -> T:
        """Run `work` on a connection of the pool, after all such writes of any process."""

        async def transaction() -> T:
            async with self._engine.begin() as connection:
                await connection.execute(_ONE_AFTER_THE_OTHER)
                return await connection.run_sync(work)

        async with self._sharing:
            return await _tried(transaction)

    async def forget_erased(self) -> None:
        """Nothing can be done: boxes of erased rows stay until vacuum and log rotation."""

    async def close(self) -> None:
        """Wait for the writer, then end all connections."""
        async with self._writing, self._sharing:
            if self._writer is not None:
                await self._writer.close()
            await self._engine.dispose()

    async def _kept_connection(self) -> AsyncConnection:
        """When the server ends it, one write fails, and the next has a new one."""
        if self._writer is not None and self._writer.invalidated:
            await self._writer.close()
            self._writer = None
        if self._writer is None:
            self._writer = await self._engine.connect()
        return self._writer


async def _lock_schema(connection: AsyncConnection, name: str) -> None:
    await connection.execute(text(f"SET lock_timeout = '{SCHEMA_TIMEOUT_S}s'"))
    try:
        await connection.execute(text("SELECT pg_advisory_lock(:name)"), {"name": _SCHEMA_LOCK})
    except DBAPIError as problem:
        if _code(problem) != _LOCK_TIMEOUT:
            raise
        raise StorageError(
            f"database_url: {name} is in use by a process of an earlier version, or another one "
            "is bringing its tables up to date; stop it, then start this one"
        ) from problem
    await connection.commit()


async def _tried(transaction: Callable[[], Awaitable[T]]) -> T:
    for _ in range(TRIES - 1):
        try:
            return await transaction()
        except DBAPIError as problem:
            if _code(problem) not in _CONFLICTS:
                raise
    return await transaction()


def _code(problem: DBAPIError) -> str | None:
    """The server's code for an error; `None` if it is not the server that says so."""
    code: str | None = getattr(problem.orig, "sqlstate", None)
    return code


def _engine(url: URL, *, read_only: bool) -> AsyncEngine:
    settings = {"default_transaction_read_only": "on" if read_only else "off"}
    if not read_only:
        settings["idle_in_transaction_session_timeout"] = f"{IDLE_TIMEOUT_S}s"
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
            "command_timeout": ANSWER_TIMEOUT_S,
            "server_settings": settings,
        },
    )
