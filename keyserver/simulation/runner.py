"""Runs scenarios with many seeds, on all cores, and takes down what was violated.

A seed's run depends on nothing but the seed: not on the process, its neighbours, or the hash seed
of the interpreter. A run that does not end within its time of CPU is a violation as well.
"""

import hashlib
import logging
import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog

from keyserver.simulation.loop import DeadlockError, run_virtual
from keyserver.simulation.network import TRACE
from keyserver.simulation.scenarios.plan import Plan, PlanError
from keyserver.simulation.scenarios.registry import SCENARIOS, Scenario, scenario_of
from keyserver.simulation.scenarios.violation import Violation

LIMIT_S = 60.0
"""CPU seconds that one run may take."""

CHUNK = 8
"""Seeds that a process runs before it tells how it went."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation, and all that is needed to see it again."""

    scenario: str
    seed: int
    invariant: str
    where: str
    plan: Plan

    def to_json(self) -> dict[str, Any]:
        """A value ready for JSON; `from_json` reads it."""
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "invariant": self.invariant,
            "where": self.where,
            "plan": self.plan.to_json(),
        }

    @classmethod
    def from_json(cls, value: object) -> "Finding":
        """What `to_json` told; raises `PlanError`."""
        if not isinstance(value, dict):
            raise PlanError("finding: must be an object")
        scenario, seed = value.get("scenario"), value.get("seed")
        if not isinstance(scenario, str) or type(seed) is not int:
            raise PlanError("finding: scenario must be a name and seed a number")
        told = str(value.get("invariant", "")), str(value.get("where", ""))
        plan = scenario_of(scenario).plan(seed)
        if "plan" in value:
            plan = Plan.from_json(value["plan"])
        return cls(scenario, seed, *told, plan)


@dataclass(frozen=True, slots=True)
class Batch:
    """How a few seeds of a scenario went."""

    scenario: str
    seeds: int
    cpu_s: float
    findings: tuple[Finding, ...]


class _TimeUpError(KeyboardInterrupt):
    """A run has used up its time; asyncio passes nothing else out of a loop at once."""


def run_one(scenario: Scenario, seed: int, plan: Plan, limit_s: float = LIMIT_S) -> Finding | None:
    """Run one plan; returns what was violated, `None` if nothing."""
    limit = _Limit()
    try:
        with limit.running(limit_s):
            run_virtual(scenario.play(seed, plan))  # type: ignore[arg-type]
    except (Exception, _TimeUpError) as error:
        # Everything that a run ends with is a finding: this is the edge that judges it.
        late = Violation("a run does not end")
        violation = late if limit.is_reached else _violation_of(error)
        return Finding(scenario.name, seed, violation.invariant, violation.where, plan)
    return None


def _violation_of(error: BaseException) -> Violation:
    leaves = list(_leaves(error))
    found = next((leaf for leaf in leaves if isinstance(leaf, Violation)), None)
    if found is not None:
        return found
    first = leaves[0]
    if isinstance(first, DeadlockError):
        return Violation("everybody waits for ever")
    return Violation(f"a {type(first).__name__} comes out", str(first))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


class _Limit:
    """How much CPU time a run may take."""

    def __init__(self) -> None:
        self.is_reached = False
        """What the run ends with then says nothing: it was interrupted anywhere."""

    @contextmanager
    def running(self, seconds: float) -> Iterator[None]:
        """Interrupt what runs inside after so many seconds."""

        def ring(_number: int, _frame: object) -> None:
            self.is_reached = True
            raise _TimeUpError

        before = signal.signal(signal.SIGVTALRM, ring)
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 5.0)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)


def trace_of(scenario: Scenario, seed: int) -> str:
    """A hash of everything that is delivered in a run, and when; raises what the run raises."""
    digest = hashlib.sha256()
    token = TRACE.set(digest.update)
    try:
        run_virtual(scenario.play(seed, scenario.plan(seed)))  # type: ignore[arg-type]
    finally:
        TRACE.reset(token)
    return digest.hexdigest()


# --- many ----------------------------------------------------------------------------------------


def shares(seeds: int, scenarios: Sequence[Scenario]) -> dict[str, int]:
    """How many of the seeds each scenario gets, by its weight; all of them together `seeds`."""
    total, given, passed = sum(scenario.weight for scenario in scenarios), 0, 0
    parts = {}
    for scenario in scenarios:
        passed += scenario.weight
        until = seeds * passed // total
        parts[scenario.name] = until - given
        given = until
    return parts


def run_many(
    parts: dict[str, int], first_seed: int, jobs: int, limit_s: float = LIMIT_S
) -> Iterator[Batch]:
    """Run so many seeds of each scenario, from `first_seed` on, in `jobs` processes."""
    chunks = iter(
        [
            (name, start, min(start + CHUNK, first_seed + count))
            for name, count in parts.items()
            for start in range(first_seed, first_seed + count, CHUNK)
        ]
    )
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_be_silent) as pool:
        running: set[Future[Batch]] = set()
        while True:
            for chunk in islice(chunks, 2 * jobs - len(running)):
                running.add(pool.submit(run_chunk, *chunk, limit_s))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def run_chunk(name: str, start: int, stop: int, limit_s: float) -> Batch:
    """Run the seeds from `start` to before `stop`."""
    scenario, begun = SCENARIOS[name], time.process_time()
    found = [run_one(scenario, seed, scenario.plan(seed), limit_s) for seed in range(start, stop)]
    findings = tuple(finding for finding in found if finding is not None)
    return Batch(name, stop - start, time.process_time() - begun, findings)


def be_quiet() -> None:
    """Log nothing: simulated nodes see trouble all the time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _be_silent() -> None:
    """The same in a process of its own, where also the libraries say nothing."""
    logging.disable(logging.CRITICAL)
    be_quiet()
