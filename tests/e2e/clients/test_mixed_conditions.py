"""M2 to M5 and M7: many at once, clients and nodes that go away, garbage.

M1, steps at different nodes in turn, is in every test of this folder. M6 is in
`test_set_change.py`.
"""

import asyncio
import json
from functools import partial
from random import Random

import pytest

from keyserver.model.node_set import NodeAddress
from tests.support.random_paths import random_request
from tests.support.raw_http import Answer, Connection, ask, head
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import (
    ALICE,
    ALREADY_GENERATED,
    BOB,
    IN_PROGRESS,
    REQUESTS,
    Client,
    Servers,
    error,
    fresh_id,
    when_finished,
)

ALREADY_STORED = error("Document key with this ID is already stored")
GARBAGE = 10_000


async def test_m2_many_ids_at_once(three: Servers, rpc: Rpc) -> None:
    acting = [Client(rpc, three.addresses, REQUESTS) for _ in range(50)]
    for number, each in enumerate(acting):
        each.nodes = each.nodes[number % 3 :] + each.nodes[: number % 3]
    ids = [fresh_id() for _ in acting]
    published = await asyncio.gather(
        *(
            each.publish(ALICE, id_, id_.encode(), number % 3)
            for number, (each, id_) in enumerate(zip(acting, ids, strict=True))
        )
    )
    for each, id_, encrypted in zip(acting, ids, published, strict=True):
        assert await each.consume(BOB, id_, encrypted) == id_.encode()


@pytest.mark.parametrize("attempt", range(5))
async def test_m3_one_id_at_three_nodes_at_once(three: Servers, rpc: Rpc, attempt: int) -> None:
    """At most one succeeds; if none does, a repeat does: no id is lost."""
    key_id = fresh_id()
    signature = await Client(rpc, three.addresses, []).sign(ALICE, key_id)
    path, known = f"/shadow/{key_id}/{signature}/1", f"/server/{key_id}/{signature}"
    answers = await asyncio.gather(*(ask(node, "POST", path) for node in three.addresses))
    for answer in answers:
        if answer.status != 200:
            assert answer.body in {ALREADY_GENERATED, IN_PROGRESS}, answer
    made = [answer.body for answer in answers if answer.status == 200]
    if not made:
        for node in three.addresses:
            assert (await ask(node, "GET", known)).status == 404
        repeated = await ask(three.addresses[attempt % 3], "POST", path)
        assert repeated.status == 200, repeated
        made = [repeated.body]
    assert len(made) == 1
    for node in three.addresses:
        told = await ask(node, "GET", known)
        assert (told.status, told.body) == (200, made[0])
        late = await when_finished(partial(ask, node, "POST", path))
        assert (late.status, late.body) == (400, ALREADY_GENERATED)


async def gone_and_repeated(node: NodeAddress, path: str) -> Answer:
    """A client sends a request and goes away; the answer to a repeat that was not in its way."""
    connection = await Connection.to(node)
    await connection.send(head("POST", path, [("Host", "node")]))
    connection.close()
    return await when_finished(partial(ask, node, "POST", path))


@pytest.mark.parametrize("attempt", range(3))
async def test_m4_a_client_that_goes_away(three: Servers, rpc: Rpc, attempt: int) -> None:
    """Its work is finished or undone: a repeat succeeds, or finds it done."""
    acting, key_id = Client(rpc, three.addresses, REQUESTS), fresh_id()
    signature, node = await acting.sign(ALICE, key_id), three.addresses[attempt]
    generated = await gone_and_repeated(node, f"/shadow/{key_id}/{signature}/1")
    assert generated.status == 200 or generated.body == ALREADY_GENERATED
    known = await acting.http("GET", f"/server/{key_id}/{signature}")
    made = await rpc.result(
        "secretstore_generateDocumentKey", ALICE.address, ALICE.password, json.loads(known.text)
    )
    points = f"{made['common_point'][2:]}/{made['encrypted_point'][2:]}"
    stored = await gone_and_repeated(node, f"/shadow/{key_id}/{signature}/{points}")
    assert stored.status == 200 or stored.body == ALREADY_STORED
    encrypted = await rpc.result(
        "secretstore_encrypt", ALICE.address, ALICE.password, made["encrypted_key"], "0x00"
    )
    for _ in three.addresses:
        assert await acting.consume(BOB, key_id, encrypted) == b"\0"


async def test_m5_a_restart_between_any_two_steps(three: Servers, rpc: Rpc) -> None:
    async def restart(index: int) -> None:
        await three.stop(index)
        await three.start(index)

    acting, key_id = Client(rpc, three.addresses, REQUESTS), fresh_id()
    account = (ALICE.address, ALICE.password)
    generated = await acting.generate(ALICE, key_id, 1)
    assert generated.status == 200
    await restart(0)
    made = await rpc.result("secretstore_generateDocumentKey", *account, json.loads(generated.text))
    assert (await acting.store(ALICE, key_id, made)).status == 200
    await restart(1)
    encrypted = await rpc.result("secretstore_encrypt", *account, made["encrypted_key"], "0x00")
    await restart(2)
    assert await acting.consume(BOB, key_id, encrypted) == b"\0"


async def test_m7_garbage_is_never_served(lone: Servers) -> None:
    """Ten thousand random requests on kept-open connections, and then it still serves."""
    random, node = Random(7), lone.addresses[0]

    async def bombard(count: int) -> list[Answer]:
        answers = []
        connection = await Connection.to(node)
        for _ in range(count):
            await connection.send(random_request(random))
            answers.append(await connection.answer())
            if answers[-1].header("connection") == "close":
                connection.close()
                connection = await Connection.to(node)
        connection.close()
        return answers

    batches = await asyncio.gather(*(bombard(GARBAGE // 4) for _ in range(4)))
    answers = [answer for batch in batches for answer in batch]
    assert len(answers) == GARBAGE
    for answer in answers:
        assert answer.status in {400, 404, 414}, answer
        if answer.status != 404:
            assert answer.body == b"" or b"bad signature" in answer.body
            assert (answer.header("content-type") is None) == (answer.body == b"")
    assert len({answer.status for answer in answers}) == 3
