"""The stores in dictionaries, for simulations: what is committed survives a crash, no more.

A `MemoryDisk` is what a simulated node has on disk. Its state is one immutable value, so that a
commit happens as a whole or not at all, and a copy of the disk costs nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from keyserver.engine.ports import MAX_OFFENCES, AgedRecord, CatalogueEntry, Offence, StoredVote
from keyserver.errors import StorageError
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId
from keyserver.model.keys import CertifiedRecord
from keyserver.model.set_change import CompletedChange
from keyserver.sessions.core import KeyState
from keyserver.sessions.writes import CastVote, VoteKind, Write
from keyserver.storage.stored_key import StoredKey, applied, check_vote, grouped
from keyserver.tasks.migration import JoinedMigration, PlannedStart
from keyserver.tasks.model import (
    Confirm,
    Ignore,
    Open,
    ReadBlock,
    Replace,
    SeenRequest,
    Task,
    TaskKey,
    TaskState,
    admit,
    new_task,
    vanished,
)
from keyserver.tasks.outbox import OutboxEntry
from keyserver.tasks.ports import StaleRowError

Row = TypeVar("Row", Task, OutboxEntry)


@dataclass(frozen=True, slots=True)
class DiskState:
    """Everything on a simulated disk; never changed, only replaced."""

    keys: Mapping[KeyId, StoredKey] = field(default_factory=dict)
    votes: Mapping[Hash32, Mapping[tuple[int, VoteKind], CastVote]] = field(default_factory=dict)
    evidence: Mapping[tuple[NodeId, Hash32], tuple[Offence, bytes]] = field(default_factory=dict)
    tasks: Mapping[int, Task] = field(default_factory=dict)
    entries: Mapping[int, OutboxEntry] = field(default_factory=dict)
    blocks: Mapping[int, tuple[ReadBlock, ...]] = field(default_factory=dict)
    """By chain id."""
    planned_starts: Mapping[tuple[int, Address], PlannedStart] = field(default_factory=dict)
    joined_migrations: Mapping[tuple[int, Address], JoinedMigration] = field(default_factory=dict)
    set_changes: tuple[CompletedChange, ...] = ()
    last_task: int = 0
    last_entry: int = 0


class MemoryDisk:
    """A simulated disk: commits are counted, and chosen ones fail."""

    def __init__(self, state: DiskState | None = None) -> None:
        self.state = state or DiskState()
        """Assign an earlier value to go back to it, as a restored backup would."""
        self.commits = 0
        """How many commits were tried."""
        self._failing: dict[int, bool] = {}

    def fail_commit(self, which: int = 1, *, written: bool = False) -> None:
        """Let the `which`-th commit from now raise `StorageError`.

        `written`: it is on disk all the same; the process dies before it hears so.
        """
        self._failing[self.commits + which] = written

    def commit(self, change: Callable[[DiskState], DiskState]) -> None:
        """Replace the state by what `change` makes of it; an exception leaves it as it is."""
        self.commits += 1
        after = change(self.state)
        fails = self.commits in self._failing
        if not fails or self._failing.pop(self.commits):
            self.state = after
        if fails:
            raise StorageError("simulated disk: the commit failed")


class MemoryRecordStore:
    """Keys and votes (`keyserver.engine.ports.RecordStore`); shares are not sealed."""

    def __init__(self, disk: MemoryDisk, unix: Callable[[], int] = lambda: 0) -> None:
        """`unix`: Unix seconds, for the age of records."""
        self._disk = disk
        self._unix = unix

    async def load(self, key_id: KeyId) -> KeyState:
        """All that is stored about a key; an empty state for an unknown one."""
        return self._disk.state.keys.get(key_id, StoredKey()).state

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all or nothing; raises `VoteConflictError` or `StorageError`."""
        self._disk.commit(lambda state: _written(state, writes, self._unix()))

    async def catalogue(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        """Active records in ascending order of key id, those after `after`."""
        return self._entries(after)[:limit]

    async def undecided(self) -> Sequence[KeyId]:
        """Keys with a prepared record, a document candidate or a promise, in ascending order."""
        return sorted(key_id for key_id, key in self._disk.state.keys.items() if key.is_undecided)

    async def records(self, after: KeyId | None, limit: int) -> Sequence[CertifiedRecord]:
        """The records of the catalogue."""
        keys = sorted(self._disk.state.keys.items())
        found = [key.active for key_id, key in keys if after is None or key_id > after]
        return [record for record in found if record is not None][:limit]

    async def absent(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        """Those of the catalogue of which there is no share here."""
        return [entry for entry in self._entries(after) if not entry.has_share][:limit]

    async def aged(self, after: AgedRecord | None, before: int, limit: int) -> Sequence[AgedRecord]:
        """Active records in force since before that time, or in the future; the oldest first."""
        now = self._unix()
        found = [
            AgedRecord(key.installed_at, key_id, key.active.record.hash)
            for key_id, key in self._disk.state.keys.items()
            if key.active is not None and not before <= key.installed_at <= now
        ]
        return sorted(each for each in found if after is None or each > after)[:limit]

    async def votes(self, subject: Hash32) -> Sequence[StoredVote]:
        """This node's own votes on a subject, by round and kind."""
        cast = self._disk.state.votes.get(subject, {})
        return [
            StoredVote(vote.round, vote.kind, vote.value, vote.evidence)
            for _, vote in sorted(cast.items())
        ]

    async def offences(self) -> Sequence[Offence]:
        """What other nodes were convicted of, the oldest first."""
        kept = [offence for offence, _ in self._disk.state.evidence.values()]
        return sorted(kept, key=lambda offence: (offence.first_seen, offence.name))

    async def evidence(self, name: Hash32) -> bytes | None:
        """An encoded record of evidence by its hash."""
        kept = self._disk.state.evidence.values()
        return next((record for offence, record in kept if offence.evidence == name), None)

    async def keep_evidence(self, offence: Offence, record: bytes) -> None:
        """Keep an offence with its evidence, unless the same one is kept already."""
        self._disk.commit(lambda state: _convicting(state, offence, record))

    def _entries(self, after: KeyId | None) -> list[CatalogueEntry]:
        keys = self._disk.state.keys
        wanted = sorted(
            key_id
            for key_id, key in keys.items()
            if key.active is not None and (after is None or key_id > after)
        )
        return [_entry(key_id, keys[key_id]) for key_id in wanted]


def _convicting(state: DiskState, offence: Offence, record: bytes) -> DiskState:
    kept = {(offence.culprit, offence.name): (offence, record), **state.evidence}
    own = [known for known, _ in kept.values() if known.culprit == offence.culprit]
    newest = sorted(own, key=lambda known: (-known.first_seen, known.name))
    for forgotten in newest[MAX_OFFENCES:]:
        del kept[forgotten.culprit, forgotten.name]
    return replace(state, evidence=kept)


def _written(state: DiskState, writes: Sequence[Write], now: int) -> DiskState:
    new_votes, by_key = grouped(writes)
    votes = dict(state.votes)
    for vote in new_votes:
        cast = votes.get(vote.subject, {})
        if check_vote(cast, vote):
            votes[vote.subject] = {**cast, (vote.round, vote.kind): vote}
    keys = dict(state.keys)
    for key_id, key_writes in by_key.items():
        keys[key_id] = applied(keys.get(key_id, StoredKey()), key_writes, now=now)
    return replace(state, keys=keys, votes=votes)


def _entry(key_id: KeyId, key: StoredKey) -> CatalogueEntry:
    assert key.active is not None
    record = key.active.record
    return CatalogueEntry(
        key_id=key_id,
        version=record.version,
        record_hash=record.hash,
        has_share=record.version in key.shares,
        has_document=key.document is not None,
    )


class MemoryWorkStore:
    """The durable work of one chain (`keyserver.tasks.ports.WorkStore`)."""

    def __init__(self, disk: MemoryDisk, chain_id: int) -> None:
        self._disk = disk
        self._chain_id = chain_id

    async def admit(self, requests: Sequence[SeenRequest]) -> int:
        """Record sightings; returns how many tasks were opened."""
        before = self._disk.state.last_task
        self._disk.commit(lambda state: _admitted(state, requests))
        return self._disk.state.last_task - before

    async def accept_blocks(
        self,
        *,
        dropped: Sequence[ReadBlock],
        requests: Sequence[SeenRequest],
        blocks: Sequence[ReadBlock],
        keep: int,
    ) -> int:
        """Move on in the chain, all at once; returns how many tasks were opened."""
        before = self._disk.state.last_task

        def change(state: DiskState) -> DiskState:
            state = _without_vanished(state, self._chain_id, {block.hash for block in dropped})
            state = _admitted(state, requests)
            left = [
                block
                for block in state.blocks.get(self._chain_id, ())
                if block not in dropped and block not in blocks
            ]
            history = sorted((*left, *blocks), key=lambda block: block.number)[-keep:]
            return replace(state, blocks={**state.blocks, self._chain_id: tuple(history)})

        self._disk.commit(change)
        return self._disk.state.last_task - before

    async def history(self) -> Sequence[ReadBlock]:
        """The newest blocks accepted, ascending; empty at first."""
        return self._disk.state.blocks.get(self._chain_id, ())

    async def task(self, task_id: int) -> Task | None:
        """One task."""
        task = self._disk.state.tasks.get(task_id)
        return task if task is not None and task.key.chain_id == self._chain_id else None

    async def latest(self, key: TaskKey) -> Task | None:
        """The newest task of a key, open or not."""
        return _latest(self._disk.state, key)

    async def due(self, block: int, limit: int) -> Sequence[Task]:
        """Pending tasks with `next_attempt_block <= block`, the oldest first."""
        return [
            task
            for task in self._tasks()
            if task.state is TaskState.PENDING and task.next_attempt_block <= block
        ][:limit]

    async def open_tasks(self, key_id: KeyId | None = None) -> Sequence[Task]:
        """Tasks in a state that is not final, the oldest first."""
        return [
            task
            for task in self._tasks()
            if task.state.is_open and (key_id is None or task.key.key_id == key_id)
        ]

    async def prune(self, before_block: int) -> int:
        """Delete final tasks closed before a block, with their answers; returns how many."""
        busy = _tasks_with_open_entries(self._disk.state)
        gone = {
            task.id
            for task in self._tasks()
            if task.closed_block is not None
            and task.closed_block < before_block
            and not task.state.is_open
            and task.id not in busy
        }
        self._disk.commit(lambda state: _without_tasks(state, gone))
        return len(gone)

    async def open_entries(self, sender: Address) -> Sequence[OutboxEntry]:
        """Entries in a state that is not final, the oldest first."""
        return [
            entry for entry in self._entries() if entry.state.is_open and entry.key.sender == sender
        ]

    async def entry(self, entry_id: int) -> OutboxEntry | None:
        """One entry."""
        return next((entry for entry in self._entries() if entry.id == entry_id), None)

    async def entries_of(self, task_id: int) -> Sequence[OutboxEntry]:
        """All entries of a task, the oldest first."""
        return [entry for entry in self._entries() if entry.key.task_id == task_id]

    async def highest_nonce(self, sender: Address) -> int | None:
        """The highest nonce in any row of this sender, `None` without one."""
        nonces = (entry.nonce for entry in self._entries() if entry.key.sender == sender)
        return max((nonce for nonce in nonces if nonce is not None), default=None)

    async def commit(
        self,
        *,
        tasks: Sequence[Task] = (),
        entries: Sequence[OutboxEntry] = (),
        new_entries: Sequence[OutboxEntry] = (),
        new_tasks: Sequence[SeenRequest] = (),
    ) -> None:
        """Write all or nothing, in this order; raises `StaleRowError` or `StorageError`."""

        def change(state: DiskState) -> DiskState:
            state = replace(
                state,
                tasks=_rewritten(state.tasks, tasks),
                entries=_rewritten(state.entries, entries),
            )
            return _admitted(_with_entries(state, new_entries), new_tasks)

        self._disk.commit(change)

    async def planned_start(self, contract: Address) -> PlannedStart | None:
        """The id chosen last for a contract."""
        return self._disk.state.planned_starts.get((self._chain_id, contract))

    async def keep_planned_start(self, plan: PlannedStart) -> None:
        """Store it in place of the contract's earlier one."""
        row = {(self._chain_id, plan.contract): plan}
        self._disk.commit(
            lambda state: replace(state, planned_starts={**state.planned_starts, **row})
        )

    async def joined_migration(
        self, contract: Address, migration_id: Hash32
    ) -> JoinedMigration | None:
        """How far a migration got here."""
        joined = self._disk.state.joined_migrations.get((self._chain_id, contract))
        return joined if joined is not None and joined.id == migration_id else None

    async def keep_joined_migration(self, joined: JoinedMigration) -> None:
        """Store it in place of the contract's earlier one."""
        row = {(self._chain_id, joined.contract): joined}
        self._disk.commit(
            lambda state: replace(state, joined_migrations={**state.joined_migrations, **row})
        )

    def _tasks(self) -> list[Task]:
        every = sorted(self._disk.state.tasks.items())
        return [task for _, task in every if task.key.chain_id == self._chain_id]

    def _entries(self) -> list[OutboxEntry]:
        own = {task.id for task in self._tasks()}
        every = sorted(self._disk.state.entries.items())
        return [entry for _, entry in every if entry.key.task_id in own]


def _latest(state: DiskState, key: TaskKey) -> Task | None:
    ids = [task.id for task in state.tasks.values() if task.key == key]
    return state.tasks[max(ids)] if ids else None


def _admitted(state: DiskState, requests: Sequence[SeenRequest]) -> DiskState:
    for request in requests:
        match admit(_latest(state, request.key), request):
            case Ignore():
                continue
            case Confirm(task):
                state = replace(state, tasks=_rewritten(state.tasks, [task]))
                continue
            case Replace(closed):
                state = replace(state, tasks=_rewritten(state.tasks, [closed]))
            case Open():
                pass
        task_id = state.last_task + 1
        opened = {**state.tasks, task_id: new_task(task_id, request)}
        state = replace(state, tasks=opened, last_task=task_id)
    return state


def _rewritten(rows: Mapping[int, Row], written: Sequence[Row]) -> dict[int, Row]:
    after = dict(rows)
    for row in written:
        if row.id not in after or after[row.id].revision != row.revision:
            raise StaleRowError(f"row {row.id}: not at revision {row.revision} any more")
        after[row.id] = replace(row, revision=row.revision + 1)
    return after


def _with_entries(state: DiskState, entries: Sequence[OutboxEntry]) -> DiskState:
    for entry in entries:
        if entry.key.task_id not in state.tasks:
            raise StorageError(f"answer of task {entry.key.task_id}: there is no such task")
        if any(known.key == entry.key for known in state.entries.values()):
            continue
        entry_id = state.last_entry + 1
        rows = {**state.entries, entry_id: replace(entry, id=entry_id)}
        state = replace(state, entries=rows, last_entry=entry_id)
    return state


def _tasks_with_open_entries(state: DiskState) -> set[int]:
    return {entry.key.task_id for entry in state.entries.values() if entry.state.is_open}


def _without_vanished(state: DiskState, chain_id: int, dropped: set[Hash32]) -> DiskState:
    busy = _tasks_with_open_entries(state)
    gone = {
        task.id
        for task in state.tasks.values()
        if task.key.chain_id == chain_id and vanished(task, dropped) and task.id not in busy
    }
    return _without_tasks(state, gone)


def _without_tasks(state: DiskState, gone: set[int]) -> DiskState:
    return replace(
        state,
        tasks={task_id: task for task_id, task in state.tasks.items() if task_id not in gone},
        entries={
            entry_id: entry
            for entry_id, entry in state.entries.items()
            if entry.key.task_id not in gone
        },
    )
