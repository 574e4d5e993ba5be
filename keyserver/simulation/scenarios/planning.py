"""Plans from seeds: which faults a scenario draws, and how often."""

from collections.abc import Callable
from random import Random
from typing import Any

from keyserver.simulation.adversary.rows import Part
from keyserver.simulation.scenarios.intruders import ATTACKS
from keyserver.simulation.scenarios.lies import FORGERIES, draw
from keyserver.simulation.scenarios.plan import (
    Ask,
    Attack,
    ChainSilent,
    ClockSkew,
    CommitFails,
    Crash,
    CrashAtCommit,
    CrashAtEffect,
    CrashAtMessage,
    DiskFull,
    Lead,
    Liar,
    Partition,
    Plan,
    Quality,
    SlowDisk,
)

SIZES = ((1, 0), (2, 1), (3, 1), (4, 1), (4, 2), (5, 2), (5, 4), (7, 3))
"""Nodes and thresholds without liars."""

LIAR_SIZES = ((4, 1), (7, 2), (5, 1), (4, 1), (5, 2))
"""With liars: t keeps the key secret from f of them, and t + 1 honest nodes are left."""

LETHAL = (
    "Propose",
    "Start",
    "Shares",
    "Finalize",
    "Cert",
    "Installed",
    "Ready",
    "Commit",
    "StorePropose",
    "StoreCert",
    "Stored",
    "StoreAck",
    "StoreCommit",
)
"""Messages at which a node dies."""

DECISIVE = ("Installed", "Stored", "Cert", "StoreCert")
"""Those after which some know more than others, drawn more often."""

Draw = Callable[[Random, int], Any]
"""Draws one event for a cluster of so many nodes."""

MakePlan = Callable[[int, str], Plan]
"""Makes the plan of a seed for the scenario of a name."""


def randomness(seed: int, scenario: str) -> Random:
    """What a scenario's plan of a seed is drawn from; the same in every process."""
    return Random(f"{scenario} {seed}")  # noqa: S311 - chooses faults, no secrets


def soon(random: Random) -> float:
    """Some time in the first sessions, seldom later."""
    return round(random.choice([random.uniform(0, 0.6), random.uniform(0, 5)]), 3)


def a_while(random: Random) -> float:
    """How long something lasts."""
    return round(random.choice([random.uniform(0.01, 1), random.uniform(1, 90)]), 2)


def _node(random: Random, nodes: int) -> int:
    return random.randrange(nodes)


def crash(random: Random, nodes: int) -> Crash:
    """A node ends and comes back."""
    return Crash(soon(random), _node(random, nodes), a_while(random))


def crash_at_effect(random: Random, nodes: int) -> CrashAtEffect:
    """A node ends with some effect."""
    nth = random.choice([random.randint(1, 60), random.randint(1, 250)])
    return CrashAtEffect(soon(random), _node(random, nodes), nth, a_while(random))


def crash_at_commit(random: Random, nodes: int) -> CrashAtCommit:
    """A node ends with some commit."""
    written = random.random() < 0.5
    nth = random.randint(1, 6)
    return CrashAtCommit(0.0, _node(random, nodes), nth, written, a_while(random))


def crash_at_message(random: Random, nodes: int) -> CrashAtMessage:
    """A node ends with some message."""
    return CrashAtMessage(
        0.0,
        _node(random, nodes),
        random.choice([random.choice(LETHAL), random.choice(DECISIVE)]),
        random.choice([1, random.randint(1, max(1, nodes - 1))]),
        random.choice([0.001, 0.03, 0.2]),
        random.choice([1.0, 30.0, 600.0, 600.0]),
    )


def clock_skew(random: Random, nodes: int) -> ClockSkew:
    """A node's date is wrong."""
    seconds = random.choice([-3600, -120, -10, 10, 120, 3600])
    return ClockSkew(soon(random), _node(random, nodes), seconds, a_while(random))


