"""Nodes that were away when a key was made, and what they have of it when they are back."""

import asyncio
from dataclasses import replace
from itertools import combinations

import pytest

from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.quorums import Quorums
from keyserver.model.requests import OnChainAddress, OnChainPublic
from keyserver.sessions.core import KeyState
from keyserver.sessions.share_addition.messages import (
    AddAccept,
    AddBlinded,
    AddMask,
    AddMasks,
    AddPropose,
    AddStart,
)
from keyserver.simulation.adversary import share_additions as lies
from keyserver.simulation.cluster import CONTRACT, Cluster, SimulatedNode
from keyserver.simulation.liars import Lie, at, garbage, honest, in_cluster, silent
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.network import Faults
from tests.simulation.story import Story
from tests.simulation.test_recovery import Assassin

SIZES = [(3, 1), (4, 1), (5, 2), (7, 3), (10, 4)]
WITHIN_S = 60.0
"""By then a node that has come back has its share."""


def cluster_of(nodes: int, threshold: int, seed: int, faults: Faults | None = None) -> Cluster:
    """Nodes that make a key as soon as the holder quorum is there."""
    cluster = Cluster(nodes, seed=seed, faults=faults)
    cluster.policy = replace(cluster.policy, generation_quorum=Quorums.of(nodes).holders(threshold))
    for node in cluster.nodes:
        node.policy = cluster.policy
    return cluster


async def generate(story: Story, node: SimulatedNode) -> None:
    credential = OnChainAddress(CONTRACT, story.author)
    await node.api.generate_server_key(story.key_id, story.threshold, credential)


async def state(story: Story, node: SimulatedNode) -> KeyState:
    return await node.store.load(story.key_id)


async def has_share(story: Story, node: SimulatedNode) -> bool:
    return (await state(story, node)).share is not None


async def wait_for_share(story: Story, node: SimulatedNode, within_s: float = WITHIN_S) -> None:
    """Raises `TimeoutError` if the node does not get it in time."""
    async with asyncio.timeout(within_s):
        while not await has_share(story, node):
            await asyncio.sleep(0.5)


async def check_shares(story: Story, holders: list[SimulatedNode]) -> None:
    """Any t + 1 of these nodes' shares give the key."""
    shares = []
    for node in holders:
        known = await state(story, node)
        assert known.active is not None
        assert known.share is not None
        assert known.share.x == known.active.record.coordinates[node.id]
        shares.append(known.share)
    record = known.active.record  # type: ignore[union-attr]
    for chosen in combinations(shares, story.threshold + 1):
        secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
        assert secret.public() == record.public


def absent_at(nodes: int, threshold: int) -> int:
    """How many may be away while a key is made."""
    return nodes - Quorums.of(nodes).holders(threshold)


@pytest.mark.parametrize(("nodes", "threshold"), SIZES)
def test_who_was_away_gets_its_share_and_is_as_good_as_any_other(
    nodes: int, threshold: int
) -> None:
    async def scenario() -> None:
        async with cluster_of(nodes, threshold, seed=nodes) as cluster:
            story = Story(cluster, threshold)
            away = absent_at(nodes, threshold)
            late, there = cluster.nodes[:away], cluster.nodes[away:]
            for node in late:
                await node.crash()
            await generate(story, there[0])
            await asyncio.sleep(20)
            for node in late:
                node.boot()
            for node in late:
                await wait_for_share(story, node)
            await check_shares(story, cluster.nodes)
            await story.store()
            for node in cluster.nodes[threshold + 1 :]:
                await node.crash()
            assert late[0].is_up
            await story.retrieve()

    run_virtual(scenario())


def test_a_share_that_came_late_is_found_by_nodes_that_started_since() -> None:
    """They were not there to hear of it, and the certificate does not name its holder."""

    async def scenario() -> None:
        async with cluster_of(4, 1, seed=4) as cluster:
            story = Story(cluster, 1)
            late, asked, *others = cluster.nodes
            await late.crash()
            await generate(story, asked)
            await asyncio.sleep(20)
            late.boot()
            await wait_for_share(story, late)
            await story.store()
            await asked.crash()
            asked.boot()
            for node in others:
                await node.crash()
            await asyncio.sleep(5)
            for node in (asked, late):
                credential = OnChainPublic(CONTRACT, story.requester.public())
                result = await node.api.retrieve_shadow(story.key_id, credential)
                assert set(result.nodes) == {asked.id, late.id}
                assert story.opened(result) == story.document_key

    run_virtual(scenario())


def test_a_share_that_was_lost_comes_back() -> None:
    """Also to a holder that the certificate names."""

    async def scenario() -> None:
        async with cluster_of(4, 1, seed=6) as cluster:
            story = Story(cluster, 1)
            await generate(story, cluster.nodes[0])
            await asyncio.sleep(20)
            victim = cluster.nodes[1]
            before = (await state(story, victim)).share
            await victim.crash()
            keys = victim.disk.platter.state.keys
            without = {key_id: replace(key, shares={}) for key_id, key in keys.items()}
            victim.disk.platter.state = replace(victim.disk.platter.state, keys=without)
            assert not await has_share(story, victim)
            victim.boot()
            await wait_for_share(story, victim)
            assert (await state(story, victim)).share == before

    run_virtual(scenario())


