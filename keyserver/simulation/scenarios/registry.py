"""All scenarios by name."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from keyserver.errors import KeyServerError
from keyserver.simulation.scenarios import planning, set_changes, signing, worlds
from keyserver.simulation.scenarios.absent import play_absent
from keyserver.simulation.scenarios.at_once import play_abandoned, play_at_once
from keyserver.simulation.scenarios.moving import play_moving
from keyserver.simulation.scenarios.plan import Plan
from keyserver.simulation.scenarios.stage import play_life
from keyserver.simulation.scenarios.worlds import play_world


class UnknownScenarioError(KeyServerError):
    """There is no scenario of this name."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that is simulated."""

    name: str
    about: str
    """One line."""
    play: Callable[[int, Plan], Awaitable[None]]
    """Run it; raises `Violation`."""
    make_plan: Callable[[int, str], Plan]
    """The plan of a seed, given the scenario's name."""
    weight: int = 4
    """How large its part of a run over all scenarios is."""

    def plan(self, seed: int) -> Plan:
        """The plan of a seed."""
        return self.make_plan(seed, self.name)


def _quiet(seed: int, _: str) -> Plan:
    nodes, threshold = planning.SIZES[seed % len(planning.SIZES)]
    return Plan(nodes, threshold)


_ALL = (
    Scenario("quiet", "the life of a key without faults", play_life, _quiet, weight=1),
    Scenario(
        "network",
        "messages are late, out of order, doubled, lost; connections break",
        play_life,
        planning.faults_of((planning.quality,), 3),
    ),
    Scenario(
        "partition",
        "parts of the cluster do not reach each other for a while",
        play_life,
        planning.faults_of((planning.partition, planning.quality), 3),
    ),
    Scenario(
        "crash", "nodes end and come back", play_life, planning.faults_of((planning.crash,), 4)
    ),
    Scenario(
        "effect",
        "nodes end with some message, timer, question or write",
        play_life,
        planning.faults_of((planning.crash_at_effect,), 2),
    ),
    Scenario(
        "commit",
        "nodes end in some commit, before or after it is on disk",
        play_life,
        planning.faults_of((planning.crash_at_commit,), 3),
    ),
    Scenario(
        "message",
        "nodes fall silent with some message and end",
        play_life,
        planning.faults_of((planning.crash_at_message,), 2),
        weight=8,
    ),
    Scenario(
        "blackout",
        "all nodes end at the same moment",
        play_life,
        planning.blackout,
    ),
    Scenario(
        "rivals",
        "several nodes are asked for one key at the same moment",
        play_at_once,
        planning.rivals,
    ),
    Scenario(
        "abandoned",
        "a client goes away in the middle of a generation",
        play_abandoned,
        planning.abandoned,
    ),
    Scenario(
        "disk",
        "disks are full, slow, or fail",
        play_life,
        planning.faults_of((planning.disk_full, planning.commit_fails, planning.slow_disk), 3),
    ),
    Scenario(
        "clock",
        "dates are wrong, and the chain is silent for some",
        play_life,
        planning.faults_of((planning.clock_skew, planning.chain_silent), 3),
    ),
    Scenario(
        "mixture",
        "everything at once",
        play_life,
        planning.faults_of(planning.ANYTHING, 6),
        weight=12,
    ),
    Scenario(
        "absent",
        "nodes are away while a key is made, and get their shares later",
        play_absent,
        planning.absent,
    ),
    Scenario(
        "liars",
        "a third of the nodes, rounded down, lies to whoever leads",
        play_life,
        planning.with_liars((), 0),
        weight=10,
    ),
    Scenario(
        "leaders",
        "a third of the nodes lies in what it leads",
        play_life,
        planning.leaders,
        weight=16,
    ),
    Scenario(
        "intruders",
        "liars do what nobody asked for",
        play_life,
        planning.intruders,
        weight=10,
    ),
    Scenario(
        "forgers",
        "liars show forgeries to a node that was away",
        play_life,
        planning.forgers,
    ),
    Scenario(
        "liars in a mixture",
        "a third of the nodes lies, and everything else goes wrong as well",
        play_life,
        planning.with_liars(planning.ANYTHING, 4),
        weight=10,
    ),
    Scenario(
        "signatures",
        "nodes sign while anything goes wrong and shares are renewed",
        signing.play_signing,
        signing.faulty,
        weight=8,
    ),
    Scenario(
        "signatures and backups",
        "nodes that sign come back with older copies of their disks",
        signing.play_signing,
        signing.restored,
        weight=6,
    ),
    Scenario(
        "signatures and liars",
        "a third of the nodes, rounded down, lies while something is signed",
        signing.play_signing,
        signing.lying,
        weight=8,
    ),
    Scenario(
        "change",
        "keys move to other nodes by an administrator's order, on a bad day",
        play_moving,
        set_changes.moving(set_changes.FAULTS, 4),
        weight=8,
    ),
    Scenario(
        "change and liars",
        "keys move to other nodes, of which one lies for a while",
        play_moving,
        set_changes.moving_with_liars,
        weight=8,
    ),
    Scenario(
        "world",
        "whole nodes serve customers by contracts, without faults",
        play_world,
        worlds.quiet_world,
        weight=1,
    ),
    Scenario(
        "world: chain",
        "blocks are reorganised, transactions lost, fees rise, the chain stands still",
        play_world,
        worlds.worlds_with(worlds.CHAIN, 3),
    ),
    Scenario(
        "world: endpoints",
        "nodes see the chain by endpoints that fail, lag and lie",
        play_world,
        worlds.worlds_with((worlds.endpoint_trouble,), 4),
    ),
    Scenario(
        "world: processes",
        "nodes that serve a chain end anywhere, and their disks fail",
        play_world,
        worlds.worlds_with((*worlds.PROCESS, *worlds.DISK), 4),
    ),
    Scenario(
        "world: mixture",
        "everything at once, to whole nodes",
        play_world,
        worlds.worlds_with(worlds.EVERYTHING, 6),
        weight=12,
    ),
    Scenario(
        "world: owner",
        "the owner edits the node set, and the nodes carry it out",
        play_world,
        set_changes.changing_worlds(),
    ),
    Scenario(
        "world: owner and liars",
        "the owner edits the node set, and one of the nodes lies while keys move",
        play_world,
        set_changes.lying_worlds,
    ),
    Scenario(
        "world: owner in a mixture",
        "the owner edits the node set while everything else goes wrong",
        play_world,
        set_changes.changing_worlds(worlds.EVERYTHING, 4),
        weight=8,
    ),
)

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}


def scenario_of(name: str) -> Scenario:
    """The scenario of a name; raises `UnknownScenarioError`."""
    if name not in SCENARIOS:
        raise UnknownScenarioError(f"there is no scenario {name!r}: {', '.join(SCENARIOS)}")
    return SCENARIOS[name]
