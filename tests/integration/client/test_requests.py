"""The four requests against the real contracts, answered by scripted key servers."""

import asyncio
from typing import Any

import pytest

from keyserver.client.contracts import GENERATION, RETRIEVAL, SHADOW_RETRIEVAL, STORE
from keyserver.client.errors import (
    NoAnswerError,
    NotAuthorError,
    RefusedByContractError,
    RefusedByKeyServersError,
)
from keyserver.client.ethereum import EventLog
from keyserver.client.following import MOST_REFUSALS
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.elgamal import EncryptedDocumentKey, encrypt_document_key
from keyserver.model.identifiers import KeyId
from tests.integration.client import scripted
from tests.integration.client.conftest import RNG, SERVERS, World
from tests.integration.client.scripted import SharedKey

ALL = range(SERVERS)


async def generate(world: World, key_id: KeyId, key: SharedKey) -> Point:
    async def answer() -> None:
        await world.servers.requested(GENERATION.requested, key_id)
        await world.servers.answer(scripted.GENERATED, key_id, key.public.raw64, by=ALL)

    client = world.client(world.alice)
    generated, _ = await asyncio.gather(client.generate_server_key(key_id, key.threshold), answer())
    assert generated.value.threshold == key.threshold
    assert generated.answered_in >= generated.requested_in + SERVERS
    assert generated.gas_used > 21_000
    return generated.value.public


async def store(world: World, key_id: KeyId, document: EncryptedDocumentKey) -> None:
    async def answer() -> None:
        await world.servers.requested(STORE.requested, key_id)
        await world.servers.answer(scripted.STORED, key_id, by=ALL)

    stored, _ = await asyncio.gather(
        world.client(world.alice).store_document_key(key_id, document), answer()
    )
    assert stored.value


@pytest.mark.parametrize("threshold", [0, 1, 2])
async def test_a_document_key_comes_back_to_another_account(world: World, threshold: int) -> None:
    key_id, key = world.new_key_id(), SharedKey(threshold, SERVERS)
    public = await generate(world, key_id, key)
    assert public == key.public
    document_key = SecretScalar.random(RNG).public()
    document = encrypt_document_key(public, document_key, RNG)
    await store(world, key_id, document)
    retrieved, _ = await asyncio.gather(
        world.client(world.bob).retrieve_document_key(key_id),
        world.servers.answer_shadow(
            key, document, key_id, world.bob, chosen=[4, 1, 2][: threshold + 1]
        ),
    )
    assert retrieved.value == document_key


async def test_progress_counts_the_answers(world: World) -> None:
    key_id, key = world.new_key_id(), SharedKey(1, SERVERS)
    await generate(world, key_id, key)
    counts = [progress.answered for progress in world.seen]
    assert counts == sorted(counts, key=lambda n: n or 0)
    assert {progress.expected for progress in world.seen} == {SERVERS}
    assert max(n for n in counts if n is not None) >= 2
    assert str(world.seen[0]).startswith(f"block {world.seen[0].block}: ")
    document = encrypt_document_key(key.public, key.public, RNG)
    await store(world, key_id, document)
    world.seen.clear()
    await asyncio.gather(
        world.client(world.bob).retrieve_document_key(key_id),
        world.servers.answer_shadow(key, document, key_id, world.bob, chosen=[0, 3]),
    )
    assert (1, 2) in {(progress.answered, progress.expected) for progress in world.seen}


async def test_groups_of_two_attempts_do_not_mix(world: World) -> None:
    key_id, key = world.new_key_id(), SharedKey(1, SERVERS)
    await generate(world, key_id, key)
    document_key = SecretScalar.random(RNG).public()
    document = encrypt_document_key(key.public, document_key, RNG)
    await store(world, key_id, document)
    who = "0x" + world.bob.address.hex()

    async def answer() -> None:
        await world.servers.answer_shadow(
            key, document, key_id, world.bob, chosen=[0, 1], stop_after=1
        )
        public = Point.from_raw64(world.bob.public_key)
        _, secret, shadows = key.shadow(document, public, [2, 4])
        await world.servers.personal(key_id, who, secret, shadows, [2, 4])

    retrieved, _ = await asyncio.gather(
        world.client(world.bob).retrieve_document_key(key_id), answer()
    )
    assert retrieved.value == document_key


async def test_an_error_answer_is_told_with_advice(world: World) -> None:
    key_id = world.new_key_id()

    async def answer() -> None:
        await world.servers.requested(GENERATION.requested, key_id)
        await world.servers.answer(scripted.GENERATION_ERROR, key_id, by=[3])

    with pytest.raises(RefusedByKeyServersError) as raised:
        await asyncio.gather(world.client(world.alice).generate_server_key(key_id, 1), answer())
    assert raised.value.advice

    async def refuse() -> None:
        await world.servers.requested(SHADOW_RETRIEVAL.requested, key_id)
        who = "0x" + world.charlie.address.hex()
        await world.servers.answer(scripted.SHADOW_ERROR, key_id, who, by=[0, 1, 2])

    with pytest.raises(RefusedByKeyServersError, match="permission"):
        await asyncio.gather(world.client(world.charlie).retrieve_document_key(key_id), refuse())


