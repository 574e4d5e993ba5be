"""Tasks: requests on a contract to which this node owes an answer (architecture, section 6).

Pure: values, the table of legal transitions, and the rule by which a sighting of a request opens
a new task, confirms one that is known, or is no news. Stores apply these functions inside their
transactions and decide nothing themselves.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum, IntEnum, unique
from typing import Final

from keyserver.model.codec import U64
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, KeyId
from keyserver.model.node_set import NodeSetSnapshot

NO_REQUESTER: Final = Address(bytes(20))
"""Stands in a task's key where requests are keyed by the key id alone."""


@unique
class TaskKind(IntEnum):
    """What is asked; the numbers are stored."""

    GENERATE_SERVER_KEY = 1
    RETRIEVE_SERVER_KEY = 2
    STORE_DOCUMENT_KEY = 3
    RETRIEVE_COMMON = 4
    """The common stage of a shadow retrieval."""
    RETRIEVE_PERSONAL = 5
    """The personal stage of a shadow retrieval."""
    ECDSA_COMMON = 6
    """The common stage of an ECDSA signature."""
    ECDSA_PERSONAL = 7
    """The signature itself."""
    SCHNORR_COMMON = 8
    """The common stage of a Schnorr signature."""
    SCHNORR_PERSONAL = 9
    """The signature itself."""
    COLLECT_FEES = 16
    """Not asked by anybody: fees of a contract that are worth collecting (W-34)."""
    START_MIGRATION = 17
    """Decided by this node: `startMigration` of the key server set contract."""
    CONFIRM_MIGRATION = 18
    """Decided by this node: `confirmMigration`; of both, the migration's id stands as key id."""


COMMON_STAGE_OF: Final[Mapping[TaskKind, TaskKind]] = {
    TaskKind.RETRIEVE_PERSONAL: TaskKind.RETRIEVE_COMMON,
    TaskKind.ECDSA_PERSONAL: TaskKind.ECDSA_COMMON,
    TaskKind.SCHNORR_PERSONAL: TaskKind.SCHNORR_COMMON,
}
"""Of tasks that are the second stage of a request, the first one."""


@unique
class TaskState(Enum):
    """Where a task stands; the values are stored."""

    PENDING = "pending"
    """To be looked at when the chain reaches `Task.next_attempt_block`."""
    RUNNING = "running"
    """Its handler runs in this process; found at a start: it ran when the process died."""
    ANSWERED = "answered"
    """The answer is in the outbox."""
    SETTLED = "settled"
    """The answer is final on chain, or the contract needs none any more."""
    HELD = "held"
    """This node is no member now; pending again at the next change of the node set."""
    REJECTED = "rejected"
    """Nothing to answer: served already, withdrawn, or replaced by another request."""
    ABANDONED = "abandoned"
    """Given up, with an alarm in the log."""

    @property
    def is_open(self) -> bool:
        """Whether something is still owed: at most one task of a key is open."""
        return bool(TASK_TRANSITIONS[self])


TASK_TRANSITIONS: Final[Mapping[TaskState, frozenset[TaskState]]] = {
    TaskState.PENDING: frozenset({TaskState.RUNNING, TaskState.REJECTED}),
    TaskState.RUNNING: frozenset(
        {
            TaskState.PENDING,
            TaskState.ANSWERED,
            TaskState.HELD,
            TaskState.REJECTED,
            TaskState.ABANDONED,
        }
    ),
    TaskState.ANSWERED: frozenset(
        {
            TaskState.SETTLED,
            TaskState.PENDING,
            TaskState.HELD,
            TaskState.REJECTED,
            TaskState.ABANDONED,
        }
    ),
    TaskState.HELD: frozenset({TaskState.PENDING, TaskState.REJECTED}),
    TaskState.SETTLED: frozenset(),
    TaskState.REJECTED: frozenset(),
    TaskState.ABANDONED: frozenset(),
}
"""Which state may follow which; a final state has no successor."""


class IllegalTransitionError(Exception):
    """A state that may not follow the present one: a mistake in this program."""


@dataclass(frozen=True, slots=True)
class TaskKey:
    """What makes two sightings the same request; at most one open task has it."""

    chain_id: int
    contract: Address
    kind: TaskKind
    key_id: KeyId
    requester: Address = NO_REQUESTER
    """Who asks, for shadow retrievals and signatures; `NO_REQUESTER` for the rest."""
    message: Hash32 = ZERO_HASH
    """What is to be signed, for signatures; zeros for the rest."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where a request was seen: in a log, or in the list of pending requests at a block."""

    block: int
    block_hash: Hash32
    log_index: int | None = None
    """Position of the log in its block; `None` for the pending list."""

    @property
    def in_log(self) -> bool:
        """Whether it was a log, so that the block is where the request was made."""
        return self.log_index is not None


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as a service's bindings read it from the chain."""

    key: TaskKey
    payload: bytes
    """The parameters, canonically encoded by the service; equal requests have equal payloads."""
    seen: Sighting


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """A block whose logs have become tasks; the newest one is where reading goes on."""

    number: int
    hash: Hash32


