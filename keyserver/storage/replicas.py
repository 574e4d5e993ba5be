"""The processes of a node, and which of them acts for it (sealing, C9).

Several processes share a node's database only on a PostgreSQL server. They compare times by its
clock alone, so theirs may differ. A lease that is not renewed runs out; whoever takes it counts the
fence up, and writes of the holder before fail from then on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    delete,
    false,
    insert,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)

from keyserver.errors import StorageError
from keyserver.sealing.ports import ReplicaFacts, SealState
from keyserver.storage.access import FenceLostError
from keyserver.storage.database import Database
from keyserver.storage.schema import ACTIVE_REPLICA, REPLICAS

LEASE_MS: Final = 10_000
"""How long a lease lasts from its last renewal."""

LIVE_MS: Final = 15_000
"""A process that was seen longer ago counts as gone."""

FORGET_MS: Final = 24 * 60 * 60 * 1000
"""After which the row of a process that is gone is deleted."""

_ROW: Final = ACTIVE_REPLICA.c

_CLOCKS: Final = {
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
}
"""Milliseconds since 1970 by the database's clock."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a process tells of itself."""

    replica_id: str
    operator_url: str
    state: SealState
    progress: int
    required: int
    epoch: int
    term: int
    software: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A lease that a process has, or had."""

    replica_id: str
    fence: int
    """Counts the changes of hands."""


class SqlReplicas:
    """The tables `replicas` and `active_replica`.

    Every method raises `StorageError` for trouble with the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, report: Report) -> None:
        """Keep the row of a process up to date; it has been seen now.

        In a file, which has one process, the rows of all others are deleted, elsewhere those of
        processes that have not been seen for a day.
        """
        alone = not self._database.is_shared
        await self._database.write_in_turn(  # another process that hangs must not be in its way
            lambda connection: _report(connection, report, alone=alone)
        )

    async def all(self) -> Sequence[ReplicaFacts]:
        """All rows, the latest start first."""
        alone = not self._database.is_shared
        return await self._database.read(lambda connection: _all(connection, alone=alone))

    async def forget(self, replica_id: str) -> None:
        """Delete the row of a process that stops."""
        gone = delete(REPLICAS).where(REPLICAS.c.replica_id == replica_id)
        await self._database.write_in_turn(lambda connection: connection.execute(gone))

    async def take(self, replica_id: str, *, unsealed: bool) -> Hold | None:
        """Take the lease, if it is free: run out, cleared or one's own; `None` if it is not.

        An unsealed process takes it from a sealed one, and the only process of a file from any.
        """
        alone = not self._database.is_shared
        return await self._database.write_in_turn(
            lambda connection: _take(connection, replica_id, unsealed=unsealed, alone=alone)
        )

    async def renew(self, hold: Hold, *, unsealed: bool) -> bool:
        """Let the lease last from now on; false if another process has it."""
        return await self._database.write_in_turn(
            lambda connection: _renew(connection, hold, unsealed=unsealed)
        )

    async def release(self, hold: Hold) -> None:
        """Clear the lease, so that another process may take it at once."""
        cleared = update(ACTIVE_REPLICA).where(*_is_held_by(hold)).values(replica_id=None)
        await self._database.write_in_turn(lambda connection: connection.execute(cleared))


class HoldFence:
    """Lets the acting process write only (`keyserver.storage.access.Fence`)."""

    def __init__(self, hold: Callable[[], Hold | None], lost: Callable[[], None]) -> None:
        """`hold`: the lease this process has by its own reckoning; `lost`: that it was mistaken."""
        self._hold = hold
        self._lost = lost

    def check(self, connection: Connection) -> None:
        """Keep the lease where it is until the end of the transaction.

        Raises `FenceLostError` if another process has it.
        """
        hold = self._hold()
        if hold is None:
            raise FenceLostError("another process may act for this node")
        kept = select(_ROW.id).where(*_is_held_by(hold)).with_for_update(read=True)
        if connection.scalar(kept) is None:
            self._lost()
            raise FenceLostError("another process acts for this node")


