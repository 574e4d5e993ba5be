"""Rows of the table `tasks`: written, read, and found."""

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from keyserver.errors import StorageError
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.storage.schema import TASKS
from keyserver.tasks.model import (
    Confirm,
    Ignore,
    Open,
    Replace,
    SeenRequest,
    Sighting,
    Task,
    TaskKey,
    TaskKind,
    TaskState,
    admit,
    new_task,
)
from keyserver.tasks.ports import StaleRowError

_log = structlog.get_logger(__name__)

OPEN_STATES = tuple(state.value for state in TaskState if state.is_open)


def task_of(row: Row[Any]) -> Task:
    """The task of a row; raises `StorageError` naming it."""
    try:
        return Task(
            id=row.id,
            key=TaskKey(
                chain_id=row.chain_id,
                contract=Address(row.contract),
                kind=TaskKind(row.kind),
                key_id=KeyId(row.key_id),
                requester=Address(row.requester),
                message=Hash32(row.message),
            ),
            payload=row.payload,
            state=TaskState(row.state),
            first_seen=Sighting(row.first_block, Hash32(row.first_hash), row.first_log),
            last_seen=Sighting(row.last_block, Hash32(row.last_hash), row.last_log),
            attempts=row.attempts,
            next_attempt_block=row.next_attempt_block,
            result=row.result,
            reason=row.reason,
            closed_block=row.closed_block,
            revision=row.revision,
        )
    except ValueError as problem:
        raise StorageError(f"tasks, row {row.id}: {problem}") from problem


def find_tasks(
    connection: Connection, *conditions: ColumnElement[bool], limit: int | None = None
) -> list[Task]:
    """The tasks that meet the conditions, the oldest first; rows that do not parse are logged."""
    wanted = select(TASKS).where(*conditions).order_by(TASKS.c.id).limit(limit)
    found = []
    for row in connection.execute(wanted):
        try:
            found.append(task_of(row))
        except StorageError as problem:
            _log.error("row_unreadable", error=str(problem))
    return found


def latest_task(connection: Connection, key: TaskKey) -> Task | None:
    """The newest task of a key; raises `StorageError` if it does not parse."""
    wanted = select(TASKS).where(_is_of(key)).order_by(TASKS.c.id.desc()).limit(1)
    row = (connection.execute(wanted)).one_or_none()
    return None if row is None else task_of(row)


def admit_requests(connection: Connection, requests: Sequence[SeenRequest]) -> int:
    """Record sightings; returns how many tasks were opened.

    A request whose newest task does not parse is logged and left alone, so that one bad row does
    not stop the others.
    """
    opened = 0
    for request in requests:
        try:
            latest = latest_task(connection, request.key)
        except StorageError as problem:
            _log.error("row_unreadable", error=str(problem))
            continue
        match admit(latest, request):
            case Ignore():
                continue
            case Confirm(task):
                write_task(connection, task)
                continue
            case Replace(closed):
                write_task(connection, closed)
            case Open():
                pass
        values = _columns(new_task(0, request))
        connection.execute(insert(TASKS).values(**values, revision=0))
        opened += 1
    return opened


def write_task(connection: Connection, task: Task) -> None:
    """Replace the row of a task; raises `StaleRowError` unless it has the task's revision."""
    changed = connection.execute(
        update(TASKS)
        .where(TASKS.c.id == task.id, TASKS.c.revision == task.revision)
        .values(**_columns(task), revision=task.revision + 1)
    )
    if changed.rowcount != 1:
        raise StaleRowError(f"task {task.id}: not at revision {task.revision} any more")


def delete_tasks(connection: Connection, ids: Sequence[int]) -> None:
    """Delete rows that nothing refers to."""
    connection.execute(delete(TASKS).where(TASKS.c.id.in_(ids)))


def _is_of(key: TaskKey) -> ColumnElement[bool]:
    return and_(
        TASKS.c.chain_id == key.chain_id,
        TASKS.c.contract == bytes(key.contract),
        TASKS.c.kind == int(key.kind),
        TASKS.c.key_id == bytes(key.key_id),
        TASKS.c.requester == bytes(key.requester),
        TASKS.c.message == bytes(key.message),
    )


def _columns(task: Task) -> dict[str, Any]:
    key = task.key
    return {
        "chain_id": key.chain_id,
        "contract": key.contract,
        "kind": int(key.kind),
        "key_id": key.key_id,
        "requester": key.requester,
        "message": key.message,
        "payload": task.payload,
        "state": task.state.value,
        "first_block": task.first_seen.block,
        "first_hash": task.first_seen.block_hash,
        "first_log": task.first_seen.log_index,
        "last_block": task.last_seen.block,
        "last_hash": task.last_seen.block_hash,
        "last_log": task.last_seen.log_index,
        "attempts": task.attempts,
        "next_attempt_block": task.next_attempt_block,
        "result": task.result,
        "reason": task.reason,
        "closed_block": task.closed_block,
    }
