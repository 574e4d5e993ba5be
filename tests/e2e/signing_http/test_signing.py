"""Signatures over HTTP in a network of five, with nodes that are away, new, strict or restarted."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from keyserver.client.conversation import Conversation
from keyserver.client.doors import DoorKind
from keyserver.client.errors import NodeNotReadyError, RefusedOverHttpError
from keyserver.client.http import HttpKeyServers, connect_nodes
from keyserver.client.node_http import http_transport
from keyserver.client.signatures import ServerSignature
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.randomness import SystemRandom
from keyserver.crypto.schnorr import Form, verify
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.model.requests import SigningScheme, SignMessage
from tests.e2e.operator.static_network import StaticNetwork
from tests.e2e.signing_http.conftest import EVERYBODY, LENIENT, STRICT
from tests.support.node_processes import wait_connected
from tests.support.signature_checks import is_ecdsa, is_schnorr
from tests.support.waiting import wait_for
from tests.unit.app.samples import secret

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ALICE, BOB = Wallet(secret("alice")), Wallet(secret("bob"))
MESSAGE = Hash32(keccak256(b"a message"))
SCHNORR, FROST, ECDSA = SigningScheme


@dataclass(frozen=True)
class Key:
    """A server key of alice's, which everybody may use."""

    id: KeyId
    public: Point


@asynccontextmanager
async def asking(
    five: StaticNetwork,
    names: Sequence[str],
    who: Wallet = BOB,
    door: DoorKind = DoorKind.V1,
) -> AsyncIterator[HttpKeyServers]:
    urls = [five.url(name) for name in names]
    async with connect_nodes(urls, who, door=door) as servers:
        yield servers


async def generated(five: StaticNetwork, threshold: int, at: str = "a") -> Key:
    key_id = ALICE.new_key_id(SystemRandom())
    async with asking(five, [at], ALICE) as servers:
        made = await servers.generate_server_key(key_id, threshold)
    return Key(key_id, made.value.public)


async def signed(
    five: StaticNetwork, at: str, key: Key, scheme: SigningScheme, door: DoorKind = DoorKind.V1
) -> ServerSignature:
    """A signature through one node, checked once more by other means."""
    async with asking(five, [at], door=door) as servers:
        made = (await servers.sign(key.id, MESSAGE, scheme, public=key.public)).value
    if scheme is FROST:
        verify(Form.RFC9591, key.public, MESSAGE, made.encoded)
    else:
        check = is_ecdsa if scheme is ECDSA else is_schnorr
        assert check(key.public.raw64, MESSAGE, made.encoded)
    return made


async def unavailable(five: StaticNetwork, at: str, key: Key, scheme: SigningScheme) -> str:
    """What a node says that cannot have it signed now, but could later."""
    async with http_transport() as transport:
        talk = Conversation(
            transport, BOB, DoorKind.V1, domain=None, rng=SystemRandom(), unix_time=time.time
        )
        with pytest.raises(NodeNotReadyError) as caught:
            await talk.ask(five.url(at), SignMessage(key.id, MESSAGE, scheme))
    assert caught.value.status == 503
    return caught.value.error_code


async def test_every_node_signs_in_every_scheme(five: StaticNetwork) -> None:
    for threshold in (0, 1, 2):
        key = await generated(five, threshold, at=EVERYBODY[threshold])
        made = {
            (await signed(five, name, key, scheme)).encoded
            for name in EVERYBODY
            for scheme in SigningScheme
        }
        # With threshold 0 one node alone signs by RFC 6979, which is the same each time.
        assert len(made) >= 2 * len(EVERYBODY) + 1


async def test_too_few_nodes_for_ecdsa(five: StaticNetwork) -> None:
    """Seven would be needed for a threshold of 3: that is for good."""
    key = await generated(five, 3)
    await signed(five, "b", key, FROST)
    async with asking(five, ["b"]) as servers:
        with pytest.raises(RefusedOverHttpError) as caught:
            await servers.sign(key.id, MESSAGE, ECDSA, public=key.public)
    assert (caught.value.status, caught.value.error_code) == (403, "CONSENSUS_UNREACHABLE")
    assert "2t + 1" in caught.value.advice


