"""Transactions of migrations as tasks: sent, asked for, withdrawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from keyserver.chain.client import (
    HEAD,
    At,
    BlockRef,
    CallResult,
    ContractCall,
    Returned,
    Reverted,
)
from keyserver.chain.migration_transactions import (
    CONFIRM,
    START,
    MigrationHandler,
    MigrationTransactions,
    migration_handlers,
)
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId
from keyserver.model.node_set import NodeSetSnapshot
from keyserver.storage.memory import MemoryDisk, MemoryWorkStore
from keyserver.tasks.migration import Sent, SentState
from keyserver.tasks.model import (
    SeenRequest,
    SetEpoch,
    Sighting,
    Task,
    TaskKey,
    TaskKind,
    TaskState,
    new_task,
)
from keyserver.tasks.outbox import Answer, Attempt, OutboxEntry, new_entry
from keyserver.tasks.ports import Answered, NothingOwed, StaleRowError, WaitUntil
from tests.support.faulty_client import FaultyClient
from tests.support.migrations import CHAIN, CONTRACT, id_of, node, set_of

ME = node(1).address
HEAD_BLOCK = BlockRef(50, Hash32(b"\x32" * 32), ZERO_HASH, 0, None)
KIND = TaskKind.START_MIGRATION
SNAPSHOT = NodeSetSnapshot(set_of(1, 2), set_of(1, 2), None, (), epoch=7, block_number=50)


class Disk(MemoryWorkStore):
    """Lets somebody else write a task before the next commit."""

    interferer: Task | None = None

    async def commit(
        self,
        *,
        tasks: Sequence[Task] = (),
        entries: Sequence[OutboxEntry] = (),
        new_entries: Sequence[OutboxEntry] = (),
        new_tasks: Sequence[SeenRequest] = (),
    ) -> None:
        if self.interferer is not None:
            first, self.interferer = self.interferer, None
            await super().commit(tasks=[first])
        await super().commit(
            tasks=tasks, entries=entries, new_entries=new_entries, new_tasks=new_tasks
        )


class Bench:
    def __init__(self) -> None:
        self.store = Disk(MemoryDisk(), CHAIN)
        self.woken = 0
        self.transactions = MigrationTransactions(self.store, CHAIN, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def send(self) -> Task:
        await self.transactions.send(KIND, CONTRACT, id_of(1), HEAD_BLOCK)
        (task,) = await self.store.open_tasks()
        return task

    async def move(self, task: Task, *states: TaskState) -> Task:
        for state in states:
            moved = task.moved_to(state)
            if not state.is_open:
                moved = task.closed(state, 60)
            await self.store.commit(tasks=[moved])
            found = await self.store.task(task.id)
            assert found is not None
            task = found
        return task

    async def last(self) -> Sent | None:
        return await self.transactions.last(KIND, CONTRACT, id_of(1))

    async def withdraw(self) -> None:
        await self.transactions.withdraw(KIND, CONTRACT, id_of(1), 55)


async def test_what_was_sent_is_known_by_its_task() -> None:
    bench = Bench()
    assert await bench.last() is None
    task = await bench.send()
    assert bench.woken == 1
    assert task.key == TaskKey(CHAIN, CONTRACT, KIND, KeyId(id_of(1)))
    assert await bench.last() == Sent(50, SentState.OPEN)
    assert await bench.transactions.last(KIND, CONTRACT, id_of(2)) is None
    other = TaskKind.CONFIRM_MIGRATION
    assert await bench.transactions.last(other, CONTRACT, id_of(1)) is None


@pytest.mark.parametrize(
    ("states", "sent"),
    [
        ((TaskState.RUNNING,), SentState.OPEN),
        ((TaskState.RUNNING, TaskState.ANSWERED), SentState.OPEN),
        ((TaskState.RUNNING, TaskState.ANSWERED, TaskState.SETTLED), SentState.DONE),
        ((TaskState.RUNNING, TaskState.REJECTED), SentState.REFUSED),
        ((TaskState.RUNNING, TaskState.ABANDONED), SentState.GIVEN_UP),
    ],
)
async def test_what_became_of_it(states: tuple[TaskState, ...], sent: SentState) -> None:
    bench = Bench()
    await bench.move(await bench.send(), *states)
    assert await bench.last() == Sent(50, sent)


def entry_of(task: Task) -> OutboxEntry:
    answer = Answer(SetEpoch(CONTRACT, 7), START.name, START.encode(id_of(1)))
    return new_entry(task.id, ME, CONTRACT, answer)


async def test_what_waits_is_withdrawn() -> None:
    bench = Bench()
    await bench.withdraw()
    task = await bench.send()
    await bench.withdraw()
    assert await bench.last() == Sent(50, SentState.REFUSED)
    await bench.withdraw()
    queued = Bench()
    task = await queued.send()
    task = await queued.move(task, TaskState.RUNNING, TaskState.ANSWERED)
    await queued.store.commit(new_entries=[entry_of(task)])
    await queued.withdraw()
    assert await queued.last() == Sent(50, SentState.REFUSED)


async def test_what_may_be_mined_is_followed_to_its_end() -> None:
    bench = Bench()
    task = await bench.move(await bench.send(), TaskState.RUNNING, TaskState.ANSWERED)
    await bench.store.commit(new_entries=[entry_of(task)])
    (entry,) = await bench.store.entries_of(task.id)
    attempt = Attempt(b"raw", Hash32(b"\x01" * 32), 1, 1, 21_000, 50)
    await bench.store.commit(entries=[entry.signed(0, attempt)])
    await bench.withdraw()
    assert await bench.last() == Sent(50, SentState.OPEN)


async def test_a_task_that_changes_meanwhile_is_looked_at_again() -> None:
    bench = Bench()
    task = await bench.send()
    bench.store.interferer = task.moved_to(TaskState.RUNNING)
    await bench.withdraw()
    assert await bench.last() == Sent(50, SentState.OPEN)
    with pytest.raises(StaleRowError):
        await bench.store.commit(tasks=[task])


# --- the handler ------------------------------------------------------------------------------


class OneAnswer(FaultyClient):
    """A chain on which every call has the same answer."""

    def __init__(self, answer: CallResult) -> None:
        self.answer = answer
        self.asked: list[ContractCall] = []

    async def call(self, call: ContractCall, at: At = HEAD) -> CallResult:
        self.asked.append(call)
        return self.answer


@dataclass
class Sets:
    snapshot: NodeSetSnapshot = SNAPSHOT


def task_of(kind: TaskKind) -> Task:
    key = TaskKey(CHAIN, CONTRACT, kind, KeyId(id_of(1)))
    return new_task(1, SeenRequest(key, b"", Sighting(50, ZERO_HASH)))


def handler(client: OneAnswer, wanted: bool | None) -> MigrationHandler:
    def answer(kind: TaskKind, migration_id: Hash32) -> bool | None:
        assert migration_id == id_of(1)
        return wanted

    return MigrationHandler(client=client, me=ME, node_sets=Sets(), wanted=answer)


@pytest.mark.parametrize("wanted", [None, False])
async def test_nothing_is_sent_that_nobody_wants(wanted: bool | None) -> None:
    client = OneAnswer(Returned(b""))
    disposition = await handler(client, wanted).handle(task_of(KIND), 50)
    expected = WaitUntil(51, "the node set has not been read yet")
    assert disposition == (expected if wanted is None else NothingOwed(50, "no longer wanted"))
    assert not client.asked


async def test_the_contract_is_asked_first() -> None:
    client = OneAnswer(Reverted(b""))
    disposition = await handler(client, True).handle(task_of(KIND), 50)
    assert disposition == NothingOwed(50, "the contract would refuse it")
    assert client.asked == [ContractCall(CONTRACT, START.encode(id_of(1)), ME)]


@pytest.mark.parametrize(
    ("kind", "function"),
    [(TaskKind.START_MIGRATION, START), (TaskKind.CONFIRM_MIGRATION, CONFIRM)],
)
async def test_what_it_would_take_is_sent_for_this_epoch_only(
    kind: TaskKind, function: object
) -> None:
    made = handler(OneAnswer(Returned(b"")), True)
    disposition = await migration_handlers(made)[kind].handle(task_of(kind), 50)
    assert isinstance(disposition, Answered)
    sent = START if kind is TaskKind.START_MIGRATION else CONFIRM
    assert sent is function
    assert disposition.answer == Answer(
        SetEpoch(CONTRACT, 7), sent.name, sent.encode(id_of(1)), bound_to_epoch=True
    )


def test_the_functions_have_the_published_selectors() -> None:
    assert START.selector.hex() == "1d7f7673"
    assert CONFIRM.selector.hex() == "3a3f7201"
