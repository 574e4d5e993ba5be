"""Document keys stored at several nodes in the same moment: one of them, and quickly."""

import asyncio
from random import Random

from keyserver.model.keys import DocumentKey
from keyserver.model.requests import OnChainAddress
from keyserver.sessions.core import SessionError
from keyserver.simulation.cluster import CONTRACT, Cluster
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.network import Faults
from tests.simulation.story import Story
from tests.simulation.test_at_once import apart, later, nothing_is_left_over
from tests.support.fake_cluster import point_of

SIZES = [(3, 0), (3, 1), (4, 1), (5, 2), (7, 3)]
TOLD = {"DocumentKeyAlreadyStored", "DuplicateSessionId"}
QUICKLY_S = 12.0


def test_two_document_keys_at_two_nodes(seed: int) -> None:
    """Exactly one is stored, whoever is asked; nobody waits for the long rounds."""
    random = Random(seed)
    nodes, threshold = SIZES[seed % len(SIZES)]
    network = Faults(most_delay_s=random.choice([0.002, 0.02, 0.2]))
    documents = [DocumentKey(point_of(21), point_of(22)), DocumentKey(point_of(23), point_of(24))]

    async def scenario() -> None:
        async with Cluster(nodes, seed=seed, faults=network) as cluster:
            await asyncio.sleep(1)
            story = Story(cluster, threshold)
            await story.generate()
            credential = OnChainAddress(CONTRACT, story.author)
            asked = random.sample(cluster.nodes, 2)
            begun = asyncio.get_running_loop().time()
            outcomes = await asyncio.gather(
                *(
                    later(
                        apart(random),
                        node.api.store_document_key(story.key_id, document, credential),
                    )
                    for node, document in zip(asked, documents, strict=True)
                ),
                return_exceptions=True,
            )
            assert asyncio.get_running_loop().time() - begun < QUICKLY_S
            failed = [each for each in outcomes if isinstance(each, SessionError)]
            assert len(failed) == 1, outcomes
            assert failed[0].code in TOLD
            await asyncio.sleep(2)
            stored = {(await node.store.load(story.key_id)).document for node in cluster.nodes}
            winner = documents[outcomes.index(failed[0]) ^ 1]
            assert {each and each.document for each in stored} == {winner}
            await nothing_is_left_over(cluster)

    run_virtual(scenario())


def test_one_document_key_at_three_nodes(seed: int) -> None:
    """It is what everybody wants: everybody is told that it is stored."""
    random = Random(seed)
    nodes, threshold = SIZES[seed % len(SIZES)]
    network = Faults(most_delay_s=random.choice([0.002, 0.02, 0.2]))
    document = DocumentKey(point_of(21), point_of(22))

    async def scenario() -> None:
        async with Cluster(nodes, seed=seed, faults=network) as cluster:
            await asyncio.sleep(1)
            story = Story(cluster, threshold)
            await story.generate()
            credential = OnChainAddress(CONTRACT, story.author)
            begun = asyncio.get_running_loop().time()
            outcomes = await asyncio.gather(
                *(
                    later(
                        random.choice([0.0, random.uniform(0, 0.01)]),
                        node.api.store_document_key(story.key_id, document, credential),
                    )
                    for node in random.sample(cluster.nodes, 3)
                )
            )
            assert asyncio.get_running_loop().time() - begun < QUICKLY_S
            assert {certified.document for certified in outcomes} == {document}
            await asyncio.sleep(2)
            await nothing_is_left_over(cluster)

    run_virtual(scenario())
