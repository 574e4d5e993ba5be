"""Nodes that lie, and people in between: what the client notices, and what it makes of it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from keyserver.client.attempts import Retry
from keyserver.client.documents import new_document_key
from keyserver.client.doors import DoorKind
from keyserver.client.errors import (
    BadAnswerError,
    KeyNotConfirmedError,
    LyingNodesError,
    NodeNotTrustedError,
)
from keyserver.crypto import ecies
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Address, KeyId, NodeId
from tests.integration.client.network import (
    ALICE,
    BOB,
    RNG,
    Proxy,
    changed,
    connected,
    fresh_id,
    proxied,
    urls,
)
from tests.support.client_node import ClientNetwork, client_network

DOORS = pytest.mark.parametrize("door", list(DoorKind))


@dataclass
class Stored:
    key_id: KeyId
    document_key: Point


@pytest.fixture(scope="module")
async def network() -> AsyncIterator[ClientNetwork]:
    async with client_network(5, seed=78) as running:
        yield running


@pytest.fixture(scope="module")
async def stored(network: ClientNetwork) -> Stored:
    found = Stored(fresh_id(), new_document_key(RNG))
    async with connected(ALICE, urls(network)) as alice:
        public = (await alice.generate_server_key(found.key_id, 1)).value.public
        sealed = encrypt_document_key(public, found.document_key, RNG)
        await alice.store_document_key(found.key_id, sealed)
    return found


@dataclass
class Liars:
    """Put another shadow in the place of what these nodes made; at first of the first there is."""

    most: int = 1
    names: set[str] = field(default_factory=set)

    def change(self, request: web.Request, body: bytes) -> bytes:
        fields = json.loads(body)
        shadows, nodes = fields["decrypt_shadows"], fields["shadow_nodes"]
        if len(self.names) < self.most:
            self.names.add(nodes[0])
        other = ecies.encrypt(
            Point.from_raw64(BOB.public_key), SecretScalar.random(RNG).expose(), RNG
        )
        swapped = [
            f"0x{other.hex()}" if node in self.names else shadow
            for node, shadow in zip(nodes, shadows, strict=True)
        ]
        return changed(body, decrypt_shadows=swapped)


@DOORS
async def test_a_liar_is_named_and_left_out(
    network: ClientNetwork, stored: Stored, door: DoorKind
) -> None:
    liars = Liars()
    told: list[Retry] = []
    async with (
        proxied(Proxy(urls(network)[0], liars.change)) as url,
        connected(BOB, [url], door, watch=told.append) as bob,
    ):
        answer = await bob.retrieve_document_key(stored.key_id)
    assert answer.value == stored.document_key
    (name,) = liars.names
    assert name in str(told[0])


@DOORS
async def test_a_node_that_makes_others_look_like_liars_is_passed_over(
    network: ClientNetwork, stored: Stored, door: DoorKind
) -> None:
    liars, honest = Liars(most=5), urls(network)[1]
    async with proxied(Proxy(urls(network)[0], liars.change)) as url:
        async with connected(BOB, [url, honest], door) as bob:
            answer = await bob.retrieve_document_key(stored.key_id)
        assert (answer.value, answer.node) == (stored.document_key, honest)
        async with connected(BOB, [url], door) as bob:
            with pytest.raises(LyingNodesError) as raised:
                await bob.retrieve_document_key(stored.key_id)
    assert {f"0x{node.hex()}" for node in raised.value.nodes} <= liars.names


async def test_a_server_that_knows_no_checking_still_works(
    network: ClientNetwork, stored: Stored
) -> None:
    def three_fields(request: web.Request, body: bytes) -> bytes:
        assert set(json.loads(body)) == {"decrypted_secret", "common_point", "decrypt_shadows"}
        return body

    hidden = frozenset({"Secretstore-Verify", "Secretstore-Exclude"})
    async with (
        proxied(Proxy(urls(network)[0], three_fields, hidden)) as url,
        connected(BOB, [url], DoorKind.ORIGINAL) as bob,
    ):
        assert (await bob.retrieve_document_key(stored.key_id)).value == stored.document_key


async def test_what_cannot_be_checked_and_does_not_open_is_told(
    network: ClientNetwork, stored: Stored
) -> None:
    def damage(request: web.Request, body: bytes) -> bytes:
        shadows = json.loads(body)["decrypt_shadows"]
        return changed(body, decrypt_shadows=["0x" + "04" * 145, *shadows[1:]])

    hidden = frozenset({"Secretstore-Verify"})
    async with (
        proxied(Proxy(urls(network)[0], damage, hidden)) as url,
        connected(BOB, [url], DoorKind.ORIGINAL) as bob,
    ):
        with pytest.raises(BadAnswerError, match="do not open"):
            await bob.retrieve_document_key(stored.key_id)


@DOORS
async def test_a_key_swapped_on_the_way_is_not_encrypted_to(
    network: ClientNetwork, stored: Stored, door: DoorKind
) -> None:
    attacker = SecretScalar.random(RNG).public()

    def swap(request: web.Request, body: bytes) -> bytes:
        text = f"0x{attacker.raw64.hex()}"
        return changed(body, public=text) if door is DoorKind.V1 else json.dumps(text).encode()

    async with proxied(Proxy(urls(network)[0], swap)) as url:
        async with connected(ALICE, [url], door) as alice:
            assert await alice.key_to_encrypt_to(stored.key_id) == attacker, "nobody can tell"
        async with connected(ALICE, [url], door, confirm_with=urls(network)[1:2]) as alice:
            with pytest.raises(KeyNotConfirmedError, match="two server keys"):
                await alice.key_to_encrypt_to(stored.key_id)
            with pytest.raises(KeyNotConfirmedError, match="two server keys"):
                await alice.generate_server_key(fresh_id(), 1)


@dataclass
class LoseFirst:
    """Close the connection instead of giving the first answer that succeeded."""

    lost: int = 0

    def change(self, request: web.Request, body: bytes) -> bytes | None:
        self.lost += 1
        return None if self.lost == 1 else body


@DOORS
async def test_what_was_done_while_the_answer_got_lost_is_not_reported_as_taken(
    network: ClientNetwork, door: DoorKind
) -> None:
    key_id, document_key = fresh_id(), new_document_key(RNG)
    async with (
        proxied(Proxy(urls(network)[0], LoseFirst().change)) as url,
        connected(ALICE, [url], door) as alice,
    ):
        public = (await alice.generate_server_key(key_id, 1)).value.public
    async with connected(ALICE, urls(network)[1:], door) as alice:
        assert (await alice.retrieve_server_key(key_id)).value.public == public
    sealed = encrypt_document_key(public, document_key, RNG)
    async with (
        proxied(Proxy(urls(network)[0], LoseFirst().change)) as url,
        connected(ALICE, [url], door) as alice,
    ):
        assert (await alice.store_document_key(key_id, sealed)).value
        assert (await alice.retrieve_document_key(key_id)).value == document_key


@DOORS
async def test_both_keys_made_while_the_answer_got_lost_are_had_all_the_same(
    network: ClientNetwork, door: DoorKind
) -> None:
    key_id = fresh_id()
    async with (
        proxied(Proxy(urls(network)[0], LoseFirst().change)) as url,
        connected(ALICE, [url], door) as alice,
    ):
        made = (await alice.generate_both(key_id, 1)).value
        assert (await alice.retrieve_document_key(key_id)).value == made


async def test_a_node_that_names_another_network_gets_no_signature(
    network: ClientNetwork,
) -> None:
    proxy = Proxy(urls(network)[0], lambda _request, body: body)
    async with proxied(proxy) as url:
        elsewhere = SigningDomain(99, Address(bytes(20)))
        async with connected(ALICE, [url], domain=elsewhere) as alice:
            with pytest.raises(NodeNotTrustedError, match="another network"):
                await alice.retrieve_server_key(fresh_id())
    assert proxy.seen == [("GET", "/v1/node")]


async def test_nodes_can_be_left_out(network: ClientNetwork, stored: Stored) -> None:
    async with connected(BOB, urls(network)) as bob:
        everybody = [NodeId(node.node.id) for node in network.nodes]
        answer = await bob.retrieve_shadow(stored.key_id, frozenset(everybody[:3]))
        makers = {each.node for each in answer.value.commitments}
        assert makers == set(everybody[3:])
        assert answer.value.open(BOB) == stored.document_key
