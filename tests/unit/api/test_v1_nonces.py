"""Nonces count once, are forgotten in time, and never fill the memory."""

from random import Random

import pytest

from keyserver.api.v1_nonces import NonceMemoryFullError, UsedNonces
from keyserver.model.identifiers import Address, Nonce32

ALICE, BOB = Address(b"\xaa" * 20), Address(b"\xbb" * 20)
ONE, TWO = Nonce32(b"\x01" * 32), Nonce32(b"\x02" * 32)


def test_once() -> None:
    used = UsedNonces()
    assert used.take(ALICE, ONE, not_after=100, now=50)
    assert not used.take(ALICE, ONE, not_after=100, now=50)
    assert not used.take(ALICE, ONE, not_after=99, now=50), "whatever its expiry"
    assert used.take(ALICE, TWO, not_after=100, now=50)
    assert used.take(BOB, ONE, not_after=100, now=50), "another requester's nonce is another"


def test_remembered_to_the_last_second_it_counts() -> None:
    used = UsedNonces()
    assert used.take(ALICE, ONE, not_after=100, now=50)
    assert not used.take(ALICE, ONE, not_after=100, now=100)
    assert used.take(ALICE, TWO, not_after=700, now=101)
    assert len(used) == 1


def test_what_is_given_back_is_new() -> None:
    used = UsedNonces()
    used.take(ALICE, ONE, not_after=100, now=50)
    used.give_back(ALICE, ONE, not_after=100)
    assert len(used) == 0
    assert used.take(ALICE, ONE, not_after=100, now=50)
    used.take(BOB, TWO, not_after=200, now=150)
    used.give_back(ALICE, ONE, not_after=100)
    assert len(used) == 1, "forgotten already: nothing to give back"


def test_what_failed_late_gives_nothing_back_of_a_later_request() -> None:
    used = UsedNonces()
    used.take(ALICE, ONE, not_after=100, now=50)
    assert used.take(ALICE, ONE, not_after=700, now=101), "the first has expired"
    used.give_back(ALICE, ONE, not_after=100)
    assert not used.take(ALICE, ONE, not_after=700, now=101)


def test_a_full_memory_forgets_nothing_that_counts() -> None:
    used = UsedNonces(limit=2)
    used.take(ALICE, ONE, not_after=100, now=50)
    used.take(BOB, ONE, not_after=200, now=50)
    with pytest.raises(NonceMemoryFullError):
        used.take(ALICE, TWO, not_after=100, now=50)
    assert not used.take(ALICE, ONE, not_after=100, now=50), "told apart from full"
    assert used.take(ALICE, TWO, not_after=300, now=101)


def test_against_a_plain_list() -> None:
    random, used = Random(7), UsedNonces()
    alive: dict[Nonce32, int] = {}
    now = 1000
    for _ in range(5_000):
        now += random.random() < 0.1
        alive = {nonce: expiry for nonce, expiry in alive.items() if expiry >= now}
        nonce = Nonce32(random.randrange(200).to_bytes(32, "big"))
        if random.random() < 0.2:
            used.give_back(ALICE, nonce, not_after=alive.pop(nonce, 0))
            continue
        not_after = now + random.randrange(60)
        assert used.take(ALICE, nonce, not_after=not_after, now=now) == (nonce not in alive)
        alive.setdefault(nonce, not_after)
        assert len(used) == len(alive)
