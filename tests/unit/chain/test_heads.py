"""What a new head means."""

import random

import pytest

from keyserver.chain.client import BlockRef
from keyserver.chain.heads import (
    Advance,
    Fetch,
    History,
    Moved,
    Unchanged,
    confirmed_number,
    plan_move,
)
from keyserver.crypto.hashing import keccak256
from keyserver.model.identifiers import Hash32

DEPTH = 40


def extend(chain: list[BlockRef], count: int, salt: str) -> list[BlockRef]:
    """`chain` and `count` more blocks; another salt gives another branch."""
    out = list(chain)
    for _ in range(count):
        number = len(out)
        parent = out[-1].hash if out else Hash32(bytes(32))
        own = Hash32(keccak256(parent + f"{number}{salt}".encode()))
        out.append(BlockRef(number, own, parent, number, None))
    return out


def known(chain: list[BlockRef]) -> History:
    return History(tuple(block.id for block in chain))


def follow(
    history: History, canonical: list[BlockRef], depth: int = DEPTH
) -> tuple[Advance | Unchanged | Moved, int]:
    """Plan until decided, answering from `canonical`; the number of rounds of fetching."""
    fetched: dict[int, BlockRef | None] = {}
    rounds = 0
    while True:
        move = plan_move(history, canonical[-1], fetched, depth=depth)
        if not isinstance(move, Fetch):
            return move, rounds
        rounds += 1
        assert move.numbers
        assert not set(move.numbers) & set(fetched)
        for number in move.numbers:
            fetched[number] = canonical[number] if number < len(canonical) else None


MAIN = extend([], 60, "main")


def test_the_next_block_needs_no_other_header() -> None:
    move, rounds = follow(known(MAIN[:50]), MAIN[:51])
    assert move == Advance(MAIN[49].id, (), (MAIN[50],))
    assert rounds == 0


def test_the_first_head_brings_the_blocks_before_it() -> None:
    move, _ = follow(History(), MAIN[:51], depth=5)
    assert move == Advance(None, (), tuple(MAIN[46:51]))
    assert not move.is_deep


def test_a_first_head_near_the_genesis_block() -> None:
    move, _ = follow(History(), MAIN[:2], depth=5)
    assert move == Advance(None, (), tuple(MAIN[:2]))
    move, rounds = follow(History(), MAIN[:1], depth=5)
    assert (move, rounds) == (Advance(None, (), (MAIN[0],)), 0)


def test_missed_blocks_are_filled_in() -> None:
    move, rounds = follow(known(MAIN[:50]), MAIN[:55])
    assert move == Advance(MAIN[49].id, (), tuple(MAIN[50:55]))
    assert rounds == 1


def test_the_same_head_again_changes_nothing() -> None:
    assert follow(known(MAIN[:50]), MAIN[:50])[0] == Unchanged()


def test_an_endpoint_that_lags_changes_nothing() -> None:
    assert follow(known(MAIN[:50]), MAIN[:45])[0] == Unchanged()


@pytest.mark.parametrize("depth", [2, 3, 17, 18, 30])
@pytest.mark.parametrize("growth", [-1, 0, 1, 5])
def test_a_fork_goes_back_to_the_common_ancestor(depth: int, growth: int) -> None:
    fork = extend(MAIN[: 50 - depth], depth + growth, "other")
    move, _ = follow(known(MAIN[:50]), fork)
    assert move == Advance(
        MAIN[49 - depth].id,
        tuple(block.id for block in MAIN[50 - depth : 50]),
        tuple(fork[50 - depth :]),
    )


def test_a_fork_below_all_that_is_known_is_deep() -> None:
    history = known(MAIN[20:50])
    fork = extend(MAIN[:10], 45, "other")
    move, _ = follow(history, fork, depth=8)
    assert move == Advance(None, history.blocks, tuple(fork[47:55]))
    assert move.is_deep


