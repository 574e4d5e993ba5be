"""Hundreds of seeds over generation, storing and decryption with everything a network does."""

import asyncio
from random import Random

from keyserver.simulation.cluster import Cluster
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.network import Faults
from tests.simulation.story import Story, check_agreement

SIZES = [(1, 0), (2, 1), (3, 1), (4, 1), (4, 2), (5, 2), (5, 4), (7, 3)]


def test_without_faults_everything_completes_at_once(seed: int) -> None:
    nodes, threshold = SIZES[seed % len(SIZES)]

    async def scenario() -> None:
        async with Cluster(nodes, seed=seed) as cluster:
            story = Story(cluster, threshold)
            await story.run()
            await check_agreement(story)
            assert asyncio.get_running_loop().time() < 120

    run_virtual(scenario())


def test_delay_reordering_duplication_and_loss(seed: int) -> None:
    nodes, threshold = SIZES[seed % len(SIZES)]
    random = Random(seed)
    faults = Faults(
        most_delay_s=random.choice([0.05, 1.0]),
        reorder=random.random() < 0.5,
        duplicate=random.choice([0.0, 0.2]),
        lose=random.choice([0.0, 0.02]),
        break_connection=random.choice([0.0, 0.02]),
    )

    async def scenario() -> None:
        async with Cluster(nodes, seed=seed, faults=faults) as cluster:
            story = Story(cluster, threshold)
            await story.run()
            await check_agreement(story)

    run_virtual(scenario())


def test_crash_and_restart(seed: int) -> None:
    nodes, threshold = SIZES[seed % len(SIZES)]
    random = Random(seed)

    async def crashes(cluster: Cluster) -> None:
        for _ in range(4):
            await asyncio.sleep(random.uniform(0, 0.2 if random.random() < 0.7 else 60))
            node = random.choice(cluster.nodes)
            await node.crash()
            await asyncio.sleep(random.uniform(0.01, 20))
            node.boot()

    async def scenario() -> None:
        async with Cluster(nodes, seed=seed) as cluster:
            story = Story(cluster, threshold)
            fate = asyncio.ensure_future(crashes(cluster))
            await asyncio.sleep(0.05)
            await story.run()
            await fate
            await check_agreement(story)

    run_virtual(scenario())
