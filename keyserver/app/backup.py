"""Backups of a node: made while it runs, restored while it is stopped (sealing, C17)."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from keyserver.app.backup_log import done_since, newest_entry
from keyserver.app.config import Loaded
from keyserver.app.store import make_data_directory
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.errors import KeyServerError
from keyserver.sealing.ports import Actor, ActorKind, AuditDetails, AuditOutcome, SealVersion
from keyserver.storage.audit_file import AuditFiles
from keyserver.storage.backup import OnTable, copy_in, copy_out
from keyserver.storage.backup_file import (
    Archive,
    BackupError,
    Manifest,
    check_recipients,
    open_archive,
    write_archive,
)
from keyserver.storage.database import Database, opened
from keyserver.storage.replicas import require_stopped

RESTORE: Final = "backup.restore"
"""The action in the audit log."""

OPERATOR: Final = Actor(ActorKind.LOCAL)


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that is in place."""

    manifest: Manifest
    replaced: SealVersion | None
    """What the database was before; `None` for an empty one."""
    warnings: tuple[str, ...]
    """What is known to have been done after the backup was made."""


async def create(
    loaded: Loaded, out: Path, recipients: Sequence[str], *, clock: Clock, on_table: OnTable
) -> Manifest:
    """Make a backup of a node, running or not; `recipients`: of age, to encrypt it to.

    Raises `BackupError`, `SealRecordDamagedError` and `StorageError`.
    """
    check_recipients(recipients)
    _check_place(out)
    own = loaded.config.keyserver
    # Beside the file, so that it can be put in place all at once.
    with tempfile.TemporaryDirectory(prefix=".keyserver-backup-", dir=out.parent) as folder:
        heads = [newest_entry(file) for file in own.audit.files]
        async with opened(own.database_url, read_only=True) as database:
            contents = await copy_out(database, Path(folder), on_table)
        record = contents.record
        manifest = Manifest(
            created_at=clock.unix() * 1000,
            software=version("keyserver"),
            schema=contents.schema,
            seal_id=record.seal_id.hex(),
            node_id=record.node_id.hex(),
            epoch=record.epoch,
            keyring_version=contents.keyring_version,
            terms=contents.terms,
            opens_with=tuple(slot.kind for slot in record.slots),
            audit=tuple(head for head in heads if head is not None),
            parts=contents.parts,
        )
        await asyncio.to_thread(write_archive, out, manifest, Path(folder), recipients)
    return manifest


def _check_place(out: Path) -> None:
    if out.exists():
        raise BackupError(f"{out}: is there already; a backup is never overwritten")
    if not out.parent.is_dir():
        raise BackupError(f"{out}: there is no folder {out.parent}")


async def restore(
    loaded: Loaded,
    path: Path,
    identities: Sequence[Any],
    *,
    replace: bool,
    random: RandomSource,
    clock: Clock,
    on_table: OnTable,
) -> Restored:
    """Put a backup in place of an empty store, or with `replace` of one of the same seal.

    `identities`: keys of age, for an encrypted one. The node must be stopped. Raises `BackupError`,
    `ConfigError`, `StorageError`, and `AuditUnavailableError`; nothing is changed then.
    """
    own = loaded.config.keyserver
    make_data_directory(loaded.config.secretstore.path)
    with open_archive(path, identities) as archive:
        archive.check()
        async with opened(own.database_url) as database:
            await require_stopped(database)
            process = str(UUID(bytes=random.bytes(16), version=4))
            audit = AuditFiles(
                own.audit.files, replica_id=process, clock=clock, required=own.audit.required
            )
            await audit.open()
            try:
                replaced = await _restore(database, archive, audit, on_table, replace=replace)
            finally:
                await audit.close()
        warnings = done_since(archive.manifest, own.audit.files, replaced)
        return Restored(archive.manifest, replaced, tuple(warnings))


async def _restore(
    database: Database, archive: Archive, audit: AuditFiles, on_table: OnTable, *, replace: bool
) -> SealVersion | None:
    manifest = archive.manifest
    details: AuditDetails = {
        "seal_id": manifest.seal_id,
        "epoch": manifest.epoch,
        "version": manifest.keyring_version,
        "rows": manifest.rows,
    }
    await audit.record(RESTORE, AuditOutcome.OK, OPERATOR, details)
    try:
        return await copy_in(database, archive, on_table, replace=replace)
    except KeyServerError as problem:
        failed = {**details, "code": problem.code.upper()}
        await audit.record(RESTORE, AuditOutcome.ERROR, OPERATOR, failed)
        raise
