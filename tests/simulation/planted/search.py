"""Looks for planted bugs with the scenarios as they are, mixed by their weights."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from keyserver.simulation.runner import be_quiet, run_one
from keyserver.simulation.scenarios.registry import SCENARIOS, Scenario
from tests.simulation.planted import (
    chain_bugs,
    change_bugs,
    engine_bugs,
    session_bugs,
    signing_bugs,
)
from tests.simulation.planted.bug import Bug

BUGS: dict[str, Bug] = {
    bug.name: bug
    for bug in (
        *session_bugs.BUGS,
        *engine_bugs.BUGS,
        *chain_bugs.BUGS,
        *change_bugs.BUGS,
        *signing_bugs.BUGS,
    )
}


LIMIT_S = 20.0
"""CPU seconds that a run may take."""


@dataclass(frozen=True)
class Found:
    """How a bug showed itself."""

    bug: str
    scenario: str
    seed: int
    runs: int
    """Seeds over all scenarios until then."""
    invariant: str


def mixed(seeds: int) -> Iterator[tuple[Scenario, int]]:
    """So many runs, spread over all scenarios by their weights."""
    scenarios = list(SCENARIOS.values())
    total = sum(scenario.weight for scenario in scenarios)
    given = dict.fromkeys(SCENARIOS, 0)
    for run in range(1, seeds + 1):
        late = max(scenarios, key=lambda s: s.weight * run / total - given[s.name])
        yield late, given[late.name]
        given[late.name] += 1


def search(name: str, seeds: int) -> Found | None:
    """Plant one bug and run until something is violated, that is not without it."""
    be_quiet()
    for runs, (scenario, seed) in enumerate(mixed(seeds), 1):
        plan = scenario.plan(seed)
        with ExitStack() as stack:
            BUGS[name].plant(stack)
            finding = run_one(scenario, seed, plan, LIMIT_S)
        if finding is not None and run_one(scenario, seed, plan, LIMIT_S) is None:
            return Found(name, scenario.name, seed, runs, finding.invariant)
    return None
