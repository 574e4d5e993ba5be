"""The transactions of migrations, as tasks like any other (chain watcher, 11.5).

A decision to send becomes a task; its handler asks the contract whether it would take the call,
and the outbox does the rest: bytes are stored before they are sent, one sequence of nonces, no
second transaction while the first may still be mined. So nothing is lost or doubled by a crash.
"""

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from keyserver.chain.client import BlockRef, ChainClient, ContractCall, Reverted
from keyserver.engine.ports import NodeSets
from keyserver.evm.abi import Function
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.tasks.migration import Sent, SentState
from keyserver.tasks.model import (
    SeenRequest,
    SetEpoch,
    Sighting,
    Task,
    TaskKey,
    TaskKind,
    TaskState,
)
from keyserver.tasks.outbox import Answer
from keyserver.tasks.ports import (
    Answered,
    Disposition,
    NothingOwed,
    StaleRowError,
    TaskHandler,
    WaitUntil,
    WorkStore,
)

log = structlog.get_logger()

START: Final = Function.parse("startMigration(bytes32)")
CONFIRM: Final = Function.parse("confirmMigration(bytes32)")

FUNCTIONS: Final[Mapping[TaskKind, Function]] = {
    TaskKind.START_MIGRATION: START,
    TaskKind.CONFIRM_MIGRATION: CONFIRM,
}

_OUTCOMES: Final[Mapping[TaskState, SentState]] = {
    TaskState.SETTLED: SentState.DONE,
    TaskState.REJECTED: SentState.REFUSED,
    TaskState.ABANDONED: SentState.GIVEN_UP,
}

Wanted = Callable[[TaskKind, Hash32], bool | None]
"""Whether a migration's transaction still makes sense; `None`: not known yet."""


class MigrationTransactions:
    """Opens, looks up and withdraws the tasks of migrations."""

    def __init__(self, store: WorkStore, chain_id: int, on_task: Callable[[], None]) -> None:
        """`on_task`: tells the queue that there is a new task."""
        self._store = store
        self._chain_id = chain_id
        self._on_task = on_task

    async def last(self, kind: TaskKind, contract: Address, migration_id: Hash32) -> Sent | None:
        """The last transaction of this kind for a migration."""
        task = await self._store.latest(self._key(kind, contract, migration_id))
        if task is None:
            return None
        return Sent(task.first_seen.block, _OUTCOMES.get(task.state, SentState.OPEN))

    async def send(
        self, kind: TaskKind, contract: Address, migration_id: Hash32, head: BlockRef
    ) -> None:
        """Have it sent; there must be none under way."""
        key = self._key(kind, contract, migration_id)
        await self._store.admit([SeenRequest(key, b"", Sighting(head.number, head.hash))])
        log.info("migration_transaction", kind=kind.name, id=migration_id.hex(), head=head.number)
        self._on_task()

    async def withdraw(
        self, kind: TaskKind, contract: Address, migration_id: Hash32, block: int
    ) -> None:
        """Do not send it any more, unless a signed transaction may be on its way already.

        Such a one is followed to its end; the contract refuses what has become pointless.
        """
        while True:
            task = await self._store.latest(self._key(kind, contract, migration_id))
            if task is None or not task.state.is_open or task.state is TaskState.RUNNING:
                return
            entries = await self._store.entries_of(task.id)
            if any(entry.state.is_in_flight for entry in entries):
                return
            closed = task.closed(TaskState.REJECTED, block, "no longer wanted")
            try:
                await self._store.commit(tasks=[closed])
            except StaleRowError:
                continue
            log.info("migration_transaction_withdrawn", kind=kind.name, id=migration_id.hex())
            return

    def _key(self, kind: TaskKind, contract: Address, migration_id: Hash32) -> TaskKey:
        return TaskKey(self._chain_id, contract, kind, KeyId(migration_id))


class MigrationHandler:
    """Handles the tasks of both kinds."""

    def __init__(
        self, *, client: ChainClient, me: Address, node_sets: NodeSets, wanted: Wanted
    ) -> None:
        """`wanted` is the migration driver's."""
        self._client = client
        self._me = me
        self._node_sets = node_sets
        self._wanted = wanted

    async def handle(self, task: Task, head: int) -> Disposition:
        """Have the call sent if it would succeed now; raises `ChainError`.

        The answer is worth nothing in another epoch: the set it was meant for has become current,
        or another one has.
        """
        wanted = self._wanted(task.key.kind, Hash32(task.key.key_id))
        if wanted is None:
            return WaitUntil(head + 1, "the node set has not been read yet")
        if not wanted:
            return NothingOwed(head, "no longer wanted")
        function = FUNCTIONS[task.key.kind]
        data = function.encode(task.key.key_id)
        result = await self._client.call(ContractCall(task.key.contract, data, self._me))
        if isinstance(result, Reverted):
            log.warning("migration_call_refused", call=function.name, id=task.key.key_id.hex())
            return NothingOwed(head, "the contract would refuse it")
        epoch = SetEpoch.of(self._node_sets.snapshot)
        return Answered(Answer(epoch, function.name, data, bound_to_epoch=True))


def migration_handlers(handler: MigrationHandler) -> Mapping[TaskKind, TaskHandler]:
    """What the queue takes beside the handlers of the services."""
    return dict.fromkeys(FUNCTIONS, handler)
