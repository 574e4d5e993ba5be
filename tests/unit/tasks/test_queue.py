"""The queue: claims, dispositions, restarts, and what comes in while a handler runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from keyserver.errors import ChainError, StorageError
from keyserver.model.identifiers import KeyId
from keyserver.tasks.model import SeenRequest, Task, TaskKind, TaskState
from keyserver.tasks.outbox import Mined, OutboxState
from keyserver.tasks.ports import (
    Answered,
    Discard,
    Disposition,
    NothingOwed,
    NotMember,
    StaleRowError,
    TryAgain,
    WaitUntil,
)
from keyserver.tasks.queue import TaskQueue
from tests.support.fake_cluster import node_of
from tests.support.work import answer, block_hash, entry, seen, sighting, task, task_key
from tests.support.work_store import FakeWorkStore

ME = node_of(1)
HEAD = 50
Handle = Callable[[Task, int], Awaitable[Disposition]]


class Bench:
    """A queue over one scripted handler for all kinds."""

    def __init__(self) -> None:
        self.store = FakeWorkStore()
        self.answers = 0
        self.handled: list[int] = []
        self.say: Disposition | Exception = Answered(answer())
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.queue = self.make()

    def make(self, parallel: int = 8) -> TaskQueue:
        return TaskQueue(
            store=self.store,
            handlers=dict.fromkeys(TaskKind, self),
            me=ME,
            interval=30,
            on_answer=self._on_answer,
            parallel=parallel,
        )

    def _on_answer(self) -> None:
        self.answers += 1

    async def handle(self, task: Task, head: int) -> Disposition:
        self.handled.append(task.id)
        if self.meanwhile:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        if isinstance(self.say, Exception):
            raise self.say
        return self.say

    async def settle(self) -> None:
        for _ in range(500):
            await asyncio.sleep(0)
            if self.queue.idle:
                break

    async def put(self, *requests: SeenRequest) -> None:
        await self.store.admit(requests or [seen()])
        self.queue.on_block(HEAD)
        await self.settle()

    def put_row(self, row: Task) -> None:
        self.store.tasks[row.id] = row

    @property
    def row(self) -> Task:
        return list(self.store.tasks.values())[-1]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    running = asyncio.create_task(bench.queue.run())
    await bench.settle()
    yield bench
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_answer_goes_into_the_outbox_with_the_tasks_new_state(bench: Bench) -> None:
    writes = bench.store.writes
    await bench.put()
    assert bench.row.state is TaskState.ANSWERED
    (queued,) = bench.store.entries.values()
    assert (queued.key.task_id, queued.key.sender, queued.state) == (
        1,
        ME.address,
        OutboxState.QUEUED,
    )
    assert bench.answers == 1
    assert bench.store.writes - writes == 3  # admitted, claimed, answered


async def test_without_a_block_nothing_starts(bench: Bench) -> None:
    await bench.store.admit([seen()])
    bench.queue.wake()
    await bench.settle()
    assert bench.handled == []
    bench.queue.on_block(HEAD)
    bench.queue.pause()
    await bench.settle()
    assert bench.handled == []


@pytest.mark.parametrize(
    ("say", "state", "due", "attempts"),
    [
        (NothingOwed(44, "gone"), TaskState.REJECTED, 0, 0),
        (NotMember("stranger"), TaskState.HELD, 0, 0),
        (WaitUntil(77, "not my turn"), TaskState.PENDING, 77, 0),
        (Discard("stale"), TaskState.PENDING, HEAD + 1, 1),
    ],
)
async def test_other_dispositions(
    bench: Bench, say: Disposition, state: TaskState, due: int, attempts: int
) -> None:
    bench.say = say
    await bench.put()
    row = bench.row
    assert (row.state, row.next_attempt_block, row.attempts) == (state, due, attempts)
    assert bench.store.entries == {}
    if state is TaskState.REJECTED:
        assert row.closed_block == 44


@pytest.mark.parametrize(
    "say", [TryAgain("slow"), StorageError("row"), RuntimeError("a mistake in a handler")]
)
async def test_trouble_waits_longer_each_time(bench: Bench, say: Disposition | Exception) -> None:
    bench.say = say
    await bench.put()
    assert bench.row.attempts == 1
    assert HEAD + 30 <= bench.row.next_attempt_block <= HEAD + 33
    bench.queue.on_block(bench.row.next_attempt_block)
    await bench.settle()
    assert bench.row.attempts == 2
    assert bench.row.next_attempt_block >= HEAD + 30 + 60


async def test_trouble_with_the_chain_waits_for_the_next_block(bench: Bench) -> None:
    bench.say = ChainError("no route")
    await bench.put()
    assert (bench.row.attempts, bench.row.next_attempt_block) == (0, HEAD + 1)


async def test_tasks_of_one_key_run_one_after_the_other(bench: Bench) -> None:
    running = 0
    most = 0

    async def handle(task: Task, head: int) -> Disposition:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return Answered(answer())

    bench.handle = handle  # type: ignore[method-assign]
    kinds = (TaskKind.STORE_DOCUMENT_KEY, TaskKind.RETRIEVE_SERVER_KEY)
    await bench.put(*(seen(key=task_key(kind)) for kind in kinds))
    assert most == 1
    other = KeyId(b"\x22" * 32)
    await bench.put(*(seen(99, key=task_key(kinds[0], key_id=each)) for each in (other, KEY)))
    assert most == 2
    assert len(bench.store.entries) == 4


KEY = KeyId(b"\x33" * 32)


async def test_no_more_than_so_many_at_once() -> None:
    bench = Bench()
    bench.queue = bench.make(parallel=1)
    running = asyncio.create_task(bench.queue.run())
    ids = [KeyId(bytes([n]) * 32) for n in range(1, 6)]
    await bench.put(*(seen(key=task_key(key_id=each)) for each in ids))
    assert sorted(bench.handled) == [1, 2, 3, 4, 5]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_row_changed_before_the_claim_is_read_again(bench: Bench) -> None:
    inner = bench.store.commit
    refused = 0

    async def commit(**rows: object) -> None:
        nonlocal refused
        if refused == 0:
            refused += 1
            raise StaleRowError
        await inner(**rows)  # type: ignore[arg-type]

    bench.store.commit = commit  # type: ignore[method-assign]
    await bench.put()
    assert bench.row.state is TaskState.ANSWERED
    assert refused == 1


async def test_a_row_changed_during_the_handler_keeps_the_change(bench: Bench) -> None:
    async def seen_again() -> None:
        await bench.store.admit([seen(20, log=None)])

    bench.meanwhile = seen_again
    await bench.put()
    assert bench.row.last_seen == sighting(20, log=None)
    assert bench.row.state is TaskState.ANSWERED


async def test_a_row_changed_between_reading_and_writing_the_result(bench: Bench) -> None:
    inner = bench.store.entries_of

    async def entries_of(task_id: int) -> object:
        bench.store.entries_of = inner  # type: ignore[method-assign]
        await bench.store.admit([seen(20, log=None)])
        return await inner(task_id)

    bench.store.entries_of = entries_of  # type: ignore[method-assign, assignment]
    await bench.put()
    assert bench.row.state is TaskState.ANSWERED
    assert bench.row.last_seen == sighting(20, log=None)
    assert len(bench.store.entries) == 1


async def test_a_task_replaced_during_the_handler_is_left_alone(bench: Bench) -> None:
    async def replaced() -> None:
        bench.say = WaitUntil(999, "wait")
        await bench.store.admit([seen(20, payload=b"another")])

    bench.meanwhile = replaced
    await bench.put()
    first, second = bench.store.tasks.values()
    assert first.state is TaskState.REJECTED
    assert second.payload == b"another"
    assert bench.store.entries == {}


async def test_a_task_deleted_during_the_handler(bench: Bench) -> None:
    async def deleted() -> None:
        bench.store.tasks.clear()

    bench.meanwhile = deleted
    await bench.put()
    assert bench.store.tasks == {}
    assert bench.store.entries == {}


async def test_an_outcome_during_the_handler_makes_it_run_again(bench: Bench) -> None:
    async def woken() -> None:
        await bench.queue.wake_key(task_key().key_id)
        bench.say = WaitUntil(999, "wait")

    bench.meanwhile = woken
    await bench.put()
    assert bench.handled == [1, 1]
    assert bench.row.next_attempt_block == 999


@pytest.mark.parametrize("before", [True, False])
async def test_an_outcome_while_the_result_is_written_is_not_lost(
    bench: Bench, before: bool
) -> None:
    """The waker has read that the task runs; then the task's new state is written."""
    commit = bench.store.commit
    waker: list[asyncio.Task[None]] = []

    async def slow_commit(**writes: Any) -> None:
        waits = writes.get("tasks") and writes["tasks"][0].state is TaskState.PENDING
        if waits and not waker:
            waker.append(asyncio.create_task(bench.queue.wake_key(task_key().key_id)))
            bench.say = Answered(answer())
            if before:
                await asyncio.sleep(0)  # the waker reads the row that runs
        await commit(**writes)

    bench.store.commit = slow_commit  # type: ignore[method-assign]
    bench.say = WaitUntil(HEAD + 30, "another node starts")
    await bench.put()
    await waker[0]
    await bench.settle()
    assert bench.row.state is TaskState.ANSWERED


