"""Nodes that have lost what was on their disk, and nodes that must not have it back."""

from dataclasses import replace

import pytest

from keyserver.model.identifiers import KeyId
from keyserver.sessions.writes import DropShares
from keyserver.simulation.cluster import FixedSets, SimulatedNode
from keyserver.simulation.loop import run_virtual
from keyserver.storage.memory import DiskState
from tests.support.changing_cluster import ChangingCluster

NEW = (1, 2, 3, 4)
"""The first of five nodes leaves, the last one joins."""


async def empty(node: SimulatedNode) -> None:
    """The node starts anew, with its key and nothing else."""
    await node.crash()
    node.disk.platter.state = DiskState()
    node.boot()


async def shares_of(node: SimulatedNode, keys: list[KeyId]) -> list[object]:
    return [(await node.store.load(key_id)).share for key_id in keys]


@pytest.mark.parametrize("place", [1, 4])
def test_an_emptied_node_has_its_shares_again(place: int) -> None:
    """After a change of the node set, a node that was there before it or one that has come."""

    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = [await world.generate(1, document=True), await world.generate(2)]
            world.be_current(world.configured)
            await world.carry_out(world.bound(NEW))
            await world.settle()
            victim = world.nodes[place]
            before = await shares_of(victim, keys)
            await empty(victim)
            assert await shares_of(victim, keys) == [None, None]
            await world.settle(60)
            await world.check_keys(keys, NEW, version=2)
            assert await shares_of(victim, keys) == before
            for other in NEW:
                if other != place and world.nodes[other] is not world.nodes[2]:
                    await world.nodes[other].crash()
            await world.retrieve(keys[0], by=place)

    run_virtual(story())


def test_an_emptied_node_that_has_left_gets_nothing() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = [await world.generate(1), await world.generate(2)]
            world.be_current(world.configured)
            await world.carry_out(world.bound(NEW))
            await empty(world.nodes[0])
            await world.settle(120)
            assert await shares_of(world.nodes[0], keys) == [None, None]

    run_virtual(story())


@pytest.mark.parametrize("believes_to_be_in", [False, True])
def test_a_share_that_was_dropped_does_not_come_back(believes_to_be_in: bool) -> None:
    """The key stays behind on its old committee, of which a node has left.

    It does not ask; and if it does, because it is wrong or lies, nobody gives it anything.
    """

    async def story() -> None:
        async with ChangingCluster(4, 4) as world:
            key_id = await world.generate(1)
            await world.settle()
            leaver = world.nodes[0]
            if believes_to_be_in:
                own = FixedSets(world.cluster.sets.snapshot)
                world.cluster.sets_of = lambda node: own if node is leaver else world.cluster.sets
            world.be_current(world.set_of((1, 2, 3)))
            await leaver.crash()
            await leaver.store.commit([DropShares(key_id)])
            leaver.boot()
            await world.settle(300)
            assert await shares_of(leaver, [key_id]) == [None]
            asked = [name for name, _, _ in leaver.recorder.sessions]
            assert ("share_addition" in asked) == believes_to_be_in
            world.be_current(world.configured)
            await world.settle(120)
            assert (await shares_of(leaver, [key_id]))[0] is not None

    run_virtual(story())


def test_damaged_shares_come_back() -> None:
    async def story() -> None:
        async with ChangingCluster(4, 4) as world:
            keys = [await world.generate(1), await world.generate(2)]
            await world.settle()
            victim = world.nodes[3]
            before = await shares_of(victim, keys)
            await victim.crash()
            state = victim.disk.platter.state
            damaged = {
                key_id: replace(key, shares={}, damaged=frozenset({1}))
                for key_id, key in state.keys.items()
            }
            victim.disk.platter.state = replace(state, keys=damaged)
            victim.boot()
            await world.settle(60)
            assert await shares_of(victim, keys) == before
            assert not any(key.damaged for key in victim.disk.platter.state.keys.values())

    run_virtual(story())
