"""Migrations that nodes start, carry out and confirm by themselves, keys and all."""

import asyncio

from keyserver.model.identifiers import KeyId
from keyserver.simulation.loop import run_virtual
from keyserver.tasks.migration import Refusal
from tests.support.migrating_cluster import MigratingCluster

NEW = (1, 2, 3, 4)
"""The first of five nodes leaves, the last one joins."""


async def keys_of(world: MigratingCluster) -> list[KeyId]:
    keys = [await world.generate(1, document=True), await world.generate(2)]
    await world.settle()
    return keys


def test_an_edit_of_the_owner_moves_every_key() -> None:
    async def story() -> None:
        async with MigratingCluster(5, 4) as world:
            keys = await keys_of(world)
            await world.mine(2)
            world.contract.edit(world.set_of(NEW))
            await world.mine_until_current(NEW, most=12)
            await world.check_keys(keys, NEW, version=2)
            await world.retrieve(keys[0], by=4)
            members = [world.nodes[place].id for place in NEW]
            assert sorted(world.contract.confirmations) == sorted(members)
            world.contract.edit(world.set_of(range(5)))
            await world.mine_until_current(range(5), most=12)
            await world.check_keys(keys, range(5), version=3)

    run_virtual(story())


def test_the_master_dies_while_keys_move() -> None:
    async def story() -> None:
        async with MigratingCluster(5, 4) as world:
            keys = await keys_of(world)
            world.movers[world.nodes[1].id].delay_s = 30.0
            world.contract.edit(world.set_of(NEW))
            while world.contract.running is None:
                await world.mine()
            await asyncio.sleep(15)
            assert world.changes(1).change is not None
            await world.crash(1)
            await world.mine(3)
            world.nodes[1].boot()
            await world.mine_until_current(NEW)
            await world.check_keys(keys, NEW, version=2)
            assert len(world.contract.confirmations) == len(NEW)

    run_virtual(story())


def test_a_member_that_dies_meanwhile_is_brought_up() -> None:
    async def story() -> None:
        async with MigratingCluster(5, 4) as world:
            keys = await keys_of(world)
            world.movers[world.nodes[1].id].delay_s = 30.0
            world.contract.edit(world.set_of(NEW))
            while world.contract.running is None:
                await world.mine()
            await asyncio.sleep(5)
            await world.crash(3)
            await world.mine(20)
            assert world.nodes[3].id not in world.contract.confirmations
            world.nodes[3].boot()
            await world.mine_until_current(NEW, most=120)
            await world.settle(120)
            await world.check_moved(keys, NEW)
            assert len(world.contract.confirmations) == len(NEW)

    run_virtual(story())


def test_a_change_that_would_lose_a_key_is_refused_by_all() -> None:
    async def story() -> None:
        async with MigratingCluster(5, 4) as world:
            keys = [*(await keys_of(world)), await world.generate(3)]
            world.contract.edit(world.set_of((1, 2, 3)))
            await world.mine(12)
            assert world.contract.last_id is None
            status = await world.drivers[world.nodes[1].id].status()
            assert status is not None
            assert (status.refused, status.keys_at_risk) == (Refusal.KEYS_AT_RISK, (keys[2],))

    run_virtual(story())


def test_an_id_that_was_used_before_confirms_nothing() -> None:
    """Older contracts take an id again, from any member."""

    async def story() -> None:
        async with MigratingCluster(5, 4) as world:
            keys = await keys_of(world)
            await world.mine(2)
            world.contract.edit(world.set_of(NEW))
            await world.mine_until_current(NEW, most=12)
            first = world.contract.last_id
            assert first is not None
            for place in range(5):  # what they remember of it is on disk
                await world.crash(place)
                world.nodes[place].boot()
            world.contract.edit(world.set_of(range(4)))
            await world.mine_until_current(range(4), most=12)
            world.contract.edit(world.set_of(NEW))
            await world.mine(4)
            world.contract.start(world.nodes[3].id, first)
            await world.mine_until_current(NEW)
            await world.check_moved(keys, NEW)

    run_virtual(story())


def test_a_start_that_a_reorganisation_takes_back_for_a_while_counts_anew() -> None:
    async def story() -> None:
        async with MigratingCluster(5, 4) as world:
            keys = await keys_of(world)
            await world.mine(2)
            world.contract.edit(world.set_of(NEW))
            while world.contract.running is None:
                await world.mine()
            started = world.contract.running
            await asyncio.sleep(6)
            assert await world.history(1), "the keys have moved; nobody has confirmed"
            world.contract.running, world.contract.last_id = None, None
            world.be_current(world.set_of(range(4)))
            await world.mine()
            keys.append(await world.generate(1, by=1))
            world.contract.running, world.contract.last_id = started, started.id
            await world.mine_until_current(NEW)
            await world.check_moved(keys, NEW)

    run_virtual(story())
