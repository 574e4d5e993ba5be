"""What durable work needs from the outside, as protocols; the edges implement them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.sessions.core import Verdict
from keyserver.tasks.migration import JoinedMigration, PlannedStart
from keyserver.tasks.model import ReadBlock, SeenRequest, Task, TaskKey
from keyserver.tasks.outbox import Answer, OutboxEntry


class StaleRowError(Exception):
    """A row has been written since it was read; read it again and decide again."""


class TaskStore(Protocol):
    """Tasks and the blocks they were read from, at rest, of one chain.

    A store is opened for one chain id; rows of other chains stay untouched and unseen. Every
    method is one transaction, durable when it returns. A row that does not parse raises
    `StorageError` where it is asked for by name, and is left out, with a log line, of lists.
    """

    async def admit(self, requests: Sequence[SeenRequest]) -> int:
        """Record sightings; returns how many tasks were opened.

        Applies `keyserver.tasks.model.admit` to each sighting, in order, against the newest task
        of its key, and `new_task` where it says so.
        """
        ...

    async def accept_blocks(
        self,
        *,
        dropped: Sequence[ReadBlock],
        requests: Sequence[SeenRequest],
        blocks: Sequence[ReadBlock],
        keep: int,
    ) -> int:
        """Move on in the chain, all in one transaction (W-01, W-03).

        Deletes the tasks for which `vanished` holds with the hashes of `dropped`, takes `dropped`
        out of the history, admits `requests`, appends `blocks` and cuts the history to its newest
        `keep`. Returns how many tasks were opened.
        """
        ...

    async def history(self) -> Sequence[ReadBlock]:
        """The newest blocks accepted, ascending, without dropped ones; empty at first."""
        ...

    async def task(self, task_id: int) -> Task | None:
        """One task."""
        ...

    async def latest(self, key: TaskKey) -> Task | None:
        """The newest task of a key, open or not."""
        ...

    async def due(self, block: int, limit: int) -> Sequence[Task]:
        """Pending tasks with `next_attempt_block <= block`, the oldest first."""
        ...

    async def open_tasks(self, key_id: KeyId | None = None) -> Sequence[Task]:
        """Tasks in a state that is not final, all or those of one key id, the oldest first."""
        ...

    async def prune(self, before_block: int) -> int:
        """Delete final tasks with `closed_block < before_block` together with their entries.

        A task with an open entry stays. Returns how many were deleted.
        """
        ...


class OutboxStore(Protocol):
    """Answers at rest, in the same database as the tasks."""

    async def open_entries(self, sender: Address) -> Sequence[OutboxEntry]:
        """Entries in a state that is not final, the oldest first."""
        ...

    async def entry(self, entry_id: int) -> OutboxEntry | None:
        """One entry."""
        ...

    async def entries_of(self, task_id: int) -> Sequence[OutboxEntry]:
        """All entries of a task, the oldest first."""
        ...

    async def highest_nonce(self, sender: Address) -> int | None:
        """The highest nonce in any row of this sender, `None` without one."""
        ...


class WorkStore(TaskStore, OutboxStore, Protocol):
    """Both, with writes that may concern both."""

    async def commit(
        self,
        *,
        tasks: Sequence[Task] = (),
        entries: Sequence[OutboxEntry] = (),
        new_entries: Sequence[OutboxEntry] = (),
        new_tasks: Sequence[SeenRequest] = (),
    ) -> None:
        """Write all or nothing, in this order.

        `tasks` and `entries` replace the rows of their ids; the row's revision must be the given
        one, else nothing is written and `StaleRowError` is raised; the stored revision is one
        higher. `new_entries` get ids of their own; one whose key exists already is left out: the
        recorded answer stands. `new_tasks` are admitted as in `admit`.
        """
        ...


class MigrationStore(Protocol):
    """What a node must not forget about migrations of the set contracts of one chain.

    Every method is one transaction, durable when it returns. A row that does not parse raises
    `StorageError`.
    """

    async def planned_start(self, contract: Address) -> PlannedStart | None:
        """The id chosen last for a contract."""
        ...

    async def keep_planned_start(self, plan: PlannedStart) -> None:
        """Store it in place of the contract's earlier one."""
        ...

    async def joined_migration(
        self, contract: Address, migration_id: Hash32
    ) -> JoinedMigration | None:
        """How far a migration got here; `None` unless it is the last that was accepted."""
        ...

    async def keep_joined_migration(self, joined: JoinedMigration) -> None:
        """Store it in place of the contract's earlier one: ids may be used again."""
        ...


class ReadAt(Enum):
    """Which state of the chain a question is about."""

    HEAD = "head"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Reading:
    """Answers of a contract, all from one block."""

    block: int
    block_hash: Hash32
    results: tuple[bytes | None, ...]
    """Return data in the order of the calls; `None` where the contract reverted."""


class ContractReader(Protocol):
    """Reads of service contracts, pinned to one block each."""

    async def read(self, contract: Address, calls: Sequence[bytes], at: ReadAt) -> Reading:
        """Run calls (selector and arguments) in one batch; raises `ChainError`, retriable."""
        ...

    async def read_at(
        self, contract: Address, calls: Sequence[bytes], block: int, block_hash: Hash32
    ) -> Reading:
        """The same at a block of an earlier reading."""
        ...


class PermissionReader(Protocol):
    """What the permission contract says (`keyserver.chain.access`)."""

    async def check(self, requester: Address, key_id: KeyId) -> Verdict:
        """Whether the requester may use the key; trouble with the chain is `UNAVAILABLE`."""
        ...


# --- what a handler decides ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answered:
    """There is an answer; it goes into the outbox with the task's new state."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class NothingOwed:
    """The request is gone or this node has answered; `block` is where that was read."""

    block: int
    reason: str


@dataclass(frozen=True, slots=True)
class NotMember:
    """The contract does not know this node as a key server: hold the task (W-29)."""

    reason: str


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Look again when the chain reaches the block, or when an outcome wakes the task."""

    block: int
    reason: str


@dataclass(frozen=True, slots=True)
class TryAgain:
    """A retriable trouble: look again after the task's back-off."""

    reason: str


@dataclass(frozen=True, slots=True)
class Discard:
    """What was found out earlier is worthless now: forget it and begin again (W-30)."""

    reason: str


Disposition = Answered | NothingOwed | NotMember | WaitUntil | TryAgain | Discard


class TaskHandler(Protocol):
    """What a service does about one kind of task."""

    async def handle(self, task: Task, head: int) -> Disposition:
        """Decide, running a session where this node starts one.

        `head` is the number of the latest block. Raises `KeyServerError` for retriable trouble
        that needs no other treatment than `TryAgain`.
        """
        ...
