"""Opens the node's database; every access is one short transaction.

SQLite in a file or PostgreSQL on a server, both through SQLAlchemy. A SQLite file has one process:
a lock says so. A PostgreSQL database may have several, the replicas of one node (sealing, C9), of
which one at a time acts for the node: a fence says so in each of its transactions, and what it
reads of keys and work may therefore be cached. One writer of the acting node follows another.
"""

import asyncio
import math
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Self, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from keyserver.errors import ConfigError, StorageError
from keyserver.storage.access import Access, Fence, Transaction
from keyserver.storage.process_lock import ProcessLock
from keyserver.storage.schema import SCHEMA_VERSION
from keyserver.storage.sqlite import SqliteAccess

T = TypeVar("T")

FORGET_EVERY_S: Final = 1.0
"""How often the write-ahead log is emptied while secrets are erased one after the other."""

FORGET_AT_ONCE: Final = 4
"""How many erasures in a row are forgotten at once all the same."""

_NOT_ADMITTED: Final = ("28", "3D", "08")
"""How the server's codes begin: of user and password, of the database's name, of a connection."""

_CONNECT: Final = (
    "; database_url must name a server that runs, and a database and a user that it has"
)


class Database:
    """An open database of the present schema."""

    def __init__(self, access: Access, name: str, *, read_only: bool) -> None:
        """Use `open`."""
        self.name = name
        """The URL without its password, for messages."""
        self.read_only = read_only
        self.fence: Fence | None = None
        """What `write` asks first; `None` where only one process can be."""
        self._access = access
        self._process_lock: ProcessLock | None = None
        self._forgets_from = -math.inf
        """When the log could be emptied next, had it been emptied once a second ever since."""
        self._forgetting: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str, *, read_only: bool = False) -> Self:
        """Open `sqlite:///FILE` or `postgresql://…`, bringing the schema up to date.

        A missing SQLite file is made, readable by the owner only. `read_only` is for looking at
        the database of a running node: it takes no lock and changes nothing. Raises
        `StorageError`: unknown URL, no such place, in use by another process, not a database,
        a schema of a newer program; `ConfigError` for an option in the URL that does not exist.
        """
        parsed = _parsed(url)
        name = parsed.render_as_string(hide_password=True)
        path = Path(parsed.database or "") if parsed.drivername == "sqlite" else None
        lock = _prepare_file(path, read_only=read_only) if path else None
        database = cls(_access(parsed, read_only=read_only), name, read_only=read_only)
        database._process_lock = lock
        try:
            with _database_errors(name):
                await database._start()
        except BaseException as problem:
            await database.close()
            if parsed.query and isinstance(problem, TypeError | ValueError | OverflowError):
                # The driver's words for an option that it does not take.
                text = f"database_url: an option in {name} is wrong: {problem}"
                raise ConfigError(text) from problem
            raise
        return database

    async def read(self, work: Transaction[T]) -> T:
        """Run `work` in a transaction that sees one state of the database and changes nothing."""
        with _database_errors(self.name):
            return await self._access.read(work)

    async def write(self, work: Transaction[T]) -> T:
        """Run `work` in a transaction of the acting node, durable on return.

        An exception undoes it. Raises `FenceLostError` if this process does not act for the node.
        """
        fence = self.fence
        if fence is None:
            return await self.write_in_turn(work)

        def fenced(connection: Connection) -> T:
            fence.check(connection)
            return work(connection)

        return await self.write_in_turn(fenced)

    async def write_in_turn(self, work: Transaction[T]) -> T:
        """The same without asking the fence: for what a process says of itself, and the fence."""
        with self._writing():
            return await self._access.write(work)

    async def write_shared(self, work: Transaction[T]) -> T:
        """Run `work` in a transaction that any process of the node may make, durable on return.

        One after the other, also of several processes. For everything that is not the acting
        node's alone: seals, service keys, tokens.
        """
        with self._writing():
            return await self._access.write_shared(work)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self.read_only:
            raise StorageError(f"database {self.name}: opened read-only")
        with _database_errors(self.name):
            yield

    @property
    def is_shared(self) -> bool:
        """Whether several processes may write to it: on a server, not in a file."""
        return self._access.is_shared

    async def forget_erased(self) -> None:
        """After secrets were erased: let nothing of them stay in the write-ahead log.

        When a reader is in the way this is made up for at the next call. PostgreSQL has no such
        step; there the boxes of erased rows stay until vacuum and log rotation.
        """
        await self._access.forget_erased()

    async def forget_erased_soon(self) -> None:
        """The same, but once a second while there is always something new to forget.

        It takes as long as everything else that a node writes for a key. Erasures now and then
        are forgotten at once; the last of many within a second, and when the database is closed or
        opened again.
        """
        now = asyncio.get_running_loop().time()
        self._forgets_from = max(self._forgets_from, now - FORGET_AT_ONCE * FORGET_EVERY_S)
        if self._forgets_from <= now - FORGET_EVERY_S:
            self._forgets_from += FORGET_EVERY_S
            await self.forget_erased()
        elif self._forgetting is None:
            self._forgetting = asyncio.create_task(self._forget_later())

    async def _forget_later(self) -> None:
        await asyncio.sleep(FORGET_EVERY_S)
        self._forgetting = None
        self._forgets_from += FORGET_EVERY_S
        await self.forget_erased()

    @property
    def truncation_due(self) -> bool:
        """Whether the last `forget_erased` found a reader in its way."""
        return self._access.truncation_due

    async def close(self) -> None:
        """Wait for the transactions under way, then release everything."""
        if self._forgetting is not None:
            self._forgetting.cancel()
            await asyncio.wait([self._forgetting])
            await self.forget_erased()
        await self._access.close()
        if self._process_lock is not None:
            self._process_lock.release()
            self._process_lock = None

    async def _start(self) -> None:
        if not self.read_only:
            await self._access.forget_erased()  # what a process that died had not forgotten yet
        found = await self._access.read(_schema_version)
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
        # Only here: importing Alembic takes a quarter of a second, and most starts need none.
        from keyserver.storage.migrations import upgrade

        await self._access.migrate(upgrade)


@asynccontextmanager
async def opened(url: str, *, read_only: bool = False) -> AsyncIterator[Database]:
    """`Database.open` for an `async with`."""
    database = await Database.open(url, read_only=read_only)
    try:
        yield database
    finally:
        await database.close()


def _schema_version(connection: Connection) -> str | None:
    if "alembic_version" not in connection.dialect.get_table_names(connection):
        return None  # asked of the dialect: inspect() would load more
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def _access(url: URL, *, read_only: bool) -> Access:
    if url.drivername == "sqlite":
        return SqliteAccess(url, read_only=read_only)
    # Deferred: most nodes have a file, and this takes a tenth of a second.
    from keyserver.storage.postgres import PostgresAccess

    return PostgresAccess(url, read_only=read_only)


@contextmanager
def _database_errors(name: str) -> Iterator[None]:
    """Turn the driver's errors into `StorageError`, without values and passwords."""
    try:
        yield
    except DBAPIError as problem:
        state = getattr(problem.orig, "sqlstate", None) or ""
        step = _CONNECT if state.startswith(_NOT_ADMITTED) else ""
        raise StorageError(f"database {name}: {problem.orig}{step}") from problem
    except (OSError, PoolTimeoutError) as problem:
        step = _CONNECT if name.startswith("postgresql:") else ""
        reason = str(problem) or type(problem).__name__  # a timeout says nothing
        raise StorageError(f"database {name}: {reason}{step}") from problem


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
