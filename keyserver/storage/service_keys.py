"""Service keys in the database (`keyserver.sealing.service_keys.model.ServiceKeyStore`).

Every write is one that any replica of the node may make; one follows the other
(`Database.write_shared`), and the unique keys of the table say who was first.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    select,
)

from keyserver.sealing.errors import ExportStaleError, OwnerDeletedError, RestoreConflictError
from keyserver.sealing.service_keys.exports import versions_hash
from keyserver.sealing.service_keys.model import (
    EXPORT_LIFE_MS,
    Deletion,
    Export,
    OwnerLine,
    Pair,
    ServiceLine,
    StoredVersion,
    Version,
)
from keyserver.storage.database import Database
from keyserver.storage.inserting import insert_if_new
from keyserver.storage.schema import OWNER_EXPORTS, OWNER_TOMBSTONES, SERVICE_KEYS
from keyserver.storage.sealing import require_current_term

_KEYS = SERVICE_KEYS.c
_TOMBS = OWNER_TOMBSTONES.c


class SqlServiceKeyStore:
    """All versions, with exports and tombstones of owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(self, pair: Pair) -> StoredVersion | None:
        """The version of the highest number; raises `OwnerDeletedError`."""
        query = select(SERVICE_KEYS).where(_of(pair)).order_by(_KEYS.seq.desc()).limit(1)
        return await self._one(pair.owner, query)

    async def find(self, pair: Pair, key_id: str) -> StoredVersion | None:
        """One version; raises `OwnerDeletedError`."""
        query = select(SERVICE_KEYS).where(_of(pair), _KEYS.key_id == key_id)
        return await self._one(pair.owner, query)

    async def add(self, stored: StoredVersion) -> bool:
        """Keep a version, unless number or id is taken; raises `OwnerDeletedError`."""

        def work(connection: Connection) -> bool:
            _check_not_deleted(connection, stored.version.pair.owner)
            require_current_term(connection, stored.key_term)
            return insert_if_new(connection, SERVICE_KEYS, _row_of(stored))

        return await self._database.write_shared(work)

    async def versions(self, pair: Pair, before: int | None, limit: int) -> Sequence[Version]:
        """Versions of a pair, the newest first, those before the number `before`."""
        query = select(SERVICE_KEYS).where(_of(pair)).order_by(_KEYS.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(_KEYS.seq < before)
        return await self._database.read(
            lambda connection: [_stored_of(row).version for row in connection.execute(query)]
        )

    async def services(self, owner: str, after: str, limit: int) -> Sequence[ServiceLine]:
        """Services of an owner in the order of their bytes, those after `after`."""

        def work(connection: Connection) -> list[ServiceLine]:
            by_bytes = _by_bytes(connection, _KEYS.service)
            newest = func.max(_KEYS.expires_at)
            query = (
                select(_KEYS.service, func.count(), newest)
                .where(_KEYS.owner == owner, by_bytes > after)
                .group_by(_KEYS.service)
                .order_by(by_bytes)
                .limit(limit)
            )
            return [ServiceLine(*row) for row in connection.execute(query)]

        return await self._database.read(work)

    async def owners(self, after: str, limit: int) -> Sequence[OwnerLine]:
        """Owners in the order of their bytes, those after `after`."""

        def work(connection: Connection) -> list[OwnerLine]:
            return _living(connection, after, limit) + _deleted(connection, after, limit)

        lines = await self._database.read(work)
        return sorted(lines, key=lambda line: line.owner.encode())[:limit]

    async def all_of(
        self, owner: str, services: Collection[str] | None = None
    ) -> Sequence[StoredVersion]:
        """Every version of an owner, or of some of its services, by service and number."""
        query = _all_of(owner)
        if services is not None:
            query = query.where(_KEYS.service.in_(services))
        return await self._database.read(
            lambda connection: [_stored_of(row) for row in connection.execute(query)]
        )

    async def keep_export(self, export: Export) -> None:
        """Note an export; those too old to be of use are forgotten."""
        row = {
            "export_id": export.export_id,
            "owner": export.owner,
            "sha256": export.sha256,
            "versions": export.versions,
            "made_at": export.made_at,
        }

        def work(connection: Connection) -> None:
            too_old = OWNER_EXPORTS.c.made_at <= export.made_at - EXPORT_LIFE_MS
            connection.execute(delete(OWNER_EXPORTS).where(too_old))
            connection.execute(insert(OWNER_EXPORTS).values(row))

        await self._database.write_shared(work)

    async def delete(self, deletion: Deletion) -> int:
        """Delete all versions of an owner, leave a tombstone; raises `ExportStaleError`."""
        count = await self._database.write_shared(
            lambda connection: _delete_owner(connection, deletion)
        )
        await self._database.forget_erased()
        return count

    async def restore(
        self, owner: str, versions: Sequence[StoredVersion], present: Collection[Version] = ()
    ) -> None:
        """Keep versions again, beside those `present`, all or nothing.

        Raises `RestoreConflictError`.
        """

        def work(connection: Connection) -> None:
            _check_present(connection, owner, present)
            connection.execute(delete(OWNER_TOMBSTONES).where(_TOMBS.owner == owner))
            for stored in versions:
                require_current_term(connection, stored.key_term)
                if not insert_if_new(connection, SERVICE_KEYS, _row_of(stored)):
                    raise RestoreConflictError(
                        f"key {stored.version.key_id}: its id, or its number "
                        f"{stored.version.seq}, is taken by another key"
                    )

        await self._database.write_shared(work)

    async def _one(self, owner: str, query: Select[Any]) -> StoredVersion | None:
        def work(connection: Connection) -> StoredVersion | None:
            row = connection.execute(query).one_or_none()
            if row is None:
                _check_not_deleted(connection, owner)
            return None if row is None else _stored_of(row)

        return await self._database.read(work)


# --- within a transaction ---------------------------------------------------------------------


def _check_not_deleted(connection: Connection, owner: str) -> None:
    query = select(_TOMBS.deleted_at).where(_TOMBS.owner == owner)
    if connection.scalar(query) is not None:
        raise OwnerDeletedError("owner: its keys were deleted; an administrator can restore them")


def _delete_owner(connection: Connection, deletion: Deletion) -> int:
    rows = [_stored_of(row).version for row in connection.execute(_all_of(deletion.owner))]
    if not rows:
        _check_not_deleted(connection, deletion.owner)
    _check_export(connection, deletion, versions_hash(rows))
    connection.execute(delete(SERVICE_KEYS).where(_KEYS.owner == deletion.owner))
    connection.execute(delete(OWNER_EXPORTS).where(OWNER_EXPORTS.c.owner == deletion.owner))
    connection.execute(
        insert(OWNER_TOMBSTONES).values(
            owner=deletion.owner,
            deleted_at=deletion.at,
            deleted_by=deletion.deleted_by,
            keys=len(rows),
            export_sha256=deletion.sha256,
        )
    )
    return len(rows)


def _check_export(connection: Connection, deletion: Deletion, versions: bytes) -> None:
    table = OWNER_EXPORTS.c
    query = select(table.versions).where(
        table.export_id == deletion.export_id,
        table.owner == deletion.owner,
        table.sha256 == deletion.sha256,
        table.made_at > deletion.at - EXPORT_LIFE_MS,
    )
    covered = connection.scalar(query)
    if covered is None:
        raise ExportStaleError("export: none of this owner, with this hash, of the last 24 hours")
    if covered != versions:
        raise ExportStaleError("export: keys were made since; export again")


def _check_present(connection: Connection, owner: str, wanted: Collection[Version]) -> None:
    if not wanted:
        return
    there = {_stored_of(row).version for row in connection.execute(_all_of(owner))}
    for version in wanted:
        if version not in there:
            raise RestoreConflictError(
                f"key {version.key_id}: was deleted just now; send the document again"
            )


def _living(connection: Connection, after: str, limit: int) -> list[OwnerLine]:
    by_bytes = _by_bytes(connection, _KEYS.owner)
    query = (
        select(_KEYS.owner, func.count(_KEYS.service.distinct()), func.count())
        .where(by_bytes > after)
        .group_by(_KEYS.owner)
        .order_by(by_bytes)
        .limit(limit)
    )
    return [
        OwnerLine(owner, services, keys, deleted_at=None)
        for owner, services, keys in connection.execute(query)
    ]


def _deleted(connection: Connection, after: str, limit: int) -> list[OwnerLine]:
    by_bytes = _by_bytes(connection, _TOMBS.owner)
    query = select(_TOMBS.owner, _TOMBS.deleted_at).where(by_bytes > after)
    rows = connection.execute(query.order_by(by_bytes).limit(limit))
    return [OwnerLine(row.owner, 0, 0, row.deleted_at) for row in rows]


# --- rows -------------------------------------------------------------------------------------


def _of(pair: Pair) -> ColumnElement[bool]:
    return and_(_KEYS.owner == pair.owner, _KEYS.service == pair.service)


def _all_of(owner: str) -> Select[Any]:
    return select(SERVICE_KEYS).where(_KEYS.owner == owner).order_by(_KEYS.service, _KEYS.seq)


def _by_bytes(connection: Connection, column: ColumnElement[str]) -> ColumnElement[str]:
    """A column of text in the order of its UTF-8 bytes, whatever language the database speaks."""
    return column.collate("C") if connection.dialect.name == "postgresql" else column


def _row_of(stored: StoredVersion) -> dict[str, Any]:
    version = stored.version
    return {
        "owner": version.pair.owner,
        "service": version.pair.service,
        "key_id": version.key_id,
        "seq": version.seq,
        "key_box": stored.key_box,
        "key_term": stored.key_term,
        "created_at": version.created_at,
        "expires_at": version.expires_at,
        "origin": version.origin,
    }


def _stored_of(row: Row[Any]) -> StoredVersion:
    version = Version(
        pair=Pair(row.owner, row.service),
        key_id=row.key_id,
        seq=row.seq,
        created_at=row.created_at,
        expires_at=row.expires_at,
        origin=row.origin,
    )
    return StoredVersion(version, row.key_box, row.key_term)
