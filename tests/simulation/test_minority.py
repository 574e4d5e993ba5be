"""A minority that says nothing, refuses, or sends garbage costs one time-out and nothing else.

Every message that a participant owes, at every size: up to f nodes withhold it, the others finish.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from keyserver.engine.turns import LONGEST_TURN_S, rank
from keyserver.model.identifiers import Address
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import OnChainAddress, OnChainPublic, Operation
from keyserver.sessions.core import Policy, Refusal, SessionError, UnavailableError
from keyserver.sessions.messages import Cancel, Refuse
from keyserver.sessions.sharing.messages import Start
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

MOST_OCCUPIED_S = 2 * LONGEST_TURN_S + 5
"""Two turns, after which it is locked; and the request that comes next."""

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


# --- a member that coordinates only to be in the way ---------------------------------------------


def on_four(scenario: Callable[[Cluster, Story], Awaitable[None]]) -> None:
    async def run() -> None:
        services = frozenset((CONTRACT, operation) for operation in Operation)
        policy = Policy(generation_quorum=3, service_contracts=services)
        async with Cluster(4, seed=4, policy=policy) as cluster:
            await asyncio.sleep(1)
            await scenario(cluster, Story(cluster, 1))

    run_virtual(run())


def best_and_another(cluster: Cluster, story: Story) -> tuple[SimulatedNode, SimulatedNode]:
    """The best coordinator for the key, and an honest one."""
    nodes = tuple(node.id for node in cluster.nodes)
    ranked = sorted(cluster.nodes, key=lambda node: rank(story.key_id, node.id, nodes))
    return ranked[0], ranked[1]


def neither_goes_on_nor_gives_up(_: liars.Place, message: Any) -> Any:
    return None if isinstance(message, Start | Cancel) else message


def test_requests_without_a_permission_keep_nobody_from_a_key() -> None:
    """The best coordinator proposes without end what no chain shows."""

    async def scenario(cluster: Cluster, story: Story) -> None:
        bad, good = best_and_another(cluster, story)
        invented = OnChainAddress(Address(b"\x66" * 20), story.author)
        bad.policy = replace(
            bad.policy,
            service_contracts=bad.policy.service_contracts
            | {(invented.contract, Operation.GENERATE_SERVER_KEY)},
        )

        async def flood() -> None:
            while True:
                with contextlib.suppress(SessionError):
                    await bad.api.generate_server_key(story.key_id, 1, invented)
                await asyncio.sleep(0.01)

        flooding = asyncio.ensure_future(flood())
        await asyncio.sleep(1)
        begun = asyncio.get_running_loop().time()
        await good.api.generate_server_key(story.key_id, 1, OnChainAddress(CONTRACT, story.author))
        assert asyncio.get_running_loop().time() - begun < ROUND_S
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)

    on_four(scenario)


def test_a_member_that_occupies_an_id_does_so_for_a_minute() -> None:
    """Its requests are in order, it is the best coordinator, and it never goes on or gives up."""

    async def scenario(cluster: Cluster, story: Story) -> None:
        bad, good = best_and_another(cluster, story)
        credential = OnChainAddress(CONTRACT, story.author)
        liars.in_cluster(cluster, bad, neither_goes_on_nor_gives_up)

        async def occupy() -> None:
            while True:
                with contextlib.suppress(SessionError):
                    await bad.api.generate_server_key(story.key_id, 1, credential)
                await asyncio.sleep(0.01)

        occupying = asyncio.ensure_future(occupy())
        await asyncio.sleep(1)
        begun, generated = asyncio.get_running_loop().time(), None
        while generated is None:
            assert asyncio.get_running_loop().time() - begun < MOST_OCCUPIED_S
            with contextlib.suppress(UnavailableError):
                generated = await good.api.generate_server_key(story.key_id, 1, credential)
            await asyncio.sleep(1)
        occupying.cancel()
        await asyncio.gather(occupying, return_exceptions=True)

    on_four(scenario)
