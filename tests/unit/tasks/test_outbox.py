"""The outbox: transitions and entries."""

from itertools import product

import pytest

from keyserver.model.codec import decode, encode
from keyserver.tasks.model import IllegalTransitionError
from keyserver.tasks.outbox import Attempt, Mined, OutboxState, new_entry
from tests.support.work import CONTRACT, SENDER, ZERO_HASH, answer, block_hash, entry

LEGAL = {
    ("queued", "signed"),
    ("queued", "superseded"),
    ("queued", "failed"),
    ("signed", "signed"),
    ("signed", "broadcast"),
    ("signed", "mined"),
    ("signed", "queued"),
    ("broadcast", "signed"),
    ("broadcast", "mined"),
    ("broadcast", "queued"),
    ("mined", "broadcast"),
    ("mined", "queued"),
    ("mined", "confirmed"),
    ("mined", "superseded"),
    ("mined", "failed"),
}
ATTEMPT = Attempt(b"raw", block_hash(1), max_fee=2**100, priority_fee=3, gas=21_000, block=9)
MINED = Mined(block_hash(1), 12, block_hash(12), 1)


@pytest.mark.parametrize(("before", "after"), list(product(OutboxState, OutboxState)))
def test_every_pair_of_states(before: OutboxState, after: OutboxState) -> None:
    row = entry(state=before)
    if (before.value, after.value) in LEGAL:
        assert row.moved_to(after, "why").state is after
    else:
        with pytest.raises(IllegalTransitionError, match=before.value):
            row.moved_to(after)


def test_open_and_in_flight() -> None:
    assert {state.value for state in OutboxState if not state.is_open} == {
        "confirmed",
        "superseded",
        "failed",
    }
    assert {state.value for state in OutboxState if state.is_in_flight} == {
        "signed",
        "broadcast",
        "mined",
    }


def test_the_way_of_an_answer_through_a_reorganisation_and_a_failure() -> None:
    row = new_entry(4, SENDER, CONTRACT, answer())
    assert (row.key.task_id, row.key.method, row.state) == (
        4,
        "serverKeyGenerated",
        OutboxState.QUEUED,
    )
    row = row.signed(5, ATTEMPT)
    assert (row.nonce, row.attempts, row.cancelled) == (5, (ATTEMPT,), False)
    row = row.moved_to(OutboxState.BROADCAST).found_in(MINED)
    assert row.mined == MINED
    row = row.lost_again()
    assert (row.state, row.mined, row.nonce) == (OutboxState.BROADCAST, None, 5)
    row = row.found_in(MINED).queued_again("reverted", failed=True)
    assert (row.nonce, row.attempts, row.mined, row.failures) == (None, (), None, 1)


def test_a_cancelling_attempt() -> None:
    cancel = Attempt(b"raw", ZERO_HASH, 1, 1, 21_000, 9, cancels=1)
    assert entry().signed(5, cancel).cancelled


def test_what_is_stored_in_columns_survives_the_codec() -> None:
    assert decode(Attempt, encode(ATTEMPT)) == ATTEMPT
    assert decode(Mined, encode(MINED)) == MINED


def test_every_write_counts_the_revision_up() -> None:
    assert entry(revision=3).written() == entry(revision=4)