async def test_an_equal_request_during_the_handler_is_looked_at_next(bench: Bench) -> None:
    bench.say = WaitUntil(999, "the participants answer")

    async def asked_again() -> None:
        await bench.store.admit([seen(12)])

    bench.meanwhile = asked_again
    await bench.put()
    assert bench.handled == [1, 1]
    assert bench.row.last_seen == sighting(12)


async def test_a_result_during_the_handler_is_answered_next(bench: Bench) -> None:
    bench.say = WaitUntil(999, "the participants answer")

    async def result() -> None:
        await bench.queue.record_result(task_key(), b"shadow")

    bench.meanwhile = result
    await bench.put()
    assert bench.handled == [1, 1]
    assert bench.row.result == b"shadow"


async def test_discarding_forgets_the_result(bench: Bench) -> None:
    bench.say = Discard("a participant is gone")
    bench.put_row(task(result=b"old"))
    bench.queue.on_block(HEAD)
    await bench.settle()
    assert (bench.row.result, bench.row.state) == (b"", TaskState.PENDING)


async def test_waking_a_key_makes_its_waiting_tasks_due(bench: Bench) -> None:
    bench.say = WaitUntil(999, "wait")
    await bench.put()
    bench.put_row(task(id=7, state=TaskState.HELD, key=task_key(TaskKind.RETRIEVE_COMMON)))
    await bench.queue.wake_key(KEY)
    await bench.settle()
    assert bench.handled == [1]
    await bench.queue.wake_key(task_key().key_id)
    await bench.settle()
    assert bench.handled == [1, 1]
    assert bench.store.tasks[7].state is TaskState.HELD


