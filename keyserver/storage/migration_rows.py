"""Rows of the tables `planned_starts` and `joined_migrations`."""

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select

from keyserver.errors import StorageError
from keyserver.model.identifiers import Address, Hash32
from keyserver.storage.schema import JOINED_MIGRATIONS, PLANNED_STARTS
from keyserver.tasks.migration import JoinedMigration, PlannedStart


def load_planned_start(
    connection: Connection, chain_id: int, contract: Address
) -> PlannedStart | None:
    """The plan for a contract; raises `StorageError` if its row does not parse."""
    wanted = select(PLANNED_STARTS).where(_plan_of(chain_id, contract))
    row = connection.execute(wanted).one_or_none()
    if row is None:
        return None
    try:
        return PlannedStart(
            id=Hash32(row.migration_id),
            contract=Address(row.contract),
            current_set=Hash32(row.current_set),
            new_set=Hash32(row.new_set),
            block=row.block,
        )
    except ValueError as problem:
        raise StorageError(f"planned_starts, 0x{contract.hex()}: {problem}") from problem


def write_planned_start(connection: Connection, chain_id: int, plan: PlannedStart) -> None:
    """Put it in the place of the contract's earlier one."""
    connection.execute(delete(PLANNED_STARTS).where(_plan_of(chain_id, plan.contract)))
    connection.execute(
        insert(PLANNED_STARTS).values(
            chain_id=chain_id,
            contract=plan.contract,
            migration_id=plan.id,
            current_set=plan.current_set,
            new_set=plan.new_set,
            block=plan.block,
        )
    )


def load_joined_migration(
    connection: Connection, chain_id: int, contract: Address, migration_id: Hash32
) -> JoinedMigration | None:
    """What is known of a migration; raises `StorageError` if its row does not parse."""
    is_it = JOINED_MIGRATIONS.c.migration_id == bytes(migration_id)
    wanted = select(JOINED_MIGRATIONS).where(_joined_of(chain_id, contract), is_it)
    row = connection.execute(wanted).one_or_none()
    if row is None:
        return None
    try:
        return JoinedMigration(
            id=Hash32(row.migration_id),
            contract=Address(row.contract),
            target_set=Hash32(row.target_set),
            accepted_block=row.accepted_block,
            succeeded_block=row.succeeded_block,
        )
    except ValueError as problem:
        raise StorageError(f"joined_migrations, {migration_id.hex()}: {problem}") from problem


def write_joined_migration(connection: Connection, chain_id: int, joined: JoinedMigration) -> None:
    """Put it in the place of the contract's earlier one."""
    connection.execute(delete(JOINED_MIGRATIONS).where(_joined_of(chain_id, joined.contract)))
    connection.execute(
        insert(JOINED_MIGRATIONS).values(
            chain_id=chain_id,
            contract=joined.contract,
            migration_id=joined.id,
            target_set=joined.target_set,
            accepted_block=joined.accepted_block,
            succeeded_block=joined.succeeded_block,
        )
    )


def _plan_of(chain_id: int, contract: Address) -> ColumnElement[bool]:
    table = PLANNED_STARTS.c
    return and_(table.chain_id == chain_id, table.contract == bytes(contract))


def _joined_of(chain_id: int, contract: Address) -> ColumnElement[bool]:
    table = JOINED_MIGRATIONS.c
    return and_(table.chain_id == chain_id, table.contract == bytes(contract))
