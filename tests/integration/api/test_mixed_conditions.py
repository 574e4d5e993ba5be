"""Mixed conditions M2 to M5 and M7 of the description of the client programs."""

import asyncio
import json
from random import Random

import pytest

from tests.integration.api.conftest import ALICE, BOB, fresh_id
from tests.support.client_node import ClientNetwork, client_network, sign_id
from tests.support.random_paths import random_request
from tests.support.raw_http import Answer, Connection, ask, head
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import REQUESTS, Client

ALREADY_GENERATED = b'"\\"Server key with this ID is already generated\\""'
IN_PROGRESS = b'"\\"session with the same id is already registered\\""'


def client(rpc: Rpc, network: ClientNetwork) -> Client:
    return Client(rpc, [node.address for node in network.nodes], REQUESTS)


async def test_m2_many_ids_at_once(three: ClientNetwork, rpc: Rpc) -> None:
    acting = [client(rpc, three) for _ in range(50)]
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
async def test_m3_one_id_at_three_nodes_at_once(
    three: ClientNetwork, rpc: Rpc, attempt: int
) -> None:
    key_id = fresh_id()
    signature = sign_id(ALICE.key, bytes.fromhex(key_id))
    path = f"/shadow/{key_id}/{signature}/1"
    answers = await asyncio.gather(*(ask(node.address, "POST", path) for node in three.nodes))
    assert sum(answer.status == 200 for answer in answers) <= 1
    for answer in answers:
        if answer.status != 200:
            assert answer.body in {ALREADY_GENERATED, IN_PROGRESS}, answer
    known = [
        await ask(node.address, "GET", f"/server/{key_id}/{signature}") for node in three.nodes
    ]
    if any(answer.status == 200 for answer in answers):
        (made,) = {answer.body for answer in answers if answer.status == 200}
        assert [(a.status, a.body) for a in known] == [(200, made)] * 3
    else:
        assert {answer.status for answer in known} == {404}


async def test_m4_a_client_that_goes_away(three: ClientNetwork, rpc: Rpc) -> None:
    key_id = fresh_id()
    signature = sign_id(ALICE.key, bytes.fromhex(key_id))
    path = f"/shadow/{key_id}/{signature}/1"
    connection = await Connection.to(three[0].address)
    await connection.send(head("POST", path, [("Host", "node")]))
    connection.close()
    answer = await ask(three[0].address, "POST", path)
    while answer.body == IN_PROGRESS:
        answer = await ask(three[0].address, "POST", path)
    assert answer.status == 200 or answer.body == ALREADY_GENERATED
    assert (await ask(three[1].address, "GET", f"/server/{key_id}/{signature}")).status == 200


async def test_m5_a_restart_between_any_two_steps(rpc: Rpc) -> None:
    async with client_network(3, seed=12) as network:

        async def restart(index: int) -> None:
            await network[index].node.crash()
            network[index].node.boot()
            while len(network[0].node.api.connected) < 3:
                await asyncio.sleep(0)

        acting, key_id = client(rpc, network), fresh_id()
        generated = await acting.generate(ALICE, key_id, 1)
        assert generated.status == 200
        await restart(0)
        made = await rpc.result(
            "secretstore_generateDocumentKey",
            ALICE.address,
            ALICE.password,
            json.loads(generated.text),
        )
        assert (await acting.store(ALICE, key_id, made)).status == 200
        await restart(1)
        encrypted = await rpc.result(
            "secretstore_encrypt", ALICE.address, ALICE.password, made["encrypted_key"], "0x00"
        )
        await restart(2)
        assert await acting.consume(BOB, key_id, encrypted) == b"\0"


async def test_m7_garbage_is_never_served(three: ClientNetwork) -> None:
    """Ten thousand random requests on kept-open connections."""
    random = Random(7)

    async def bombard(count: int) -> list[Answer]:
        answers = []
        connection = await Connection.to(three[0].address)
        for _ in range(count):
            await connection.send(random_request(random))
            answers.append(await connection.answer())
            if answers[-1].header("connection") == "close":
                connection.close()
                connection = await Connection.to(three[0].address)
        connection.close()
        return answers

    batches = await asyncio.gather(*(bombard(2_500) for _ in range(4)))
    answers = [answer for batch in batches for answer in batch]
    assert len(answers) == 10_000
    for answer in answers:
        assert answer.status in {400, 404, 414}, answer
        if answer.status != 404:
            assert answer.body == b"" or b"bad signature" in answer.body
            assert (answer.header("content-type") is None) == (answer.body == b"")
    assert len({answer.status for answer in answers}) == 3
