"""Opens the audit log that the configuration names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from keyserver.app.config import Config
from keyserver.engine.ports import Clock
from keyserver.storage.audit_file import AuditFiles


@asynccontextmanager
async def opened_audit_log(
    config: Config, process: str, *, clock: Clock
) -> AsyncIterator[AuditFiles]:
    """The audit log, for one process, whose name is a UUID; raises `ConfigError`."""
    own = config.keyserver.audit
    audit = AuditFiles(own.files, replica_id=process, clock=clock, required=own.required)
    await audit.open()
    try:
        yield audit
    finally:
        await audit.close()
