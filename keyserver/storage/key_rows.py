"""A key's rows: loaded into a `StoredKey`, and the difference of two written back.

Secret scalars enter and leave the database in boxes only; a box holds
`record hash (32) || x (32) || share (32)`, so that a share cannot be taken for that of another
record of the same version.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, assert_never

import structlog
from sqlalchemy import (
    Connection,
    Executable,
    Row,
    Table,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
    union_all,
)

from keyserver.crypto.curve import Scalar, SecretScalar
from keyserver.crypto.errors import CryptoError
from keyserver.errors import StorageError
from keyserver.model.codec import CodecError, decode, encode
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.model.keys import (
    CertifiedDocumentKey,
    CertifiedRecord,
    Decision,
    DocumentKey,
    HoldingCertificate,
    KeyRecord,
    KeyShare,
)
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sessions.core import DocumentCandidate
from keyserver.sessions.writes import (
    Promise,
)
from keyserver.storage.schema import (
    DOCUMENT_CANDIDATES,
    DOCUMENT_KEYS,
    KEY_RECORDS,
    KEY_SHARES,
    OPEN_RECORDS,
    PROMISES,
    SHARE_BOX,
    SKIPPED_ATTEMPTS,
    SKIPPED_VERSIONS,
)
from keyserver.storage.stored_key import OpenRecord, OwnShare, StoredKey

_SHARE_SIZE = 96

log = structlog.get_logger()

_TABLES = (
    KEY_RECORDS,
    OPEN_RECORDS,
    KEY_SHARES,
    SKIPPED_VERSIONS,
    DOCUMENT_KEYS,
    DOCUMENT_CANDIDATES,
    SKIPPED_ATTEMPTS,
    PROMISES,
)

# Made once: SQLAlchemy takes several times as long to build a statement as to execute it.
_TABLES_WITH_ROWS: Executable = union_all(
    *(
        select(literal_column(f"'{table.name}'")).where(table.c.key_id == bindparam("key_id"))
        for table in _TABLES
    )
)
_SELECT = {table: select(table).where(table.c.key_id == bindparam("key_id")) for table in _TABLES}
_INSERT = {table: insert(table) for table in _TABLES}
_DELETE = {
    table: delete(table).where(*(column == bindparam(column.name) for column in table.primary_key))
    for table in _TABLES
}


@contextmanager
def reading(table: Table, key: bytes) -> Iterator[None]:
    """Turn what parsers raise about a row into a `StorageError` that names the row."""
    try:
        yield
    except (CodecError, CryptoError, ValueError) as problem:
        raise StorageError(f"{table.name}, row {key.hex()}: {problem}") from problem


# --- loading ---------------------------------------------------------------------------------


def load_key(connection: Connection, boxes: SecretBoxes | None, key_id: KeyId) -> StoredKey:
    """All rows of a key, without `boxes` those that are not secret.

    An active record or a share that cannot be used is as good as absent, and reported: the peers
    have what it takes to replace it. For any other row that does not parse raises `StorageError`,
    naming it.
    """
    rows = _rows(connection, key_id)
    active, documents, candidates = (
        rows[KEY_RECORDS],
        rows[DOCUMENT_KEYS],
        rows[DOCUMENT_CANDIDATES],
    )
    open_rows, shares = rows[OPEN_RECORDS], rows[KEY_SHARES]
    skipped, attempts = rows[SKIPPED_VERSIONS], rows[SKIPPED_ATTEMPTS]
    record = _usable(key_id, active[0]) if active else None
    with reading(OPEN_RECORDS, key_id):
        open_records = dict(_open_record(key_id, row) for row in open_rows)
    own_shares = _shares(boxes, key_id, shares) if boxes else {}
    with reading(SKIPPED_VERSIONS, key_id):
        skipped_versions = {row.version: decode(Decision, row.decision) for row in skipped}
    with reading(DOCUMENT_KEYS, key_id):
        document = decode(CertifiedDocumentKey, documents[0].certified) if documents else None
    with reading(DOCUMENT_CANDIDATES, key_id):
        candidate = _candidate(candidates[0]) if candidates else None
    with reading(SKIPPED_ATTEMPTS, key_id):
        skipped_attempts = {row.attempt: decode(Decision, row.decision) for row in attempts}
    promises = rows[PROMISES]
    with reading(PROMISES, key_id):
        promise = _promise(promises[0]) if promises else None
    return StoredKey(
        active=record,
        open_records=open_records,
        shares=own_shares,
        damaged=frozenset({row.version for row in shares} - own_shares.keys()),
        skipped=skipped_versions,
        document=document,
        candidate=candidate,
        skipped_attempts=skipped_attempts,
        promise=promise,
        installed_at=active[0].installed_at if active else 0,
        has_lost_record=bool(active) and record is None,
    )


def _rows(connection: Connection, key_id: KeyId) -> dict[Table, Sequence[Row[Any]]]:
    """All rows of a key by table; most tables have none, and most keys that are new no row."""
    key = {"key_id": key_id}
    with_rows = set(connection.scalars(_TABLES_WITH_ROWS, key))
    return {
        table: connection.execute(_SELECT[table], key).all() if table.name in with_rows else ()
        for table in _TABLES
    }


def _usable(key_id: KeyId, row: Row[Any]) -> CertifiedRecord | None:
    """The active record, if it can be used."""
    try:
        return _active(key_id, row)
    except (CodecError, CryptoError, ValueError) as problem:
        log.error("record_unusable", key_id=key_id, version=row.version, problem=str(problem))
        return None


def _active(key_id: KeyId, row: Row[Any]) -> CertifiedRecord:
    certified = decode(CertifiedRecord, row.certified)
    record = certified.record
    if (record.key_id, record.version, record.hash) != (key_id, row.version, row.record_hash):
        raise ValueError("the record is not the one the row names")
    return certified


def _open_record(key_id: KeyId, row: Row[Any]) -> tuple[tuple[int, Hash32], OpenRecord]:
    record = decode(KeyRecord, row.record)
    if (record.key_id, record.version, record.hash) != (key_id, row.version, row.record_hash):
        raise ValueError("the record is not the one the row names")
    holding = None if row.holding is None else decode(HoldingCertificate, row.holding)
    entry = OpenRecord(record, Hash32(row.transcript), holding)
    return (record.version, record.hash), entry


def _candidate(row: Row[Any]) -> DocumentCandidate:
    document = decode(DocumentKey, row.document)
    return DocumentCandidate(row.attempt, Hash32(row.record_hash), document)


def _promise(row: Row[Any]) -> Promise:
    return Promise(row.version, Hash32(row.params_hash), Hash32(row.document))


def _shares(boxes: SecretBoxes, key_id: KeyId, rows: Sequence[Row[Any]]) -> dict[int, OwnShare]:
    """The shares that can be used, by version."""
    found = {}
    for row in rows:
        try:
            found[row.version] = _share(boxes, key_id, row)
        except (CryptoError, ValueError) as problem:
            log.error("share_unusable", key_id=key_id, version=row.version, problem=str(problem))
    return found


def _share(boxes: SecretBoxes, key_id: KeyId, row: Row[Any]) -> OwnShare:
    place = _share_place(key_id, row.version)
    plain = boxes.open(SHARE_BOX.table, SHARE_BOX.column, place, row.share_box)
    if len(plain) != _SHARE_SIZE or plain[:32] != row.record_hash:
        raise ValueError("the share is not that of the record the row names")
    x, value = Scalar.from_bytes(plain[32:64]), SecretScalar(plain[64:])
    return OwnShare(Hash32(row.record_hash), KeyShare(x, value))


def _share_place(key_id: KeyId, version: int) -> tuple[str, str]:
    return key_id.hex(), str(version)


# --- saving ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Active:
    """The row of the active record."""

    certified: CertifiedRecord
    installed_at: int


class _Damaged:
    """A row that cannot be used."""


_DAMAGED: Final = _Damaged()

_Public = _Active | OpenRecord | Decision | CertifiedDocumentKey | DocumentCandidate | Promise

_Held = _Public | OwnShare | _Damaged
"""What one row holds."""

_RowName = tuple[Table, tuple[int | Hash32, ...]]
"""A row of one key: its table, and the values of its primary key after `key_id`."""


def save_key(
    connection: Connection,
    boxes: SecretBoxes,
    key_id: KeyId,
    before: StoredKey,
    after: StoredKey,
) -> bool:
    """Write what differs; returns whether a share was erased."""
    old, new = _held(before), _held(after)
    changed = [name for name, held in new.items() if old.get(name) != held]
    for name in old:
        if name not in new or name in changed:
            _delete(connection, key_id, name)
    for name in changed:
        _insert(connection, boxes, key_id, name, new[name])
    kept = after.shares.keys() | after.damaged
    return bool((before.shares.keys() | before.damaged) - kept)


def _held(key: StoredKey) -> dict[_RowName, _Held]:
    held: dict[_RowName, _Held] = {}
    if key.has_lost_record:
        held[KEY_RECORDS, ()] = _DAMAGED
    if key.active is not None:
        held[KEY_RECORDS, ()] = _Active(key.active, key.installed_at)
    held |= {(OPEN_RECORDS, name): entry for name, entry in key.open_records.items()}
    held |= {(KEY_SHARES, (version,)): _DAMAGED for version in key.damaged}
    held |= {(KEY_SHARES, (version,)): own for version, own in key.shares.items()}
    held |= {(SKIPPED_VERSIONS, (version,)): one for version, one in key.skipped.items()}
    if key.document is not None:
        held[DOCUMENT_KEYS, ()] = key.document
    if key.candidate is not None:
        held[DOCUMENT_CANDIDATES, ()] = key.candidate
    if key.promise is not None:
        held[PROMISES, ()] = key.promise
    return held | {(SKIPPED_ATTEMPTS, (n,)): one for n, one in key.skipped_attempts.items()}


def _delete(connection: Connection, key_id: KeyId, name: _RowName) -> None:
    table, values = name
    connection.execute(_DELETE[table], _primary_key(table, key_id, values))


def _insert(
    connection: Connection, boxes: SecretBoxes, key_id: KeyId, name: _RowName, held: _Held
) -> None:
    table, values = name
    primary_key = _primary_key(table, key_id, values)
    assert not isinstance(held, _Damaged)  # such a row is never written, only found
    columns = (
        _share_columns(boxes, key_id, int(primary_key["version"]), held)
        if isinstance(held, OwnShare)
        else _columns(held)
    )
    connection.execute(_INSERT[table], {**primary_key, **columns})


def _primary_key(
    table: Table, key_id: KeyId, values: tuple[int | Hash32, ...]
) -> dict[str, int | bytes]:
    names = [column.name for column in table.primary_key]
    return dict(zip(names, (key_id, *values), strict=True))


def _columns(held: _Public) -> dict[str, int | bytes | None]:
    match held:
        case _Active(certified):
            return {
                "version": certified.record.version,
                "record_hash": certified.record.hash,
                "certified": encode(certified),
                "installed_at": held.installed_at,
            }
        case OpenRecord():
            return {
                "record": encode(held.record),
                "transcript": held.transcript,
                "holding": None if held.holding is None else encode(held.holding),
            }
        case Decision():
            return {"decision": encode(held)}
        case CertifiedDocumentKey():
            return {"certified": encode(held)}
        case DocumentCandidate():
            return {
                "attempt": held.attempt,
                "record_hash": held.record_hash,
                "document": encode(held.document),
            }
        case Promise():
            return {
                "version": held.version,
                "params_hash": held.params_hash,
                "document": held.document,
            }
    assert_never(held)


def _share_columns(
    boxes: SecretBoxes, key_id: KeyId, version: int, own: OwnShare
) -> dict[str, int | bytes]:
    plain = own.record_hash + own.share.x.to_bytes() + own.share.value.expose()
    place = _share_place(key_id, version)
    sealed = boxes.seal(SHARE_BOX.table, SHARE_BOX.column, place, plain)
    return {"record_hash": own.record_hash, "share_box": sealed.box, "share_term": sealed.term}
