"""Seal, keyring and sealed columns in the database (`keyserver.sealing.ports.SealStore`)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    Table,
    and_,
    func,
    insert,
    select,
    tuple_,
    update,
)

from keyserver.crypto.boxes import box_term
from keyserver.errors import StorageError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import (
    AlreadyInitialisedError,
    SealConflictError,
    StaleTermError,
    TermInUseError,
)
from keyserver.sealing.ports import SealVersion, StoredBox, StoredIdentity, StoredSeal
from keyserver.storage.database import Database
from keyserver.storage.schema import (
    METADATA,
    NODE_IDENTITY,
    SEAL,
    SEAL_KEYRING,
    SEALED_COLUMNS,
    SealedColumn,
)

_KeyValue = bytes | int | str


class SqlSealStore:
    """The rows `seal`, `seal_keyring` and `node_identity`, and the boxes of all tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> StoredSeal | None:
        """What is stored; `None` for a store that was never sealed."""
        return await self._database.read(_stored)

    async def create(self, seal: StoredSeal, identity: StoredIdentity | None = None) -> None:
        """Store the first seal; raises `AlreadyInitialisedError` if there is one.

        Raises `StorageError` if sealed rows are there without a seal.
        """
        await self._database.write_shared(lambda connection: _create(connection, seal, identity))

    async def replace(
        self,
        seal: StoredSeal,
        *,
        expected: SealVersion,
        identity: StoredIdentity | None = None,
        without_term: int | None = None,
    ) -> None:
        """Put a seal in place of another; raises `SealConflictError` and `TermInUseError`."""
        await self._database.write_shared(
            lambda connection: _replace(connection, seal, expected, identity, without_term)
        )

    async def identity(self) -> StoredIdentity | None:
        """The node's key; `None` where the configuration has it."""
        return await self._database.read(_identity)

    async def boxes_by_term(self) -> Mapping[int, int]:
        """How many boxes of each term there are, in all sealed columns together."""
        return await self._database.read(_boxes_by_term)

    async def boxes_not_of(
        self, term: int, limit: int, after: StoredBox | None = None
    ) -> Sequence[StoredBox]:
        """The next boxes of other terms, in the order of tables and their primary keys."""
        return await self._database.read(
            lambda connection: _boxes_not_of(connection, term, limit, after)
        )

    async def replace_boxes(self, boxes: Sequence[tuple[StoredBox, bytes]]) -> int:
        """Put new boxes in place of old ones that are still there; returns how many."""
        if not boxes:
            return 0
        return await self._database.write_shared(
            lambda connection: _replace_boxes(connection, boxes)
        )


def require_current_term(connection: Connection, term: int) -> None:
    """Refuse to store a box in a term that is about to go, or gone; raises `StaleTermError`.

    For whoever stores a box made before this transaction: its process may have stood still in
    between, while another one retired the term. The node's key tells: it is moved to every new
    term, and no term is retired before. Without one in the store nothing is known.
    """
    moved_to = connection.scalar(select(NODE_IDENTITY.c.secret_term))
    if moved_to is not None and term < moved_to:
        raise StaleTermError(f"a box was made in term {term}, which was replaced; try again")


# --- the seal ---------------------------------------------------------------------------------


def _stored(connection: Connection) -> StoredSeal | None:
    record = connection.execute(select(SEAL)).one_or_none()
    keyring = connection.execute(select(SEAL_KEYRING)).one_or_none()
    if record is None and keyring is None:
        return None
    if record is None or keyring is None:
        missing = "seal" if record is None else "seal_keyring"
        raise StorageError(f"the row of table {missing} is missing; restore a backup")
    return StoredSeal(
        record=record.record,
        epoch=record.epoch,
        keyring_version=keyring.version,
        keyring_epoch=keyring.epoch,
        keyring_box=keyring.box,
    )


def _create(connection: Connection, seal: StoredSeal, identity: StoredIdentity | None) -> None:
    if connection.scalar(select(SEAL.c.id)) is not None:
        raise AlreadyInitialisedError("this store is sealed already")
    if _boxes_by_term(connection):
        raise StorageError(
            "the seal is missing, but sealed rows are there that only it opens; restore a backup"
        )
    connection.execute(insert(SEAL).values(id=1, **_seal_values(seal)))
    connection.execute(insert(SEAL_KEYRING).values(id=1, **_keyring_values(seal)))
    if identity is not None:
        _put_identity(connection, identity)


