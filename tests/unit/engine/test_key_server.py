"""The engine's surface: the order of checks, credentials made for one session, both keys."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from keyserver.api.credentials import PathCredential, open_path_credential
from keyserver.crypto import ecies
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.keys import DocumentKey
from keyserver.model.node_set import NodeSet
from keyserver.sessions.core import DeniedError, Policy, SessionError, UnavailableError
from keyserver.sessions.storing.messages import Stored
from keyserver.sessions.wire import LINK_TYPES, message_type
from keyserver.simulation.cluster import Cluster
from keyserver.simulation.loop import run_virtual
from tests.support.fake_cluster import point_of
from tests.support.key_life import KEY_ID

AUTHOR = SecretScalar.from_int(11)
OTHER = SecretScalar.from_int(12)
DOCUMENT = DocumentKey(point_of(21), point_of(22))
UNKNOWN = KeyId(b"\x77" * 32)


def asking(who: SecretScalar, key_id: KeyId = KEY_ID) -> PathCredential:
    return open_path_credential(key_id, sign_digest(who, key_id), SeededRandom(b"proofs"))


def on_cluster(scenario: Callable[[Cluster], Awaitable[None]], nodes: int = 3) -> None:
    async def run() -> None:
        async with Cluster(nodes, seed=3, policy=Policy()) as cluster:
            await scenario(cluster)

    run_virtual(run())


async def refusal(call: Awaitable[object]) -> str:
    with pytest.raises(SessionError) as caught:
        await call
    return caught.value.code


async def crash(cluster: Cluster, *which: int) -> None:
    for index in which:
        await cluster.nodes[index].crash()


def test_generation_refuses_in_the_published_order() -> None:
    async def scenario(cluster: Cluster) -> None:
        api = cluster.nodes[0].api
        running = asyncio.ensure_future(api.generate_server_key(KEY_ID, 1, asking(AUTHOR)))
        await asyncio.sleep(0.01)
        duplicate = api.generate_server_key(KEY_ID, 9, asking(AUTHOR))
        assert await refusal(duplicate) == "DuplicateSessionId"
        elsewhere = cluster.nodes[1].api.generate_server_key(KEY_ID, 9, asking(AUTHOR))
        assert await refusal(elsewhere) == "DuplicateSessionId"
        await running
        exists = api.generate_server_key(KEY_ID, 9, asking(AUTHOR))
        assert await refusal(exists) == "ServerKeyAlreadyGenerated"
        too_high = api.generate_server_key(UNKNOWN, 3, asking(AUTHOR, UNKNOWN))
        assert await refusal(too_high) == "NotEnoughNodesForThreshold"
        await crash(cluster, 2)
        disconnected = api.generate_server_key(KEY_ID, 9, asking(AUTHOR))
        assert await refusal(disconnected) == "NodeDisconnected"

    on_cluster(scenario)


def test_a_generation_that_is_all_but_done_elsewhere_is_waited_for() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.nodes[0].api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        for node in cluster.nodes:
            again = node.api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
            assert await refusal(again) == "ServerKeyAlreadyGenerated"

    on_cluster(scenario)


def test_what_is_answered_is_on_the_answering_nodes_disk() -> None:
    async def scenario(cluster: Cluster) -> None:
        node = cluster.nodes[0]
        await node.api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        assert (await node.store.load(KEY_ID)).active is not None
        await node.api.store_document_key(KEY_ID, DOCUMENT, asking(AUTHOR))
        assert (await node.store.load(KEY_ID)).document is not None

    on_cluster(scenario)


def test_storing_refuses_in_the_published_order() -> None:
    async def scenario(cluster: Cluster) -> None:
        api = cluster.nodes[0].api
        unknown = api.store_document_key(UNKNOWN, DOCUMENT, asking(OTHER, UNKNOWN))
        assert await refusal(unknown) == "ServerKeyIsNotFound"
        await api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        other = api.store_document_key(KEY_ID, DOCUMENT, asking(OTHER))
        assert await refusal(other) == "AccessDenied"
        assert await refusal(api.check_storing(KEY_ID, asking(OTHER).address)) == "AccessDenied"
        await api.check_storing(KEY_ID, asking(AUTHOR).address)
        running = asyncio.ensure_future(api.store_document_key(KEY_ID, DOCUMENT, asking(AUTHOR)))
        await asyncio.sleep(0.005)
        for call in (
            api.store_document_key(KEY_ID, DOCUMENT, asking(AUTHOR)),
            api.check_storing(KEY_ID, asking(AUTHOR).address),
        ):
            assert await refusal(call) == "DuplicateSessionId"
        await running
        for who in (AUTHOR, OTHER):
            again = api.store_document_key(KEY_ID, DOCUMENT, asking(who))
            assert await refusal(again) == "DocumentKeyAlreadyStored"
        await crash(cluster, 1)
        disconnected = api.store_document_key(UNKNOWN, DOCUMENT, asking(OTHER, UNKNOWN))
        assert await refusal(disconnected) == "NodeDisconnected"
        unchecked = api.check_storing(UNKNOWN, asking(OTHER).address)
        assert await refusal(unchecked) == "NodeDisconnected"

    on_cluster(scenario)


@pytest.mark.parametrize("slow", [None, 1, 2])
def test_what_was_stored_through_another_node_is_stored_already(slow: int | None) -> None:
    """Also for the same points, and at a node that has not heard the end of that session."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.nodes[0].api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        if slow is not None:
            deaf = cluster.nodes[slow].id

            def spare(_from: NodeId, to: NodeId, data: bytes) -> bytes | None:
                return None if to == deaf and message_type(data) == Stored.TYPE else data

            cluster.network.corrupt(cluster.nodes[0].id, spare)
        await cluster.nodes[0].api.store_document_key(KEY_ID, DOCUMENT, asking(AUTHOR))
        for node in cluster.nodes:
            again = node.api.store_document_key(KEY_ID, DOCUMENT, asking(AUTHOR))
            assert await refusal(again) == "DocumentKeyAlreadyStored"

    on_cluster(scenario)


