"""Bound credentials over whole clusters: what counts again, and what is a replay."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from keyserver.api.v1_credentials import AuthHeader, BoundCredentialSource
from keyserver.crypto import ecies
from keyserver.crypto.credentials import open_signature
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.bound_requests import bound_digest
from keyserver.model.identifiers import Nonce32
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import (
    AnyOperation,
    GenerateServerKey,
    RetrieveDocumentKey,
    StoreDocumentKey,
)
from keyserver.sessions.core import DeniedError, Policy, SessionError, UnavailableError
from keyserver.simulation.clock import EPOCH
from keyserver.simulation.cluster import Cluster
from keyserver.simulation.loop import run_virtual
from tests.support.fake_cluster import point_of
from tests.support.key_life import KEY_ID

AUTHOR = SecretScalar.from_int(11)
DOCUMENT = DocumentKey(point_of(21), point_of(22))
GENERATION, STORING = GenerateServerKey(KEY_ID, 1), StoreDocumentKey(KEY_ID, DOCUMENT)
RETRIEVAL = RetrieveDocumentKey(KEY_ID)


def signed(operation: AnyOperation, nonce: int, not_after: int = 600) -> BoundCredentialSource:
    domain, number = Policy().signing_domain, Nonce32(nonce.to_bytes(32, "big"))
    digest = bound_digest(domain, operation, EPOCH + not_after, number)
    signature = sign_digest(AUTHOR, digest)
    header = AuthHeader(EPOCH + not_after, number, signature)
    opened = open_signature(digest, signature)
    return BoundCredentialSource(header, digest, opened, SeededRandom(b"proofs"))


def on_cluster(scenario: Callable[[Cluster], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Cluster(3, seed=3, policy=Policy()) as cluster:
            await scenario(cluster)

    run_virtual(run())


async def refusal(call: Awaitable[object]) -> SessionError:
    with pytest.raises(SessionError) as caught:
        await call
    return caught.value


async def prepared(cluster: Cluster) -> None:
    api = cluster.nodes[0].api
    await api.generate_server_key(KEY_ID, 1, signed(GENERATION, 1))
    await api.store_document_key(KEY_ID, DOCUMENT, signed(STORING, 2))


def test_repeats_through_the_same_node_count() -> None:
    async def scenario(cluster: Cluster) -> None:
        await prepared(cluster)
        credential = signed(RETRIEVAL, 3)
        for _ in range(3):
            await cluster.nodes[0].api.retrieve_shadow(KEY_ID, credential)

    on_cluster(scenario)


def test_both_keys_are_made_under_one_credential() -> None:
    async def scenario(cluster: Cluster) -> None:
        operation = GenerateServerKey(KEY_ID, 1, with_document_key=True)
        credential = signed(operation, 1)
        api = cluster.nodes[0].api
        sealed = await api.generate_both(KEY_ID, 1, credential, credential.public)
        assert len(ecies.decrypt(AUTHOR, sealed)) == 64

    on_cluster(scenario)


def test_a_request_whose_time_is_over_is_told_so() -> None:
    async def scenario(cluster: Cluster) -> None:
        await prepared(cluster)
        credential = signed(RETRIEVAL, 3, not_after=1)
        await asyncio.sleep(3)
        error = await refusal(cluster.nodes[0].api.retrieve_shadow(KEY_ID, credential))
        assert isinstance(error, DeniedError)
        assert error.code == "SignatureExpired"

    on_cluster(scenario)


def test_a_request_that_leaks_cannot_be_made_through_other_nodes() -> None:
    async def scenario(cluster: Cluster) -> None:
        await prepared(cluster)
        credential = signed(RETRIEVAL, 3)
        result = await cluster.nodes[0].api.retrieve_shadow(KEY_ID, credential)
        for node in cluster.nodes[1:]:
            error = await refusal(node.api.retrieve_shadow(KEY_ID, credential))
            if node.id in result.nodes:  # it knows that itself; others hear it from the rest
                assert isinstance(error, DeniedError)
                assert error.code == "ReplayProtection"
            else:
                assert isinstance(error, UnavailableError)
        await cluster.nodes[1].api.retrieve_shadow(KEY_ID, signed(RETRIEVAL, 4))

    on_cluster(scenario)


def test_a_nonce_is_for_one_request() -> None:
    async def scenario(cluster: Cluster) -> None:
        await prepared(cluster)
        plain = RetrieveDocumentKey(KEY_ID, shadow=False)
        await cluster.nodes[0].api.retrieve_shadow(KEY_ID, signed(RETRIEVAL, 3))
        error = await refusal(cluster.nodes[0].api.retrieve_plain(KEY_ID, signed(plain, 3)))
        assert error.code == "ReplayProtection"

    on_cluster(scenario)


def test_a_failed_generation_is_tied_to_its_node() -> None:
    """All nodes saw the credential: its repeat is for the same node, others want a new one."""

    async def scenario(cluster: Cluster) -> None:
        cluster.network.corrupt(
            cluster.nodes[0].id, lambda _from, _to, data: None if data[:2] == b"\x01\x03" else data
        )
        credential = signed(GENERATION, 1)
        error = await refusal(cluster.nodes[0].api.generate_server_key(KEY_ID, 1, credential))
        assert isinstance(error, UnavailableError)
        elsewhere = cluster.nodes[1].api.generate_server_key(KEY_ID, 1, credential)
        assert (await refusal(elsewhere)).code == "ReplayProtection"
        cluster.network.corrupt(cluster.nodes[0].id, lambda _from, _to, data: data)
        await cluster.nodes[0].api.generate_server_key(KEY_ID, 1, credential)

    on_cluster(scenario)