async def test_presignatures_are_kept_ready_and_measured(five: StaticNetwork) -> None:
    key = await generated(five, 1)
    await signed(five, "a", key, ECDSA)
    node = five.nodes["a"]

    def are_ready() -> bool | None:
        signing = node.operator("/v1/status")[1]["signing"]
        return (signing["presignatures"] >= 2 and signing["made"]["ecdsa"] >= 1) or None

    wait_for(are_ready, timeout_s=20.0, doing="presigning")
    await signed(five, "a", key, ECDSA)


async def test_paths_are_refused_where_the_operator_says_so(five: StaticNetwork) -> None:
    """Three of five take no signature in a path: too few are left for ECDSA, enough for Schnorr."""
    key = await generated(five, 1)
    for scheme in (SCHNORR, ECDSA):
        async with asking(five, [STRICT[0]], door=DoorKind.ORIGINAL) as servers:
            with pytest.raises(RefusedOverHttpError, match="Operation is disabled") as caught:
                await servers.sign(key.id, MESSAGE, scheme, public=key.public)
        assert caught.value.status == 403
        assert f"sign_{scheme.name.lower()} ([keyserver] strict_credentials)" in str(caught.value)
        assert "/v1/server-keys/{id}/signature" in str(caught.value)
    for name in LENIENT:
        await signed(five, name, key, SCHNORR, DoorKind.ORIGINAL)
        async with asking(five, [name], door=DoorKind.ORIGINAL) as servers:
            with pytest.raises(RefusedOverHttpError) as caught:
                await servers.sign(key.id, MESSAGE, ECDSA, public=key.public)
        assert (caught.value.status, caught.value.error_code) == (403, "CONSENSUS_UNREACHABLE")


async def test_nodes_that_are_away(five: StaticNetwork) -> None:
    low, high = await generated(five, 1), await generated(five, 2)
    await signed(five, "a", low, ECDSA)
    five.nodes["d"].kill()
    five.nodes["poa1"].kill()
    for scheme in SigningScheme:
        await signed(five, "a", low, scheme)
    await signed(five, "b", high, FROST)
    assert await unavailable(five, "b", high, ECDSA) == "CONSENSUS_TEMPORARY_UNREACHABLE"
    five.nodes["c"].kill()
    assert await unavailable(five, "a", high, FROST) == "CONSENSUS_UNREACHABLE"
    await signed(five, "a", low, SCHNORR)
    assert await unavailable(five, "a", low, ECDSA) == "CONSENSUS_TEMPORARY_UNREACHABLE"
    _start(five, "c", "d", "poa1")
    for key in (low, high):
        for scheme in SigningScheme:
            await signed(five, "d", key, scheme)


async def test_a_node_without_a_share(five: StaticNetwork) -> None:
    """It was away when the key was made: it works with the others as soon as it is there."""
    five.nodes["d"].kill()
    key = await generated(five, 1)
    _start(five, "d")
    for scheme in SigningScheme:
        await signed(five, "d", key, scheme)


async def test_a_signer_that_was_restarted(five: StaticNetwork) -> None:
    """The presignatures that it had a part in are gone with its memory; nobody notices."""
    key = await generated(five, 2)
    for _ in range(2):
        await signed(five, "a", key, ECDSA)
    five.nodes["b"].kill()
    _start(five, "b")
    for _ in range(3):
        await signed(five, "a", key, ECDSA)
    await signed(five, "b", key, ECDSA)


async def test_nothing_of_it_is_in_the_logs(five: StaticNetwork) -> None:
    key = await generated(five, 1)
    made = [await signed(five, "a", key, scheme) for scheme in SigningScheme]
    credential = BOB.sign_digest(key.id).hex()
    await signed(five, "a", key, SCHNORR, DoorKind.ORIGINAL)
    logs = "".join(node.log for node in five.nodes.values())
    assert key.id.hex() in logs
    for text in (credential, *(each.encoded[32:64].hex() for each in made)):
        assert text not in logs


def _start(five: StaticNetwork, *names: str) -> None:
    for name in names:
        five.nodes[name].start()
    for name in names:
        five.nodes[name].wait_ready()
    wait_connected(list(five.nodes.values()))
