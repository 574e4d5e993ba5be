"""C1 to C5: what client programs are told when there is nothing for them, and how they show it."""

import asyncio
import json
from functools import partial

from tests.e2e.clients.conftest import PAGE
from tests.support.raw_http import ask
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import (
    ALICE,
    ALREADY_GENERATED,
    AXIOS,
    BOB,
    IN_PROGRESS,
    JSON_TYPE,
    REQUESTS,
    VECTORS,
    Client,
    Servers,
    error,
    fresh_id,
    shown_by_axios,
    when_finished,
)


async def test_second_publishing(three: Servers, rpc: Rpc) -> None:
    """C1.2, C2.7, C3.3, C5.2: at the same node at once, and at the others."""
    key_id, at = fresh_id(), [Client(rpc, [node], REQUESTS) for node in three.addresses]
    assert (await at[0].generate(ALICE, key_id, 1)).status == 200
    answers = [await at[0].generate(ALICE, key_id, 1)]
    answers += [await when_finished(partial(each.generate, ALICE, key_id, 1)) for each in at[1:]]
    for again in answers:
        assert (again.status, again.reason) == (400, "Bad Request")
        assert again.body == ALREADY_GENERATED
        assert again.header("content-type") == JSON_TYPE
        assert "error" not in json.loads(again.text)
        message = "Bad Request (400): Server key with this ID is already generated"
        assert shown_by_axios(again) == message


async def test_unknown_id(three: Servers, rpc: Rpc) -> None:
    """C1.3, C3.4, C5.2."""
    acting, key_id = Client(rpc, three.addresses, AXIOS), fresh_id()
    signature = await acting.sign(BOB, key_id)
    for path in (f"/shadow/{key_id}/{signature}", f"/server/{key_id}/{signature}"):
        answer = await acting.http("GET", path)
        assert (answer.status, answer.reason) == (404, "Not Found")
        assert shown_by_axios(answer) == "Not Found (404): Server key with this ID is not found"
    stored = await acting.store(ALICE, key_id, VECTORS["worked_example"])
    assert (stored.status, stored.body) == (404, error("Server key with this ID is not found"))


async def test_wrong_password(rpc: Rpc) -> None:
    """C1.4, C5.3: status 200, and message and data are there."""
    answer = await rpc.call("secretstore_signRawHash", ALICE.address, "wrong", f"0x{'11' * 32}")
    assert answer["error"]["code"] == -32023
    assert answer["error"]["message"] == "Could not sign raw hash."
    assert isinstance(answer["error"]["data"], str)
    assert "result" not in answer


async def test_path_that_does_not_parse(three: Servers) -> None:
    """C3.5."""
    answer = await ask(three.addresses[0], "GET", "/shadow/zz/yy", AXIOS)
    assert (answer.status, answer.reason, answer.body) == (400, "Bad Request", b"")
    assert answer.header("content-type") is None
    assert shown_by_axios(answer) == "Bad Request (400): "


async def test_both_texts_of_a_second_run(three: Servers, rpc: Rpc) -> None:
    """C4.2: while the first runs at the same node, and when it has finished."""
    key_id, node = fresh_id(), three.addresses[0]
    signature = await Client(rpc, three.addresses, []).sign(ALICE, key_id)
    path = f"/shadow/{key_id}/{signature}/1"
    answers = await asyncio.gather(*(ask(node, "POST", path) for _ in range(2)))
    assert sorted(answer.status for answer in answers) == [200, 500]
    assert {answer.body for answer in answers if answer.status == 500} == {IN_PROGRESS}
    later = await ask(node, "POST", path)
    assert (later.status, later.body) == (400, ALREADY_GENERATED)


async def test_browser_where_no_page_is_allowed(three: Servers, rpc: Rpc) -> None:
    """C5.5: 404, and nothing has happened."""
    key_id, node = fresh_id(), three.addresses[0]
    signature = await Client(rpc, three.addresses, []).sign(ALICE, key_id)
    answer = await ask(node, "POST", f"/shadow/{key_id}/{signature}/0", [("Origin", PAGE)])
    assert (answer.status, answer.body, answer.header("content-type")) == (404, b"", None)
    known = await ask(node, "GET", f"/server/{key_id}/{signature}")
    assert known.body == error("Server key with this ID is not found")


async def test_points_off_the_curve(three: Servers, rpc: Rpc) -> None:
    """400 with an empty body, but only after what comes before it in the order of checks."""
    acting, key_id = Client(rpc, three.addresses, REQUESTS), fresh_id()
    off = {"common_point": f"0x{'11' * 64}", "encrypted_point": f"0x{'22' * 64}"}
    assert (await acting.store(ALICE, key_id, off)).status == 404
    assert (await acting.generate(ALICE, key_id, 1)).status == 200
    by_bob = await acting.store(BOB, key_id, off)
    assert (by_bob.status, by_bob.body) == (403, error("Access denied"))
    by_alice = await acting.store(ALICE, key_id, off)
    assert (by_alice.status, by_alice.body) == (400, b"")
    assert by_alice.header("content-type") is None
    assert (await acting.store(ALICE, key_id, VECTORS["worked_example"])).status == 200
    again = await when_finished(partial(acting.store, BOB, key_id, off))
    assert (again.status, again.body) == (
        400,
        error("Document key with this ID is already stored"),
    )


async def test_threshold_and_number_of_nodes(three: Servers, rpc: Rpc) -> None:
    acting = Client(rpc, three.addresses[1:2], REQUESTS)
    for threshold in (3, 70_000, 2**64 - 1):
        answer = await acting.generate(ALICE, fresh_id(), threshold)
        too_few = error("not enough nodes for passed threshold")
        assert (answer.status, answer.body) == (500, too_few)
    known = fresh_id()
    assert (await acting.generate(ALICE, known, 2)).status == 200
    assert (await acting.generate(ALICE, known, 3)).status == 400