def partition(random: Random, nodes: int) -> Partition:
    """Some nodes are cut off."""
    group = tuple(sorted(random.sample(range(nodes), random.randint(1, max(1, nodes // 2)))))
    return Partition(soon(random), group, a_while(random))


def quality(random: Random, _: int) -> Quality:
    """The network is bad."""
    return Quality(
        soon(random),
        a_while(random),
        most_delay_s=random.choice([0.05, 0.3, 1.0]),
        reorder=random.random() < 0.5,
        duplicate=random.choice([0.0, 0.2]),
        lose=random.choice([0.0, 0.02, 0.1]),
        break_connection=random.choice([0.0, 0.02]),
    )


def disk_full(random: Random, nodes: int) -> DiskFull:
    """A disk takes nothing, or gives nothing either."""
    reads = random.random() < 0.3
    return DiskFull(soon(random), _node(random, nodes), a_while(random), reads)


def commit_fails(random: Random, nodes: int) -> CommitFails:
    """One commit fails."""
    written = random.random() < 0.5
    return CommitFails(0.0, _node(random, nodes), random.randint(1, 6), written)


def slow_disk(random: Random, nodes: int) -> SlowDisk:
    """A disk is slow."""
    most_s = random.choice([0.02, 0.3, 3.0, 70.0])
    return SlowDisk(0.0, _node(random, nodes), a_while(random), most_s)


def chain_silent(random: Random, nodes: int) -> ChainSilent:
    """A node cannot ask the chain."""
    return ChainSilent(soon(random), _node(random, nodes), a_while(random))


def ask(random: Random, nodes: int) -> Ask:
    """Somebody asks besides."""
    what = random.choice(["generate", "store", "retrieve"])
    return Ask(round(random.uniform(0.05, 1.5), 3), _node(random, nodes), what)


ANYTHING: tuple[Draw, ...] = (
    crash,
    crash_at_effect,
    crash_at_commit,
    crash_at_message,
    clock_skew,
    partition,
    quality,
    disk_full,
    commit_fails,
    slow_disk,
    chain_silent,
    ask,
)
"""All faults, each drawn as often as the others."""


def liars(random: Random, nodes: int, count: int, part: Part) -> tuple[Liar, ...]:
    """So many nodes with a few lies each."""
    return tuple(
        Liar(0.0, node, draw(random, part, random.choice([1, 2, 5])))
        for node in sorted(random.sample(range(nodes), count))
    )


def blackout(seed: int, scenario: str) -> Plan:
    """All nodes end at the same moment, on a bad network, and come back one after the other."""
    random = randomness(seed, scenario)
    nodes, threshold = SIZES[seed % len(SIZES)]
    at = round(random.uniform(0, 0.6), 3)
    ends = [Crash(at, node, round(random.uniform(0.01, 60), 2)) for node in range(nodes)]
    return Plan(nodes, threshold, None, (*ends, quality(random, nodes)))


def rivals(seed: int, scenario: str) -> Plan:
    """Several nodes are asked for one key, at once or somewhere in another's session."""
    random = randomness(seed, scenario)
    sizes = [(3, 0), (3, 1), (3, 2), (4, 1), (5, 2), (7, 3)]
    nodes, threshold = sizes[seed % len(sizes)]
    slow = Quality(0.0, 30.0, most_delay_s=random.choice([0.002, 0.02, 0.2]))
    asks = [
        Ask(
            round(1 + random.choice([0.0, random.uniform(0, 0.03), random.uniform(0, 0.4)]), 4),
            node,
            "generate",
        )
        for node in random.sample(range(nodes), 3)
    ]
    return Plan(nodes, threshold, None, (slow, *asks))


def abandoned(seed: int, scenario: str) -> Plan:
    """A client goes away at some moment."""
    random = randomness(seed, scenario)
    nodes, threshold = SIZES[seed % len(SIZES)]
    gone = Ask(round(1 + random.uniform(0, 0.25), 4), random.randrange(nodes), "generate")
    return Plan(nodes, threshold, None, (gone,))


LED = (("generate", 0.05, 0.9), ("store", 1.4, 2.4), ("retrieve", 2.7, 5.0))
"""What liars lead, and when it finds others at rest (`keyserver.simulation.scenarios.stage`)."""


def leaders(seed: int, scenario: str) -> Plan:
    """Liars lead sessions, with lies."""
    random = randomness(seed, scenario)
    nodes, threshold = LIAR_SIZES[seed % len(LIAR_SIZES)]
    faulty = (nodes - 1) // 3
    told = liars(random, nodes, faulty, Part.COORDINATOR)
    leads = [
        Lead(round(random.uniform(first, last), 3), liar.node, what)
        for liar in told
        for what, first, last in (*LED, LED[-1])
    ]
    return Plan(nodes, threshold, nodes - faulty, (*told, *leads))


def intruders(seed: int, scenario: str) -> Plan:
    """Liars do what nobody asked for, and lead sessions without a lie."""
    random = randomness(seed, scenario)
    nodes, threshold = LIAR_SIZES[seed % len(LIAR_SIZES)]
    faulty = (nodes - 1) // 3
    events: list[Any] = []
    cheats = sorted(random.sample(range(nodes), faulty))
    for node in cheats:
        events.append(Liar(0.0, node, ()))
        what, first, last = random.choice(LED)
        events.append(Lead(round(random.uniform(first, last), 3), node, what))
        for attack in random.sample(sorted(ATTACKS), 3):
            early = attack.startswith("store")
            at = random.uniform(1.4, 2.4) if early else random.uniform(3.2, 6)
            events.append(Attack(round(at, 3), node, attack))
    if random.random() < 0.3:
        events.append(crash(random, nodes))
    return Plan(nodes, threshold, nodes - faulty, tuple(events))


def forgers(seed: int, scenario: str) -> Plan:
    """Liars show forged records and document keys to a node that was away."""
    random = randomness(seed, scenario)
    nodes, threshold = LIAR_SIZES[seed % len(LIAR_SIZES)]
    faulty = (nodes - 1) // 3
    cheats = random.sample(range(nodes), faulty)
    told = [Liar(0.0, node, (random.choice(sorted(FORGERIES)),)) for node in sorted(cheats)]
    away = random.choice([node for node in range(nodes) if node not in cheats])
    gone = Crash(round(random.uniform(0, 0.04), 3), away, round(random.uniform(0.1, 90), 2))
    return Plan(nodes, threshold, nodes - faulty, (*told, gone))


def absent(seed: int, scenario: str) -> Plan:
    """Up to f nodes are away while a key is made, on a network that may be bad."""
    random = randomness(seed, scenario)
    nodes, threshold = LIAR_SIZES[seed % len(LIAR_SIZES)]
    faulty = (nodes - 1) // 3
    away = random.sample(range(nodes), random.randint(1, faulty))
    gone = [Crash(0.0, node, round(random.uniform(5, 200), 1)) for node in sorted(away)]
    bad = (quality(random, nodes),) if random.random() < 0.3 else ()
    return Plan(nodes, threshold, nodes - faulty, (*gone, *bad))


def faults_of(
    draws: tuple[Draw, ...], most: int, sizes: tuple[tuple[int, int], ...] = SIZES
) -> Any:
    """A maker of plans with 1 to `most` of these faults."""

    def plan(seed: int, scenario: str) -> Plan:
        random = randomness(seed, scenario)
        nodes, threshold = SIZES[seed % len(SIZES)]
        events = [random.choice(draws)(random, nodes) for _ in range(random.randint(1, most))]
        return Plan(nodes, threshold, None, tuple(events))

    return plan


def with_liars(draws: tuple[Draw, ...], most: int) -> MakePlan:
    """A maker of plans with f liars and up to `most` of these faults."""

    def plan(seed: int, scenario: str) -> Plan:
        random = randomness(seed, scenario)
        nodes, threshold = LIAR_SIZES[seed % len(LIAR_SIZES)]
        faulty = (nodes - 1) // 3
        events = [random.choice(draws)(random, nodes) for _ in range(random.randint(0, most))]
        told = liars(random, nodes, faulty, Part.MEMBER)
        return Plan(nodes, threshold, nodes - faulty, (*told, *events))

    return plan
