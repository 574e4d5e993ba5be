"""When a refresh is due, and in which order the nodes begin it."""

from dataclasses import replace
from itertools import pairwise

import pytest

from keyserver.engine.refresh_tries import MOST_KEYS, MOST_TRIES, RefreshTries
from keyserver.engine.refresh_turns import RefreshTurns
from keyserver.model.identifiers import Hash32, KeyId
from tests.unit.engine.signed_values import KEY, NODES, OTHER_KEY, record

TURNS = RefreshTurns(1600)
FIRST, LAST = Hash32(bytes(32)), Hash32(b"\xff" * 32)


def test_keys_of_the_same_age_are_spread_over_an_eighth_of_the_interval() -> None:
    assert TURNS.due_s(FIRST) == 1500
    assert TURNS.due_s(LAST) == pytest.approx(1300)
    assert TURNS.earliest_s == 1300
    assert 1300 < TURNS.due_s(record().hash) < 1500


def test_every_node_has_its_turn_before_the_interval_ends() -> None:
    known = record()
    begins = sorted(TURNS.begins_s(known, node) for node in NODES)
    assert begins[0] == TURNS.due_s(known.hash)
    assert begins[-1] < TURNS.due_s(known.hash) + 100 <= 1600
    assert {round(b - a, 6) for a, b in pairwise(begins)} == {25}


def test_another_node_is_the_first_for_another_version() -> None:
    first = []
    for version in range(1, 5):
        known = replace(record(), version=version)
        first.append(min(NODES, key=lambda node: TURNS.begins_s(known, node)))
    assert sorted(first) == list(NODES)


@pytest.mark.parametrize(
    ("age", "let_in"), [(0, False), (799, False), (800, True), (10**9, True), (-1, True)]
)
def test_nodes_take_part_from_half_the_interval_on(age: int, let_in: bool) -> None:
    """Or when the record's time lies in the future: the clock was set back."""
    assert TURNS.is_let_in(10**9 - age, 10**9) == let_in


def test_what_comes_from_the_future_is_overdue_for_every_node() -> None:
    age_s = TURNS.age_s(1001, 1000)
    assert all(TURNS.begins_s(record(), node) <= age_s for node in NODES)
    assert TURNS.age_s(1000, 1000) == 0


def test_nothing_is_due_with_an_interval_of_0() -> None:
    never = RefreshTurns(0)
    assert not never.is_let_in(0, 10**9)
    assert not never.is_let_in(10**9, 0)


# --- tries ------------------------------------------------------------------------------------


def tried(tries: RefreshTries, times: int, *, key_id: KeyId = KEY, now: float = 0) -> list[bool]:
    return [tries.let_in(NODES[1], key_id, 1, now) for _ in range(times)]


def test_a_node_has_so_many_tries_for_a_key_in_a_window() -> None:
    tries = RefreshTries(100)
    assert tried(tries, MOST_TRIES + 2) == [True] * MOST_TRIES + [False] * 2
    assert tried(tries, 1, now=99) == [False]
    assert tried(tries, 1, key_id=OTHER_KEY) == [True]
    assert tries.let_in(NODES[2], KEY, 1, 0)
    assert tried(tries, MOST_TRIES + 1, now=100) == [True] * MOST_TRIES + [False]


def test_another_version_is_another_matter() -> None:
    tries = RefreshTries(100)
    tried(tries, MOST_TRIES)
    assert tries.let_in(NODES[1], KEY, 2, 0)


def test_a_refresh_that_has_succeeded_is_forgotten() -> None:
    tries = RefreshTries(100)
    tried(tries, MOST_TRIES)
    assert set(tries.open) == {(KEY, 1)}
    tries.forget(KEY, 2)
    assert tried(tries, 1) == [False]
    tries.forget(KEY, 1)
    assert set(tries.open) == set()
    assert tried(tries, 1) == [True]


def test_what_is_remembered_of_a_node_is_bounded() -> None:
    tries = RefreshTries(100)
    for number in range(MOST_KEYS):
        assert tried(tries, 1, key_id=KeyId(number.to_bytes(32, "big")), now=number % 2) == [True]
    more = KeyId(b"\xff" * 32)
    assert tried(tries, 1, key_id=more, now=99) == [False]
    assert tries.let_in(NODES[2], more, 1, 99)
    assert tried(tries, 1, key_id=more, now=100) == [True]
    assert len(set(tries.open)) == MOST_KEYS // 2 + 1