def test_strangers_do_not_keep_the_author_from_storing() -> None:
    """Whoever knows the id can ask; a node that says nothing makes the answer take longer."""

    async def scenario(cluster: Cluster) -> None:
        api = cluster.nodes[0].api
        await api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        silent = cluster.nodes[2].id
        cluster.network.corrupt(
            silent, lambda _from, _to, data: None if message_type(data) in LINK_TYPES else data
        )
        stranger = asyncio.ensure_future(
            refusal(api.store_document_key(KEY_ID, DOCUMENT, asking(OTHER)))
        )
        await asyncio.sleep(0.1)
        assert not stranger.done()
        await api.store_document_key(KEY_ID, DOCUMENT, asking(AUTHOR))
        assert await stranger in {"AccessDenied", "DocumentKeyAlreadyStored"}

    on_cluster(scenario)


def test_two_document_keys_at_once() -> None:
    """At different nodes: at most one is stored, and the other is told why."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.nodes[0].api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        other = DocumentKey(point_of(31), point_of(32))
        outcomes = await asyncio.gather(
            cluster.nodes[0].api.store_document_key(KEY_ID, DOCUMENT, asking(AUTHOR)),
            cluster.nodes[1].api.store_document_key(KEY_ID, other, asking(AUTHOR)),
            return_exceptions=True,
        )
        failed = [each for each in outcomes if isinstance(each, SessionError)]
        told = {"DocumentKeyAlreadyStored", "DuplicateSessionId", "NodeDisconnected"}
        assert {error.code for error in failed} <= told
        stored = {(await node.store.load(KEY_ID)).document for node in cluster.nodes} - {None}
        assert len(stored) <= 1
        assert len(outcomes) - len(failed) <= 1

    on_cluster(scenario)


def test_server_key_retrieval() -> None:
    async def scenario(cluster: Cluster) -> None:
        api, author = cluster.nodes[0].api, asking(AUTHOR).address
        assert await refusal(api.retrieve_server_key(KEY_ID, author)) == "ServerKeyIsNotFound"
        made = await api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        assert await api.retrieve_server_key(KEY_ID, author) == made
        other = asking(OTHER).address
        assert await refusal(api.retrieve_server_key(KEY_ID, other)) == "AccessDenied"
        await crash(cluster, 1)
        assert await api.retrieve_server_key(KEY_ID, author) == made
        await crash(cluster, 2)
        for who in (author, other):
            call = api.retrieve_server_key(KEY_ID, who)
            assert await refusal(call) == "ConsensusUnreachable"

    on_cluster(scenario)


def test_document_key_retrieval_refuses_in_the_published_order() -> None:
    async def scenario(cluster: Cluster) -> None:
        api = cluster.nodes[0].api
        for retrieve in (api.retrieve_shadow, api.retrieve_plain):
            assert await refusal(retrieve(KEY_ID, asking(OTHER))) == "ServerKeyIsNotFound"
        await api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        for retrieve in (api.retrieve_shadow, api.retrieve_plain):
            assert await refusal(retrieve(KEY_ID, asking(OTHER))) == "DocumentKeyIsNotFound"
        await api.store_document_key(KEY_ID, DOCUMENT, asking(AUTHOR))
        sealed = await api.retrieve_plain(KEY_ID, asking(OTHER))
        assert len(ecies.decrypt(OTHER, sealed)) == 64

    on_cluster(scenario)


@pytest.mark.parametrize("excluded", [0, 2])
def test_nodes_that_the_requester_excludes_are_not_asked(excluded: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.nodes[0].api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        await cluster.nodes[0].api.store_document_key(KEY_ID, DOCUMENT, asking(AUTHOR))
        node = cluster.nodes[excluded]
        exclude = frozenset({node.id})
        result = await cluster.nodes[0].api.retrieve_shadow(KEY_ID, asking(OTHER), exclude)
        assert set(result.nodes) == {other.id for other in cluster.nodes} - exclude
        await asyncio.sleep(1)
        took_part = [(name, role) for name, role, _ in node.recorder.sessions]
        assert ("retrieval", "participant") not in took_part

    on_cluster(scenario)


def test_excluding_too_many_nodes_is_no_final_answer() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.nodes[0].api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        await cluster.nodes[0].api.store_document_key(KEY_ID, DOCUMENT, asking(AUTHOR))
        exclude = frozenset(node.id for node in cluster.nodes[:2])
        with pytest.raises(UnavailableError) as caught:
            await cluster.nodes[0].api.retrieve_shadow(KEY_ID, asking(OTHER), exclude)
        assert caught.value.code == "ConsensusUnreachable"

    on_cluster(scenario)


def test_a_node_outside_its_own_set_serves_nothing() -> None:
    async def scenario(cluster: Cluster) -> None:
        api, snapshot = cluster.nodes[0].api, cluster.sets.snapshot
        await api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        without = NodeSet(1, snapshot.current.contract, snapshot.current.nodes[1:])
        cluster.sets.snapshot = type(snapshot)(without, without, None, (), 0, 0)
        for call in (
            api.generate_server_key(UNKNOWN, 1, asking(AUTHOR, UNKNOWN)),
            api.check_storing(KEY_ID, asking(AUTHOR).address),
            api.retrieve_server_key(KEY_ID, asking(AUTHOR).address),
            api.retrieve_shadow(KEY_ID, asking(AUTHOR)),
            api.retrieve_plain(KEY_ID, asking(AUTHOR)),
        ):
            assert await refusal(call) == "NodeDisconnected"

    on_cluster(scenario)


def test_fewer_nodes_may_be_asked_for() -> None:
    async def scenario(cluster: Cluster) -> None:
        for node in cluster.nodes:
            node.policy = Policy(generation_quorum=3)
        await crash(cluster, 3)
        api = cluster.nodes[0].api
        await api.generate_server_key(KEY_ID, 1, asking(AUTHOR))
        await crash(cluster, 2)
        call = api.generate_server_key(UNKNOWN, 1, asking(AUTHOR, UNKNOWN))
        assert await refusal(call) == "NodeDisconnected"

    on_cluster(scenario, nodes=4)


def test_both_keys() -> None:
    async def scenario(cluster: Cluster) -> None:
        api, credential = cluster.nodes[0].api, asking(AUTHOR)
        sealed = await api.generate_both(KEY_ID, 1, credential, credential.public)
        document_key = ecies.decrypt(AUTHOR, sealed)
        for node in cluster.nodes:
            again = await node.api.retrieve_plain(KEY_ID, asking(OTHER))
            assert ecies.decrypt(OTHER, again) == document_key

    on_cluster(scenario)


def test_the_server_key_stays_when_storing_the_document_key_fails() -> None:
    async def scenario(cluster: Cluster) -> None:
        node, credential = cluster.nodes[0], asking(AUTHOR)
        cluster.network.corrupt(
            node.id, lambda _from, _to, message: None if message[:2] == b"\x03\x01" else message
        )
        call = node.api.generate_both(KEY_ID, 1, credential, credential.public)
        assert await refusal(call) == "NodeDisconnected"
        state = await node.store.load(KEY_ID)
        assert state.active is not None
        assert state.document is None

    on_cluster(scenario)


def test_denied_plain_modes_are_final_at_ones_own_node() -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.nodes[0].policy = Policy(forbid_plain_modes=True)
        credential = asking(AUTHOR)
        call = cluster.nodes[0].api.generate_both(KEY_ID, 1, credential, credential.public)
        with pytest.raises(DeniedError):
            await call

    on_cluster(scenario)
