"""What every store of durable work promises (`keyserver.tasks.ports.WorkStore`)."""

from dataclasses import replace

import pytest

from keyserver.errors import StorageError
from keyserver.model.identifiers import ZERO_HASH, Address
from keyserver.tasks.model import (
    ReadBlock,
    SeenRequest,
    SetEpoch,
    Sighting,
    Task,
    TaskKind,
    TaskState,
    new_task,
)
from keyserver.tasks.outbox import Answer, Attempt, Mined, OutboxEntry, new_entry
from keyserver.tasks.ports import StaleRowError
from tests.support.stored_values import CHAIN, digest, key_id, request, task_key
from tests.support.stores import StoreSite

ME = Address(b"\x0e" * 20)
SET = Address(b"\x5e" * 20)


async def opened(site: StoreSite, seen: SeenRequest) -> Task:
    """The task that a sighting has opened, as stored."""
    assert await site.work.admit([seen]) == 1
    task = await site.work.latest(seen.key)
    assert task is not None
    return task


async def moved(site: StoreSite, task: Task, *states: TaskState) -> Task:
    for state in states:
        await site.work.commit(tasks=[task.moved_to(state)])
        stored = await site.work.task(task.id)
        assert stored is not None
        task = stored
    return task


async def closed(site: StoreSite, task: Task, block: int) -> None:
    running = await moved(site, task, TaskState.RUNNING)
    await site.work.commit(tasks=[running.closed(TaskState.ABANDONED, block, "given up")])


def entry(task: Task, method: str = "serverKeyGenerated", change: int = 7) -> OutboxEntry:
    answer = Answer(SetEpoch(SET, change), method, b"\x01\x02", bound_to_epoch=True)
    return new_entry(task.id, ME, task.key.contract, answer)


def attempt(n: int) -> Attempt:
    return Attempt(
        raw=b"raw%d" % n,
        tx_hash=digest(f"tx {n}"),
        max_fee=2**70 + n,
        priority_fee=n,
        gas=9,
        block=5,
    )


# --- sightings -------------------------------------------------------------------------------


async def test_a_sighting_opens_a_task(site: StoreSite) -> None:
    task = await opened(site, request())
    await site.reopen()
    assert task == new_task(task.id, request())
    assert await site.work.task(task.id) == task
    assert await site.work.latest(request().key) == task
    assert await site.work.open_tasks() == [task]
    assert await site.work.open_tasks(key_id(1)) == [task]
    assert await site.work.open_tasks(key_id(2)) == []
    assert await site.work.task(task.id + 1) is None
    assert await site.work.latest(task_key(2)) is None


async def test_the_same_sighting_again_is_no_news(site: StoreSite) -> None:
    task = await opened(site, request())
    assert await site.work.admit([request(), request(block=9)]) == 0
    assert await site.work.open_tasks() == [task]


async def test_a_later_sighting_confirms_the_task(site: StoreSite) -> None:
    task = await opened(site, request(log_index=3))
    later = request(block=12, log_index=None)
    assert await site.work.admit([later]) == 0
    assert await site.work.open_tasks() == [
        replace(task, last_seen=Sighting(12, digest("block 12"), None), revision=1)
    ]


async def test_another_request_takes_the_place_of_the_open_one(site: StoreSite) -> None:
    task = await opened(site, request())
    assert await site.work.admit([request(block=12, payload=b"q")]) == 1
    await site.reopen()
    (second,) = await site.work.open_tasks()
    assert second.payload == b"q"
    assert second.id > task.id
    first = await site.work.task(task.id)
    assert first is not None
    assert (first.state, first.closed_block) == (TaskState.REJECTED, 10)


async def test_requests_differ_by_kind_requester_key_and_message(site: StoreSite) -> None:
    base = request()
    others = [
        replace(base, key=replace(base.key, kind=TaskKind.STORE_DOCUMENT_KEY)),
        replace(base, key=replace(base.key, requester=ME)),
        replace(base, key=replace(base.key, contract=ME)),
        replace(base, key=replace(base.key, message=digest("to sign"))),
        replace(base, key=replace(base.key, message=digest("to sign, too"))),
        request(key=2),
    ]
    assert await site.work.admit([base, *others]) == 7
    await site.reopen()
    for one in (base, *others):
        latest = await site.work.latest(one.key)
        assert latest is not None
        assert latest.key == one.key
    assert [task.key for task in await site.work.open_tasks()] == [
        one.key for one in (base, *others)
    ]


async def test_rows_of_another_chain_are_not_seen(site: StoreSite) -> None:
    other = replace(request(), key=replace(request().key, chain_id=CHAIN + 1))
    await site.work.commit(new_tasks=[other])
    assert await site.work.open_tasks() == []
    assert await site.work.due(100, 10) == []