async def test_hastening_concerns_failed_attempts_only(bench: Bench) -> None:
    bench.say = WaitUntil(999, "wait")
    await bench.put()
    other = seen(key=task_key(key_id=KEY))
    bench.say = TryAgain("no peer")
    await bench.put(other)
    await bench.queue.hasten()
    await bench.settle()
    assert bench.handled == [1, 2, 2]


async def test_held_tasks_come_back(bench: Bench) -> None:
    bench.say = NotMember("stranger")
    await bench.put()
    bench.put_row(task(id=7, key=task_key(key_id=KEY), next_attempt_block=999))
    bench.say = Answered(answer())
    await bench.queue.release_held()
    await bench.settle()
    assert bench.store.tasks[1].state is TaskState.ANSWERED
    assert bench.store.tasks[7].next_attempt_block == 999


async def test_a_held_task_that_has_moved_meanwhile_is_left_alone(bench: Bench) -> None:
    row = task(state=TaskState.REJECTED, closed_block=3)
    bench.put_row(row)

    async def outdated(key_id: KeyId | None = None) -> list[Task]:
        return [replace(row, state=TaskState.HELD, closed_block=None)]

    bench.store.open_tasks = outdated  # type: ignore[method-assign]
    await bench.queue.release_held()
    assert bench.row == row


async def test_a_restart_takes_up_what_ran_and_what_waited() -> None:
    bench = Bench()
    bench.say = WaitUntil(999, "wait")
    bench.put_row(task(state=TaskState.RUNNING))
    bench.put_row(task(id=2, key=task_key(key_id=KEY), next_attempt_block=900))
    bench.put_row(task(id=3, state=TaskState.ANSWERED))
    bench.queue.on_block(HEAD)
    running = asyncio.create_task(bench.queue.run())
    await bench.settle()
    assert bench.handled == [1, 2]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# --- recorded answers stand (W-08) -------------------------------------------------------------


async def again(bench: Bench, state: OutboxState, **fields: Any) -> None:
    """The task is to be answered, and has an entry with the same key already."""
    known = entry(state=state, reason="three refusals", **fields)
    known = replace(known, key=replace(known.key, sender=ME.address))
    bench.store.entries[1] = known
    await bench.put()


async def test_the_same_answer_is_not_sent_twice(bench: Bench) -> None:
    await again(bench, OutboxState.BROADCAST)
    assert len(bench.store.entries) == 1
    assert (bench.row.state, bench.answers) == (TaskState.ANSWERED, 0)


async def test_an_answer_that_is_confirmed_settles(bench: Bench) -> None:
    mined = Mined(block_hash(1), 12, block_hash(12), 1)
    await again(bench, OutboxState.CONFIRMED, mined=mined)
    assert (bench.row.state, bench.row.closed_block) == (TaskState.SETTLED, 12)


async def test_an_answer_that_failed_is_not_tried_again(bench: Bench) -> None:
    await again(bench, OutboxState.FAILED)
    assert (bench.row.state, bench.row.reason) == (TaskState.ABANDONED, "three refusals")


