"""A database on a PostgreSQL server, through asyncpg."""

import asyncio
from typing import Final, TypeVar

from sqlalchemy import Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from keyserver.errors import StorageError
from keyserver.storage.access import POOL_SIZE, Transaction

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 10

_ADVISORY_LOCK: Final = 0x6B657973657276
"""The name of the lock that one process per database holds."""


class PostgresAccess:
    """A server's database; all writes go over the connection that holds its lock."""

    truncation_due = False

    def __init__(self, url: URL, *, read_only: bool) -> None:
        """Nothing is opened before the first transaction."""
        self._engine = _engine(url, read_only=read_only)
        self._name = url.render_as_string(hide_password=True)
        self._writing = asyncio.Lock()
        self._writer: AsyncConnection | None = None

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine."""
        return self._engine.sync_engine

    async def start(self) -> None:
        """Take the lock; raises `StorageError` if another process has it."""
        await self._lock_holder()

    async def read(self, work: Transaction[T]) -> T:
        """Run `work` on a connection of the pool."""
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Transaction[T]) -> T:
        """Run `work` on the connection that holds the lock."""
        async with self._writing:
            connection = await self._lock_holder()
            async with connection.begin():
                return await connection.run_sync(work)

    async def forget_erased(self) -> None:
        """Nothing can be done: boxes of erased rows stay until vacuum and log rotation."""

    async def close(self) -> None:
        """Wait for the writer, then end all connections."""
        async with self._writing:
            if self._writer is not None:
                await self._writer.close()
            await self._engine.dispose()

    async def _lock_holder(self) -> AsyncConnection:
        """The only writing connection: it holds the lock, or there is another process.

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
                    f"database_url: {self._name} is in use by another process; one database "
                    "serves one node"
                )
            self._writer = connection
        return self._writer


def _engine(url: URL, *, read_only: bool) -> AsyncEngine:
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