# --- blocks ----------------------------------------------------------------------------------


def block(number: int, label: str = "block") -> ReadBlock:
    return ReadBlock(number, digest(f"{label} {number}"))


async def test_blocks_and_tasks_move_on_together(site: StoreSite) -> None:
    assert await site.work.history() in ([], ())
    count = await site.work.accept_blocks(
        dropped=[], requests=[request(block=10)], blocks=[block(9), block(10)], keep=128
    )
    await site.reopen()
    assert count == 1
    assert list(await site.work.history()) == [block(9), block(10)]
    assert len(await site.work.open_tasks()) == 1


async def test_only_the_newest_blocks_are_kept(site: StoreSite) -> None:
    for number in range(1, 8):
        await site.work.accept_blocks(dropped=[], requests=[], blocks=[block(number)], keep=3)
    await site.reopen()
    assert list(await site.work.history()) == [block(5), block(6), block(7)]


async def test_a_reorganisation_takes_tasks_that_have_not_started(site: StoreSite) -> None:
    waiting = request(key=1, block=10)
    running = request(key=2, block=10)
    elsewhere = request(key=3, block=9)
    listed = request(key=4, block=10, log_index=None)
    await site.work.accept_blocks(
        dropped=[],
        requests=[elsewhere, waiting, running, listed],
        blocks=[block(9), block(10)],
        keep=128,
    )
    started = await site.work.latest(running.key)
    assert started is not None
    await moved(site, started, TaskState.RUNNING)
    moved_on = replace(waiting, seen=Sighting(11, digest("new 11"), 4))
    count = await site.work.accept_blocks(
        dropped=[block(10)],
        requests=[moved_on],
        blocks=[block(10, "new"), block(11, "new")],
        keep=128,
    )
    await site.reopen()
    assert count == 1
    assert list(await site.work.history()) == [block(9), block(10, "new"), block(11, "new")]
    assert [task.key.key_id for task in await site.work.open_tasks()] == [
        key_id(3),
        key_id(2),
        key_id(4),
        key_id(1),
    ]
    again = await site.work.latest(waiting.key)
    assert again is not None
    assert again.first_seen.block == 11


async def test_a_reorganisation_may_only_take_blocks_away(site: StoreSite) -> None:
    await site.work.accept_blocks(
        dropped=[], requests=[request()], blocks=[block(9), block(10)], keep=128
    )
    await site.work.accept_blocks(dropped=[block(10)], requests=[], blocks=[], keep=128)
    await site.reopen()
    assert list(await site.work.history()) == [block(9)]
    assert await site.work.open_tasks() == []


async def test_a_vanished_task_with_an_answer_under_way_stays(site: StoreSite) -> None:
    await site.work.accept_blocks(dropped=[], requests=[request()], blocks=[block(10)], keep=9)
    task = await site.work.latest(request().key)
    assert task is not None
    answered = await moved(site, task, TaskState.RUNNING, TaskState.ANSWERED)
    await site.work.commit(new_entries=[entry(task)])
    await moved(site, answered, TaskState.PENDING)
    await site.work.accept_blocks(dropped=[block(10)], requests=[], blocks=[], keep=9)
    assert len(await site.work.open_tasks()) == 1
    assert len(await site.work.entries_of(task.id)) == 1


# --- working on tasks ------------------------------------------------------------------------


async def test_pending_tasks_are_due_at_their_block(site: StoreSite) -> None:
    first = await opened(site, request(key=1))
    second = await opened(site, request(key=2))
    third = await opened(site, request(key=3))
    running = await moved(site, first, TaskState.RUNNING)
    await site.work.commit(tasks=[running.again(40, "not yet")])
    await moved(site, second, TaskState.RUNNING)
    assert [task.id for task in await site.work.due(39, 10)] == [third.id]
    assert [task.id for task in await site.work.due(40, 10)] == [first.id, third.id]
    assert [task.id for task in await site.work.due(40, 1)] == [first.id]
    waiting = (await site.work.due(40, 1))[0]
    assert (waiting.attempts, waiting.reason) == (1, "not yet")


async def test_a_result_outlives_a_restart(site: StoreSite) -> None:
    task = await opened(site, request())
    running = replace(task.moved_to(TaskState.RUNNING), result=b"\x00found")
    await site.work.commit(tasks=[running])
    await site.reopen()
    assert await site.work.task(task.id) == replace(running, revision=1)


