"""What the database tells about keys without any secret being opened.

The store uses it, and so does whoever looks at a node's keys from outside the node, with a
database opened `read_only`.
"""

import contextlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Select, or_, select, tuple_, union

from keyserver.crypto.errors import CryptoError
from keyserver.engine.ports import AgedRecord, CatalogueEntry
from keyserver.model.codec import CodecError, decode
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.model.keys import CertifiedRecord
from keyserver.sessions.core import KeyState
from keyserver.storage.database import Database
from keyserver.storage.key_rows import load_key, reading
from keyserver.storage.schema import (
    DOCUMENT_CANDIDATES,
    DOCUMENT_KEYS,
    KEY_RECORDS,
    KEY_SHARES,
    OPEN_RECORDS,
    PROMISES,
)

_SHARE: Final = (
    select(KEY_SHARES.c.key_id)
    .where(KEY_SHARES.c.key_id == KEY_RECORDS.c.key_id)
    .where(KEY_SHARES.c.version == KEY_RECORDS.c.version)
    .exists()
)
"""Whether there is a share of the active record."""

_DOCUMENT: Final = (
    select(DOCUMENT_KEYS.c.key_id).where(DOCUMENT_KEYS.c.key_id == KEY_RECORDS.c.key_id).exists()
)

_ENTRIES: Final = select(
    KEY_RECORDS.c.key_id,
    KEY_RECORDS.c.version,
    KEY_RECORDS.c.record_hash,
    _SHARE.label("has_share"),
    _DOCUMENT.label("has_document"),
)


async def catalogue(
    database: Database, after: KeyId | None, limit: int
) -> Sequence[CatalogueEntry]:
    """Active records in ascending order of key id, those after `after`."""
    return await _entries(database, _ENTRIES, after, limit)


async def records(database: Database, after: KeyId | None, limit: int) -> Sequence[CertifiedRecord]:
    """The records of the catalogue, in the same order, but for rows that do not parse."""
    wanted = select(KEY_RECORDS.c.certified).order_by(KEY_RECORDS.c.key_id).limit(limit)
    if after is not None:
        wanted = wanted.where(KEY_RECORDS.c.key_id > bytes(after))
    return await database.read(lambda connection: _parsed(connection.scalars(wanted)))


def _parsed(rows: Iterable[bytes]) -> list[CertifiedRecord]:
    """In the thread of the transaction: many of them would keep the event loop."""
    found = []
    for row in rows:
        with contextlib.suppress(CodecError, CryptoError, ValueError):  # `load_key` says so
            found.append(decode(CertifiedRecord, row))
    return found


async def absent(
    database: Database, after: KeyId | None, limit: int, damaged: Collection[KeyId] = ()
) -> Sequence[CatalogueEntry]:
    """Those of the catalogue of which there is no share here, or a `damaged` one."""
    unusable = KEY_RECORDS.c.key_id.in_(sorted(damaged))
    return await _entries(database, _ENTRIES.where(or_(~_SHARE, unusable)), after, limit)


async def _entries(
    database: Database, wanted: Select[Any], after: KeyId | None, limit: int
) -> Sequence[CatalogueEntry]:
    wanted = wanted.order_by(KEY_RECORDS.c.key_id).limit(limit)
    if after is not None:
        wanted = wanted.where(KEY_RECORDS.c.key_id > bytes(after))
    rows = await database.read(lambda connection: connection.execute(wanted).all())
    entries = []
    for row in rows:
        with reading(KEY_RECORDS, row.key_id):
            key_id, record_hash = KeyId(row.key_id), Hash32(row.record_hash)
        entries.append(
            CatalogueEntry(
                key_id, row.version, record_hash, bool(row.has_share), bool(row.has_document)
            )
        )
    return entries


async def aged(
    database: Database, after: AgedRecord | None, before: int, now: int, limit: int
) -> Sequence[AgedRecord]:
    """Active records in force since before that time, or in the future; the oldest first."""
    place = tuple_(KEY_RECORDS.c.installed_at, KEY_RECORDS.c.key_id)
    wanted = (
        select(KEY_RECORDS.c.installed_at, KEY_RECORDS.c.key_id, KEY_RECORDS.c.record_hash)
        .where(or_(KEY_RECORDS.c.installed_at < before, KEY_RECORDS.c.installed_at > now))
        .order_by(KEY_RECORDS.c.installed_at, KEY_RECORDS.c.key_id)
        .limit(limit)
    )
    if after is not None:
        wanted = wanted.where(place > tuple_(after.installed_at, bytes(after.key_id)))
    rows = await database.read(lambda connection: connection.execute(wanted).all())
    found = []
    for row in rows:
        with reading(KEY_RECORDS, row.key_id):
            key_id, record_hash = KeyId(row.key_id), Hash32(row.record_hash)
        found.append(AgedRecord(row.installed_at, key_id, record_hash))
    return found


async def undecided(database: Database) -> Sequence[KeyId]:
    """Keys with a prepared record, a document candidate or a promise, in ascending order."""
    wanted = union(
        select(OPEN_RECORDS.c.key_id),
        select(DOCUMENT_CANDIDATES.c.key_id),
        select(PROMISES.c.key_id),
    )
    rows = await database.read(lambda connection: connection.scalars(wanted).all())
    return sorted(KeyId(key_id) for key_id in rows)


async def public_state(database: Database, key_id: KeyId) -> KeyState:
    """What is stored about a key, without its shares; raises `StorageError` for a bad row."""
    return (await database.read(lambda connection: load_key(connection, None, key_id))).state
