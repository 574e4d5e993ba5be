"""How many rows there are, for operators: no row is read."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from keyserver.storage.database import Database
from keyserver.storage.schema import KEY_RECORDS, KEY_SHARES, OUTBOX, TASKS
from keyserver.tasks.model import TaskKind


@dataclass(frozen=True, slots=True)
class WorkCounts:
    """Tasks by service kind and state, and answers by state, finished ones included."""

    tasks: dict[tuple[str, str], int]
    answers: dict[str, int]


async def count_keys(database: Database) -> int:
    """How many keys have an active record."""
    wanted = select(func.count()).select_from(KEY_RECORDS)
    return await database.read(lambda connection: connection.scalar(wanted)) or 0


async def count_shares(database: Database) -> int:
    """How many keys have a share of their active record here."""
    wanted = (
        select(func.count())
        .select_from(KEY_RECORDS)
        .join(
            KEY_SHARES,
            (KEY_SHARES.c.key_id == KEY_RECORDS.c.key_id)
            & (KEY_SHARES.c.version == KEY_RECORDS.c.version),
        )
    )
    return await database.read(lambda connection: connection.scalar(wanted)) or 0


async def count_work(database: Database, chain_id: int) -> WorkCounts:
    """What is there of one chain; kinds that no program knows are named by their number."""
    tasks = (
        select(TASKS.c.kind, TASKS.c.state, func.count())
        .where(TASKS.c.chain_id == chain_id)
        .group_by(TASKS.c.kind, TASKS.c.state)
    )
    answers = (
        select(OUTBOX.c.state, func.count().label("number"))
        .where(OUTBOX.c.chain_id == chain_id)
        .group_by(OUTBOX.c.state)
    )

    def count(connection: Connection) -> WorkCounts:
        by_kind = {
            (_kind_name(kind), state): number for kind, state, number in connection.execute(tasks)
        }
        by_state = {row.state: row.number for row in connection.execute(answers)}
        return WorkCounts(by_kind, by_state)

    return await database.read(count)


def _kind_name(kind: int) -> str:
    known = {member.value: member.name.lower() for member in TaskKind}
    return known.get(kind, str(kind))
