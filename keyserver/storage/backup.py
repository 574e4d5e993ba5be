"""Copies all tables of a node into a backup, and back into an empty database or its own.

Everything but what belongs to processes that run: replicas, the lease, nonces of requests. A backup
with tables of an earlier form is loaded into tables of that form, which are then brought up to
date as those of a running node would be.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    insert,
    select,
    text,
)

from keyserver.errors import StorageError
from keyserver.sealing.opening import read_record
from keyserver.sealing.ports import SealVersion, StoredSeal
from keyserver.sealing.record import SealRecord
from keyserver.storage.backup_file import Archive, BackupError, Part, PartWriter
from keyserver.storage.database import Database
from keyserver.storage.schema import (
    ACTIVE_REPLICA,
    METADATA,
    REPLICAS,
    REQUEST_NONCES,
    SCHEMA_VERSION,
    SEAL,
    SEAL_KEYRING,
    SEALED_COLUMNS,
)

T = TypeVar("T")

LEFT_OUT: Final = (REPLICAS.name, ACTIVE_REPLICA.name, REQUEST_NONCES.name)
"""Tables that mean nothing to another process at another time."""

ROWS_AT_A_TIME: Final = 500

OnTable = Callable[[str], None]
"""Is told which table is next; perhaps in another thread."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What was copied out of a database."""

    record: SealRecord
    keyring_version: int
    terms: tuple[int, ...]
    """Those that boxes were made with."""
    schema: str
    """The form of the tables."""
    parts: tuple[Part, ...]


async def copy_out(database: Database, folder: Path, on_table: OnTable) -> Contents:
    """Write every table into a file of the folder, all as they are at one moment.

    Raises `BackupError` for a store without a seal, and `StorageError`.
    """
    return await database.read(lambda connection: _copy_out(connection, folder, on_table))


def _copy_out(connection: Connection, folder: Path, on_table: OnTable) -> Contents:
    seal = _seal(connection)
    if seal is None:
        raise BackupError("the store was never sealed: there is nothing in it to back up")
    record, version = seal
    terms = {
        term
        for sealed in SEALED_COLUMNS
        for term in connection.scalars(select(_term_column(sealed.table, sealed.column)).distinct())
    }
    parts = []
    for table in METADATA.sorted_tables:
        if table.name not in LEFT_OUT:
            on_table(table.name)
            parts.append(_copy_table(connection, table, folder))
    versions = version.keyring_version, tuple(sorted(terms))
    return Contents(record, *versions, SCHEMA_VERSION, tuple(parts))


def _copy_table(connection: Connection, table: Table, folder: Path) -> Part:
    columns = [(column.name, _kind(column)) for column in table.columns]
    writer = PartWriter(folder, table.name, columns)
    try:
        in_order = select(table).order_by(*table.primary_key.columns)
        options = {"yield_per": ROWS_AT_A_TIME}
        for row in connection.execute(in_order, execution_options=options):
            writer.write(tuple(row))
    finally:
        part = writer.close()
    return part


def _kind(column: Column[Any]) -> str:
    match column.type:
        case LargeBinary():
            return "bytes"
        case Boolean():
            return "boolean"
        case Integer():
            return "integer"
        case Text():
            return "text"
    raise StorageError(f"{column}: backups know no columns of type {column.type}")


def _term_column(table: str, column: str) -> Column[Any]:
    return METADATA.tables[table].c[column.removesuffix("_box") + "_term"]


def _seal(connection: Connection) -> tuple[SealRecord, SealVersion] | None:
    """The seal of a database; raises `SealRecordDamagedError` for one that contradicts itself."""
    record = connection.execute(select(SEAL)).one_or_none()
    keyring = connection.execute(select(SEAL_KEYRING)).one_or_none()
    if record is None or keyring is None:
        return None
    stored = StoredSeal(
        record=record.record,
        epoch=record.epoch,
        keyring_version=keyring.version,
        keyring_epoch=keyring.epoch,
        keyring_box=keyring.box,
    )
    return read_record(stored, None), stored.version


