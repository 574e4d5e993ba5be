"""Both HTTP interfaces of real nodes, as the client uses them."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from keyserver.api.ports import Availability
from keyserver.client.attempts import Retry
from keyserver.client.documents import new_document_key
from keyserver.client.doors import DoorKind
from keyserver.client.errors import (
    DocumentError,
    NotAuthorError,
    RefusedOverHttpError,
)
from keyserver.client.sharing import open_file, share_file
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.model.identifiers import Address
from keyserver.sessions.core import Verdict
from tests.integration.client.network import (
    ALICE,
    BOB,
    CHARLIE,
    RNG,
    changed,
    connected,
    fresh_id,
    urls,
)
from tests.support.client_node import ClientNetwork, client_network

DOORS = pytest.mark.parametrize("door", list(DoorKind))
NODES = 5


@pytest.fixture(scope="module")
async def network() -> AsyncIterator[ClientNetwork]:
    async with client_network(NODES, seed=77) as running:
        yield running


@contextmanager
def denied(network: ClientNetwork, who: Address) -> Iterator[None]:
    """The permission contract lets this account not pass."""
    before = network[0].node.access.verdict
    for each in network.nodes:
        each.node.access.verdict = lambda _request, asking: (
            Verdict.DENIED if asking == who else Verdict.ALLOWED
        )
    try:
        yield
    finally:
        for each in network.nodes:
            each.node.access.verdict = before


@DOORS
@pytest.mark.parametrize("threshold", [0, 1, 2])
async def test_a_file_goes_from_alice_to_bob(
    network: ClientNetwork, tmp_path: Path, door: DoorKind, threshold: int
) -> None:
    nodes, key_id = urls(network), fresh_id()
    source, encrypted, target = (tmp_path / name for name in ("plan", "plan.encrypted", "copy"))
    source.write_bytes(b"attack at dawn" * 1000)
    async with connected(ALICE, nodes[:1], door, confirm_with=nodes[1:]) as alice:
        made = await alice.generate_server_key(key_id, threshold)
        assert made.confirmed_by == tuple(nodes[1:])
        assert (await alice.retrieve_server_key(key_id)).value.public == made.value.public
        await share_file(alice, key_id, source, encrypted, RNG)
        with pytest.raises(RefusedOverHttpError, match="ALREADY_STORED"):
            await share_file(alice, key_id, source, tmp_path / "other", RNG)
    assert not (tmp_path / "other").exists()
    async with connected(BOB, nodes[3:], door) as bob:
        opened = await open_file(bob, encrypted, target)
    assert opened.was_checked
    assert target.read_bytes() == source.read_bytes()


async def test_what_one_interface_wrote_the_other_reads(
    network: ClientNetwork, tmp_path: Path
) -> None:
    nodes = urls(network)
    source = tmp_path / "plan"
    source.write_bytes(b"attack at dawn")
    for here, there in ((DoorKind.V1, DoorKind.ORIGINAL), (DoorKind.ORIGINAL, DoorKind.V1)):
        key_id, encrypted = fresh_id(), tmp_path / f"{here}.encrypted"
        async with connected(ALICE, nodes, here) as alice:
            await alice.generate_server_key(key_id, 1)
            await share_file(alice, key_id, source, encrypted, RNG)
        async with connected(BOB, nodes, there) as bob:
            await open_file(bob, encrypted, tmp_path / f"{here}.copy")
        assert (tmp_path / f"{here}.copy").read_bytes() == source.read_bytes()
        description = json.loads((tmp_path / f"{here}.encrypted.json").read_text())
        assert (description["chain_id"] is None) == (here is DoorKind.ORIGINAL)


async def test_a_file_of_another_chain_is_told_apart(
    network: ClientNetwork, tmp_path: Path
) -> None:
    key_id, encrypted = fresh_id(), tmp_path / "plan.encrypted"
    (tmp_path / "plan").write_bytes(b"x")
    async with connected(ALICE, urls(network)) as alice:
        await alice.generate_server_key(key_id, 1)
        await share_file(alice, key_id, tmp_path / "plan", encrypted, RNG)
        described = tmp_path / "plan.encrypted.json"
        described.write_bytes(changed(described.read_bytes(), chain_id=99))
        with pytest.raises(DocumentError, match="chain_id"):
            await open_file(alice, encrypted, tmp_path / "copy")


@DOORS
async def test_both_keys_at_once_and_the_plain_key(network: ClientNetwork, door: DoorKind) -> None:
    key_id = fresh_id()
    async with connected(ALICE, urls(network), door) as alice:
        made = await alice.generate_both(key_id, 2)
        assert (await alice.retrieve_plain(key_id)).value == made.value
        assert (await alice.retrieve_document_key(key_id)).value == made.value


@DOORS
async def test_refusals_say_why(network: ClientNetwork, door: DoorKind) -> None:
    key_id = fresh_id()
    async with connected(ALICE, urls(network), door) as alice:
        with pytest.raises(RefusedOverHttpError, match="SERVER_KEY_IS_NOT_FOUND"):
            await alice.retrieve_server_key(key_id)
        await alice.generate_server_key(key_id, 1)
        with pytest.raises(RefusedOverHttpError, match="ALREADY_GENERATED"):
            await alice.generate_server_key(key_id, 1)
        with pytest.raises(RefusedOverHttpError, match="DOCUMENT_KEY_IS_NOT_FOUND"):
            await alice.retrieve_document_key(key_id)
        with pytest.raises(RefusedOverHttpError, match="must be less than the number"):
            await alice.generate_server_key(fresh_id(), NODES)
        stored = encrypt_document_key(
            await alice.key_to_encrypt_to(key_id), new_document_key(RNG), RNG
        )
        async with connected(BOB, urls(network), door) as bob:
            with pytest.raises(RefusedOverHttpError, match="ACCESS_DENIED") as raised:
                await bob.store_document_key(key_id, stored)
        assert raised.value.status == 403
        await alice.store_document_key(key_id, stored)
    async with connected(BOB, urls(network), door) as bob:
        with pytest.raises(NotAuthorError):
            await bob.key_to_encrypt_to(key_id)
    with denied(network, CHARLIE.address):
        async with connected(CHARLIE, urls(network), door) as charlie:
            with pytest.raises(RefusedOverHttpError, match="permission for the key") as refused:
                await charlie.retrieve_document_key(key_id)
    assert refused.value.error_code == "CONSENSUS_UNREACHABLE"


@DOORS
async def test_an_operation_that_is_off_names_the_option(
    network: ClientNetwork, door: DoorKind
) -> None:
    node = network[0].node
    before, node.policy = node.policy, replace(node.policy, forbid_plain_modes=True)
    try:
        async with connected(ALICE, urls(network)[:1], door) as alice:
            with pytest.raises(RefusedOverHttpError, match="forbid_plain_modes") as raised:
                await alice.retrieve_plain(fresh_id())
    finally:
        node.policy = before
    assert raised.value.error_code == "OPERATION_DISABLED"
    assert "retrieve_document_key" in raised.value.advice


@DOORS
async def test_another_node_is_asked_while_one_is_sealed(
    network: ClientNetwork, door: DoorKind
) -> None:
    state, nodes = network[0].state, urls(network)
    told: list[Retry] = []
    state.availability = Availability.SEALED
    try:
        async with connected(ALICE, nodes[:2], door, watch=told.append) as alice:
            made = await alice.generate_server_key(fresh_id(), 1)
    finally:
        state.availability = Availability.OPEN
    assert (made.node, made.attempts) == (nodes[1], 2)
    assert "SEALED" in str(told[0])