async def test_an_earlier_error_is_not_taken_for_the_answer(world: World) -> None:
    key_id, key = world.new_key_id(), SharedKey(1, SERVERS)

    async def answer() -> None:
        await world.servers.requested(GENERATION.requested, key_id)
        await world.servers.answer(scripted.GENERATION_ERROR, key_id, by=[3])

    client = world.client(world.alice)
    with pytest.raises(RefusedByKeyServersError):
        await asyncio.gather(client.generate_server_key(key_id, 1), answer())
    start = await world.ethereum.head()

    async def answer_well() -> None:
        await world.servers.requested(GENERATION.requested, key_id, after=start)
        await world.servers.answer(scripted.GENERATED, key_id, key.public.raw64, by=ALL)

    generated, _ = await asyncio.gather(client.generate_server_key(key_id, 1), answer_well())
    assert generated.value.public == key.public


async def test_the_public_key_is_retrieved_with_its_threshold(world: World) -> None:
    key_id, key = world.new_key_id(), SharedKey(2, SERVERS)

    async def answer() -> None:
        await world.servers.requested(RETRIEVAL.requested, key_id)
        await world.servers.answer(scripted.RETRIEVED, key_id, key.public.raw64, 2, by=[0, 1, 2])

    retrieved, _ = await asyncio.gather(
        world.client(world.charlie).retrieve_server_key(key_id), answer()
    )
    assert retrieved.value.public == key.public
    assert retrieved.value.threshold == 2


async def test_an_answer_counts_when_it_is_confirmed(world: World) -> None:
    key_id, key = world.new_key_id(), SharedKey(1, SERVERS)

    async def answer() -> None:
        await world.servers.requested(RETRIEVAL.requested, key_id)
        await world.servers.answer(scripted.RETRIEVED, key_id, key.public.raw64, 1, by=[0, 1, 2])

    client = world.client(world.charlie, confirmations=2)
    waiting = asyncio.create_task(client.retrieve_server_key(key_id))
    await answer()
    settled = await world.ethereum.head()
    for _ in range(2):
        assert not waiting.done()
        await world.servers.ethereum.send(world.bob, world.charlie.address, b"")
    assert (await waiting).answered_in == settled + 2


async def test_silence_ends_in_an_error_that_says_so(world: World) -> None:
    client = world.client(world.alice, patience_s=0.3)
    key_id = world.new_key_id()
    with pytest.raises(NoAnswerError, match="pending"):
        await client.generate_server_key(key_id, 1)
    with pytest.raises(RefusedByContractError, match="AlreadyPending"):
        await client.generate_server_key(key_id, 1)
    await world.servers.answer(scripted.GENERATION_ERROR, key_id, by=[0])


async def test_the_contract_says_why_it_refuses(world: World) -> None:
    client = world.client(world.alice)
    with pytest.raises(RefusedByContractError, match="InvalidThreshold"):
        await client.generate_server_key(world.new_key_id(), SERVERS)
    with pytest.raises(RefusedByContractError, match="threshold"):
        await client.generate_server_key(world.new_key_id(), 255)


async def test_a_foreign_key_is_not_taken_for_our_own(world: World) -> None:
    key_id, key = world.new_key_id(), SharedKey(1, SERVERS)
    assert await world.client(world.alice).find_key(key_id) is None
    await generate(world, key_id, key)
    found = await world.client(world.bob).find_key(key_id)
    assert found is not None
    assert (found.author, found.threshold, found.public) == (world.alice.address, 1, key.public)
    assert not found.has_document
    assert await world.client(world.alice).own_key(key_id) == found
    with pytest.raises(NotAuthorError, match="another account"):
        await world.client(world.bob).own_key(key_id)
    with pytest.raises(NotAuthorError, match="generated"):
        await world.client(world.bob).own_key(world.new_key_id())
    await store(world, key_id, encrypt_document_key(key.public, key.public, RNG))
    found = await world.client(world.bob).find_key(key_id)
    assert found is not None
    assert found.has_document


@pytest.mark.parametrize("times", [MOST_REFUSALS - 1, MOST_REFUSALS])
async def test_logs_may_be_out_of_reach_for_a_moment(
    world: World, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """As while blocks are replaced: the answer is found with a later block."""
    honest, left = world.ethereum.logs, times

    async def logs(*arguments: Any, **options: Any) -> list[EventLog]:
        nonlocal left
        is_of_client = "to_block" in options
        left -= is_of_client
        if is_of_client and left >= 0:
            raise RefusedByContractError("the Ethereum node refuses: block out of range")
        return await honest(*arguments, **options)

    monkeypatch.setattr(world.ethereum, "logs", logs)
    key_id, key = world.new_key_id(), SharedKey(1, SERVERS)
    if times < MOST_REFUSALS:
        assert await generate(world, key_id, key) == key.public
        return
    with pytest.raises(RefusedByContractError, match="out of range"):
        await generate(world, key_id, key)