def test_many_keys_are_caught_up_with() -> None:
    async def scenario() -> None:
        async with cluster_of(5, 2, seed=1) as cluster:
            late, asked = cluster.nodes[0], cluster.nodes[1]
            await late.crash()
            stories = [Story(cluster, 2, KeyId(bytes([n]) * 32)) for n in range(1, 31)]
            for story in stories:
                await generate(story, asked)
            late.boot()
            async with asyncio.timeout(WITHIN_S):
                for story in stories:
                    await wait_for_share(story, late)
            entries = await asked.store.catalogue(None, 100)
            assert len(entries) == len(stories)
            assert await late.store.absent(None, 100) == []
            sessions = [name for name, _, _ in late.recorder.sessions]
            assert sessions.count("share_addition") == len(stories)

    run_virtual(scenario())


# --- donors that lie -----------------------------------------------------------------------------

PROVEN: dict[str, Lie] = {
    "a mask that is not zero": at("AddMask", lies.mask_that_is_not_zero),
    "false values": at("AddMask", lies.false_values),
    "a false share": at("AddBlinded", lies.false_share),
}

UNPROVEN: dict[str, Lie] = {
    "silence": silent,
    "garbage": garbage,
    "no share": at("AddBlinded", silent),
    "unsigned masks": at("AddMask", lies.unsigned_values),
    "doubts without end": at("AddBlinded", lies.endless_doubt),
}


async def play_liars(
    nodes: int, threshold: int, lie: Lie, seed: int
) -> tuple[set[NodeId], set[NodeId]]:
    """f liars among the donors of one late node; returns them and whom anybody blames."""
    async with cluster_of(nodes, threshold, seed) as cluster:
        story = Story(cluster, threshold)
        late, *others = cluster.random.sample(cluster.nodes, nodes)
        await late.crash()
        await generate(story, others[-1])
        liars = others[: Quorums.of(nodes).faulty]
        for liar in liars:
            in_cluster(cluster, liar, lie)
        late.boot()
        await wait_for_share(story, late)
        await check_shares(story, [late, *others])
        blamed = {culprit for node in cluster.nodes for culprit in node.recorder.culprits}
        return {liar.id for liar in liars}, blamed


@pytest.mark.parametrize("name", [*PROVEN, *UNPROVEN])
@pytest.mark.parametrize(("nodes", "threshold"), [(4, 1), (7, 3), (10, 3)])
def test_liars_among_the_donors_only_cost_time(nodes: int, threshold: int, name: str) -> None:
    lie = PROVEN.get(name) or UNPROVEN[name]
    named: set[NodeId] = set()
    for seed in range(2):
        liars, blamed = run_virtual(play_liars(nodes, threshold, lie, seed))
        assert blamed <= liars, f"seed {seed}: an honest node was blamed"
        named |= blamed
    assert bool(named) == (name in PROVEN)


# --- a late node that lies -----------------------------------------------------------------------


@pytest.mark.parametrize("name", lies.LATE)
def test_a_lying_late_node_gets_nothing_and_harms_nobody(name: str) -> None:
    async def scenario() -> None:
        async with cluster_of(5, 2, seed=3) as cluster:
            story = Story(cluster, 2)
            late, *others = cluster.nodes
            await late.crash()
            await generate(story, others[0])
            in_cluster(cluster, late, lies.told_by_late(name))
            late.boot()
            await asyncio.sleep(200)
            assert not await has_share(story, late)
            assert all(not node.recorder.culprits for node in others)
            in_cluster(cluster, late, honest)
            await wait_for_share(story, late, 90)
            await check_shares(story, cluster.nodes)

    run_virtual(scenario())


# --- crashes and losses --------------------------------------------------------------------------

OF_LATE = [kind.TYPE for kind in (AddPropose, AddStart, AddMasks)]
OF_DONORS = [kind.TYPE for kind in (AddAccept, AddMask, AddBlinded)]


@pytest.mark.parametrize("kind", OF_LATE + OF_DONORS, ids=hex)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_whoever_dies_at_whichever_message_the_share_comes(kind: int, which: int) -> None:
    async def scenario() -> None:
        async with cluster_of(5, 2, seed=which) as cluster:
            story = Story(cluster, 2)
            late, *others = cluster.nodes
            await late.crash()
            await generate(story, others[0])
            victim = late if kind in OF_LATE else others[which]
            assassin = Assassin(cluster, victim, kind, which if kind in OF_LATE else 0)
            late.boot()
            if await assassin.watch(asyncio.sleep(120)):
                assert not victim.is_up
                victim.boot()
            await wait_for_share(story, late)
            await check_shares(story, cluster.nodes)

    run_virtual(scenario())


def test_a_share_that_could_not_be_written_is_asked_for_again() -> None:
    async def scenario() -> None:
        async with cluster_of(5, 2, seed=5) as cluster:
            story = Story(cluster, 2)
            late, *others = cluster.nodes
            await late.crash()
            await generate(story, others[0])
            late.boot()
            async with asyncio.timeout(WITHIN_S):
                while (await state(story, late)).active is None:
                    await asyncio.sleep(0.001)
            late.disk.fail(reads=False)
            await asyncio.sleep(30)
            assert not await has_share(story, late)
            late.disk.recover()
            await wait_for_share(story, late)
            await check_shares(story, cluster.nodes)

    run_virtual(scenario())


@pytest.mark.parametrize("run", range(4))
def test_a_bad_network_only_costs_time(run: int) -> None:
    faults = Faults(reorder=True, duplicate=0.1, lose=0.05, break_connection=0.01)

    async def scenario() -> None:
        async with cluster_of(5, 2, run, faults) as cluster:
            story = Story(cluster, 2)
            late, *_ = cluster.nodes
            await late.crash()
            await story.generate()
            late.boot()
            await wait_for_share(story, late, 1200)
            shares = [node for node in cluster.nodes if await has_share(story, node)]
            await check_shares(story, shares)

    run_virtual(scenario())
