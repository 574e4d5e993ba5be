"""The schedule of faults: the same for the same seed, complete, and within bounds."""

from collections import Counter

import pytest

from tests.chaos.endpoints import Manner
from tests.chaos.schedule import EVERY_NAME, HURTS, ROUND, Fault, FaultKind, draw

SEEDS = range(20)


def of(seed: int, seconds: float = 600.0) -> list[Fault]:
    return draw(seed, nodes=5, threshold=2, seconds=seconds, gap_s=2.0)


def test_a_seed_has_one_schedule() -> None:
    assert of(7) == of(7)
    assert of(7) != of(8)


@pytest.mark.parametrize("number", SEEDS)
def test_every_kind_comes_early(number: int) -> None:
    first = of(number)[: 2 * ROUND]
    assert {fault.name for fault in first} == EVERY_NAME
    assert [fault.at_s for fault in first] == sorted(fault.at_s for fault in first)


@pytest.mark.parametrize("number", SEEDS)
def test_no_more_nodes_are_hurt_at_a_time_than_the_network_bears(number: int) -> None:
    faults = of(number)
    for one in faults:
        if one.kind in HURTS:
            hurt = {
                node
                for other in faults
                if other.kind in HURTS and other.at_s <= one.at_s < other.at_s + other.lasts_s
                for node in other.nodes
            }
            assert len(hurt) <= 2


@pytest.mark.parametrize("number", SEEDS)
def test_of_a_nodes_endpoints_one_is_honest(number: int) -> None:
    bad = [fault for fault in of(number) if fault.kind is FaultKind.ENDPOINT]
    for one in bad:
        at_once = Counter(
            node
            for other in bad
            if other.at_s <= one.at_s < other.at_s + other.lasts_s
            for node in other.nodes
        )
        assert max(at_once.values()) == 1
        assert one.manner is not Manner.HONEST
