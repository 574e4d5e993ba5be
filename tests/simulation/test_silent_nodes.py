"""Nodes that accept what is proposed and then say nothing: they cost seconds, not hours."""

import asyncio

import pytest

from keyserver.engine import set_change_moving
from keyserver.engine.set_change_progress import ChangePhase
from keyserver.simulation.liars import Lie, at, in_cluster, silent
from keyserver.simulation.loop import run_virtual
from tests.support.changing_cluster import ChangingCluster

KEYS = 32
NEW = (1, 2, 3, 4, 5)
"""The first of six nodes leaves, the last one joins."""

LIES: dict[str, Lie] = {
    "Accept": at("Accept", silent),
    "Deal": at("Deal", silent),
    "Ok": at("Ok", silent),
    "Ready": at("Ready", silent),
}


@pytest.mark.parametrize("place", [1, 5])
@pytest.mark.parametrize("name", LIES)
def test_a_silent_node_costs_the_first_keys_only(
    place: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_change_moving, "AT_ONCE", 4)

    async def story() -> None:
        async with ChangingCluster(6, 5) as world:
            keys = [await world.generate(1) for _ in range(KEYS)]
            world.be_current(world.configured)
            await world.settle()
            in_cluster(world.cluster, world.nodes[place], LIES[name])
            began = asyncio.get_running_loop().time()
            report = await world.carry_out(world.bound(NEW))
            took_s = asyncio.get_running_loop().time() - began
            assert len(report.executed) == 6
            assert took_s < 60  # with eight groups of keys it would be 80 at least
            progress = world.changes(0).progress
            assert progress is not None
            assert progress.phase is ChangePhase.DONE
            await world.settle(120)
            in_cluster(world.cluster, world.nodes[place], lambda _, message: message)
            await world.settle(120)
            await world.check_keys(keys, NEW, version=2)

    run_virtual(story())
