"""Plans: they are told and read again, and refuse what is none."""

from typing import Any

import pytest

from keyserver.simulation.scenarios.plan import (
    Ask,
    Crash,
    DiskFull,
    Liar,
    Partition,
    Plan,
    PlanError,
)
from keyserver.simulation.scenarios.registry import SCENARIOS

PLAN = Plan(
    4,
    1,
    3,
    (
        Crash(0.5, 1, 2.0),
        Partition(1.0, (0, 2), 3.5),
        Liar(0.0, 3, ("one", "another")),
        DiskFull(0.1, 0, 1.0, reads=True),
        Ask(0.2, 1, "store"),
    ),
)


def test_a_plan_is_read_as_it_was_told() -> None:
    assert Plan.from_json(PLAN.to_json()) == PLAN


@pytest.mark.parametrize("name", SCENARIOS)
def test_plans_of_all_scenarios_are_told_and_read(name: str) -> None:
    for seed in range(30):
        plan = SCENARIOS[name].plan(seed)
        assert Plan.from_json(plan.to_json()) == plan
        assert SCENARIOS[name].plan(seed) == plan


def test_whole_numbers_count_as_times() -> None:
    told = {"kind": "Crash", "at": 1, "node": 0, "down_s": 2}
    assert Plan.from_json(_with(events=[told])).events == (Crash(1.0, 0, 2.0),)


def test_only_liars_of_the_plan_count() -> None:
    assert PLAN.liars == {3}
    assert Plan(3, 1, None, PLAN.events).liars == frozenset()


def test_events_are_left_out_by_their_places() -> None:
    assert PLAN.without([0, 2, 4]).events == (PLAN.events[1], PLAN.events[3])


def _with(**changes: Any) -> dict[str, Any]:
    return {**PLAN.to_json(), **changes}


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        _with(nodes="4"),
        _with(nodes=True),
        _with(quorum=1.5),
        _with(events=None),
        _with(events=[3]),
        _with(events=[{"kind": "Miracle", "at": 0.0}]),
        _with(events=[{"kind": "Crash", "at": 0.0, "node": 1}]),
        _with(events=[{"kind": "Crash", "at": "now", "node": 1, "down_s": 1.0}]),
        _with(events=[{"kind": "Crash", "at": 0.0, "node": 1, "down_s": 1.0, "up": 1}]),
        _with(events=[{"kind": "Partition", "at": 0.0, "group": 3, "for_s": 1.0}]),
    ],
)
def test_what_is_no_plan_is_refused(told: Any) -> None:
    with pytest.raises(PlanError):
        Plan.from_json(told)
