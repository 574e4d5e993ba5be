"""Completed changes of the node set (`keyserver.engine.set_change_ports.SetChangeStore`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from sqlalchemy import Connection, Row, delete, insert, select

from keyserver.engine.set_change_ports import check_numbers
from keyserver.errors import StorageError
from keyserver.model.codec import Limit, decode, encode
from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.node_set import NodeSet
from keyserver.model.quorums import MAX_NODES
from keyserver.model.set_change import CompletedChange
from keyserver.storage.database import Database
from keyserver.storage.key_rows import reading
from keyserver.storage.memory import DiskState, MemoryDisk
from keyserver.storage.schema import SET_CHANGES


class SqlSetChangeStore:
    """Them in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def completed(self) -> Sequence[CompletedChange]:
        """All of them, the oldest first; raises `StorageError` for a row that does not parse."""
        return await self._database.read(load_completed)

    async def keep_completed(self, changes: Sequence[CompletedChange]) -> None:
        """Make this the history; raises as `SetChangeStore` says."""
        check_numbers(changes)
        await self._database.write(lambda connection: save_completed(connection, changes))


class MemorySetChangeStore:
    """Them on a simulated disk."""

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk

    async def completed(self) -> Sequence[CompletedChange]:
        """All of them, the oldest first."""
        return self._disk.state.set_changes

    async def keep_completed(self, changes: Sequence[CompletedChange]) -> None:
        """Make this the history; raises as `SetChangeStore` says."""
        check_numbers(changes)

        def change(state: DiskState) -> DiskState:
            _check_length(len(state.set_changes), len(changes))
            return replace(state, set_changes=tuple(changes))

        self._disk.commit(change)


# --- rows -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Nodes:
    nodes: Annotated[tuple[NodeId, ...], Limit(MAX_NODES)]


def load_completed(connection: Connection) -> tuple[CompletedChange, ...]:
    """All rows, by epoch; raises `StorageError` naming one that does not parse."""
    rows = connection.execute(select(SET_CHANGES).order_by(SET_CHANGES.c.epoch))
    return tuple(_change_of(row) for row in rows)


def save_completed(connection: Connection, changes: Sequence[CompletedChange]) -> None:
    """Write what is new or different; raises `StorageError` if there would be fewer rows."""
    kept = load_completed(connection)
    _check_length(len(kept), len(changes))
    different = [new for old, new in zip(kept, changes, strict=False) if old != new]
    if different:
        epochs = [change.epoch for change in different]
        connection.execute(delete(SET_CHANGES).where(SET_CHANGES.c.epoch.in_(epochs)))
    written = [*different, *changes[len(kept) :]]
    if written:
        connection.execute(insert(SET_CHANGES), [_row_of(change) for change in written])


def _check_length(kept: int, wanted: int) -> None:
    if wanted < kept:
        raise StorageError(f"set_changes: {kept} are kept, and only {wanted} would be left")


def _change_of(row: Row[Any]) -> CompletedChange:
    with reading(SET_CHANGES, row.epoch.to_bytes(8, "big")):
        contract = Address(row.contract)
        old, new = (
            NodeSet(row.chain_id, contract, decode(_Nodes, bytes(packed)).nodes)
            for packed in (row.old_nodes, row.new_nodes)
        )
        return CompletedChange(row.epoch, Hash32(row.change_id), old, new, row.completed_at)


def _row_of(change: CompletedChange) -> Mapping[str, Any]:
    return {
        "epoch": change.epoch,
        "change_id": bytes(change.id),
        "chain_id": change.old.chain_id,
        "contract": bytes(change.old.contract),
        "old_nodes": encode(_Nodes(change.old.nodes)),
        "new_nodes": encode(_Nodes(change.new.nodes)),
        "completed_at": change.completed_at,
    }
