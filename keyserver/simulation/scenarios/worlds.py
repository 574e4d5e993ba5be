"""Whole nodes that serve a chain: what goes wrong there, and how it is played."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, Final

from keyserver.simulation.chain_faults import (
    TROUBLES,
    EndpointTrouble,
    FeeSpike,
    PoolLoss,
    Reorganisation,
    Standstill,
)
from keyserver.simulation.scenarios import planning
from keyserver.simulation.scenarios.plan import Plan
from keyserver.simulation.scenarios.planning import MakePlan, randomness
from keyserver.simulation.world import World
from keyserver.simulation.world_rules import Rules, drawn_rules

SIZES: Final = ((3, 1), (4, 1), (3, 0), (4, 2), (2, 1), (5, 2), (1, 0), (3, 2))
LIFE_BLOCKS: Final = 30
"""About so long is the life of a key, if nothing is wrong."""

DEEPEST: Final = 8

DrawHere = Callable[[Random, int, Rules], Any]
"""Draws one event of a world."""


async def play_world(seed: int, plan: Plan) -> None:
    """Run the world of a seed; raises `Violation`."""
    await World(seed, plan).run()


def rules_of(seed: int) -> Rules:
    """The rules of the world of a seed."""
    return drawn_rules(Random(f"rules {seed}"))  # noqa: S311 - no secrets


def worlds_with(draws: tuple[DrawHere, ...], most: int) -> MakePlan:
    """A maker of plans with 1 to `most` of these faults."""

    def plan(seed: int, scenario: str) -> Plan:
        random, rules = randomness(seed, scenario), rules_of(seed)
        nodes, threshold = SIZES[seed % len(SIZES)]
        count = random.randint(1, most)
        events = [random.choice(draws)(random, nodes, rules) for _ in range(count)]
        return Plan(nodes, threshold, None, tuple(events))

    return plan


def quiet_world(seed: int, _: str) -> Plan:
    """Nothing goes wrong."""
    nodes, threshold = SIZES[seed % len(SIZES)]
    return Plan(nodes, threshold)


# --- what goes wrong -----------------------------------------------------------------------------


def reorganisation(random: Random, _: int, rules: Rules) -> Reorganisation:
    """The newest blocks are replaced."""
    depth = random.choice([1, 1, 2, 3, random.randint(1, DEEPEST)])
    return Reorganisation(_when(random, rules), depth, random.random() < 0.4)


def fee_spike(random: Random, _: int, rules: Rules) -> FeeSpike:
    """Transactions become dear, or too dear."""
    for_s = random.randint(1, 12) * rules.block_s
    return FeeSpike(_when(random, rules), for_s, random.choice([20, 100, 450, 2_000]))


def pool_loss(random: Random, _: int, rules: Rules) -> PoolLoss:
    """Nobody remembers what waited."""
    return PoolLoss(_when(random, rules))


def standstill(random: Random, _: int, rules: Rules) -> Standstill:
    """No blocks are made, perhaps for longer than nodes believe in the last one."""
    for_s = random.choice([5 * rules.block_s, 60.0, 400.0])
    return Standstill(_when(random, rules), for_s)


def endpoint_trouble(random: Random, nodes: int, rules: Rules) -> EndpointTrouble:
    """An endpoint is bad."""
    return EndpointTrouble(
        _when(random, rules),
        round(random.uniform(0.5, 12) * rules.block_s, 2),
        random.randrange(nodes),
        random.randrange(rules.endpoints),
        random.choice(TROUBLES),
    )


def sometime(draw: planning.Draw) -> DrawHere:
    """A fault of clusters, at any time in the life of a world."""

    def here(random: Random, nodes: int, rules: Rules) -> Any:
        return replace(draw(random, nodes), at=_when(random, rules))

    return here


def _when(random: Random, rules: Rules) -> float:
    return round(random.uniform(0, LIFE_BLOCKS) * rules.block_s, 3)


CHAIN: Final[tuple[DrawHere, ...]] = (
    reorganisation,
    reorganisation,
    fee_spike,
    pool_loss,
    standstill,
)
PROCESS: Final[tuple[DrawHere, ...]] = tuple(
    sometime(draw) for draw in (planning.crash, planning.crash_at_effect, planning.crash_at_commit)
)
DISK: Final[tuple[DrawHere, ...]] = tuple(
    sometime(draw) for draw in (planning.disk_full, planning.commit_fails, planning.slow_disk)
)
NETWORK: Final[tuple[DrawHere, ...]] = tuple(
    sometime(draw) for draw in (planning.partition, planning.quality, planning.clock_skew)
)
"""The network, and the clocks."""

EVERYTHING: Final[tuple[DrawHere, ...]] = (
    *CHAIN,
    endpoint_trouble,
    endpoint_trouble,
    *PROCESS,
    *DISK,
    *NETWORK,
)
