"""What becomes of presignatures when that for which, or by whom, they were made is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from keyserver.model.identifiers import ZERO_HASH, KeyId
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.model.requests import NodeCredential, OnChainAddress, Presign
from keyserver.sessions.core import UnavailableError
from keyserver.sessions.ecdsa_presigning import ECDSA_PRESIGNING, OwnPresignature, Target
from keyserver.sessions.presignature_pool import LIFETIME_S, PresignaturePool
from keyserver.sessions.writes import DropShares
from keyserver.simulation.cluster import CONTRACT, Cluster, FixedSets, SimulatedNode
from keyserver.simulation.loop import run_virtual
from tests.support.key_life import AUTHOR

KEY, OTHER_KEY = KeyId(b"\x4b" * 32), KeyId(b"\x4c" * 32)
ON_CHAIN = OnChainAddress(CONTRACT, AUTHOR)


def pool_of(node: SimulatedNode) -> PresignaturePool:
    assert node._driver is not None
    return node._driver._contexts.presignatures


def kept(*nodes: SimulatedNode) -> list[int]:
    return [len(pool_of(node)) for node in nodes]


async def presign(
    by: SimulatedNode, signers: list[SimulatedNode], key_id: KeyId = KEY
) -> OwnPresignature:
    record = await by.api.find_record(key_id)
    assert record is not None
    target = Target(record, tuple(sorted(node.id for node in signers)))
    assert by._driver is not None
    made = await by._driver.execute(
        ECDSA_PRESIGNING, Presign(key_id), lambda _: NodeCredential(), target
    )
    assert isinstance(made, OwnPresignature)
    return made


def play(scenario: Callable[[Cluster], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Cluster(4, seed=7) as cluster:
            cluster.successions.targets[ZERO_HASH] = cluster.sets.snapshot.current
            for key_id in (KEY, OTHER_KEY):
                await cluster.nodes[0].api.generate_server_key(key_id, 1, ON_CHAIN)
            await asyncio.sleep(1)
            await scenario(cluster)

    run_virtual(run())


async def refresh(by: SimulatedNode, to: NodeSet) -> None:
    assert by.redistributions is not None
    await by.redistributions.redistribute(KEY, ZERO_HASH, to)
    await asyncio.sleep(1)


def test_a_new_version_ends_those_of_the_old_one() -> None:
    async def scenario(cluster: Cluster) -> None:
        a, b, c, d = cluster.nodes
        await presign(a, [a, b, c])
        await presign(b, [a, b, c])
        await presign(a, [a, b, c], OTHER_KEY)
        assert kept(a, b, c, d) == [3, 3, 3, 0]
        await refresh(d, cluster.sets.snapshot.current)
        assert kept(a, b, c, d) == [1, 1, 1, 0], "those of the other key stay"
        await presign(a, [a, b, c])
        assert kept(a, b, c, d) == [2, 2, 2, 0]

    play(scenario)


def test_who_hears_of_a_new_version_later_forgets_them_then() -> None:
    async def scenario(cluster: Cluster) -> None:
        a, b, c, d = cluster.nodes
        await presign(a, [b, c, d])
        for other in (a, b, c):
            cluster.network.cut(d.id, other.id)
        await refresh(a, cluster.sets.snapshot.current)
        assert kept(b, c, d) == [0, 0, 1]
        for other in (a, b, c):
            cluster.network.mend(d.id, other.id)
        await asyncio.sleep(30)
        assert kept(d) == [0]

    play(scenario)


def test_a_coordinator_that_was_started_anew_finds_room() -> None:
    async def scenario(cluster: Cluster) -> None:
        a, b, c, d = cluster.nodes
        await presign(a, [b, c, d])
        await presign(b, [b, c, d])
        cluster.network.cut(a.id, b.id)
        cluster.network.mend(a.id, b.id)
        await asyncio.sleep(1)
        assert kept(b, c, d) == [2, 2, 2], "a connection that broke ends nothing"
        await a.crash()
        await asyncio.sleep(1)
        assert kept(b, c, d) == [2, 2, 2]
        a.boot()
        await asyncio.sleep(1)
        assert kept(b, c, d) == [1, 1, 1]

    play(scenario)


def test_who_has_left_the_set_has_none() -> None:
    async def scenario(cluster: Cluster) -> None:
        a, b, c, d = cluster.nodes
        await presign(a, [b, c, d])
        before = cluster.sets.snapshot
        current = replace(before.current, nodes=(b.id, c.id, d.id))
        assert isinstance(cluster.sets, FixedSets)
        cluster.sets.snapshot = NodeSetSnapshot(current, current, None, before.addresses, 0, 0)
        await a.crash()
        await asyncio.sleep(1)
        assert kept(b, c, d) == [0, 0, 0]

    play(scenario)


def test_a_node_without_its_share_has_none() -> None:
    async def scenario(cluster: Cluster) -> None:
        a, b, c, d = cluster.nodes
        await presign(a, [b, c, d])
        await d.store.commit([DropShares(KEY)])
        with pytest.raises(UnavailableError):
            await presign(a, [b, c, d])
        assert kept(b, c, d) == [1, 1, 0]

    play(scenario)


def test_they_are_forgotten_after_an_hour_whatever_happens() -> None:
    async def scenario(cluster: Cluster) -> None:
        a, b, c, d = cluster.nodes
        await presign(a, [b, c, d])
        await asyncio.sleep(LIFETIME_S - 60)
        assert kept(b, c, d) == [1, 1, 1]
        await asyncio.sleep(120)
        assert kept(b, c, d) == [0, 0, 0], "nobody has looked at them meanwhile"

    play(scenario)


def test_one_node_has_no_more_than_its_number_made_at_a_time() -> None:
    """Beyond that its sessions wait for each other; a liar's are refused, and nobody else's."""

    async def scenario(cluster: Cluster) -> None:
        a, b, c, d = cluster.nodes
        made = await asyncio.gather(*(presign(a, [b, c, d]) for _ in range(20)))
        assert len({one.presig_id for one in made}) == 20
        assert kept(b, c, d) == [20, 20, 20]

    play(scenario)
