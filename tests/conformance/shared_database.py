"""What tests of several processes on one database share."""

from sqlalchemy import Connection, func, insert, select, update

from keyserver.storage.database import Database
from keyserver.storage.schema import ACTIVE_REPLICA, READ_BLOCKS, REPLICAS


async def let_time_pass(database: Database, milliseconds: int) -> None:
    """For the rows: what lies in the database is so much older."""
    earlier = update(ACTIVE_REPLICA).values(expires_at=ACTIVE_REPLICA.c.expires_at - milliseconds)
    seen = update(REPLICAS).values(seen_at=REPLICAS.c.seen_at - milliseconds)
    await database.write_shared(
        lambda connection: (connection.execute(earlier), connection.execute(seen))
    )


def count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(READ_BLOCKS)) or 0


async def add(database: Database, number: int) -> None:
    row = {"chain_id": 1, "number": number, "hash": bytes(32)}
    await database.write(lambda connection: connection.execute(insert(READ_BLOCKS).values(**row)))
