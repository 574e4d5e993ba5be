"""C2.4 and what belongs to it: signatures as the original's clients ask for them."""

import asyncio
import json

import pytest

from keyserver.crypto import ecies
from tests.e2e.clients.guarded import Guarded
from tests.support.raw_http import Answer
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import (
    ALICE,
    BOB,
    CHARLIE,
    JSON_TYPE,
    REQUESTS,
    VECTORS,
    Client,
    Person,
    Servers,
    error,
    fresh_id,
)
from tests.support.signature_checks import is_ecdsa, is_schnorr

SCHEMES = {"schnorr": (177, is_schnorr), "ecdsa": (178, is_ecdsa)}
MESSAGE_HASH = VECTORS["worked_example"]["schnorr"]["message_hash"][2:]
ZERO = "00" * 32
ORDER = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"

schemes = pytest.mark.parametrize("scheme", SCHEMES)


async def generated(acting: Client, key_id: str, threshold: int) -> bytes:
    """A new server key of alice's."""
    answer = await acting.generate(ALICE, key_id, threshold)
    assert answer.status == 200, answer
    return bytes.fromhex(json.loads(answer.text)[2:])


async def asked(
    acting: Client, scheme: str, key_id: str, who: Person = BOB, message: str = MESSAGE_HASH
) -> Answer:
    signature = await acting.sign(who, key_id)
    return await acting.http("GET", f"/{scheme}/{key_id}/{signature}/{message}")


def check(
    answer: Answer, scheme: str, public: bytes, who: Person = BOB, message: str = MESSAGE_HASH
) -> bytes:
    """The signature, which must be the key's and for this person."""
    size, is_right = SCHEMES[scheme]
    assert answer.status == 200, answer
    assert answer.header("content-type") == JSON_TYPE
    text: str = json.loads(answer.text)
    assert answer.text == f'"{text.lower()}"'
    assert len(text) == 2 + 2 * size
    signature = ecies.decrypt(who.key, bytes.fromhex(text[2:]))
    assert is_right(public, bytes.fromhex(message), signature)
    return signature


@schemes
async def test_every_node_has_a_hash_signed(three: Servers, rpc: Rpc, scheme: str) -> None:
    """C2.4: threshold 1, three nodes; the hash is bare, or the path is none."""
    acting, key_id = Client(rpc, three.addresses, REQUESTS), fresh_id()
    public = await generated(acting, key_id, 1)
    made = {check(await asked(acting, scheme, key_id), scheme, public) for _ in three.addresses}
    assert len(made) == len(three.addresses), "a nonce each"
    signature = await acting.sign(BOB, key_id)
    prefixed = await acting.http("GET", f"/{scheme}/{key_id}/{signature}/0x{MESSAGE_HASH}")
    assert (prefixed.status, prefixed.body) == (400, b"")


@schemes
@pytest.mark.parametrize("message", [ZERO, ORDER, "ff" * 32], ids=["zero", "order", "largest"])
async def test_every_hash_can_be_signed(
    three: Servers, rpc: Rpc, scheme: str, message: str
) -> None:
    acting, key_id = Client(rpc, three.addresses, REQUESTS), fresh_id()
    public = await generated(acting, key_id, 1)
    answer = await asked(acting, scheme, key_id, message=message)
    check(answer, scheme, public, message=message)


@schemes
async def test_many_at_once(three: Servers, rpc: Rpc, scheme: str) -> None:
    acting, key_id = Client(rpc, three.addresses, REQUESTS), fresh_id()
    public = await generated(acting, key_id, 1)
    messages = [f"{number:064x}" for number in range(1, 10)]
    answers = await asyncio.gather(
        *(asked(acting, scheme, key_id, message=message) for message in messages)
    )
    for answer, message in zip(answers, messages, strict=True):
        check(answer, scheme, public, message=message)


async def test_the_threshold_decides_who_is_needed(three: Servers, rpc: Rpc) -> None:
    """Schnorr takes t + 1 nodes, ECDSA 2t + 1: two of three have no ECDSA for a threshold of 2."""
    acting = Client(rpc, three.addresses, REQUESTS)
    for threshold in (0, 2):
        key_id = fresh_id()
        public = await generated(acting, key_id, threshold)
        check(await asked(acting, "schnorr", key_id), "schnorr", public)
        answer = await asked(acting, "ecdsa", key_id)
        if threshold == 0:
            check(answer, "ecdsa", public)
        else:
            assert (answer.status, answer.body) == (403, error("Consensus unreachable"))


@schemes
async def test_an_unknown_key(three: Servers, rpc: Rpc, scheme: str) -> None:
    acting = Client(rpc, three.addresses, REQUESTS)
    answer = await asked(acting, scheme, fresh_id())
    assert (answer.status, answer.body) == (404, error("Server key with this ID is not found"))


async def test_one_node_away_and_two(three: Servers, rpc: Rpc) -> None:
    """C6.3 for signatures; a node that comes back is asked again."""
    acting, key_id = Client(rpc, three.addresses, REQUESTS), fresh_id()
    public = await generated(acting, key_id, 1)
    running = Client(rpc, three.addresses[:1], REQUESTS)
    check(await asked(running, "ecdsa", key_id), "ecdsa", public)  # so that some are in stock
    try:
        await three.stop(2)
        check(await asked(running, "schnorr", key_id), "schnorr", public)
        answer = await asked(running, "ecdsa", key_id)
        assert (answer.status, answer.body) == (403, error("Consensus temporary unreachable"))
        await three.stop(1)
        answer = await asked(running, "schnorr", key_id)
        assert (answer.status, answer.body) == (403, error("Consensus unreachable"))
    finally:
        await three.start(1, 2)
    check(await asked(running, "ecdsa", key_id), "ecdsa", public)
    check(await asked(running, "schnorr", key_id), "schnorr", public)


@schemes
async def test_who_has_no_permission(guarded: Guarded, rpc: Rpc, scheme: str) -> None:
    acting, key_id = Client(rpc, guarded.addresses, REQUESTS), fresh_id()
    await guarded.permit(key_id, [BOB])
    public = await generated(acting, key_id, 1)
    check(await asked(acting, scheme, key_id), scheme, public)
    for stranger in (ALICE, CHARLIE):
        for _ in guarded.addresses:
            answer = await asked(acting, scheme, key_id, who=stranger)
            assert (answer.status, answer.body) == (403, error("Consensus unreachable"))
