"""Whole nodes that serve customers by contracts, with everything that goes wrong around them."""

import json
from collections.abc import Callable

import pytest

from keyserver.chain.access import PermissionContract
from keyserver.chain.pending import PendingEnumerator
from keyserver.chain.sender import Sender
from keyserver.sessions.core import Verdict
from keyserver.simulation.chain_faults import EndpointTrouble, FeeSpike, Reorganisation
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.scenarios import worlds
from keyserver.simulation.scenarios.plan import Crash, CrashAtCommit, CrashAtEffect, Plan
from keyserver.simulation.scenarios.registry import SCENARIOS
from keyserver.simulation.scenarios.violation import Violation
from keyserver.simulation.world import World
from keyserver.simulation.world_rules import Rules
from keyserver.tasks.queue import TaskQueue

SEEDS = 3
KINDS = [name for name in SCENARIOS if name.startswith("world")]


@pytest.mark.parametrize("name", KINDS)
def test_whatever_goes_wrong_every_request_is_answered_once(name: str) -> None:
    """Where the set changes a run takes longer; each case of that is in `test_owner`."""
    for seed in range(1 if "owner" in name else SEEDS):
        run_virtual(worlds.play_world(seed, SCENARIOS[name].plan(seed)))


def test_the_same_seed_makes_the_same_world() -> None:
    plan = SCENARIOS["world: mixture"].plan(3)

    def played() -> tuple[bytes, int]:
        world = World(3, plan)
        run_virtual(world.run())
        return world.chain.head.hash, world.network.delivered

    assert played() == played()


@pytest.mark.parametrize("name", KINDS)
def test_what_goes_wrong_can_be_written_down(name: str) -> None:
    for seed in range(40):
        plan = SCENARIOS[name].plan(seed)
        assert Plan.from_json(json.loads(str(plan))) == plan


def test_several_keys_live_side_by_side() -> None:
    world = World(7, Plan(4, 1), rules=Rules(), keys=3)
    run_virtual(world.run())
    assert len(world.orders) in range(18, 25)
    assert all(order.is_done for order in world.orders)


def test_a_reorganisation_deeper_than_confirmations_loses_nothing() -> None:
    deep = tuple(Reorganisation(at, 8, lose=True) for at in (40.0, 90.0, 150.0))
    run_virtual(World(1, Plan(3, 1, None, deep), rules=Rules(confirmations=1)).run())


def test_fees_that_nobody_pays_only_take_time() -> None:
    plan = Plan(3, 1, None, (FeeSpike(12.0, 60.0, 5_000),))
    run_virtual(World(2, plan, rules=Rules()).run())


@pytest.mark.parametrize("nth", range(1, 13))
def test_a_node_that_ends_in_any_commit_goes_on(nth: int) -> None:
    events = (CrashAtCommit(0.0, 0, nth, nth % 2 == 0, 5.0), Crash(60.0, 1, 10.0))
    run_virtual(World(nth, Plan(3, 1, None, events), rules=Rules()).run())


# --- what a world must find ------------------------------------------------------------------


async def _allowed(*_: object, **__: object) -> Verdict:
    return Verdict.ALLOWED


async def _nothing(*_: object) -> int:
    return 0


async def _wanted(*_: object) -> bool:
    return True


QUIET = Plan(3, 1)
SWALLOWED = Plan(
    3, 1, None, tuple(EndpointTrouble(0.0, 60.0, 0, place, "swallows") for place in (0, 1))
)
"""What node 0 sends at first reaches nobody."""

CRASHING = Plan(3, 1, None, tuple(CrashAtEffect(0.0, node, 45, 3.0) for node in range(3)))
WITHOUT_LOGS = Plan(
    3,
    1,
    None,
    tuple(
        EndpointTrouble(0.0, 60.0, node, place, "no_logs") for node in range(3) for place in (0, 1)
    ),
)


@pytest.mark.parametrize(
    ("owner", "name", "broken", "plan", "invariant"),
    [
        (PermissionContract, "check", _allowed, QUIET, "may not have it"),
        (Sender, "_is_wanted", _wanted, QUIET, "an answer was mined twice"),
        (Sender, "_is_stuck", lambda *_: False, SWALLOWED, "never comes to its end"),
        (TaskQueue, "_recover", _nothing, CRASHING, "never comes to its end"),
        (PendingEnumerator, "enumerate", _nothing, WITHOUT_LOGS, "never comes to its end"),
    ],
    ids=["permission", "asks nobody", "never replaces", "forgets what ran", "only logs"],
)
def test_a_mistake_in_a_node_is_found(
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    broken: Callable[..., object],
    plan: Plan,
    invariant: str,
) -> None:
    run_virtual(World(4, plan, rules=Rules()).run())
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(Violation, match=invariant):
        run_virtual(World(4, plan, rules=Rules()).run())
