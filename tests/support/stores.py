"""Places where stores live, so that the same tests run against each."""

from typing import Protocol

from keyserver.engine.ports import RecordStore
from keyserver.engine.set_change_ports import SetChangeStore
from keyserver.storage.database import Database
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore, MemoryWorkStore
from keyserver.storage.records import SqlRecordStore
from keyserver.storage.set_changes import MemorySetChangeStore, SqlSetChangeStore
from keyserver.storage.work import SqlWorkStore
from keyserver.tasks.ports import WorkStore
from tests.support.stored_values import CHAIN, boxes


class StoreSite(Protocol):
    """One node's disk, with stores on it."""

    records: RecordStore
    work: WorkStore
    set_changes: SetChangeStore
    now: int
    """Unix seconds, as the stores are told them."""

    async def reopen(self) -> None:
        """Make new stores on the same disk, as after a restart."""
        ...


class MemorySite:
    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.now = 0
        self.records: RecordStore = MemoryRecordStore(self.disk, lambda: self.now)
        self.work: WorkStore = MemoryWorkStore(self.disk, CHAIN)
        self.set_changes: SetChangeStore = MemorySetChangeStore(self.disk)

    async def reopen(self) -> None:
        self.records = MemoryRecordStore(self.disk, lambda: self.now)
        self.work = MemoryWorkStore(self.disk, CHAIN)
        self.set_changes = MemorySetChangeStore(self.disk)


class SqlSite:
    def __init__(self, url: str, database: Database) -> None:
        self.url = url
        self.now = 0
        self._use(database)

    @classmethod
    async def open(cls, url: str) -> "SqlSite":
        return cls(url, await Database.open(url))

    async def reopen(self) -> None:
        await self.database.close()
        self._use(await Database.open(self.url))

    async def close(self) -> None:
        await self.database.close()

    def _use(self, database: Database) -> None:
        self.database = database
        self.records: RecordStore = SqlRecordStore(database, boxes(), unix=lambda: self.now)
        self.work: WorkStore = SqlWorkStore(database, CHAIN)
        self.set_changes: SetChangeStore = SqlSetChangeStore(database)
