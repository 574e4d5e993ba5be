"""Coordinators that die at any message: what they leave behind is decided all the same."""

import asyncio
import contextlib
from collections.abc import Coroutine
from random import Random
from typing import Any

from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.engine.outcomes import DocumentInstalled, RecordInstalled
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import OnChainAddress, Operation
from keyserver.sessions.core import DeniedError, KeyState, Policy, SessionError, UnavailableError
from keyserver.sessions.sharing.messages import (
    Cert,
    Finalize,
    Installed,
    Propose,
    Shares,
    Start,
)
from keyserver.sessions.storing.messages import StoreCert, Stored, StorePropose
from keyserver.sessions.wire import message_type
from keyserver.simulation.cluster import CONTRACT, Cluster, SimulatedNode
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.network import Faults
from tests.simulation.story import Story, check_agreement

SIZES = [(3, 1), (4, 1), (4, 2), (5, 2), (7, 3)]
GENERATION = [kind.TYPE for kind in (Propose, Start, Shares, Finalize, Cert, Installed)]
STORING = [kind.TYPE for kind in (StorePropose, StoreCert, Stored)]

SETTLED_S = 600.0
"""By then everything is decided, with all but f nodes up."""


class Assassin:
    """Silences a node when it sends its `nth` message of a type, and crashes it soon after.

    Soon: at once, with what it sent before still on its way and lost, or when that has arrived.
    """

    def __init__(self, cluster: Cluster, victim: SimulatedNode, kind: int, nth: int) -> None:
        self.struck = asyncio.Event()
        self._cluster = cluster
        self._victim = victim
        self._kind = kind
        self._left = nth
        cluster.network.corrupt(victim.id, self._tamper)

    def _tamper(self, sender: NodeId, to: NodeId, message: bytes) -> bytes | None:
        if self.struck.is_set():
            return None
        if message_type(message) == self._kind:
            self._left -= 1
            if self._left < 0:
                self.struck.set()
                return None
        return message

    async def watch(self, work: Coroutine[Any, Any, Any]) -> bool:
        """Let the victim do its work; whether it died of it."""
        task = asyncio.ensure_future(work)
        strike = asyncio.ensure_future(self.struck.wait())
        await asyncio.wait([task, strike], return_when=asyncio.FIRST_COMPLETED)
        struck = self.struck.is_set()
        if struck:
            await asyncio.sleep(self._cluster.random.choice([0.0, 0.03, 0.2]))
            await self._victim.crash()
        self._cluster.network.corrupt(self._victim.id, lambda _sender, _to, message: message)
        for pending in (task, strike):
            pending.cancel()
            with contextlib.suppress(asyncio.CancelledError, SessionError):
                await pending
        return struck


def up(cluster: Cluster) -> list[SimulatedNode]:
    return [node for node in cluster.nodes if node.is_up]


async def states(cluster: Cluster, key_id: KeyId) -> list[KeyState]:
    return [await node.store.load(key_id) for node in up(cluster)]


async def check_settled(cluster: Cluster, key_id: KeyId) -> None:
    """Nothing is left undecided at any node that runs, and they tell the same."""
    for node in up(cluster):
        assert await node.store.undecided() == []
        assert not any(task.done() for task in node._tasks), "a part of the node has died"
    known = await states(cluster, key_id)
    records = {state.active.record.hash for state in known if state.active is not None}
    documents = {state.document.document for state in known if state.document is not None}
    assert len(records) <= 1
    assert len(documents) <= 1


async def generate_until_done(cluster: Cluster, story: Story) -> None:
    for turn in range(10):
        node = up(cluster)[turn % len(up(cluster))]
        with contextlib.suppress(UnavailableError, DeniedError):
            credential = OnChainAddress(CONTRACT, story.author)
            await node.api.generate_server_key(story.key_id, story.threshold, credential)
        if all(state.active is not None for state in await states(cluster, story.key_id)):
            return
        await asyncio.sleep(30)
    raise AssertionError("the key was never generated")


