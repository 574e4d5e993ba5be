"""Tasks: transitions, and what a sighting means."""

from itertools import product

import pytest

from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.tasks.model import (
    Confirm,
    Ignore,
    IllegalTransitionError,
    Open,
    Replace,
    SeenRequest,
    SetEpoch,
    TaskState,
    admit,
    new_task,
    vanished,
)
from tests.support.work import EPOCH, block_hash, seen, sighting, task

LEGAL = {
    ("pending", "running"),
    ("pending", "rejected"),
    ("running", "pending"),
    ("running", "answered"),
    ("running", "held"),
    ("running", "rejected"),
    ("running", "abandoned"),
    ("answered", "settled"),
    ("answered", "pending"),
    ("answered", "held"),
    ("answered", "rejected"),
    ("answered", "abandoned"),
    ("held", "pending"),
    ("held", "rejected"),
}


@pytest.mark.parametrize(("before", "after"), list(product(TaskState, TaskState)))
def test_every_pair_of_states(before: TaskState, after: TaskState) -> None:
    row = task(state=before)
    if (before.value, after.value) in LEGAL:
        moved = row.moved_to(after, "why")
        assert (moved.state, moved.reason) == (after, "why")
    else:
        with pytest.raises(IllegalTransitionError, match=before.value):
            row.moved_to(after)


def test_open_states_are_those_with_a_successor() -> None:
    final = {state for state in TaskState if not state.is_open}
    assert final == {TaskState.SETTLED, TaskState.REJECTED, TaskState.ABANDONED}


def test_again_counts_attempts() -> None:
    row = task(state=TaskState.RUNNING, attempts=2).again(99, "slow peer")
    assert (row.state, row.attempts, row.next_attempt_block) == (TaskState.PENDING, 3, 99)


def test_closed_remembers_the_block() -> None:
    assert task(state=TaskState.ANSWERED).closed(TaskState.SETTLED, 20).closed_block == 20


def test_an_unknown_request_opens_a_task() -> None:
    assert admit(None, seen(5)) == Open()
    opened = new_task(3, seen(5, payload=b"p"))
    assert opened.first_seen == opened.last_seen == sighting(5)
    assert (opened.state, opened.payload, opened.next_attempt_block) == (
        TaskState.PENDING,
        b"p",
        0,
    )


@pytest.mark.parametrize("state", [state for state in TaskState if state.is_open])
def test_an_open_task_takes_no_second_one(state: TaskState) -> None:
    row = task(state=state)
    assert admit(row, seen(10)) == Ignore()
    assert admit(row, seen(9)) == Ignore()
    confirmed = admit(row, seen(12, log=None))
    assert isinstance(confirmed, Confirm)
    assert confirmed.task.last_seen == sighting(12, log=None)
    assert confirmed.task.first_seen == row.first_seen
    assert confirmed.task.state is state


def test_an_equal_request_made_anew_does_not_wait_for_the_old_ones_turn() -> None:
    row = task(attempts=2, next_attempt_block=99, result=b"kept")
    confirmed = admit(row, seen(12))
    assert isinstance(confirmed, Confirm)
    assert confirmed.task.first_seen == confirmed.task.last_seen == sighting(12)
    assert (confirmed.task.attempts, confirmed.task.next_attempt_block) == (0, 0)
    assert confirmed.task.result == b"kept"
    running = admit(task(state=TaskState.RUNNING, next_attempt_block=99), seen(12))
    assert isinstance(running, Confirm)
    assert running.task.next_attempt_block == 99


@pytest.mark.parametrize("state", [state for state in TaskState if state.is_open])
def test_other_parameters_replace_an_open_task(state: TaskState) -> None:
    decided = admit(task(state=state), seen(12, payload=b"another"))
    assert isinstance(decided, Replace)
    assert decided.closed.state is TaskState.REJECTED
    assert decided.closed.closed_block == 10


@pytest.mark.parametrize(
    ("state", "closed", "request_", "expected"),
    [
        (TaskState.SETTLED, 15, seen(10), Ignore()),
        (TaskState.SETTLED, 15, seen(13), Open()),  # mined before our answer was deep enough
        (TaskState.SETTLED, 15, seen(16), Open()),
        (TaskState.SETTLED, 15, seen(15, log=None), Ignore()),
        (TaskState.SETTLED, 15, seen(16, log=None), Open()),
        (TaskState.REJECTED, None, seen(10, log=None), Ignore()),
        (TaskState.REJECTED, None, seen(11, log=None), Open()),
        (TaskState.ABANDONED, 15, seen(99, log=None), Ignore()),
        (TaskState.ABANDONED, 15, seen(99), Open()),
    ],
)
def test_a_closed_task_and_a_later_request(
    state: TaskState, closed: int | None, request_: SeenRequest, expected: object
) -> None:
    assert admit(task(state=state, closed_block=closed), request_) == expected


def test_an_answer_mined_after_the_last_sighting_settles_the_request() -> None:
    row = task(state=TaskState.ANSWERED, last_seen=sighting(20, log=None))
    settled, again = row.settled(21)
    assert (settled.state, settled.closed_block, again) == (TaskState.SETTLED, 21, None)


@pytest.mark.parametrize("log", [None, 3])
@pytest.mark.parametrize("mined", [19, 20])
def test_a_request_seen_after_its_answer_opens_a_new_task(mined: int, log: int | None) -> None:
    row = task(state=TaskState.ANSWERED, last_seen=sighting(20, log=log), payload=b"p")
    settled, again = row.settled(mined)
    assert settled.state is TaskState.SETTLED
    assert again == seen(20, log=log, payload=b"p")
    assert admit(settled, again) == Open()


def test_a_dropped_log_takes_its_task_along() -> None:
    dropped = {block_hash(10)}
    assert vanished(task(), dropped)
    assert vanished(task(state=TaskState.HELD), dropped)
    assert not vanished(task(), {block_hash(10, branch=1)})
    assert not vanished(task(state=TaskState.RUNNING), dropped)
    assert not vanished(task(result=b"shadow"), dropped)
    assert not vanished(task(first_seen=sighting(10, log=None)), dropped)


def test_an_epoch_names_the_set_contract_and_its_last_change() -> None:
    nodes = NodeSet.of(1, EPOCH.contract, set())
    snapshot = NodeSetSnapshot(nodes, nodes, None, (), epoch=7, block_number=90)
    assert SetEpoch.of(snapshot) == EPOCH