def test_another_chain_shorter_than_all_that_is_known_is_deep() -> None:
    history = known(MAIN[20:50])
    fork = extend([], 10, "other")
    move, _ = follow(history, fork, depth=20)
    assert move == Advance(None, history.blocks, tuple(fork))
    assert move.is_deep


def test_a_long_absence_leaves_a_gap_but_finds_the_ancestor() -> None:
    long = extend(MAIN, 100, "main")
    move, _ = follow(known(MAIN[40:50]), long, depth=8)
    assert move == Advance(MAIN[49].id, (), tuple(long[-8:]))


def test_a_fork_during_a_long_absence() -> None:
    long = extend(MAIN[:47], 100, "other")
    move, _ = follow(known(MAIN[40:50]), long, depth=8)
    assert move == Advance(MAIN[46].id, tuple(block.id for block in MAIN[47:50]), tuple(long[-8:]))


def test_a_fork_between_blocks_that_are_known_with_gaps() -> None:
    sparse = History(tuple(MAIN[n].id for n in (40, 44, 48)))
    fork = extend(MAIN[:46], 10, "other")
    move, _ = follow(sparse, fork)
    assert move == Advance(MAIN[44].id, (MAIN[48].id,), tuple(fork[45:]))


def test_headers_that_do_not_fit_together_are_not_believed() -> None:
    fork = extend(MAIN[:48], 10, "other")
    head = MAIN[54]
    gap: dict[int, BlockRef | None] = {n: fork[n] for n in range(50, 54)}
    assert plan_move(known(MAIN[:50]), head, gap, depth=DEPTH) == Moved()
    gap[52] = MAIN[52]
    assert plan_move(known(MAIN[:50]), head, gap, depth=DEPTH) == Moved()
    gap[52] = None
    assert plan_move(known(MAIN[:50]), head, gap, depth=DEPTH) == Moved()


def test_a_chain_that_shrinks_on_the_way_back_is_not_believed() -> None:
    fork = extend(MAIN[:40], 11, "other")
    none: dict[int, BlockRef | None] = dict.fromkeys(range(50))
    assert plan_move(known(MAIN[:50]), fork[50], none, depth=DEPTH) == Moved()


def test_a_chain_that_moves_after_the_ancestor_is_found_is_not_believed() -> None:
    fork = extend(MAIN[:45], 10, "other")
    third = extend(MAIN[:43], 20, "third")
    mixed: dict[int, BlockRef | None] = dict(enumerate(fork[:50]))
    mixed[44] = MAIN[44]
    mixed |= {n: third[n] for n in range(45, 50)}
    head = third[50]
    assert plan_move(known(MAIN[:50]), head, mixed, depth=DEPTH) == Moved()
    missing = {n: block for n, block in mixed.items() if n >= 49}
    assert isinstance(plan_move(known(MAIN[:50]), head, missing, depth=DEPTH), Fetch)


def test_random_forks_always_end_on_the_canonical_chain() -> None:
    rng = random.Random(7)
    chain, history = extend([], 5, "start"), History()
    for round_number in range(300):
        if rng.random() < 0.4:
            cut = rng.randrange(max(1, len(chain) - 25), len(chain) + 1)
            chain = extend(chain[:cut], rng.randrange(1, 12), str(round_number))
        else:
            chain = extend(chain, rng.randrange(1, 60), str(round_number))
        move, _ = follow(history, chain)
        if isinstance(move, Unchanged):
            assert history.hash_at(chain[-1].number) == chain[-1].hash
            continue
        assert isinstance(move, Advance)
        assert all(chain[b.number].hash != b.hash for b in move.dropped if b.number < len(chain))
        history = history.advanced(move, keep=DEPTH)
        assert len(history.blocks) <= DEPTH
        assert all(chain[block.number].hash == block.hash for block in history.blocks)
        assert history.top == chain[-1].id


def test_confirmed_block_is_never_below_the_first() -> None:
    assert [confirmed_number(head, 3) for head in (0, 2, 3, 10)] == [0, 0, 0, 7]
    assert confirmed_number(10, 0) == 10
