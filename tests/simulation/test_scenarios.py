"""Every scenario of clusters with some seeds; and what was found once, again."""

import json
from pathlib import Path

import pytest

from keyserver.simulation.runner import Finding, run_one
from keyserver.simulation.scenarios.registry import SCENARIOS, scenario_of

CLUSTERS = [name for name in SCENARIOS if not name.startswith("world")]
AT_A_TIME = 4
"""Scenarios that a seed runs; it is another four for the next seed."""

FOUND = json.loads((Path(__file__).parent / "found.json").read_text())
"""Plans that once violated something, as `keyserver simulate` writes them."""


def test_no_invariant_is_violated(seed: int) -> None:
    for place in range(AT_A_TIME):
        scenario = SCENARIOS[CLUSTERS[(seed * AT_A_TIME + place) % len(CLUSTERS)]]
        finding = run_one(scenario, seed, scenario.plan(seed))
        assert finding is None, finding


@pytest.mark.parametrize("told", FOUND, ids=lambda told: f"{told['scenario']}-{told['seed']}")
def test_what_was_found_once_is_not_found_again(told: object) -> None:
    finding = Finding.from_json(told)
    assert run_one(scenario_of(finding.scenario), finding.seed, finding.plan) is None
