"""The same thing asked of several nodes at the same moment: exactly one of them does it."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

from keyserver.model.requests import OnChainAddress
from keyserver.sessions.core import SessionError
from keyserver.simulation.cluster import CONTRACT, Cluster, SimulatedNode
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.network import Faults
from tests.simulation.story import Story, check_agreement

SIZES = [(3, 0), (3, 1), (3, 2), (4, 1), (5, 2), (7, 3)]
ASKED = 3
TOLD = {"ServerKeyAlreadyGenerated", "DuplicateSessionId"}


async def later(seconds: float, work: Coroutine[Any, Any, Any]) -> Any:
    await asyncio.sleep(seconds)
    return await work


def apart(random: Random) -> float:
    """At the very same moment, or somewhere in another's session."""
    return random.choice([0.0, random.uniform(0, 0.03), random.uniform(0, 0.4)])


async def nothing_is_left_over(cluster: Cluster) -> None:
    for node in cluster.nodes:
        assert await node.store.undecided() == []


def test_a_key_generated_at_three_nodes(seed: int) -> None:
    random = Random(seed)
    nodes, threshold = SIZES[seed % len(SIZES)]
    network = Faults(most_delay_s=random.choice([0.002, 0.02, 0.2]))

    async def scenario() -> None:
        async with Cluster(nodes, seed=seed, faults=network) as cluster:
            await asyncio.sleep(1)
            story = Story(cluster, threshold)
            credential = OnChainAddress(CONTRACT, story.author)

            def generation(node: SimulatedNode) -> Coroutine[Any, Any, Any]:
                return node.api.generate_server_key(story.key_id, threshold, credential)

            asked = random.sample(cluster.nodes, ASKED)
            begun = asyncio.get_running_loop().time()
            outcomes = await asyncio.gather(
                *(later(apart(random), generation(node)) for node in asked), return_exceptions=True
            )
            failed = [each for each in outcomes if isinstance(each, SessionError)]
            assert {error.code for error in failed} <= TOLD
            assert len(failed) == ASKED - 1, outcomes
            assert asyncio.get_running_loop().time() - begun < 6
            await asyncio.sleep(1)
            await check_agreement(story)
            await nothing_is_left_over(cluster)

    run_virtual(scenario())


def test_what_a_caller_abandons_is_soon_out_of_the_way(seed: int) -> None:
    """At any moment of a generation: done by others, or undone at once."""
    random = Random(seed)
    nodes, threshold = SIZES[seed % len(SIZES)]

    async def scenario() -> None:
        async with Cluster(nodes, seed=seed) as cluster:
            await asyncio.sleep(1)
            story = Story(cluster, threshold)
            credential = OnChainAddress(CONTRACT, story.author)

            def generation() -> Coroutine[Any, Any, Any]:
                node = random.choice(cluster.nodes)
                return node.api.generate_server_key(story.key_id, threshold, credential)

            abandoned = asyncio.ensure_future(generation())
            await asyncio.sleep(random.uniform(0, 0.25))
            abandoned.cancel()
            await asyncio.gather(abandoned, return_exceptions=True)
            begun = asyncio.get_running_loop().time()
            code = "none yet"
            while code not in {"done", "ServerKeyAlreadyGenerated"}:
                assert asyncio.get_running_loop().time() - begun < 5, code
                try:
                    await generation()
                    code = "done"
                except SessionError as error:
                    code = error.code
                    await asyncio.sleep(0.5)
            await asyncio.sleep(1)
            await check_agreement(story)
            await nothing_is_left_over(cluster)

    run_virtual(scenario())