async def test_a_success_never_becomes_an_error(bench: Bench) -> None:
    bench.say = Answered(answer("serverKeyGenerationError", is_error=True))
    await again(bench, OutboxState.SUPERSEDED)
    assert (bench.row.state, bench.row.attempts) == (TaskState.PENDING, 1)
    assert len(bench.store.entries) == 1


async def test_an_error_after_an_error_is_one(bench: Bench) -> None:
    bench.say = Answered(answer("serverKeyGenerationError", is_error=True))
    await again(bench, OutboxState.SUPERSEDED, is_error=True)
    assert bench.row.state is TaskState.ANSWERED


# --- results from sessions ---------------------------------------------------------------------


async def test_a_result_without_a_task_opens_one(bench: Bench) -> None:
    bench.queue.on_block(HEAD)
    await bench.queue.record_result(task_key(), b"shadow")
    await bench.settle()
    assert (bench.row.result, bench.row.first_seen.block) == (b"shadow", HEAD)
    assert bench.row.state is TaskState.ANSWERED


async def test_a_result_for_a_closed_task_is_dropped(bench: Bench) -> None:
    bench.put_row(task(state=TaskState.SETTLED, closed_block=60))
    bench.queue.on_block(HEAD)
    await bench.queue.record_result(task_key(), b"shadow")
    assert bench.row.result == b""
    assert len(bench.store.tasks) == 1


async def test_another_result_is_answered_too_the_same_is_not(bench: Bench) -> None:
    bench.say = Answered(answer(variant=block_hash(1)))
    await bench.put()
    await bench.queue.record_result(task_key(), b"first")
    await bench.settle()
    assert bench.handled == [1, 1]
    await bench.queue.record_result(task_key(), b"first")
    await bench.settle()
    assert bench.handled == [1, 1]


async def test_a_result_that_another_node_may_publish_waits(bench: Bench) -> None:
    bench.say = WaitUntil(HEAD + 9, "another node does it")
    await bench.put()
    bench.say = Answered(answer())
    await bench.queue.record_result(task_key(), b"signature", wait=3)
    await bench.settle()
    assert (bench.handled, bench.row.next_attempt_block) == ([1], HEAD + 3)
    bench.queue.on_block(HEAD + 3)
    await bench.settle()
    assert (bench.handled, bench.row.state) == ([1, 1], TaskState.ANSWERED)
    await bench.queue.record_result(task_key(), b"another", wait=3)
    await bench.settle()
    assert (bench.row.result, bench.row.state) == (b"signature", TaskState.ANSWERED)
    assert bench.handled == [1, 1]


async def test_who_repeats_a_session_does_not_put_its_answer_off(bench: Bench) -> None:
    """Every session brings another signature, and any of them will do."""
    bench.say = WaitUntil(HEAD + 9, "another node does it")
    await bench.put()
    bench.say = Answered(answer())
    await bench.queue.record_result(task_key(), b"signature", wait=3)
    for block in range(HEAD, HEAD + 3):
        bench.queue.on_block(block)
        await bench.queue.record_result(task_key(), b"another %d" % block, wait=3)
        await bench.settle()
    assert (bench.row.next_attempt_block, bench.row.result) == (HEAD + 3, b"signature")
    bench.queue.on_block(HEAD + 3)
    await bench.settle()
    assert (bench.row.state, bench.row.result) == (TaskState.ANSWERED, b"signature")


async def test_a_result_for_a_held_task_is_kept(bench: Bench) -> None:
    bench.put_row(task(state=TaskState.HELD))
    await bench.queue.record_result(task_key(), b"shadow")
    assert (bench.row.state, bench.row.result) == (TaskState.HELD, b"shadow")


async def test_rows_that_vanish_or_change_under_a_change(bench: Bench) -> None:
    row = task(next_attempt_block=900)
    bench.put_row(row)
    inner = bench.store.commit
    raced = False

    async def commit(**rows: object) -> None:
        nonlocal raced
        if not raced:
            raced = True
            await inner(tasks=[replace(row, state=TaskState.HELD)])
        await inner(**rows)  # type: ignore[arg-type]

    bench.store.commit = commit  # type: ignore[method-assign]
    await bench.queue.wake_key(row.key.key_id)
    assert bench.row.state is TaskState.HELD

    latest = bench.store.latest

    async def vanishing(key: object) -> Task | None:
        found = await latest(task_key())
        bench.store.tasks.clear()
        return found

    bench.store.latest = vanishing  # type: ignore[method-assign]
    await bench.queue.record_result(task_key(), b"shadow")
    assert bench.store.tasks == {}
