"""Key servers serve contracts that somebody else deployed, and such as the original's."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from keyserver.client.contracts import RETRIEVAL, SHADOW_RETRIEVAL, Contracts
from keyserver.client.documents import new_document_key
from keyserver.client.ethereum import Ethereum, connect
from keyserver.client.permissions import Permissions
from keyserver.client.requests import KeyServers
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.crypto.randomness import SystemRandom
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS
from keyserver.model.identifiers import Address
from tests.e2e.node.foreign import (
    KEY_SERVER_SET,
    PERMISSION,
    SIMPLE_REGISTRY,
    ForeignNetwork,
    published,
    read_artifact,
)
from tests.support.chain_network import CHAIN_ID
from tests.support.node_processes import wait_until_used

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ALICE, BOB = (Wallet(SecretScalar(DEVELOPMENT_PRIVATE_KEYS[number])) for number in (1, 2))
THRESHOLD = 1
COMBINED = "SecretStoreService"
ORIGINAL = Path(__file__).parent / "data" / "OriginalEventsService.json"
UNPADDED_BYTES = 64 + 32 + 64 + 32 + 145
"""Two offsets, length and secret, length and shadow."""

SEPARATE = {
    "service_contract_srv_gen": "SecretStoreServerKeyGenerationService",
    "service_contract_srv_retr": "SecretStoreServerKeyRetrievalService",
    "service_contract_doc_store": "SecretStoreDocumentKeyStoreService",
    "service_contract_doc_sretr": "SecretStoreDocumentKeyShadowRetrievalService",
}
"""Configuration option -> contract."""
OPTIONS = {
    "server_set_contract": KEY_SERVER_SET,
    "acl_contract": PERMISSION,
    **SEPARATE,
}
NAMES = {
    # What the documentation of the original calls it; `secretstore_server_set` stays unknown.
    "server_set_contract": KEY_SERVER_SET,
    "secretstore_acl_checker": PERMISSION,
    "secretstore_service_srv_gen": SEPARATE["service_contract_srv_gen"],
    "secretstore_service_srv_retr": SEPARATE["service_contract_srv_retr"],
    "secretstore_service_doc_store": SEPARATE["service_contract_doc_store"],
    "secretstore_service_doc_sretr": SEPARATE["service_contract_doc_sretr"],
}
"""Registry entry -> contract."""


async def all_four_services(
    ethereum: Ethereum, addresses: Mapping[str, Address], *, threshold_told: bool
) -> None:
    """Alice has a key, and stores a document key that Bob opens."""
    contracts, random = Contracts(addresses, CHAIN_ID), SystemRandom()
    alice, bob = (KeyServers(ethereum, contracts, who, patience_s=30.0) for who in (ALICE, BOB))
    key_id = ALICE.new_key_id(random)
    permissions = Permissions(ethereum, contracts, ALICE)
    await permissions.reserve(key_id)
    await permissions.permit(key_id, [BOB.address])

    generated = (await alice.generate_server_key(key_id, THRESHOLD)).value
    found = (await bob.retrieve_server_key(key_id)).value
    assert found.public == generated.public
    assert found.threshold == (THRESHOLD if threshold_told else None)

    document_key = new_document_key(random)
    encrypted = encrypt_document_key(generated.public, document_key, random)
    assert (await alice.store_document_key(key_id, encrypted)).value is True
    opened = await bob.retrieve_document_key(key_id)
    assert opened.value == document_key


async def served(network: ForeignNetwork, *, threshold_told: bool) -> None:
    async with connect(network.chain.ws_url, chain_id=CHAIN_ID, poll_s=0.1) as ethereum:
        await all_four_services(ethereum, network.addresses, threshold_told=threshold_told)


def test_separate_services_deployed_by_abi(tmp_path: Path) -> None:
    """One node is told where the contracts stand, the others find them in a registry."""
    services = {name: published(name) for name in SEPARATE.values()}
    with ForeignNetwork.make(tmp_path, services, NAMES) as network:
        addresses = {option: network.contracts[name].lower() for option, name in OPTIONS.items()}
        registry = network.contracts[SIMPLE_REGISTRY]
        network.configure(network.nodes[:1], addresses)
        network.configure(network.nodes[1:], dict.fromkeys(OPTIONS, "registry"), registry)
        network.start()
        for node in network.nodes:
            wait_until_used(node, addresses)
        asyncio.run(served(network, threshold_told=True))
        network.stop()


def test_a_service_with_the_events_of_the_original(tmp_path: Path) -> None:
    with ForeignNetwork.make(tmp_path, {COMBINED: read_artifact(ORIGINAL)}, {}) as network:
        network.configure(
            network.nodes,
            {
                "server_set_contract": network.contracts[KEY_SERVER_SET],
                "acl_contract": network.contracts[PERMISSION],
                "service_contract": network.contracts[COMBINED],
            },
        )
        network.start()
        asyncio.run(served(network, threshold_told=False))
        seen = logs_in_receipts(network)
        with_threshold, without = (event.topic0 for event in RETRIEVAL.results)
        personal = SHADOW_RETRIEVAL.results[1].topic0
        topics = [topic for topic, _, _ in seen]
        assert topics.count(without) == 1
        assert with_threshold not in topics
        answers = [(sender, data) for topic, sender, data in seen if topic == personal]
        assert [len(data) for _, data in answers] == [UNPADDED_BYTES] * (THRESHOLD + 1)
        senders = {sender for sender, _ in answers}
        assert len(senders) == THRESHOLD + 1
        assert senders <= network.members()
        network.stop()


def logs_in_receipts(network: ForeignNetwork) -> list[tuple[bytes, Address, bytes]]:
    """First topic, sender and data of every log of the service, as the receipts have them."""
    service = network.contracts[COMBINED].lower()
    blocks = int(network.chain.request("eth_blockNumber"), 16)
    seen = []
    for number in range(blocks + 1):
        block: dict[str, Any] = network.chain.request("eth_getBlockByNumber", hex(number), False)
        for tx_hash in block["transactions"]:
            receipt = network.chain.request("eth_getTransactionReceipt", tx_hash)
            sender = Address(bytes.fromhex(receipt["from"][2:]))
            seen += [
                (_bytes(log["topics"][0]), sender, _bytes(log["data"]))
                for log in receipt["logs"]
                if log["address"].lower() == service
            ]
    return seen


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
