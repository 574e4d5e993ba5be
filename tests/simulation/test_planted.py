"""Some planted bugs, found within few runs; `python -m tests.simulation.planted` finds all."""

from contextlib import ExitStack

import pytest

from keyserver.simulation.owner import Edit, Members
from keyserver.simulation.runner import run_one
from keyserver.simulation.scenarios.plan import Liar, Plan
from keyserver.simulation.scenarios.registry import SCENARIOS
from tests.simulation.planted.search import BUGS, search

QUICK = {"author": 60, "credential": 60, "masks": 40, "agreement quorum": 40}
"""Bugs, and within how many runs they are found."""


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found(name: str) -> None:
    assert search(name, QUICK[name]) is not None


def changing(*lies: str) -> Plan:
    """One node of four is replaced, and another one coordinates that with these lies."""
    events = (Members(0.0, (0, 1, 2, 3)), Edit(6.0, (1, 2, 3, 4)), Liar(5.0, 2, lies))
    return Plan(5, 1, None, events)


IN_CHANGES = {
    "old shares": changing(),
    "vouched past": changing("set change, coordinator: a past that never was"),
    "new holders": changing("redistribution, coordinator: a certificate of too few"),
}
"""Bugs where keys move, and what shows them."""


@pytest.mark.parametrize("name", IN_CHANGES)
def test_a_bug_in_a_change_is_found(name: str) -> None:
    scenario = SCENARIOS["change and liars"]
    assert run_one(scenario, 1, IN_CHANGES[name]) is None
    with ExitStack() as stack:
        BUGS[name].plant(stack)
        assert run_one(scenario, 1, IN_CHANGES[name]) is not None


def test_there_are_enough_of_them() -> None:
    assert len(BUGS) >= 18