async def require_stopped(database: Database) -> None:
    """Raise `StorageError` if a process of the node is running, as its row says."""
    live = [each.replica_id for each in await SqlReplicas(database).all() if each.live]
    if live and database.is_shared:
        raise StorageError(
            f"{database.name} is in use by {len(live)} running processes ({', '.join(live)}); stop "
            f"them first. One that was killed counts as running for {LIVE_MS // 1000} seconds"
        )


# --- rows -------------------------------------------------------------------------------------


def _now(connection: Connection) -> ColumnElement[int]:
    return literal_column(_CLOCKS[connection.dialect.name], BigInteger)


def _is_held_by(hold: Hold) -> tuple[ColumnElement[bool], ...]:
    return _ROW.id == 1, _ROW.replica_id == hold.replica_id, _ROW.fence == hold.fence


def _report(connection: Connection, report: Report, *, alone: bool) -> None:
    now = _now(connection)
    is_own = REPLICAS.c.replica_id == report.replica_id
    values: dict[str, Any] = {
        "operator_url": report.operator_url,
        "state": report.state.value,
        "progress": report.progress,
        "required": report.required,
        "epoch": report.epoch,
        "term": report.term,
        "software": report.software,
        "seen_at": now,
    }
    if not connection.execute(update(REPLICAS).where(is_own).values(**values)).rowcount:
        own = {"replica_id": report.replica_id, "started_at": now}
        connection.execute(insert(REPLICAS).values(**own, **values))
    is_old = true() if alone else REPLICAS.c.seen_at < now - FORGET_MS
    connection.execute(delete(REPLICAS).where(~is_own, is_old))


def _all(connection: Connection, *, alone: bool) -> Sequence[ReplicaFacts]:
    now = _now(connection)
    is_valid = true() if alone else _ROW.expires_at > now
    acting = connection.scalar(select(_ROW.replica_id).where(is_valid))
    is_live = (REPLICAS.c.seen_at > now - LIVE_MS).label("live")
    newest_first = REPLICAS.c.started_at.desc(), REPLICAS.c.replica_id
    rows = connection.execute(select(REPLICAS, is_live).order_by(*newest_first))
    return [
        ReplicaFacts(
            replica_id=row.replica_id,
            operator_url=row.operator_url,
            state=_state(row.replica_id, row.state),
            progress=row.progress,
            required=row.required,
            epoch=row.epoch,
            term=row.term,
            software=row.software,
            started_at=row.started_at,
            seen_at=row.seen_at,
            live=bool(row.live),
            active=row.replica_id == acting,
        )
        for row in rows
    ]


def _state(replica_id: str, name: str) -> SealState:
    try:
        return SealState(name)
    except ValueError:
        raise StorageError(f"replicas, row {replica_id}: no state is called {name}") from None


def _take(connection: Connection, replica_id: str, *, unsealed: bool, alone: bool) -> Hold | None:
    now = _now(connection)
    connection.execute(
        text(
            "INSERT INTO active_replica (id, unsealed, fence, expires_at) "
            "VALUES (1, false, 0, 0) ON CONFLICT DO NOTHING"
        )
    )
    is_free = or_(
        _ROW.replica_id.is_(None),
        _ROW.replica_id == replica_id,
        _ROW.expires_at <= now,
        ~_ROW.unsealed if unsealed else false(),
        true() if alone else false(),
    )
    taken = (
        update(ACTIVE_REPLICA)
        .where(_ROW.id == 1, is_free)
        .values(
            replica_id=replica_id,
            unsealed=unsealed,
            fence=_ROW.fence + 1,
            expires_at=now + LEASE_MS,
        )
        .returning(_ROW.fence)
    )
    fence = connection.scalar(taken)
    return None if fence is None else Hold(replica_id, fence)


def _renew(connection: Connection, hold: Hold, *, unsealed: bool) -> bool:
    renewed = (
        update(ACTIVE_REPLICA)
        .where(*_is_held_by(hold))
        .values(unsealed=unsealed, expires_at=_now(connection) + LEASE_MS)
    )
    return connection.execute(renewed).rowcount == 1