@dataclass(frozen=True, slots=True)
class SetEpoch:
    """Which current set an answer was made for: a set change makes contracts forget votes."""

    contract: Address
    """The key server set contract."""
    last_change: U64
    """Its number of the block of the last completed migration."""

    @classmethod
    def of(cls, snapshot: NodeSetSnapshot) -> "SetEpoch":
        """The epoch of a snapshot's current set."""
        return cls(snapshot.current.contract, snapshot.epoch)


@dataclass(frozen=True, slots=True)
class Task:
    """A row of the task store. Blocks are numbers."""

    id: int
    """Given by the store, ascending."""
    key: TaskKey
    payload: bytes
    state: TaskState
    first_seen: Sighting
    """When this request was first seen: fallback starters count their turns from here."""
    last_seen: Sighting
    """The latest sighting of the same request."""
    attempts: int = 0
    """How often the handler ended without a result."""
    next_attempt_block: int = 0
    result: bytes = b""
    """What the handler found out and must not lose, encoded by the service; empty: nothing."""
    reason: str = ""
    """Why it is where it is, for people."""
    closed_block: int | None = None
    """Of a final state: sightings after this block are another request."""
    revision: int = 0
    """Counted up by the store with every write, so that no write undoes another."""

    def moved_to(self, state: TaskState, reason: str = "") -> "Task":
        """The same task in another state; raises `IllegalTransitionError`."""
        if state not in TASK_TRANSITIONS[self.state]:
            raise IllegalTransitionError(f"task {self.id}: {self.state.value} → {state.value}")
        return replace(self, state=state, reason=reason)

    def closed(self, state: TaskState, block: int, reason: str = "") -> "Task":
        """The same task in a final state; a request seen after `block` is another one."""
        return replace(self.moved_to(state, reason), closed_block=block)

    def again(self, next_attempt_block: int, reason: str) -> "Task":
        """Pending, to be looked at when the chain reaches the block; counts as an attempt."""
        return replace(
            self.moved_to(TaskState.PENDING, reason),
            attempts=self.attempts + 1,
            next_attempt_block=next_attempt_block,
        )

    def settled(self, mined_block: int) -> "tuple[Task, SeenRequest | None]":
        """The task after its answer, mined in this block, has become final.

        A pending list that showed the request as unanswered in that block or later means that the
        answer was lost (a set change forgets votes) or belonged to an earlier, equal request. The
        second value then is that sighting, which opens a new task.
        """
        if mined_block > self.last_seen.block:
            return self.closed(TaskState.SETTLED, mined_block), None
        again = SeenRequest(self.key, self.payload, self.last_seen)
        earlier = replace(self, last_seen=self.first_seen)
        return earlier.closed(TaskState.SETTLED, mined_block - 1, "asked again since"), again


# --- what a sighting means -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ignore:
    """Known already, or older than what is known."""


@dataclass(frozen=True, slots=True)
class Open:
    """A request without an open task: insert one, pending."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """The same request again, seen later: write the task back as it is here."""

    task: Task


@dataclass(frozen=True, slots=True)
class Replace:
    """Another request has taken the place of the open one: close that, insert a new task."""

    closed: Task


Admission = Ignore | Open | Confirm | Replace


def admit(latest: Task | None, request: SeenRequest) -> Admission:
    """What to do with a sighting, given the newest task of the same key (W-02, W-08).

    A contract has at most one pending request of a key. So a later sighting with other
    parameters shows that the earlier request is gone; a later one with the same parameters may be
    the same request or its repetition, and confirms the open task (an answer that was mined
    before the last sighting is not its answer: `Task.settled`).
    """
    if latest is None:
        return Open()
    later = request.seen.block > latest.last_seen.block
    if latest.state.is_open:
        if not later:
            return Ignore()
        if request.payload == latest.payload:
            return Confirm(_seen_again(latest, request.seen))
        reason = "another request took its place"
        return Replace(latest.closed(TaskState.REJECTED, latest.last_seen.block, reason))
    if request.seen.in_log:
        return Open() if later else Ignore()
    if latest.state is TaskState.ABANDONED:
        return Ignore()
    closed_block = latest.closed_block or 0
    return Open() if later and request.seen.block > closed_block else Ignore()


def _seen_again(task: Task, seen: Sighting) -> Task:
    """An equal request in a later log was made anew: what waits starts from the beginning."""
    again = replace(task, last_seen=seen)
    if not seen.in_log or task.state is not TaskState.PENDING:
        return again
    return replace(again, first_seen=seen, attempts=0, next_attempt_block=0)


def new_task(task_id: int, request: SeenRequest) -> Task:
    """The task that a sighting opens, due at once."""
    return Task(
        id=task_id,
        key=request.key,
        payload=request.payload,
        state=TaskState.PENDING,
        first_seen=request.seen,
        last_seen=request.seen,
    )


def vanished(task: Task, dropped: Collection[Hash32]) -> bool:
    """Whether a reorganisation took the log of a task that has not started.

    `dropped` are the hashes of the blocks that left the chain. Such a task is deleted; if the new
    branch has the request as well, its log opens it again.
    """
    not_started = task.state in (TaskState.PENDING, TaskState.HELD) and not task.result
    return not_started and task.first_seen.in_log and task.first_seen.block_hash in dropped
