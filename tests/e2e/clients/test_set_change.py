"""Changes of the node set as clients of the original order them (C2.8, C3.6, C4, C6.5, M6)."""

import pytest

from tests.e2e.clients.processes import Cluster
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

ADMIN = PEOPLE["admin2"]
FORM = ("Content-Type", "application/x-www-form-urlencoded")
DENIED = (403, error("Access denied"))
DISCONNECTED = (500, error("node required for this operation is currently disconnected"))


def outcome(answer: Answer) -> tuple[int, bytes]:
    """Status and body; only an empty body has no type."""
    assert answer.header("content-type") == (JSON_TYPE if answer.body else None)
    return answer.status, answer.body


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

    It names nodes that are not configured here; in this process nobody is an administrator.
    """
    (case,) = (c for c in VECTORS["servers_set_change"] if c["name"] == "mission-document-example")
    body = case["request"]["body"].encode()
    assert b", " in body
    refused = DISCONNECTED if isinstance(three, Cluster) else DENIED
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


@pytest.mark.e2e
async def test_set_change_by_the_administrator_and_keys_from_before(
    three_processes: Servers, rpc_processes: Rpc
) -> None:
    """C3.6 and M6: every consuming half works after it; and the same again at every node."""
    three, rpc = three_processes, rpc_processes
    acting = Client(rpc, three.addresses, AXIOS)
    ids = [fresh_id() for _ in range(3)]
    documents = [
        await acting.publish(ALICE, id_, b"kept", threshold) for threshold, id_ in enumerate(ids)
    ]
    nodes = [PEOPLE[name].key.public().raw64.hex() for name in ("alice", "bob", "charlie")]
    path, body = await signed_change(rpc, [f"0x{node}" for node in nodes])
    assert await set_change(three, path, body, AXIOS) == [(200, b"")] * 3
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