# --- back -------------------------------------------------------------------------------------


async def copy_in(
    database: Database, archive: Archive, on_table: OnTable, *, replace: bool = False
) -> SealVersion | None:
    """Make the database what it was when the backup was made, all at once or not at all.

    It must be empty, or with `replace` have the same seal; returns what that was. Raises
    `BackupError` for a database or a backup that cannot be used, and `StorageError`.
    """
    schema = archive.manifest.schema
    if schema > SCHEMA_VERSION:
        raise BackupError(
            f"the backup has tables of form {schema}, made by a newer program; this one knows "
            f"forms up to {SCHEMA_VERSION}"
        )
    replaced = await database.write_shared(
        lambda connection: _copy_in(connection, archive, on_table, replace=replace)
    )
    await database.forget_erased()
    return replaced


def _copy_in(
    connection: Connection, archive: Archive, on_table: OnTable, *, replace: bool
) -> SealVersion | None:
    # Only here: importing Alembic takes a quarter of a second.
    from keyserver.storage.migrations import upgrade

    replaced = _check_target(connection, archive.manifest.seal_id, replace=replace)
    _tables(connection).drop_all(connection)
    upgrade(connection, archive.manifest.schema)
    made = _tables(connection)
    for part in archive.manifest.parts:
        on_table(part.table)
        _fill(connection, _table_of(made, part), archive, part)
    upgrade(connection)
    _go_on_counting(connection)
    _check_seal(connection, archive)
    return replaced


def _check_target(connection: Connection, seal_id: str, *, replace: bool) -> SealVersion | None:
    filled = [
        table.name
        for table in METADATA.sorted_tables
        if table.name not in LEFT_OUT and connection.execute(select(table).limit(1)).first()
    ]
    if not filled:
        return None
    seal = _seal(connection)
    if seal is None or seal[0].seal_id.hex() != seal_id:
        raise BackupError(
            f"the database is not empty, and not of the same seal (it has rows in {filled[0]}); "
            "restore into an empty one, or move this one away"
        )
    if not replace:
        raise BackupError("the database is not empty; --replace puts the backup in its place")
    return seal[1]


def _tables(connection: Connection) -> MetaData:
    found = MetaData()
    found.reflect(connection)
    return found


def _table_of(made: MetaData, part: Part) -> Table:
    table = made.tables.get(part.table)
    if table is None or part.table in LEFT_OUT:
        raise BackupError(f"{part.name}: tables of this form have no such table")
    kinds = {column.name: _kind(column) for column in table.columns}
    if kinds != dict(part.columns):
        raise BackupError(f"{part.name}: its columns are not those of tables of this form")
    return table


def _fill(connection: Connection, table: Table, archive: Archive, part: Part) -> None:
    for rows in _some(archive.rows(part), ROWS_AT_A_TIME):
        connection.execute(insert(table), rows)


def _some(values: Iterable[T], number: int) -> Iterator[list[T]]:
    rest = iter(values)
    while found := list(islice(rest, number)):
        yield found


def _go_on_counting(connection: Connection) -> None:
    """Rows to come must not get the numbers of rows that are there; SQLite sees to it itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in METADATA.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        last = connection.scalar(select(func.max(column)))
        if last is not None:
            connection.execute(
                text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)"),
                {"table": table.name, "column": column.name, "last": last},
            )


def _check_seal(connection: Connection, archive: Archive) -> None:
    """Raise `BackupError` unless seal record, keyring and manifest belong together."""
    manifest = archive.manifest
    seal = _seal(connection)
    if seal is None:
        raise BackupError("the backup has no seal: nothing would open it")
    record, version = seal
    wanted = (manifest.seal_id, manifest.node_id, manifest.epoch, manifest.keyring_version)
    found = (record.seal_id.hex(), record.node_id.hex(), version.epoch, version.keyring_version)
    if found != wanted:
        raise BackupError("the backup's manifest and its seal record contradict each other")
