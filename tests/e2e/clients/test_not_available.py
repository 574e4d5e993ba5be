"""What is specified and not built yet: the exact requests, and the answers until then.

When signing (C2.4) and node set changes (C2.8, C3.6, C6.5, M6) arrive, only the two expectations
below, and what follows from them in each test, are to be changed.
"""

import pytest

from tests.support.raw_http import Answer, ask
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import (
    ALICE,
    AXIOS,
    BOB,
    CURL,
    JSON_TYPE,
    PEOPLE,
    REQUEST_JS,
    REQUESTS,
    VECTORS,
    Client,
    Servers,
    error,
    fresh_id,
)

SIGNING = (501, error("Operation is not available"))
"""Later: 200, with a message of 177 or 178 bytes."""

SET_CHANGE = (403, error("Access denied"))
"""Later: 200 with an empty body, where the administrator is that of the nodes."""

ADMIN = PEOPLE["admin2"]
MESSAGE_HASH = VECTORS["worked_example"]["schnorr"]["message_hash"][2:]
FORM = ("Content-Type", "application/x-www-form-urlencoded")


def outcome(answer: Answer) -> tuple[int, bytes]:
    assert answer.header("content-type") == JSON_TYPE
    return answer.status, answer.body


@pytest.mark.parametrize("scheme", ["schnorr", "ecdsa"])
async def test_signing(three: Servers, rpc: Rpc, scheme: str) -> None:
    """C2.4: threshold 1, three nodes; the hash is bare, or the path is none."""
    acting, key_id = Client(rpc, three.addresses, REQUESTS), fresh_id()
    assert (await acting.generate(ALICE, key_id, 1)).status == 200
    path = f"/{scheme}/{key_id}/{await acting.sign(BOB, key_id)}"
    for _ in three.addresses:
        assert outcome(await acting.http("GET", f"{path}/{MESSAGE_HASH}")) == SIGNING
    prefixed = await acting.http("GET", f"{path}/0x{MESSAGE_HASH}")
    assert (prefixed.status, prefixed.body) == (400, b"")


async def test_signing_in_the_vectors(three: Servers) -> None:
    """The two exchanges of the worked example."""
    exchanges = VECTORS["worked_example"]["exchanges"]
    paths = [each["request"]["path"] for each in exchanges]
    signing = [path for path in paths if path.startswith(("/schnorr", "/ecdsa"))]
    assert len(signing) == 2
    for path in signing:
        assert outcome(await ask(three.addresses[1], "GET", path, CURL)) == SIGNING


async def set_change(
    servers: Servers, path: str, body: bytes, headers: list[tuple[str, str]]
) -> list[tuple[int, bytes]]:
    """The request at every node."""
    headers = [*headers, ("Content-Length", str(len(body)))]
    return [outcome(await ask(node, "POST", path, headers, body)) for node in servers.addresses]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([*REQUESTS, ("Content-Type", "application/json")], id="C2.8"),
        pytest.param(AXIOS, id="C3.6"),
        pytest.param(REQUEST_JS, id="C4"),
        pytest.param([*CURL, FORM], id="C6.5"),
    ],
)
async def test_the_printed_set_change(three: Servers, headers: list[tuple[str, str]]) -> None:
    """The call of the original's documentation, which has blanks after commas in its body.

    Nothing will change here for nodes that have another administrator than that call.
    """
    (case,) = (c for c in VECTORS["servers_set_change"] if c["name"] == "mission-document-example")
    body = case["request"]["body"].encode()
    assert b", " in body
    refused = (403, error("Access denied"))
    assert await set_change(three, case["request"]["path"], body, headers) == [refused] * 3


async def signed_change(rpc: Rpc, nodes: list[str]) -> tuple[str, bytes]:
    """C3.6: path and body by which the administrator keeps this set."""
    hashes = [await rpc.result("secretstore_serversSetHash", nodes) for _ in ("old", "new")]
    signatures = [
        await rpc.result("secretstore_signRawHash", ADMIN.address, ADMIN.password, hashed)
        for hashed in hashes
    ]
    path = "/".join(["/admin/servers_set_change", *(each[2:] for each in signatures)])
    return path, ("[" + ",".join(f'"{node}"' for node in nodes) + "]").encode()


async def test_set_change_by_the_administrator_and_keys_from_before(
    three: Servers, rpc: Rpc
) -> None:
    """C3.6 and M6: every consuming half works after it."""
    acting = Client(rpc, three.addresses, AXIOS)
    ids = [fresh_id() for _ in range(3)]
    documents = [
        await acting.publish(ALICE, id_, b"kept", threshold) for threshold, id_ in enumerate(ids)
    ]
    nodes = [PEOPLE[name].key.public().raw64.hex() for name in ("alice", "bob", "charlie")]
    path, body = await signed_change(rpc, [f"0x{node}" for node in nodes])
    assert await set_change(three, path, body, AXIOS) == [SET_CHANGE] * 3
    for id_, document in zip(ids, documents, strict=True):
        assert await acting.consume(BOB, id_, document) == b"kept"
        plain = await acting.http("GET", f"/{id_}/{await acting.sign(BOB, id_)}")
        assert plain.status == 200
        server_key = await acting.http("GET", f"/server/{id_}/{await acting.sign(ALICE, id_)}")
        assert server_key.status == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'["0x00"]', b'"x"', b"[1]", b"\xff"])
async def test_a_set_change_with_a_body_that_is_none(three: Servers, rpc: Rpc, body: bytes) -> None:
    path, _ = await signed_change(rpc, [])
    headers = [FORM, ("Content-Length", str(len(body)))]
    answer = await ask(three.addresses[0], "POST", path, headers, body)
    assert (answer.status, answer.body, answer.header("content-type")) == (400, b"", None)