def generation(node: SimulatedNode, story: Story) -> Coroutine[Any, Any, Any]:
    credential = OnChainAddress(CONTRACT, story.author)
    return node.api.generate_server_key(story.key_id, story.threshold, credential)


def storing(node: SimulatedNode, story: Story, document: DocumentKey) -> Coroutine[Any, Any, Any]:
    credential = OnChainAddress(CONTRACT, story.author)
    return node.api.store_document_key(story.key_id, document, credential)


async def some_document(cluster: Cluster, story: Story) -> DocumentKey:
    (record,) = {s.active.record for s in await states(cluster, story.key_id) if s.active}
    encrypted = encrypt_document_key(record.public, story.document_key, story.random)
    return DocumentKey(encrypted.common, encrypted.encrypted)


async def store_until_done(cluster: Cluster, story: Story) -> None:
    document = await some_document(cluster, story)
    for turn in range(10):
        node = up(cluster)[turn % len(up(cluster))]
        with contextlib.suppress(UnavailableError, DeniedError):
            await storing(node, story, document)
        if all(state.document is not None for state in await states(cluster, story.key_id)):
            return
        await asyncio.sleep(30)
    raise AssertionError("the document key was never stored")


async def comes_back(victim: SimulatedNode, cluster: Cluster, story: Story, random: Random) -> None:
    """The victim stays away for a while; with or without it everything gets decided."""
    await asyncio.sleep(random.choice([1, 30, SETTLED_S]))
    if random.random() < 0.5:
        victim.boot()
    await asyncio.sleep(SETTLED_S)
    await check_settled(cluster, story.key_id)
    if not victim.is_up:
        victim.boot()
    await asyncio.sleep(120)
    await check_settled(cluster, story.key_id)


