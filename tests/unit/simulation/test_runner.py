"""How runs are judged, shrunk and repeated."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from keyserver.simulation import runner, shrink
from keyserver.simulation.runner import Finding, run_one, shares
from keyserver.simulation.scenarios.plan import Crash, DiskFull, Liar, Partition, Plan
from keyserver.simulation.scenarios.registry import SCENARIOS, Scenario, UnknownScenarioError
from keyserver.simulation.scenarios.violation import Violation

Play = Callable[[int, Plan], Awaitable[None]]


def scenario(play: Play) -> Scenario:
    return Scenario("made up", "for this test", play, lambda _seed, _name: Plan(3, 1))


def judged(play: Play, limit_s: float = 30.0) -> Finding | None:
    return run_one(scenario(play), 7, Plan(3, 1), limit_s)


def test_a_run_in_order_finds_nothing() -> None:
    async def play(_seed: int, _plan: Plan) -> None:
        await asyncio.sleep(1e6)

    assert judged(play) is None


def test_a_violation_is_found_however_deep() -> None:
    async def play(_seed: int, _plan: Plan) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_violate())

    assert judged(play) == Finding("made up", 7, "a rule", "a place", Plan(3, 1))


async def _violate() -> None:
    raise Violation("a rule", "a place")


def test_any_error_is_a_violation() -> None:
    async def play(_seed: int, _plan: Plan) -> None:
        raise KeyError("x")

    found = judged(play)
    assert found is not None
    assert found.invariant == "a KeyError comes out"


def test_who_waits_for_ever_is_found() -> None:
    async def play(_seed: int, _plan: Plan) -> None:
        await asyncio.get_running_loop().create_future()

    found = judged(play)
    assert found is not None
    assert found.invariant == "everybody waits for ever"


@pytest.mark.no_cover  # an interrupt in the middle of the measuring would leave that locked
def test_a_run_without_end_is_found() -> None:
    async def play(_seed: int, _plan: Plan) -> None:
        for _ in count():
            await asyncio.sleep(1)

    found = judged(play, limit_s=0.1)
    assert found is not None
    assert found.invariant == "a run does not end"


def test_seeds_are_shared_out_by_weight() -> None:
    parts = shares(1000, list(SCENARIOS.values()))
    assert sum(parts.values()) == 1000
    assert parts["mixture"] > parts["quiet"] > 0


def test_a_finding_is_read_as_it_was_told() -> None:
    finding = Finding("mixture", 3, "a rule", "a place", SCENARIOS["mixture"].plan(3))
    assert Finding.from_json(finding.to_json()) == finding
    with pytest.raises(UnknownScenarioError):
        Finding.from_json({"scenario": "none", "seed": 1})


def test_chunks_tell_what_they_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(seed: int, _plan: Plan) -> None:
        if seed == 4:
            await _violate()

    monkeypatch.setitem(SCENARIOS, "made up", scenario(play))
    batch = runner.run_chunk("made up", 2, 6, 10.0)
    assert (batch.seeds, [finding.seed for finding in batch.findings]) == (4, [4])


# --- shrinking -----------------------------------------------------------------------------------


def test_what_does_not_matter_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up bug: a crash of a node whose disk is full, and a certain lie."""

    async def play(_seed: int, plan: Plan) -> None:
        full = {event.node for event in plan.of_kind(DiskFull)}
        crashed = {event.node for event in plan.of_kind(Crash)}
        told = {lie for liar in plan.of_kind(Liar) for lie in liar.lies}
        if full & crashed and "the one" in told:
            await _violate()

    monkeypatch.setitem(SCENARIOS, "made up", scenario(play))
    noise = [Partition(float(i), (0,), 1.0) for i in range(9)]
    events = (
        *noise[:4],
        Crash(1.234, 1, 17.77),
        *noise[4:],
        DiskFull(3.2, 1, 6.1, reads=True),
        Liar(0.0, 2, ("a", "the one", "b")),
    )
    found = Finding("made up", 1, "a rule", "a place", Plan(7, 3, 5, events))
    small = shrink.shrink(found)
    assert set(small.plan.events) == {
        Crash(0.0, 1, 17.0),
        DiskFull(0.0, 1, 6.0, reads=False),
        Liar(0.0, 2, ("the one",)),
    }
    assert (small.plan.nodes, small.plan.threshold) == (1, 0)


def test_another_violation_is_not_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(_seed: int, plan: Plan) -> None:
        if len(plan.events) < 2:
            raise Violation("another rule")
        await _violate()

    monkeypatch.setitem(SCENARIOS, "made up", scenario(play))
    events = tuple(Crash(0.0, i, 1.0) for i in range(5))
    found = Finding("made up", 1, "a rule", "a place", Plan(1, 0, None, events))
    assert len(shrink.shrink(found).plan.events) == 2


# --- the same run again --------------------------------------------------------------------------

_TRACE = """
import sys
from keyserver.simulation.runner import be_quiet, trace_of
from keyserver.simulation.scenarios.registry import SCENARIOS
be_quiet()
for name in ("mixture", "liars in a mixture", "rivals", "change", "world: mixture", "world: owner"):
    print(trace_of(SCENARIOS[name], 5))
"""


def test_a_seed_makes_the_same_run_in_every_process() -> None:
    told = [_traces(hash_seed) for hash_seed in ("1", "77")]
    assert told[0] == told[1]
    assert len(set(told[0].split())) == 6


def _traces(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", _TRACE], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout
