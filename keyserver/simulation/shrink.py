"""Makes the plan of a finding as small as it gets while the same invariant stays violated."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from keyserver.simulation.runner import Finding, run_one
from keyserver.simulation.scenarios.plan import Plan
from keyserver.simulation.scenarios.registry import scenario_of

MAX_RUNS = 300
"""So many plans are tried."""

Run = Callable[[Plan], Finding | None]


def shrink(finding: Finding, max_runs: int = MAX_RUNS) -> Finding:
    """The smallest finding that was found; at least as small as the given one.

    First events are left out, half of them at a time and then fewer; then the cluster is made
    smaller, and numbers in the events that are left rounder.
    """
    scenario = scenario_of(finding.scenario)
    left = max_runs

    def again(plan: Plan) -> Finding | None:
        nonlocal left
        if left <= 0:
            return None
        left -= 1
        found = run_one(scenario, finding.seed, plan)
        same = found is not None and found.invariant == finding.invariant
        return found if same else None

    smaller: Finding | None = finding
    while smaller is not None:
        finding = smaller
        smaller = next(_smaller(finding.plan, again), None)
    return finding


def _smaller(plan: Plan, again: Run) -> Iterator[Finding]:
    """Findings with plans one step smaller."""
    for candidate in _candidates(plan):
        found = again(candidate)
        if found is not None:
            yield found


def _candidates(plan: Plan) -> Iterator[Plan]:
    yield from _with_fewer_events(plan)
    yield from _with_fewer_nodes(plan)
    for place, event in enumerate(plan.events):
        for simpler in _simpler(event):
            events = (*plan.events[:place], simpler, *plan.events[place + 1 :])
            yield replace(plan, events=events)


def _with_fewer_events(plan: Plan) -> Iterator[Plan]:
    count = len(plan.events)
    size = count
    while size >= 1:
        for start in range(0, count, size):
            yield plan.without(range(start, min(start + size, count)))
        size //= 2


def _with_fewer_nodes(plan: Plan) -> Iterator[Plan]:
    if plan.nodes > plan.threshold + 1 and plan.nodes > 1:
        fewer = plan.nodes - 1
        quorum = None if plan.quorum is None else fewer - (fewer - 1) // 3
        yield replace(plan, nodes=fewer, quorum=quorum)
    if plan.threshold > 0:
        yield replace(plan, threshold=plan.threshold - 1)


def _simpler(event: Any) -> Iterator[Any]:
    """The same event with one number rounder, or one thing fewer."""
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        for simpler in _simpler_value(field.name, value):
            yield replace(event, **{field.name: simpler})


def _simpler_value(name: str, value: object) -> Iterator[object]:
    match value:
        case bool():
            if value:
                yield False
        case float():
            for rounder in (0.0, float(int(value)), round(value, 1)):
                if abs(rounder) < abs(value) and (rounder or name == "at"):
                    yield rounder
        case int() if name == "nth" and value > 1:
            yield value // 2
            yield value - 1
        case tuple() if len(value) > 1:
            for place in range(len(value)):
                yield value[:place] + value[place + 1 :]