def test_a_coordinator_that_dies_in_a_generation(seed: int) -> None:
    random = Random(seed)
    nodes, threshold = SIZES[seed % len(SIZES)]
    kind = GENERATION[(seed // len(SIZES)) % len(GENERATION)]

    async def scenario() -> None:
        async with Cluster(nodes, seed=seed) as cluster:
            await asyncio.sleep(1)
            story, victim = Story(cluster, threshold), random.choice(cluster.nodes)
            assassin = Assassin(cluster, victim, kind, random.randrange(nodes - 1))
            assert await assassin.watch(generation(victim, story))
            await comes_back(victim, cluster, story, random)
            await generate_until_done(cluster, story)
            await check_settled(cluster, story.key_id)
            await check_agreement(story)

    run_virtual(scenario())


def test_a_coordinator_that_dies_while_storing(seed: int) -> None:
    random = Random(seed)
    nodes, threshold = SIZES[seed % len(SIZES)]
    kind = STORING[(seed // len(SIZES)) % len(STORING)]

    async def scenario() -> None:
        async with Cluster(nodes, seed=seed) as cluster:
            await asyncio.sleep(1)
            story, victim = Story(cluster, threshold), random.choice(cluster.nodes)
            await generate_until_done(cluster, story)
            assassin = Assassin(cluster, victim, kind, random.randrange(nodes - 1))
            assert await assassin.watch(storing(victim, story, await some_document(cluster, story)))
            await comes_back(victim, cluster, story, random)
            await store_until_done(cluster, story)
            await check_settled(cluster, story.key_id)
            await check_agreement(story)
            await story.retrieve()

    run_virtual(scenario())


def test_all_nodes_die_at_once_on_a_bad_network(seed: int) -> None:
    random = Random(seed)
    nodes, threshold = SIZES[seed % len(SIZES)]
    faults = Faults(reorder=True, duplicate=0.1, lose=0.02, break_connection=0.01)

    async def scenario() -> None:
        async with Cluster(nodes, seed=seed, faults=faults) as cluster:
            await asyncio.sleep(1)
            story = Story(cluster, threshold)
            work = asyncio.ensure_future(generation(random.choice(cluster.nodes), story))
            await asyncio.sleep(random.uniform(0, 0.4))
            for node in cluster.nodes:
                await node.crash()
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError, SessionError):
                await work
            for node in cluster.nodes:
                await asyncio.sleep(random.uniform(0, 20))
                node.boot()
            await asyncio.sleep(2 * SETTLED_S)
            await check_settled(cluster, story.key_id)
            cluster.network.heal()
            await generate_until_done(cluster, story)
            await check_settled(cluster, story.key_id)
            await check_agreement(story)

    run_virtual(scenario())


def test_a_node_that_was_down_gets_everything_by_synchronisation() -> None:
    policy = Policy(
        generation_quorum=1,
        service_contracts=frozenset((CONTRACT, operation) for operation in Operation),
    )

    async def scenario() -> None:
        async with Cluster(4, seed=1, policy=policy) as cluster:
            story, absent = Story(cluster, 1), cluster.nodes[2]
            await absent.crash()
            await generation(cluster.nodes[0], story)
            absent.boot()
            await asyncio.sleep(1)
            assert (await absent.store.load(story.key_id)).active is not None
            await absent.crash()
            await storing(cluster.nodes[0], story, await some_document(cluster, story))
            absent.boot()
            await asyncio.sleep(1)
            state = await absent.store.load(story.key_id)
            assert state.document is not None
            assert state.share is not None, "its own, from two of the others"
            assert absent.recorder.outcomes == [
                RecordInstalled(story.key_id),
                DocumentInstalled(story.key_id),
            ]

    run_virtual(scenario())


def test_a_connected_node_that_missed_the_session_learns_of_it_in_time() -> None:
    policy = Policy(
        generation_quorum=1,
        service_contracts=frozenset((CONTRACT, operation) for operation in Operation),
    )

    async def scenario() -> None:
        async with Cluster(4, seed=1, policy=policy) as cluster:
            story, deaf = Story(cluster, 1), cluster.nodes[2]
            await asyncio.sleep(1)
            links = range(0x0100)
            cluster.network.corrupt(
                cluster.nodes[0].id,
                lambda _, to, data: data if to != deaf.id or message_type(data) in links else None,
            )
            await generation(cluster.nodes[0], story)
            assert (await deaf.store.load(story.key_id)).active is None
            await asyncio.sleep(600)
            assert (await deaf.store.load(story.key_id)).active is not None

    run_virtual(scenario())


def test_fetch_brings_what_is_new_and_keeps_it() -> None:
    policy = Policy(
        generation_quorum=1,
        service_contracts=frozenset((CONTRACT, operation) for operation in Operation),
    )

    async def scenario() -> None:
        async with Cluster(4, seed=1, policy=policy) as cluster:
            story, deaf = Story(cluster, 1), cluster.nodes[2]
            await asyncio.sleep(1)
            cluster.network.corrupt(
                cluster.nodes[0].id, lambda _, to, data: None if to == deaf.id else data
            )
            await generation(cluster.nodes[0], story)
            found = await deaf.api.find_record(story.key_id)
            assert found is not None
            assert (await deaf.store.load(story.key_id)).active == found
            assert await deaf.api.find_record(KeyId(b"\x01" * 32)) is None

    run_virtual(scenario())


def test_a_live_session_is_left_alone_when_a_node_restarts() -> None:
    """A restarted node may vote at once; the others give their session its minute."""

    async def scenario() -> None:
        async with Cluster(3, seed=5, faults=Faults(least_delay_s=1, most_delay_s=1)) as cluster:
            await asyncio.sleep(1)
            story = Story(cluster, 1)
            work = asyncio.ensure_future(generation(cluster.nodes[0], story))
            while not (await cluster.nodes[2].store.load(story.key_id)).prepared:
                await asyncio.sleep(0.1)
            await cluster.nodes[2].crash()
            cluster.nodes[2].boot()
            record = (await work).record
            await asyncio.sleep(30)
            for state in await states(cluster, story.key_id):
                assert state.active is not None
                assert state.active.record == record

    run_virtual(scenario())
