"""Files, from one account to another."""

import asyncio
from pathlib import Path

import pytest

from keyserver.client.contracts import GENERATION, SHADOW_RETRIEVAL, STORE
from keyserver.client.documents import description_path
from keyserver.client.errors import ClientError, DocumentError, NotAuthorError
from keyserver.client.sharing import open_file, share_file
from keyserver.crypto.curve import Point
from keyserver.crypto.elgamal import EncryptedDocumentKey
from keyserver.evm.abi import Function
from keyserver.model.identifiers import KeyId
from tests.integration.client import scripted
from tests.integration.client.conftest import RNG, SERVERS, World
from tests.integration.client.scripted import SharedKey

ALL = range(SERVERS)
STORE_ERROR = Function.parse("documentKeyStoreError(bytes32)")


async def generate(world: World, key_id: KeyId, key: SharedKey) -> None:
    async def answer() -> None:
        await world.servers.requested(GENERATION.requested, key_id)
        await world.servers.answer(scripted.GENERATED, key_id, key.public.raw64, by=ALL)

    await asyncio.gather(world.client(world.alice).generate_server_key(key_id, 1), answer())


async def stored_points(world: World, key_id: KeyId) -> EncryptedDocumentKey:
    logs = await world.ethereum.logs(
        world.servers.service, [[STORE.requested.topic0]], from_block=0
    )
    values = [STORE.requested.decode(log.topics, log.data) for log in logs]
    (mine,) = [each for each in values if each[0] == key_id]
    return EncryptedDocumentKey(Point.from_raw64(mine[2]), Point.from_raw64(mine[3]))


async def test_a_file_goes_from_alice_to_bob(world: World, tmp_path: Path) -> None:
    key_id, key = world.new_key_id(), SharedKey(1, SERVERS)
    source, encrypted, target = (tmp_path / name for name in ("plan", "plan.encrypted", "copy"))
    source.write_bytes(b"attack at dawn" * 1000)
    with pytest.raises(NotAuthorError):
        await share_file(world.client(world.alice), key_id, source, encrypted, RNG)
    await generate(world, key_id, key)

    async def confirm() -> None:
        await world.servers.requested(STORE.requested, key_id)
        await world.servers.answer(scripted.STORED, key_id, by=ALL)

    client = world.client(world.alice)
    shared, _ = await asyncio.gather(share_file(client, key_id, source, encrypted, RNG), confirm())
    assert shared.encrypted.stat().st_size == source.stat().st_size + 16
    document = await stored_points(world, key_id)
    opened, _ = await asyncio.gather(
        open_file(world.client(world.bob), encrypted, target),
        world.servers.answer_shadow(key, document, key_id, world.bob, chosen=[0, 4]),
    )
    assert opened.was_checked is True
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(ClientError, match="has a document key already"):
        await share_file(client, key_id, source, tmp_path / "other", RNG)
    with pytest.raises(DocumentError, match="exists"):
        await open_file(world.client(world.bob), encrypted, target)
    with pytest.raises(DocumentError, match="key_id"):
        await open_file(
            world.client(world.bob), encrypted, tmp_path / "new", key_id=world.new_key_id()
        )


async def test_without_a_description_the_file_opens_unchecked(world: World, tmp_path: Path) -> None:
    key_id, key = world.new_key_id(), SharedKey(1, SERVERS)
    source, encrypted, target = (tmp_path / name for name in ("plan", "plan.encrypted", "copy"))
    source.write_bytes(b"x")
    await generate(world, key_id, key)

    async def confirm() -> None:
        await world.servers.requested(STORE.requested, key_id)
        await world.servers.answer(scripted.STORED, key_id, by=ALL)

    await asyncio.gather(
        share_file(world.client(world.alice), key_id, source, encrypted, RNG), confirm()
    )
    description_path(encrypted).unlink()
    bob = world.client(world.bob)
    with pytest.raises(DocumentError, match="key id"):
        await open_file(bob, encrypted, target)
    document = await stored_points(world, key_id)
    opened, _ = await asyncio.gather(
        open_file(bob, encrypted, target, key_id=key_id),
        world.servers.answer_shadow(key, document, key_id, world.bob, chosen=[3, 1]),
    )
    assert opened.was_checked is False
    assert target.read_bytes() == b"x"


async def test_nothing_stays_when_the_key_is_refused(world: World, tmp_path: Path) -> None:
    key_id, key = world.new_key_id(), SharedKey(1, SERVERS)
    source, encrypted = tmp_path / "plan", tmp_path / "plan.encrypted"
    source.write_bytes(b"x")
    await generate(world, key_id, key)

    async def refuse() -> None:
        await world.servers.requested(STORE.requested, key_id)
        await world.servers.answer(STORE_ERROR, key_id, by=[2])

    with pytest.raises(ClientError, match="storing"):
        await asyncio.gather(
            share_file(world.client(world.alice), key_id, source, encrypted, RNG), refuse()
        )
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]


async def test_a_refused_reader_gets_no_file(world: World, tmp_path: Path) -> None:
    key_id = world.new_key_id()
    encrypted, target = tmp_path / "plan.encrypted", tmp_path / "copy"
    encrypted.write_bytes(bytes(20))

    async def refuse() -> None:
        await world.servers.requested(SHADOW_RETRIEVAL.requested, key_id)
        who = "0x" + world.charlie.address.hex()
        await world.servers.answer(scripted.SHADOW_ERROR, key_id, who, by=[0, 1, 2])

    with pytest.raises(ClientError, match="permission"):
        await asyncio.gather(
            open_file(world.client(world.charlie), encrypted, target, key_id=key_id), refuse()
        )
    assert not target.exists()
