"""Rows of the table `outbox`: written, read, and found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from keyserver.errors import StorageError
from keyserver.model.codec import NO_LIMIT, CodecError, Limit, decode, encode
from keyserver.model.identifiers import Address, Hash32
from keyserver.storage.schema import OUTBOX
from keyserver.tasks.model import SetEpoch
from keyserver.tasks.outbox import Attempt, Mined, OutboxEntry, OutboxKey, OutboxState
from keyserver.tasks.ports import StaleRowError

_log = structlog.get_logger(__name__)

OPEN_STATES = tuple(state.value for state in OutboxState if state.is_open)


@dataclass(frozen=True, slots=True)
class _Attempts:
    """The form in which an entry's attempts are stored."""

    items: Annotated[tuple[Attempt, ...], Limit(NO_LIMIT)]


def entry_of(row: Row[Any]) -> OutboxEntry:
    """The entry of a row; raises `StorageError` naming it."""
    try:
        return OutboxEntry(
            id=row.id,
            key=OutboxKey(
                task_id=row.task_id,
                epoch=SetEpoch(Address(row.epoch_contract), row.epoch_change),
                method=row.method,
                sender=Address(row.sender),
                variant=Hash32(row.variant),
            ),
            contract=Address(row.contract),
            data=row.data,
            is_error=row.is_error,
            bound_to_epoch=row.bound_to_epoch,
            state=OutboxState(row.state),
            nonce=row.nonce,
            attempts=decode(_Attempts, row.attempts).items,
            mined=None if row.mined is None else decode(Mined, row.mined),
            failures=row.failures,
            reason=row.reason,
            revision=row.revision,
        )
    except (CodecError, ValueError) as problem:
        raise StorageError(f"outbox, row {row.id}: {problem}") from problem


def find_entries(connection: Connection, *conditions: ColumnElement[bool]) -> list[OutboxEntry]:
    """The entries that meet the conditions, the oldest first; unreadable rows are logged."""
    wanted = select(OUTBOX).where(*conditions).order_by(OUTBOX.c.id)
    found = []
    for row in connection.execute(wanted):
        try:
            found.append(entry_of(row))
        except StorageError as problem:
            _log.error("row_unreadable", error=str(problem))
    return found


def write_entry(connection: Connection, entry: OutboxEntry) -> None:
    """Replace the row of an entry; raises `StaleRowError` unless it has the entry's revision."""
    changed = connection.execute(
        update(OUTBOX)
        .where(OUTBOX.c.id == entry.id, OUTBOX.c.revision == entry.revision)
        .values(**_columns(entry), revision=entry.revision + 1)
    )
    if changed.rowcount != 1:
        raise StaleRowError(f"answer {entry.id}: not at revision {entry.revision} any more")


def add_entry(connection: Connection, chain_id: int, entry: OutboxEntry) -> None:
    """Insert an entry with an id of its own, unless its key is there already."""
    known = connection.scalar(select(OUTBOX.c.id).where(_is_of(entry.key)))
    if known is None:
        connection.execute(
            insert(OUTBOX).values(chain_id=chain_id, **_columns(entry), revision=entry.revision)
        )


def delete_entries_of(connection: Connection, task_ids: Sequence[int]) -> None:
    """Delete all entries of these tasks."""
    connection.execute(delete(OUTBOX).where(OUTBOX.c.task_id.in_(task_ids)))


def tasks_with_open_entries(connection: Connection, chain_id: int) -> frozenset[int]:
    """The ids of tasks for which something may still be sent."""
    wanted = select(OUTBOX.c.task_id).where(
        OUTBOX.c.chain_id == chain_id, OUTBOX.c.state.in_(OPEN_STATES)
    )
    return frozenset((connection.execute(wanted)).scalars())


def _is_of(key: OutboxKey) -> ColumnElement[bool]:
    return and_(
        OUTBOX.c.task_id == key.task_id,
        OUTBOX.c.epoch_contract == bytes(key.epoch.contract),
        OUTBOX.c.epoch_change == key.epoch.last_change,
        OUTBOX.c.method == key.method,
        OUTBOX.c.sender == bytes(key.sender),
        OUTBOX.c.variant == bytes(key.variant),
    )


def _columns(entry: OutboxEntry) -> dict[str, Any]:
    return {
        "task_id": entry.key.task_id,
        "epoch_contract": entry.key.epoch.contract,
        "epoch_change": entry.key.epoch.last_change,
        "method": entry.key.method,
        "sender": entry.key.sender,
        "variant": entry.key.variant,
        "contract": entry.contract,
        "data": entry.data,
        "is_error": entry.is_error,
        "bound_to_epoch": entry.bound_to_epoch,
        "state": entry.state.value,
        "nonce": entry.nonce,
        "attempts": encode(_Attempts(entry.attempts)),
        "mined": None if entry.mined is None else encode(entry.mined),
        "failures": entry.failures,
        "reason": entry.reason,
    }
