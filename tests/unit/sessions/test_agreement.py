"""The rules of the agreement, and that they are enough: an exhaustive model check."""

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.sessions.agreement import (
    FIRST_ROUND_S,
    LAST_ROUND,
    LONGEST_ROUND_S,
    NOTHING,
    Prepared,
    Voter,
    VoteRefusedError,
    first_proposer,
    outcome,
    proposer,
    round_timeout_s,
)
from tests.unit.sessions.agreement_model import BrokenError, Explorer, Rules

V, W = Hash32(b"v" * 32), Hash32(b"w" * 32)
NODES = tuple(sorted(NodeId.of(SecretScalar.from_int(n).public()) for n in (1, 2, 3, 4)))

# --- the model check --------------------------------------------------------------------------


def test_no_interleaving_of_four_rounds_breaks_the_agreement() -> None:
    explorer = Explorer(Rules())
    explorer.run()
    assert len(explorer.seen) > 10_000
    assert explorer.decided > 5_000
    decided = {decision for _, decisions in explorer.facts for decision in decisions}  # type: ignore[attr-defined]
    assert {(prepared.round, prepared.value != NOTHING) for prepared in decided} == {
        (0, True),
        *((round_, something) for round_ in (1, 2, 3) for something in (True, False)),
    }


def test_what_the_search_leaves_out_changes_nothing() -> None:
    everything, reduced = Explorer(Rules(), 1, thorough=True), Explorer(Rules(), 1)
    everything.run()
    reduced.run()
    assert reduced.facts == everything.facts
    assert len(reduced.seen) < len(everything.seen) / 10


def _commits_anywhere(voter: Voter, prepared: Prepared) -> Voter:
    return replace(replace(voter, round=prepared.round).commit(prepared), round=voter.round)


def _lowest(statuses: Iterable[Prepared | None]) -> Hash32:
    known = [status for status in statuses if status is not None]
    return min(known).value if known else NOTHING


def _always_nothing(statuses: Iterable[Prepared | None]) -> Hash32:
    return NOTHING


def _changes_its_vote(voter: Voter, round_: int, value: Hash32) -> Voter:
    others = {r: v for r, v in voter.prepares.items() if r != round_}
    return replace(voter, prepares=MappingProxyType(others)).prepare(round_, value)


def _forgets(voter: Voter, prepared: Prepared) -> Voter:
    return replace(voter.commit(prepared), highest=voter.highest)


def _is_stubborn(voter: Voter, round_: int, value: Hash32) -> Voter:
    if any(earlier != value for earlier in voter.prepares.values()):
        raise VoteRefusedError("it has preferred another value before")
    return voter.prepare(round_, value)


DISAGREE = "two decisions|something else"


@pytest.mark.parametrize(
    ("weak", "why"),
    [
        (Rules(commit=_commits_anywhere), DISAGREE),
        (Rules(outcome=_always_nothing), DISAGREE),
        (Rules(outcome=_lowest), DISAGREE),
        (Rules(decides_on_prepare=True), DISAGREE),
        (Rules(quorum=2), DISAGREE),
        (Rules(commit=_forgets), DISAGREE),
        (Rules(prepare=_changes_its_vote), DISAGREE),
        (Rules(prepare=_is_stubborn), "nobody can decide"),
    ],
    ids=[
        "COMMIT after STATUS of a higher round",
        "certificates ignored",
        "lowest certificate counts",
        "one phase",
        "smaller quorum",
        "certificate forgotten",
        "two votes in a round",
        "stubborn voters",
    ],
)
def test_every_weakened_rule_is_found_out(weak: Rules, why: str) -> None:
    with pytest.raises(BrokenError, match=why):
        Explorer(weak).run()


# --- the rules one by one ---------------------------------------------------------------------


def test_a_voter_only_goes_forward() -> None:
    voter = Voter().enter(2)
    for round_ in (0, 1, 2):
        with pytest.raises(VoteRefusedError):
            voter.enter(round_)
    assert voter.enter(3).round == 3


def test_a_voter_prepares_one_value_in_the_round_it_is_in() -> None:
    voter = Voter().enter(1).prepare(1, V)
    assert voter.prepare(1, V).prepares == {1: V}
    with pytest.raises(VoteRefusedError, match="another value"):
        voter.prepare(1, W)
    for round_ in (0, 2):
        with pytest.raises(VoteRefusedError, match="entered last"):
            voter.prepare(round_, V)
    assert voter.enter(2).prepare(2, W).prepares == {1: V, 2: W}


def test_a_voter_commits_in_the_round_it_is_in_and_remembers_the_certificate() -> None:
    voter = Voter().enter(1).commit(Prepared(1, V))
    assert (voter.commits, voter.highest) == ({1: V}, Prepared(1, V))
    for round_ in (0, 2):
        with pytest.raises(VoteRefusedError):
            voter.commit(Prepared(round_, V))


def test_the_highest_certificate_seen_is_kept() -> None:
    voter = Voter().see(Prepared(1, V)).see(Prepared(0, W))
    assert voter.highest == Prepared(1, V)
    assert voter.see(Prepared(2, W)).highest == Prepared(2, W)


def test_the_outcome_is_the_highest_certificate_or_nothing() -> None:
    assert outcome([None, None]) == NOTHING
    assert outcome([Prepared(0, V), None, Prepared(1, W)]) == W
    assert outcome([Prepared(2, NOTHING), Prepared(1, V)]) == NOTHING


def test_proposers_take_turns_from_the_range_of_the_key_id() -> None:
    lowest, highest = KeyId(bytes(32)), KeyId(b"\xff" * 32)
    assert [first_proposer(lowest, 4), first_proposer(highest, 4)] == [0, 3]
    assert [proposer(lowest, NODES, r) for r in range(5)] == [*NODES, NODES[0]]
    assert proposer(highest, NODES, 1) == NODES[0]


@pytest.mark.parametrize("nodes", [1, 3, 7, 256])
def test_every_key_id_has_a_first_proposer(nodes: int) -> None:
    assert first_proposer(KeyId(b"\xff" * 32), nodes) == nodes - 1


def test_rounds_last_longer_and_longer_up_to_an_hour() -> None:
    assert [round_timeout_s(r) for r in (0, 1, 2)] == [FIRST_ROUND_S, 120, 240]
    assert round_timeout_s(50) == LONGEST_ROUND_S


@pytest.mark.parametrize("round_", [1023, 1024, LAST_ROUND, 2**32 - 1])
def test_a_round_that_only_a_liar_comes_to_has_a_time(round_: int) -> None:
    assert round_timeout_s(round_) == LONGEST_ROUND_S
