"""A minority that says nothing, refuses, or sends garbage costs one time-out and nothing else.

Every message that a participant owes, at every size: up to f nodes withhold it, the others finish.
"""

import asyncio
from collections.abc import Callable

import pytest

from keyserver.model.keys import DocumentKey
from keyserver.model.requests import OnChainAddress, OnChainPublic, Operation
from keyserver.sessions.core import Policy, Refusal
from keyserver.sessions.messages import Refuse
from keyserver.simulation import liars
from keyserver.simulation.cluster import CONTRACT, Cluster, SimulatedNode
from keyserver.simulation.liars import Lie, at
from keyserver.simulation.loop import run_virtual
from tests.simulation.story import Story
from tests.support.fake_cluster import point_of

SIZES = [(4, 1, 1), (7, 2, 2), (10, 3, 3)]
"""n, t, f bad ones."""

WAYS: dict[str, Callable[[str], Lie]] = {
    "silent": lambda name: at(name, liars.silent),
    "refusing": lambda name: at(name, lambda _place, _message: Refuse(Refusal.TEMPORARY)),
    "denying": lambda name: at(name, lambda _place, _message: Refuse(Refusal.DENIED)),
    "garbage": lambda name: at(name, liars.garbage),
}
GENERATION = ["Accept", "Deal", "Ok", "Ready", "Commit"]
STORING = ["StoreAck", "StoreCommit"]
RETRIEVAL = ["Partial", "Shadow"]

ROUND_S = 11.0
"""The longest round of a generation (engine design, section 16) at ten nodes, and some travel."""

DOCUMENT = DocumentKey(point_of(21), point_of(22))


def run(size: tuple[int, int, int], message: str, way: str) -> None:
    nodes, threshold, faulty = size

    async def scenario() -> None:
        services = frozenset((CONTRACT, operation) for operation in Operation)
        policy = Policy(generation_quorum=nodes - faulty, service_contracts=services)
        async with Cluster(nodes, seed=nodes, policy=policy) as cluster:
            await asyncio.sleep(1)
            for bad in cluster.nodes[-faulty:]:
                liars.in_cluster(cluster, bad, WAYS[way](message))
            await life_of_a_key(Story(cluster, threshold), cluster.nodes[0])

    run_virtual(scenario())


async def life_of_a_key(story: Story, node: SimulatedNode) -> None:
    """Everything a client can ask for, at the first attempt; each within one round."""
    loop, on_chain = asyncio.get_running_loop(), OnChainAddress(CONTRACT, story.author)
    requester = OnChainPublic(CONTRACT, story.requester.public())
    for ask in (
        lambda: node.api.generate_server_key(story.key_id, story.threshold, on_chain),
        lambda: node.api.store_document_key(story.key_id, DOCUMENT, on_chain),
        lambda: node.api.retrieve_shadow(story.key_id, requester),
    ):
        begun = loop.time()
        await ask()
        assert loop.time() - begun < ROUND_S


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("message", [*GENERATION, *STORING, *RETRIEVAL])
@pytest.mark.parametrize("size", SIZES, ids=["4", "7", "10"])
def test_a_message_that_a_minority_owes(size: tuple[int, int, int], message: str, way: str) -> None:
    run(size, message, way)
