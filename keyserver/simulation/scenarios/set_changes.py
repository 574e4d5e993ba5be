"""What owners and administrators do to a node set, and what goes wrong meanwhile."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final

from keyserver.simulation.adversary.rows import Part
from keyserver.simulation.owner import (
    Cancel,
    ConfirmationsLost,
    Edit,
    ForeignStart,
    Members,
    NewAddress,
    Refreshing,
)
from keyserver.simulation.scenarios import planning
from keyserver.simulation.scenarios.lies import OF_CHANGES, draw
from keyserver.simulation.scenarios.plan import Ask, CrashAtMessage, Liar, Plan
from keyserver.simulation.scenarios.planning import MakePlan, randomness
from keyserver.simulation.scenarios.worlds import DrawHere, rules_of
from keyserver.simulation.world_rules import Rules

SIZES: Final = ((5, 1), (4, 1), (6, 2), (5, 0), (7, 2))
"""Nodes that there are, and thresholds."""

EDITS: Final = ("add", "remove", "replace", "grow", "address")
ACCIDENTS: Final = ("nothing", "again", "during", "lost", "cancel", "foreign", "back")
"""What happens to a migration besides."""

MIGRATION_BLOCKS: Final = 14
"""About so long a migration takes if nothing is wrong."""


def changing_worlds(draws: Sequence[DrawHere] = (), most: int = 0) -> MakePlan:
    """A maker of plans with one or two edits of the owner, and up to `most` of these faults."""

    def plan(seed: int, scenario: str) -> Plan:
        random, rules = randomness(seed, scenario), rules_of(seed)
        nodes, threshold = SIZES[seed % len(SIZES)]
        first = _first(random, nodes, threshold)
        events: list[Any] = [Members(0.0, first)]
        block, members = random.randint(2, 16), first
        for _ in range(random.choice((1, 1, 2))):
            members = _edited(random, nodes, threshold, members, events, block * rules.block_s)
            _accident(random, rules, nodes, members, events, block)
            block += random.randint(MIGRATION_BLOCKS, 2 * MIGRATION_BLOCKS)
        if random.random() < 0.5:
            events.append(Ask(random.uniform(0, block) * rules.block_s, 0, "generate"))
        faults = random.randint(0, most)
        events += [random.choice(draws)(random, nodes, rules) for _ in range(faults)]
        return Plan(nodes, threshold, None, tuple(events))

    return plan


def _first(random: Random, nodes: int, threshold: int) -> tuple[int, ...]:
    """A set that is large enough for the threshold, and not all there are."""
    least = min(nodes - 1, max(3, threshold + 2))
    return tuple(sorted(random.sample(range(nodes), random.randint(least, nodes - 1))))


def _edited(
    random: Random,
    nodes: int,
    threshold: int,
    members: tuple[int, ...],
    events: list[Any],
    at: float,
) -> tuple[int, ...]:
    """Have the owner edit the set; every key keeps as many holders as it needs."""
    what = random.choice(EDITS)
    outside = [place for place in range(nodes) if place not in members]
    if what == "address":
        events.append(NewAddress(at, random.choice(members)))
        return members
    gone: list[int] = []
    if what in ("remove", "replace") and len(members) > threshold + 2:
        gone = [random.choice(members)]
    come = random.sample(outside, min(len(outside), 2 if what == "grow" else 1))
    come = [] if what == "remove" else come
    edited = tuple(sorted({*members, *come} - set(gone)))
    if edited == members:
        events.append(NewAddress(at, random.choice(members)))
    else:
        events.append(Edit(at, edited))
    return edited


def _accident(
    random: Random,
    rules: Rules,
    nodes: int,
    members: tuple[int, ...],
    events: list[Any],
    block: int,
) -> None:
    """Something that happens in the delay, or while the migration runs."""
    soon = (block + random.uniform(0.5, 5)) * rules.block_s
    running = (block + random.uniform(6, MIGRATION_BLOCKS)) * rules.block_s
    match random.choice(ACCIDENTS):
        case "again":
            events.append(Edit(soon, members))
        case "during":
            fewer = max(min(3, len(members)), len(members) - 1)
            left = tuple(sorted(random.sample(members, fewer)))
            events += [Edit(running, left), Edit(running + 3 * rules.block_s, members)]
        case "lost":
            events.append(ConfirmationsLost(running, random.randint(1, 12) * rules.block_s))
        case "cancel":
            events.append(Cancel(running))
        case "foreign":
            events.append(ForeignStart(soon, random.choice(members)))
        case "back":
            events.append(Edit(soon, tuple(range(nodes))))
            events.append(Edit(soon + 2 * rules.block_s, members))


def lying_worlds(seed: int, scenario: str) -> Plan:
    """One node is replaced, or joins, or leaves, while one of them lies in what moves the keys."""
    random, rules = randomness(seed, scenario), rules_of(seed)
    nodes = random.choice((5, 6))
    first = tuple(range(nodes - 1)) if random.random() < 0.7 else tuple(range(nodes))
    outside = [place for place in range(nodes) if place not in first]
    gone = random.choice(first) if len(first) > 4 or outside else None
    edited = tuple(sorted({*first, *outside} - {gone}))
    part = random.choice((Part.MEMBER, Part.MEMBER, Part.COORDINATOR))
    lies = draw(random, part, random.choice((1, 2, 5)), OF_CHANGES)
    at = random.randint(2, 16) * rules.block_s
    liar = Liar(0.0, random.randrange(nodes), lies)
    return Plan(nodes, 1, None, (Members(0.0, first), Edit(at, edited), liar))


# --- clusters ------------------------------------------------------------------------------------

START_S: Final = 5.0
"""By then the keys are made: nothing goes wrong before."""

LETHAL: Final = (
    "Redistribute",
    "Handover",
    "Accept",
    "Deal",
    "Shares",
    "Ready",
    "Certified",
    "Prepare",
    "Prepared",
    "Commit",
    "Installed",
    "ChangePropose",
    "ChangeAccept",
    "ChangeFreeze",
    "ChangeFrozen",
    "ChangeDone",
    "ChangeExecuted",
)
"""Messages of a change at which a node dies."""


def crash_in_a_change(random: Random, nodes: int) -> CrashAtMessage:
    """A node ends with some message of a change."""
    return CrashAtMessage(
        0.0,
        random.randrange(nodes),
        random.choice(LETHAL),
        random.choice((1, 1, random.randint(1, nodes))),
        random.choice((0.001, 0.03, 0.2)),
        random.choice((1.0, 30.0, 200.0)),
    )


FAULTS: Final = (
    planning.crash,
    planning.crash_at_effect,
    planning.crash_at_commit,
    crash_in_a_change,
    crash_in_a_change,
    planning.partition,
    planning.quality,
    planning.disk_full,
    planning.commit_fails,
    planning.slow_disk,
    planning.clock_skew,
)


def moving(draws: Sequence[planning.Draw], most: int) -> MakePlan:
    """A maker of plans with one or two changes by order, and up to `most` of these faults."""

    def plan(seed: int, scenario: str) -> Plan:
        random = randomness(seed, scenario)
        nodes, threshold = SIZES[seed % len(SIZES)]
        events = _ordered(random, nodes, threshold)
        for _ in range(random.randint(0, most)):
            fault = random.choice(draws)(random, nodes)
            events.append(replace(fault, at=fault.at + START_S))
        return Plan(nodes, threshold, None, tuple(events))

    return plan


def moving_with_liars(seed: int, scenario: str) -> Plan:
    """One of the nodes lies in what moves the keys, and something may go wrong besides."""
    random = randomness(seed, scenario)
    nodes, threshold = random.choice(((5, 1), (6, 1), (6, 2)))
    events = _ordered(random, nodes, threshold)
    part = random.choice((Part.MEMBER, Part.COORDINATOR))
    lies = draw(random, part, random.choice((1, 2, 5)), OF_CHANGES)
    events.append(Liar(START_S, random.randrange(nodes), lies))
    if random.random() < 0.3:
        fault = random.choice(FAULTS)(random, nodes)
        events.append(replace(fault, at=fault.at + START_S))
    return Plan(nodes, threshold, None, tuple(events))


def _ordered(random: Random, nodes: int, threshold: int) -> list[Any]:
    """Changes from one set to another, of which each keeps enough nodes of the one before."""
    members = _first(random, nodes, threshold)
    events: list[Any] = [Members(0.0, members)]
    for turn in range(random.choice((1, 1, 2))):
        outside = [place for place in range(nodes) if place not in members]
        come = random.sample(outside, random.randint(0, len(outside)))
        gone = [random.choice(members)] if len(members) > threshold + 2 else []
        edited = tuple(sorted({*members, *come} - set(gone)))
        if edited != members:
            at = START_S + 30 * turn + round(random.choice((3, 30)) * random.random(), 2)
            events.append(Edit(at, edited))
            members = edited
    if random.random() < 0.3:
        events.append(Refreshing(0.0, random.choice((60, 240))))
    return events