def _replace(
    connection: Connection,
    seal: StoredSeal,
    expected: SealVersion,
    identity: StoredIdentity | None,
    without_term: int | None,
) -> None:
    replaced_record = connection.execute(
        update(SEAL).where(SEAL.c.epoch == expected.epoch).values(**_seal_values(seal))
    )
    replaced_keyring = connection.execute(
        update(SEAL_KEYRING)
        .where(
            SEAL_KEYRING.c.epoch == expected.epoch,
            SEAL_KEYRING.c.version == expected.keyring_version,
        )
        .values(**_keyring_values(seal))
    )
    if (replaced_record.rowcount, replaced_keyring.rowcount) != (1, 1):
        raise SealConflictError("the seal was changed by another process meanwhile")
    if without_term is not None and _boxes_by_term(connection).get(without_term):
        raise TermInUseError(f"term {without_term}: there are boxes of it; run a rewrap first")
    if identity is not None:
        _put_identity(connection, identity)


def _seal_values(seal: StoredSeal) -> dict[str, Any]:
    return {"record": seal.record, "epoch": seal.epoch}


def _keyring_values(seal: StoredSeal) -> dict[str, Any]:
    return {
        "version": seal.keyring_version,
        "epoch": seal.keyring_epoch,
        "box": seal.keyring_box,
    }


def _identity(connection: Connection) -> StoredIdentity | None:
    row = connection.execute(select(NODE_IDENTITY)).one_or_none()
    if row is None:
        return None
    try:
        return StoredIdentity(NodeId(row.node_id), row.secret_box, row.secret_term)
    except ValueError as problem:
        raise StorageError(f"table node_identity, node_id: {problem}") from problem


def _put_identity(connection: Connection, identity: StoredIdentity) -> None:
    connection.execute(NODE_IDENTITY.delete())
    connection.execute(
        insert(NODE_IDENTITY).values(
            id=1,
            node_id=bytes(identity.node_id),
            secret_box=identity.secret_box,
            secret_term=identity.secret_term,
        )
    )


# --- boxes of all tables ----------------------------------------------------------------------


def _boxes_by_term(connection: Connection) -> Counter[int]:
    counts: Counter[int] = Counter()
    for sealed in SEALED_COLUMNS:
        term = _term_column(sealed)
        for number, count in connection.execute(select(term, func.count()).group_by(term)):
            counts[number] += count
    return counts


def _boxes_not_of(
    connection: Connection, term: int, limit: int, after: StoredBox | None
) -> list[StoredBox]:
    found: list[StoredBox] = []
    passed = after is None
    for sealed in SEALED_COLUMNS:
        from_here: StoredBox | None = None
        if not passed:
            assert after is not None
            if (sealed.table, sealed.column) != (after.table, after.column):
                continue
            passed, from_here = True, after
        if len(found) < limit:
            found += _boxes_of_table(connection, sealed, term, limit - len(found), from_here)
    return found


def _boxes_of_table(
    connection: Connection, sealed: SealedColumn, term: int, limit: int, after: StoredBox | None
) -> list[StoredBox]:
    table = _table(sealed)
    keys = _key_columns(sealed)
    query = select(*keys, table.c[sealed.column].label("box")).where(_term_column(sealed) != term)
    if after is not None:
        query = query.where(tuple_(*keys) > tuple_(*_key_values(sealed, after)))
    rows = connection.execute(query.order_by(*keys).limit(limit))
    return [
        StoredBox(sealed.table, sealed.column, tuple(map(_as_text, row[:-1])), row.box)
        for row in rows
    ]


def _replace_boxes(connection: Connection, boxes: Sequence[tuple[StoredBox, bytes]]) -> int:
    columns = {(sealed.table, sealed.column): sealed for sealed in SEALED_COLUMNS}
    changed = 0
    for old, box in boxes:
        sealed = columns[old.table, old.column]
        table = _table(sealed)
        values = {sealed.column: box, _term_column(sealed).name: box_term(box)}
        is_row = and_(*_same_key(sealed, old), table.c[sealed.column] == old.box)
        changed += connection.execute(update(table).where(is_row).values(values)).rowcount
    return changed


def _same_key(sealed: SealedColumn, box: StoredBox) -> list[ColumnElement[bool]]:
    values = _key_values(sealed, box)
    return [column == value for column, value in zip(_key_columns(sealed), values, strict=True)]


def _table(sealed: SealedColumn) -> Table:
    return METADATA.tables[sealed.table]


def _term_column(sealed: SealedColumn) -> Column[Any]:
    return _table(sealed).c[sealed.column.removesuffix("_box") + "_term"]


def _key_columns(sealed: SealedColumn) -> list[Column[Any]]:
    return [_table(sealed).c[name] for name in sealed.key_columns]


def _as_text(value: _KeyValue) -> str:
    """A value of a row's key as its context has it (sealing, C17)."""
    return value.hex() if isinstance(value, bytes) else str(value)


def _key_values(sealed: SealedColumn, box: StoredBox) -> list[_KeyValue]:
    columns = _key_columns(sealed)
    return [_from_text(*pair) for pair in zip(columns, box.primary_key, strict=True)]


def _from_text(column: Column[Any], text: str) -> _KeyValue:
    match column.type:
        case LargeBinary():
            return bytes.fromhex(text)
        case Integer():
            return int(text)
    return text