async def test_a_write_that_saw_an_older_row_is_refused(site: StoreSite) -> None:
    task = await opened(site, request(key=1))
    other = await opened(site, request(key=2))
    await moved(site, task, TaskState.RUNNING)
    with pytest.raises(StaleRowError):
        await site.work.commit(
            tasks=[other.moved_to(TaskState.RUNNING), task.moved_to(TaskState.RUNNING)]
        )
    assert await site.work.task(other.id) == other
    with pytest.raises(StaleRowError):
        await site.work.commit(tasks=[replace(other, id=other.id + 100)])


async def test_final_tasks_are_pruned(site: StoreSite) -> None:
    old, late, unsent, waiting = [await opened(site, request(key=n)) for n in (1, 2, 3, 4)]
    await site.work.commit(new_entries=[entry(old), entry(unsent)])
    (sent,) = await site.work.entries_of(old.id)
    await site.work.commit(entries=[sent.moved_to(sent.state.SUPERSEDED)])
    for task, at in ((old, 49), (late, 50), (unsent, 49)):
        await closed(site, task, at)
    assert await site.work.prune(50) == 1
    await site.reopen()
    assert await site.work.task(old.id) is None
    assert await site.work.entries_of(old.id) == []
    for task in (late, unsent, waiting):
        assert await site.work.task(task.id) is not None


async def test_ids_are_not_used_again(site: StoreSite) -> None:
    task = await opened(site, request())
    await closed(site, task, 20)
    assert await site.work.prune(100) == 1
    await site.reopen()
    assert (await opened(site, request(key=2))).id > task.id


# --- answers ---------------------------------------------------------------------------------


async def test_an_answer_is_recorded_with_the_tasks_state(site: StoreSite) -> None:
    task = await moved(site, await opened(site, request()), TaskState.RUNNING)
    await site.work.commit(tasks=[task.moved_to(TaskState.ANSWERED)], new_entries=[entry(task)])
    await site.reopen()
    (stored,) = await site.work.entries_of(task.id)
    assert stored == replace(entry(task), id=stored.id)
    assert await site.work.open_entries(ME) == [stored]
    assert await site.work.open_entries(SET) == []
    assert await site.work.entry(stored.id) == stored
    assert await site.work.entry(stored.id + 1) is None


async def test_the_recorded_answer_stands(site: StoreSite) -> None:
    task = await opened(site, request())
    await site.work.commit(new_entries=[entry(task)])
    other_data = replace(entry(task), data=b"other", is_error=True)
    others = [
        entry(task, change=8),
        entry(task, method="serverKeyGenerationError"),
        replace(entry(task), key=replace(entry(task).key, variant=digest("variant"))),
    ]
    await site.work.commit(new_entries=[other_data, *others, *others])
    stored = await site.work.entries_of(task.id)
    assert [replace(one, id=0) for one in stored] == [entry(task), *others]
    assert stored[0].key.variant == ZERO_HASH


async def test_every_field_of_an_answer_is_kept(site: StoreSite) -> None:
    task = await opened(site, request())
    await site.work.commit(new_entries=[replace(entry(task), is_error=True)])
    (fresh,) = await site.work.entries_of(task.id)
    signed = fresh.signed(41, attempt(1)).signed(41, attempt(2))
    await site.work.commit(entries=[signed])
    await site.reopen()
    stored = await site.work.entry(fresh.id)
    assert stored == replace(signed, revision=1)
    assert await site.work.highest_nonce(ME) == 41
    assert await site.work.highest_nonce(SET) is None
    found = replace(
        stored.found_in(Mined(digest("tx 2"), 77, digest("b"), 1)), failures=2, reason="because"
    )
    await site.work.commit(entries=[found])
    assert await site.work.entry(fresh.id) == replace(found, revision=2)
    with pytest.raises(StaleRowError):
        await site.work.commit(entries=[found])


async def test_an_answer_needs_its_task(site: StoreSite) -> None:
    task = await opened(site, request())
    with pytest.raises(StorageError):
        await site.work.commit(new_entries=[entry(replace(task, id=task.id + 50))])


async def test_a_commit_of_work_is_all_or_nothing(site: StoreSite) -> None:
    task = await opened(site, request())
    stale = replace(entry(task), id=1000)
    with pytest.raises(StaleRowError):
        await site.work.commit(
            tasks=[task.moved_to(TaskState.RUNNING)],
            entries=[stale],
            new_entries=[entry(task)],
            new_tasks=[request(key=2)],
        )
    assert await site.work.open_tasks() == [task]
    assert await site.work.entries_of(task.id) == []


async def test_a_commit_may_open_tasks(site: StoreSite) -> None:
    task = await opened(site, request())
    running = await moved(site, task, TaskState.RUNNING)
    repetition = request(block=30)
    await site.work.commit(tasks=[running.closed(TaskState.ABANDONED, 20)], new_tasks=[repetition])
    (again,) = await site.work.open_tasks()
    assert again.id > task.id
    assert again.first_seen.block == 30
