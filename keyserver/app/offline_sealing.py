"""The seal of a node that does not run: for making its first shares on its own machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from keyserver.app.audit_log import opened_audit_log
from keyserver.app.config import Loaded
from keyserver.app.store import automatic_source, make_data_directory
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.sealing.key_sources import KeySource
from keyserver.sealing.ports import AuditLog, SealStore
from keyserver.sealing.record import SealRecord
from keyserver.storage.database import opened
from keyserver.storage.replicas import require_stopped
from keyserver.storage.sealing import SqlSealStore


@dataclass(frozen=True, slots=True)
class StoppedStore:
    """The seal in the database of a node that does not run."""

    seal: SealStore
    audit: AuditLog
    source: KeySource | None
    """What opens it without shares; `None` for a store without a seal, or with shares alone."""
    is_new: bool
    """Whether it was never sealed: nothing secret is in it yet."""


@asynccontextmanager
async def stopped_store(
    loaded: Loaded, *, random: RandomSource, clock: Clock
) -> AsyncIterator[StoppedStore]:
    """Open the database and the audit log of a node that does not run.

    Raises `StorageError` while a process of the node runs, or for a database that cannot be used,
    and `ConfigError` for a key source or an audit log that cannot.
    """
    make_data_directory(loaded.config.secretstore.path)
    process = str(UUID(bytes=random.bytes(16), version=4))
    async with opened(loaded.config.keyserver.database_url) as database:
        await require_stopped(database)
        async with opened_audit_log(loaded.config, process, clock=clock) as audit:
            seal = SqlSealStore(database)
            stored = await seal.load()
            source = None
            if stored is not None:
                record = SealRecord.from_json(stored.record)
                source = automatic_source(loaded, record.public())
            yield StoppedStore(seal, audit, source, stored is None)
