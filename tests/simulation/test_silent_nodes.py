"""Nodes that accept what is proposed and then say nothing: they cost seconds, not hours."""

import asyncio

import pytest

from keyserver.engine import set_change_moving
from keyserver.engine.set_change_progress import ChangePhase
from keyserver.model.identifiers import ZERO_HASH, Address, KeyId
from keyserver.model.requests import OnChainAddress
from keyserver.simulation.cluster import CONTRACT, Cluster
from keyserver.simulation.liars import at, honest, in_cluster, silent
from keyserver.simulation.loop import run_virtual
from tests.support.changing_cluster import ChangingCluster

KEYS = 16
NEW = (1, 2, 3, 4, 5)
"""The first of six nodes leaves, the last one joins."""


@pytest.mark.parametrize(
    ("silent_in", "place", "by", "within_s"),
    [("Deal", 1, 0, 40), ("Ok", 5, 0, 60), ("Accept", 0, 2, 45)],
    ids=["stays", "joins", "leaves"],
)
def test_a_silent_node_costs_the_first_keys_only(
    silent_in: str, place: int, by: int, within_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it were waited for with every key, each of these would take half as long again or more."""
    monkeypatch.setattr(set_change_moving, "AT_ONCE", 2)

    async def story() -> None:
        async with ChangingCluster(6, 5) as world:
            keys = [await world.generate(1) for _ in range(KEYS)]
            world.be_current(world.configured)
            await world.settle()
            in_cluster(world.cluster, world.nodes[place], at(silent_in, silent))
            began = asyncio.get_running_loop().time()
            report = await world.carry_out(world.bound(NEW), by)
            assert asyncio.get_running_loop().time() - began < within_s
            assert len(report.executed) == 6
            progress = world.changes(by).progress
            assert progress is not None
            assert progress.phase is ChangePhase.DONE
            in_cluster(world.cluster, world.nodes[place], honest)
            await world.settle(400)
            for key_id in keys:
                states = [await world.nodes[i].store.load(key_id) for i in NEW]
                known = {s.active.record.hash for s in states if s.active is not None}
                assert len(known) == 1
                assert all(state.share is not None for state in states)

    run_virtual(story())


def test_a_node_that_was_silent_is_asked_where_it_is_needed() -> None:
    async def story() -> None:
        async with Cluster(4, seed=9) as cluster:
            current = cluster.sets.snapshot.current
            cluster.successions.targets = {ZERO_HASH: current}
            by, other, once_silent = cluster.nodes[0], cluster.nodes[1], cluster.nodes[2]
            keys = [KeyId(bytes([number]) * 32) for number in (1, 2)]
            for key_id in keys:
                credential = OnChainAddress(CONTRACT, Address(b"\xa1" * 20))
                await by.api.generate_server_key(key_id, 1, credential)
            await asyncio.sleep(5)

            async def refreshed(key_id: KeyId) -> float:
                assert by.redistributions is not None
                began = asyncio.get_running_loop().time()
                await by.redistributions.redistribute(key_id, ZERO_HASH, current)
                return asyncio.get_running_loop().time() - began

            in_cluster(cluster, once_silent, at("Ok", silent))
            assert await refreshed(keys[0]) > 10
            in_cluster(cluster, once_silent, honest)
            assert await refreshed(keys[0]) < 1
            missed = await once_silent.store.load(keys[0])
            await other.crash()
            assert await refreshed(keys[1]) < 1
            await asyncio.sleep(1)
            held = await once_silent.store.load(keys[1])
            assert missed.active is None or missed.active.record.version < 3
            assert held.active is not None
            assert held.active.record.version == 2

    run_virtual(story())
