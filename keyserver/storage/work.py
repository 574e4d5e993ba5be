"""Tasks, answers, log cursors and migrations in the database.

Implements `WorkStore` and `MigrationStore` of `keyserver.tasks.ports`.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, func, select

from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.storage import outbox as answers
from keyserver.storage import tasks as work
from keyserver.storage.cursor import append_blocks, drop_blocks, read_blocks
from keyserver.storage.database import Database
from keyserver.storage.migration_rows import (
    load_joined_migration,
    load_planned_start,
    write_joined_migration,
    write_planned_start,
)
from keyserver.storage.schema import OUTBOX, TASKS
from keyserver.tasks.migration import JoinedMigration, PlannedStart
from keyserver.tasks.model import ReadBlock, SeenRequest, Task, TaskKey, TaskState, vanished
from keyserver.tasks.outbox import OutboxEntry


class SqlWorkStore:
    """The durable work of one chain."""

    def __init__(self, database: Database, chain_id: int) -> None:
        self._database = database
        self._chain_id = chain_id

    async def admit(self, requests: Sequence[SeenRequest]) -> int:
        """Record sightings; returns how many tasks were opened."""
        return await self._database.write(
            lambda connection: work.admit_requests(connection, requests)
        )

    async def accept_blocks(
        self,
        *,
        dropped: Sequence[ReadBlock],
        requests: Sequence[SeenRequest],
        blocks: Sequence[ReadBlock],
        keep: int,
    ) -> int:
        """Move on in the chain, all in one transaction; returns how many tasks were opened.

        A task with an open answer stays even if its log is gone: a nonce may be in use, and the
        sender asks the contract before it goes on.
        """

        def accept(connection: Connection) -> int:
            if dropped:
                self._delete_vanished(connection, {block.hash for block in dropped})
            drop_blocks(connection, self._chain_id, dropped)
            opened = work.admit_requests(connection, requests)
            append_blocks(connection, self._chain_id, blocks, keep)
            return opened

        return await self._database.write(accept)

    async def history(self) -> Sequence[ReadBlock]:
        """The newest blocks accepted, ascending; empty at first."""
        return await self._database.read(lambda connection: read_blocks(connection, self._chain_id))

    async def task(self, task_id: int) -> Task | None:
        """One task; raises `StorageError` if its row does not parse."""
        wanted = select(TASKS).where(TASKS.c.id == task_id, TASKS.c.chain_id == self._chain_id)
        row = await self._database.read(lambda connection: connection.execute(wanted).one_or_none())
        return None if row is None else work.task_of(row)

    async def latest(self, key: TaskKey) -> Task | None:
        """The newest task of a key, open or not; raises `StorageError` if it does not parse."""
        return await self._database.read(lambda connection: work.latest_task(connection, key))

    async def due(self, block: int, limit: int) -> Sequence[Task]:
        """Pending tasks with `next_attempt_block <= block`, the oldest first."""
        return await self._database.read(
            lambda connection: work.find_tasks(
                connection,
                TASKS.c.chain_id == self._chain_id,
                TASKS.c.state == TaskState.PENDING.value,
                TASKS.c.next_attempt_block <= block,
                limit=limit,
            )
        )

    async def open_tasks(self, key_id: KeyId | None = None) -> Sequence[Task]:
        """Tasks in a state that is not final, the oldest first."""
        conditions = [
            TASKS.c.chain_id == self._chain_id,
            TASKS.c.state.in_(work.OPEN_STATES),
        ]
        if key_id is not None:
            conditions.append(TASKS.c.key_id == bytes(key_id))
        return await self._database.read(
            lambda connection: work.find_tasks(connection, *conditions)
        )

    async def prune(self, before_block: int) -> int:
        """Delete final tasks closed before a block, with their answers; returns how many."""
        unsent = select(OUTBOX.c.id).where(
            OUTBOX.c.task_id == TASKS.c.id, OUTBOX.c.state.in_(answers.OPEN_STATES)
        )
        gone = and_(
            TASKS.c.chain_id == self._chain_id,
            TASKS.c.state.not_in(work.OPEN_STATES),
            TASKS.c.closed_block < before_block,
            ~unsent.exists(),
        )
        their_answers = OUTBOX.c.task_id.in_(select(TASKS.c.id).where(gone))

        def delete_gone(connection: Connection) -> int:
            connection.execute(delete(OUTBOX).where(their_answers))
            return connection.execute(delete(TASKS).where(gone)).rowcount

        return await self._database.write(delete_gone)

    async def open_entries(self, sender: Address) -> Sequence[OutboxEntry]:
        """Entries in a state that is not final, the oldest first."""
        return await self._database.read(
            lambda connection: answers.find_entries(
                connection,
                OUTBOX.c.chain_id == self._chain_id,
                OUTBOX.c.sender == bytes(sender),
                OUTBOX.c.state.in_(answers.OPEN_STATES),
            )
        )

    async def entry(self, entry_id: int) -> OutboxEntry | None:
        """One entry; raises `StorageError` if its row does not parse."""
        wanted = select(OUTBOX).where(OUTBOX.c.id == entry_id, OUTBOX.c.chain_id == self._chain_id)
        row = await self._database.read(lambda connection: connection.execute(wanted).one_or_none())
        return None if row is None else answers.entry_of(row)

    async def entries_of(self, task_id: int) -> Sequence[OutboxEntry]:
        """All entries of a task, the oldest first."""
        return await self._database.read(
            lambda connection: answers.find_entries(
                connection,
                OUTBOX.c.chain_id == self._chain_id,
                OUTBOX.c.task_id == task_id,
            )
        )

    async def highest_nonce(self, sender: Address) -> int | None:
        """The highest nonce in any row of this sender, `None` without one."""
        wanted = select(func.max(OUTBOX.c.nonce)).where(
            OUTBOX.c.chain_id == self._chain_id, OUTBOX.c.sender == bytes(sender)
        )
        return await self._database.read(lambda connection: connection.scalar(wanted))

    async def commit(
        self,
        *,
        tasks: Sequence[Task] = (),
        entries: Sequence[OutboxEntry] = (),
        new_entries: Sequence[OutboxEntry] = (),
        new_tasks: Sequence[SeenRequest] = (),
    ) -> None:
        """Write all or nothing, in this order; raises `StaleRowError` or `StorageError`."""

        def write(connection: Connection) -> None:
            for task in tasks:
                work.write_task(connection, task)
            for entry in entries:
                answers.write_entry(connection, entry)
            for entry in new_entries:
                answers.add_entry(connection, self._chain_id, entry)
            work.admit_requests(connection, new_tasks)

        await self._database.write(write)

    async def planned_start(self, contract: Address) -> PlannedStart | None:
        """The id chosen last for a contract; raises `StorageError` if its row does not parse."""
        return await self._database.read(
            lambda connection: load_planned_start(connection, self._chain_id, contract)
        )

    async def keep_planned_start(self, plan: PlannedStart) -> None:
        """Store it in place of the contract's earlier one."""
        await self._database.write(
            lambda connection: write_planned_start(connection, self._chain_id, plan)
        )

    async def joined_migration(
        self, contract: Address, migration_id: Hash32
    ) -> JoinedMigration | None:
        """How far a migration got here; raises `StorageError` if its row does not parse."""
        return await self._database.read(
            lambda connection: load_joined_migration(
                connection, self._chain_id, contract, migration_id
            )
        )

    async def keep_joined_migration(self, joined: JoinedMigration) -> None:
        """Store it in place of the contract's earlier one."""
        await self._database.write(
            lambda connection: write_joined_migration(connection, self._chain_id, joined)
        )

    def _delete_vanished(self, connection: Connection, dropped: set[Hash32]) -> None:
        busy = answers.tasks_with_open_entries(connection, self._chain_id)
        candidates = work.find_tasks(
            connection,
            TASKS.c.chain_id == self._chain_id,
            TASKS.c.state.in_(work.OPEN_STATES),
            TASKS.c.first_hash.in_([bytes(block_hash) for block_hash in dropped]),
        )
        gone = [task.id for task in candidates if vanished(task, dropped) and task.id not in busy]
        answers.delete_entries_of(connection, gone)
        work.delete_tasks(connection, gone)
