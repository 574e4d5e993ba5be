"""Contracts that emit what the originally published ones did."""

import asyncio

import pytest

from keyserver.client.contracts import RETRIEVAL, SHADOW_RETRIEVAL, Contracts
from keyserver.client.requests import KeyServers
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.evm.abi import AbiError, Event
from keyserver.model.identifiers import Address, KeyId
from tests.integration.client import original_service
from tests.integration.client.conftest import RNG, World, wallet
from tests.integration.client.scripted import SharedKey

UNPADDED_SHADOW_EVENT = 337
"""Bytes of data of `DocumentKeyPersonalRetrieved` with a 145-byte shadow (contracts, section 1)."""


@pytest.fixture
async def original(world: World) -> tuple[World, Address]:
    return world, await original_service.deploy(world.url, wallet("alice"))


def client_of(world: World, service: Address, account: Wallet) -> KeyServers:
    contracts = Contracts({"SecretStoreService": service})
    return KeyServers(world.ethereum, contracts, account, patience_s=20.0)


async def wait_for(world: World, service: Address, event: Event) -> None:
    async for _ in world.ethereum.heads():
        if await world.ethereum.logs(service, [[event.topic0]], from_block=0):
            return


async def test_the_event_without_threshold_is_understood(original: tuple[World, Address]) -> None:
    world, service = original
    key_id, public = world.new_key_id(), SharedKey(1, 3).public

    async def answer() -> None:
        await wait_for(world, service, RETRIEVAL.requested)
        topics, data = RETRIEVAL.results[1].encode(bytes(key_id), public.raw64)
        await original_service.emit(world.ethereum, world.bob, service, topics, data)

    client = client_of(world, service, world.alice)
    retrieved, _ = await asyncio.gather(client.retrieve_server_key(key_id), answer())
    assert retrieved.value.public == public
    assert retrieved.value.threshold is None


async def test_unpadded_shadows_are_understood(original: tuple[World, Address]) -> None:
    world, service = original
    key_id, key = world.new_key_id(), SharedKey(1, 3)
    document_key = SecretScalar.random(RNG).public()
    document = encrypt_document_key(key.public, document_key, RNG)
    common, secret, shadows = key.shadow(document, Point.from_raw64(world.bob.public_key), [0, 2])

    async def answer() -> None:
        await wait_for(world, service, SHADOW_RETRIEVAL.requested)
        who = "0x" + world.bob.address.hex()
        common_event, personal_event = SHADOW_RETRIEVAL.results
        topics, data = common_event.encode(bytes(key_id), who, common.raw64, 1)
        await original_service.emit(world.ethereum, world.alice, service, topics, data)
        for shadow in shadows:
            topics, data = personal_event.encode(bytes(key_id), who, secret.raw64, shadow)
            unpadded = data[:UNPADDED_SHADOW_EVENT]
            assert not any(data[UNPADDED_SHADOW_EVENT:])
            await original_service.emit(world.ethereum, world.alice, service, topics, unpadded)

    client = client_of(world, service, world.bob)
    retrieved, _ = await asyncio.gather(client.retrieve_document_key(key_id), answer())
    assert retrieved.value == document_key
    logs = await world.ethereum.logs(service, [[SHADOW_RETRIEVAL.results[1].topic0]], from_block=0)
    assert [len(log.data) for log in logs] == [UNPADDED_SHADOW_EVENT] * 2


async def test_an_account_is_no_service(world: World) -> None:
    client = client_of(world, wallet("nobody").address, world.alice)
    with pytest.raises(AbiError, match="0 bytes"):
        await client.retrieve_server_key(KeyId(bytes(32)))
