"""Changes of the node set that a contract orders, among whole nodes: each case that there is."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from keyserver.model.identifiers import NodeId
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.owner import (
    Cancel,
    ConfirmationsLost,
    Edit,
    ForeignStart,
    Members,
    NewAddress,
    set_of,
)
from keyserver.simulation.scenarios.lies import LIES
from keyserver.simulation.scenarios.plan import Crash, Liar, Plan
from keyserver.simulation.world import World
from keyserver.simulation.world_keys import sets_of
from keyserver.simulation.world_rules import NODE_SET, Rules
from keyserver.tasks.migration_decision import NEW_SET_DELAY_BLOCKS

RULES = Rules()
FIRST = (0, 1, 2, 3)
EDITED_S = 5 * RULES.block_s
"""The owner edits the set in about the fifth block."""


@dataclass(frozen=True)
class Told:
    """What the chain tells of a world, and what the nodes do."""

    world: World

    @property
    def sets(self) -> list[tuple[int, ...]]:
        """The places of the members of every set that was current."""
        nodes = self.world.nodes
        return [
            tuple(place for place, node in enumerate(nodes) if node.id in members)
            for members in sets_of(self.world)
        ]

    @property
    def starts(self) -> list[tuple[int, tuple[int, ...], int]]:
        """Of every migration: the block, whom it was to, and who is its master."""
        nodes = [node.address for node in self.world.nodes]
        found, last = [], None
        for number in range(len(self.world.chain.blocks)):
            contract = set_of(self.world.chain, NODE_SET, number)
            if contract.migration and contract.migration_id != last:
                last = contract.migration_id
                target = tuple(sorted(nodes.index(each) for each in contract.migration))
                found.append((number, target, nodes.index(contract.master)))
        return found

    @property
    def named(self) -> set[NodeId]:
        """Whom honest nodes have named."""
        honest = [node for node in self.world.nodes if node.id not in self.world.liars]
        return {culprit for node in honest for culprit in node.recorder.culprits}


def played(*events: Any, seed: int = 1, nodes: int = 5, threshold: int = 1) -> Told:
    """A world in which all of this happens; raises `Violation`."""
    plan = Plan(nodes, threshold, None, (Members(0.0, FIRST), *events))
    world = World(seed, plan, rules=RULES)
    run_virtual(world.run())
    return Told(world)


CHANGES = {
    "add one": (0, 1, 2, 3, 4),
    "remove one": (0, 1, 3),
    "replace one": (1, 2, 3, 4),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_set_becomes_what_the_owner_wants(name: str) -> None:
    told = played(Edit(EDITED_S, CHANGES[name]))
    assert told.sets == [FIRST, CHANGES[name]]


def test_another_network_address_is_no_change() -> None:
    told = played(NewAddress(EDITED_S, 2))
    assert told.sets == [FIRST]
    assert told.starts == []


def test_a_set_of_strangers_is_refused() -> None:
    told = played(Edit(EDITED_S, (4, 5, 6, 7)), nodes=8)
    assert told.sets == [FIRST]
    assert told.starts == []


def test_a_set_that_would_lose_a_key_is_refused() -> None:
    told = played(Edit(EDITED_S, (1, 2, 4)), threshold=2)
    assert told.sets == [FIRST]
    assert told.starts == []


def test_an_edit_during_the_delay_begins_it_anew() -> None:
    again = EDITED_S + 4 * RULES.block_s
    told = played(Edit(EDITED_S, (0, 1, 2, 3, 4)), Edit(again, (1, 2, 3, 4)))
    ((block, target, _),) = told.starts
    chain = told.world.chain
    seen = next(
        number
        for number in range(len(chain.blocks))
        if len(set_of(chain, NODE_SET, number).edited) == 4
        and set_of(chain, NODE_SET, number).edited != set_of(chain, NODE_SET, 0).edited
    )
    assert block - seen >= NEW_SET_DELAY_BLOCKS
    assert target == (1, 2, 3, 4)


@cache
def started_s(*events: Any, nodes: int = 5) -> tuple[float, int]:
    """When the first migration of such a world starts, and who is its master."""
    told = played(*events, nodes=nodes)
    (number, _, master), *_ = told.starts
    block = told.world.chain.blocks[number]
    return float(block.timestamp - told.world.chain.blocks[0].timestamp), master


def test_an_edit_during_the_migration_is_the_next_one() -> None:
    first, lost = Edit(EDITED_S, CHANGES["add one"]), ConfirmationsLost(EDITED_S, 60.0)
    at, _ = started_s(first, lost)
    told = played(first, lost, Edit(at + 5.0, CHANGES["replace one"]))
    assert [target for _, target, _ in told.starts] == [(0, 1, 2, 3, 4), (1, 2, 3, 4)]
    assert told.sets == [FIRST, (0, 1, 2, 3, 4), (1, 2, 3, 4)]


def test_confirmations_that_are_lost_are_sent_again() -> None:
    edit = Edit(EDITED_S, CHANGES["replace one"])
    at, _ = started_s(edit)
    told = played(edit, ConfirmationsLost(at, 60.0))
    assert told.sets == [FIRST, CHANGES["replace one"]]
    assert told.world.chain.head.number > at / RULES.block_s + 15


@pytest.mark.parametrize("after_s", [0.1, 6.0])
def test_a_master_that_dies_after_the_start_goes_on(after_s: float) -> None:
    edit = Edit(EDITED_S, CHANGES["replace one"])
    at, master = started_s(edit)
    told = played(edit, Crash(at + after_s, master, 30.0))
    assert told.sets == [FIRST, CHANGES["replace one"]]
    assert len(told.starts) == 1


def test_a_migration_that_another_member_starts_is_carried_out() -> None:
    """By one that joins; nobody has elected it."""
    by = 4
    early = ForeignStart(EDITED_S + 1.5 * RULES.block_s, by)
    told = played(Edit(EDITED_S, CHANGES["replace one"]), early)
    ((_, _, master),) = told.starts
    assert master == by
    assert told.sets == [FIRST, CHANGES["replace one"]]


def test_a_migration_that_is_cancelled_begins_anew() -> None:
    edit = Edit(EDITED_S, CHANGES["replace one"])
    at, _ = started_s(edit)
    told = played(edit, ConfirmationsLost(at, 20.0), Cancel(at + 9.0))
    assert len(told.starts) == 2
    assert told.sets == [FIRST, CHANGES["replace one"]]


def test_keys_that_a_cancelled_migration_has_moved_are_moved_on_by_the_next_one() -> None:
    """Two of their holders are in no set then."""
    away = Edit(EDITED_S, (1, 2, 4, 5))
    at, _ = started_s(away, nodes=7)
    told = played(
        away,
        ConfirmationsLost(at, 30.0),
        Cancel(at + 9.0),
        Edit(at + 9.5, FIRST),
        Edit(at + 80.0, (0, 1, 2, 3, 6)),
        nodes=7,
    )
    assert told.sets == [FIRST, (0, 1, 2, 3, 6)]


# --- liars ---------------------------------------------------------------------------------------

STAYS, LEAVES, JOINS = 2, 0, 4
PROVEN = {STAYS: "a false share for one", JOINS: "an accusation without cause"}
"""Who leaves deals only where too few others can, and then there are too few without it."""

UNPROVEN = (
    (STAYS, "redistribution, member: no Deal"),
    (LEAVES, "redistribution, member: an unsigned PREPARE"),
    (JOINS, "set change, member: no ChangeFrozen"),
)


def lying(node: int, name: str) -> Liar:
    """A node that tells this lie; it is one."""
    assert name in LIES
    return Liar(0.0, node, (name,))


@pytest.mark.parametrize("liar", PROVEN)
def test_a_liar_is_named_and_the_set_changes(liar: int) -> None:
    """Which of the old nodes deal is chosen at random: with some seed the liar does."""
    for seed in range(1, 9):
        told = played(
            Edit(EDITED_S, CHANGES["replace one"]),
            lying(liar, f"redistribution, member: {PROVEN[liar]}"),
            seed=seed,
        )
        assert told.sets == [FIRST, CHANGES["replace one"]]
        if told.named:
            assert told.named == told.world.liars
            return
    raise AssertionError("the liar was never named")


@pytest.mark.parametrize(("liar", "lie"), UNPROVEN)
def test_a_liar_keeps_nobody_from_changing_the_set(liar: int, lie: str) -> None:
    told = played(Edit(EDITED_S, CHANGES["replace one"]), lying(liar, lie))
    assert told.sets == [FIRST, CHANGES["replace one"]]
    assert told.named == set()


def test_a_master_that_lies_is_led_past() -> None:
    """It tells the members of no end; when it lies no more it carries its migration out."""
    edit = Edit(EDITED_S, CHANGES["replace one"])
    _, master = started_s(edit)
    told = played(edit, lying(master, "set change, coordinator: no ChangeDone"))
    assert told.sets == [FIRST, CHANGES["replace one"]]
    assert told.named == set()
