"""What every store promises about migrations (`keyserver.tasks.ports.MigrationStore`)."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from keyserver.errors import StorageError
from keyserver.model.identifiers import Address
from keyserver.storage.memory import MemoryWorkStore
from keyserver.storage.work import SqlWorkStore
from keyserver.tasks.migration import JoinedMigration, PlannedStart
from keyserver.tasks.ports import MigrationStore
from tests.support.stored_values import CHAIN, digest
from tests.support.stores import SqlSite, StoreSite

HERE, THERE = Address(b"\x01" * 20), Address(b"\x02" * 20)
PLAN = PlannedStart(digest("id"), HERE, digest("current"), digest("new"), 2**40)
JOINED = JoinedMigration(digest("id"), HERE, digest("target"), 7)


def store_of(site: StoreSite) -> MigrationStore:
    assert isinstance(site.work, SqlWorkStore | MemoryWorkStore)
    return site.work


async def test_nothing_is_known_at_first(site: StoreSite) -> None:
    store = store_of(site)
    assert await store.planned_start(HERE) is None
    assert await store.joined_migration(HERE, JOINED.id) is None


async def test_a_contract_has_one_planned_start(site: StoreSite) -> None:
    other = replace(PLAN, contract=THERE, id=digest("other"))
    later = replace(PLAN, id=digest("later"), new_set=digest("newer"), block=8)
    for plan in (PLAN, other, later):
        await store_of(site).keep_planned_start(plan)
    await site.reopen()
    assert await store_of(site).planned_start(HERE) == later
    assert await store_of(site).planned_start(THERE) == other


async def test_a_contract_has_one_joined_migration(site: StoreSite) -> None:
    elsewhere = replace(JOINED, contract=THERE, target_set=digest("else"), accepted_block=9)
    done = replace(JOINED, succeeded_block=12)
    for joined in (JOINED, elsewhere, done):
        await store_of(site).keep_joined_migration(joined)
    await site.reopen()
    store = store_of(site)
    assert await store.joined_migration(HERE, JOINED.id) == done
    assert await store.joined_migration(THERE, JOINED.id) == elsewhere
    other = replace(JOINED, id=digest("other"))
    await store.keep_joined_migration(other)
    await site.reopen()
    assert await store_of(site).joined_migration(HERE, other.id) == other
    assert await store_of(site).joined_migration(HERE, JOINED.id) is None, "an id may come again"
    assert await store_of(site).joined_migration(THERE, JOINED.id) == elsewhere


@pytest.mark.parametrize("column", ["migration_id", "current_set", "new_set"])
async def test_a_planned_start_that_does_not_parse_is_named(sql_site: SqlSite, column: str) -> None:
    await store_of(sql_site).keep_planned_start(PLAN)
    statement = text(f"UPDATE planned_starts SET {column} = :short")
    await sql_site.database.write(lambda c: c.execute(statement, {"short": b"\x01"}))
    with pytest.raises(StorageError, match="planned_starts, 0x0101"):
        await store_of(sql_site).planned_start(HERE)


async def test_a_joined_migration_that_does_not_parse_is_named(sql_site: SqlSite) -> None:
    await store_of(sql_site).keep_joined_migration(JOINED)
    statement = text("UPDATE joined_migrations SET target_set = :short")
    await sql_site.database.write(lambda c: c.execute(statement, {"short": b"\x01"}))
    with pytest.raises(StorageError, match="joined_migrations, "):
        await store_of(sql_site).joined_migration(HERE, JOINED.id)


async def test_other_chains_are_not_seen(sql_site: SqlSite) -> None:
    await store_of(sql_site).keep_planned_start(PLAN)
    await store_of(sql_site).keep_joined_migration(JOINED)
    other = SqlWorkStore(sql_site.database, CHAIN + 1)
    assert await other.planned_start(HERE) is None
    assert await other.joined_migration(HERE, JOINED.id) is None
