"""Nodes that were away when a key was made, and what they have of it when they are back."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.quorums import Quorums
from keyserver.model.requests import OnChainAddress, OnChainPublic
from keyserver.sessions.core import KeyState
from keyserver.simulation.cluster import CONTRACT, Cluster, SimulatedNode
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.network import Faults
from tests.simulation.story import Story

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
            away = max(absent_at(nodes, threshold), 1)
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

    if absent_at(nodes, threshold):
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
