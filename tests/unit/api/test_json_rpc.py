"""Envelopes, batches and HTTP of the JSON-RPC listener."""

import json
from typing import Any

import pytest

from keyserver.api.cors import OriginPolicy
from keyserver.api.json_rpc import (
    MOST_IN_BATCH,
    HostPolicy,
    RpcDependencies,
    answer_text,
    json_rpc_app,
)
from keyserver.api.json_rpc_errors import account_error
from keyserver.api.json_rpc_methods import Method
from tests.support.asgi import call
from tests.support.raw_http import Answer


async def echo(params: Any) -> Any:
    return params


async def fail(_: Any) -> Any:
    raise account_error("Could not sign raw hash.", "SStore(InvalidPassword)")


async def crash(_: Any) -> Any:
    raise ZeroDivisionError("with a password in it")


METHODS: dict[str, Method] = {"echo": echo, "fail": fail, "crash": crash}


async def answered(body: bytes | Any) -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await answer_text(METHODS, text)
    assert answer == b"" or answer.endswith(b"\n")
    return json.loads(answer) if answer else None


async def rpc(
    body: bytes = b'{"method":"echo","id":1}',
    *,
    method: str = "POST",
    headers: list[tuple[str, str]] | None = None,
    cors: tuple[str, ...] = (),
    hosts: tuple[str, ...] = ("none",),
    interface: str = "127.0.0.1",
) -> Answer:
    needs = RpcDependencies(METHODS, OriginPolicy(cors), HostPolicy(hosts, interface), 1024)
    sent = [("Host", "localhost:8545")] if headers is None else headers
    return await call(json_rpc_app(needs), method, "/any/path", sent, body)


@pytest.mark.parametrize("id_", [1, 0, -5, "x", "", 1.5, None])
async def test_ids_are_echoed_with_their_type(id_: Any) -> None:
    answer = await answer_text(METHODS, json.dumps({"method": "echo", "id": id_}).encode())
    assert answer == f'{{"jsonrpc":"2.0","result":[],"id":{json.dumps(id_)}}}\n'.encode()


async def test_errors_have_no_result_and_results_no_error() -> None:
    failed = await answered({"jsonrpc": "2.0", "method": "fail", "id": 7})
    assert failed == {
        "jsonrpc": "2.0",
        "error": {
            "code": -32023,
            "message": "Could not sign raw hash.",
            "data": "SStore(InvalidPassword)",
        },
        "id": 7,
    }
    fine = await answered({"method": "echo", "params": ["a"], "id": 7})
    assert fine == {"jsonrpc": "2.0", "result": ["a"], "id": 7}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"method":"echo","id":1}x',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"NaN",
        b'{"method":"echo","params":[Infinity],"id":1}',
        b"9" * 10_000,
    ],
)
async def test_what_is_no_json(body: bytes) -> None:
    answer = await answered(body)
    assert answer["error"] == {"code": -32700, "message": "Parse error"}
    assert answer["id"] is None


@pytest.mark.parametrize(
    "request_",
    [
        1,
        "echo",
        None,
        [],
        {"id": 1},
        {"method": 5, "id": 1},
        {"method": "echo", "id": []},
        {"method": "echo", "id": True},
        {"method": "echo", "id": {"a": 1}},
        {"method": "echo", "jsonrpc": "1.0", "id": 1},
        {"method": "echo", "jsonrpc": 2.0, "id": 1},
    ],
)
async def test_what_is_no_request(request_: Any) -> None:
    answer = await answered(request_)
    assert answer["error"] == {"code": -32600, "message": "Invalid request"}


@pytest.mark.parametrize("name", ["eth_chainId", "net_version", "secretstore_nope", ""])
async def test_unknown_methods(name: str) -> None:
    answer = await answered({"method": name, "id": 42})
    assert answer == {
        "jsonrpc": "2.0",
        "error": {"code": -32601, "message": "Method not found"},
        "id": 42,
    }


async def test_what_nobody_has_thought_of() -> None:
    answer = await answered({"method": "crash", "id": 1})
    assert answer["error"] == {"code": -32603, "message": "Internal error"}


async def test_an_id_that_is_no_number_any_more() -> None:
    answer = await answered(b'{"method":"echo","id":1e400}')
    assert answer == {
        "jsonrpc": "2.0",
        "error": {"code": -32600, "message": "Invalid request"},
        "id": None,
    }


async def test_batches_and_notifications() -> None:
    first, second = {"method": "echo", "id": 1}, {"method": "fail", "id": 2}
    silent = {"method": "echo"}
    answers = await answered([first, silent, second, 5])
    assert [answer["id"] for answer in answers] == [1, 2, None]
    assert [("error" in answer) for answer in answers] == [False, True, True]
    assert await answered([silent, silent]) is None
    assert await answered(silent) is None
    assert await answered({"method": "fail"}) is None


async def test_http() -> None:
    answer = await rpc()
    assert answer.status == 200
    assert answer.header("content-type") == "application/json; charset=utf-8"
    assert answer.body == b'{"jsonrpc":"2.0","result":[],"id":1}\n'
    failed = await rpc(b"no json")
    assert (failed.status, failed.body[-1:]) == (200, b"\n")
    silent = await rpc(b'{"method":"echo"}')
    assert (silent.status, silent.body, silent.header("content-type")) == (200, b"", None)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "text/plain", None]
)
async def test_content_types(content_type: str | None) -> None:
    headers = [("Host", "127.0.0.1")]
    headers += [] if content_type is None else [("Content-Type", content_type)]
    assert (await rpc(headers=headers)).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE", "post"])
async def test_other_methods(method: str) -> None:
    answer = await rpc(method=method)
    assert answer.status == 405
    assert answer.header("allow") == "POST, OPTIONS"


async def test_the_limit_of_bodies() -> None:
    body = b'{"method":"echo","id":1}'
    assert (await rpc(body + b" " * (1024 - len(body)))).status == 200
    assert (await rpc(body + b" " * (1025 - len(body)))).status == 413
    assert (await rpc(headers=[("Content-Length", "1025")])).status == 413


async def test_limits_of_heads() -> None:
    assert (await rpc(headers=[("X", "1")] * 65)).status == 431


async def test_pages() -> None:
    page = [("Host", "localhost"), ("Origin", "http://app.example")]
    assert (await rpc(headers=page)).status == 403
    allowed = await rpc(headers=page, cors=("http://app.example",))
    assert allowed.header("access-control-allow-origin") == "http://app.example"
    asked = await rpc(
        b"",
        method="OPTIONS",
        headers=[*page, ("Access-Control-Request-Headers", "content-type, x")],
        cors=("http://app.example",),
    )
    assert asked.status == 200
    assert asked.header("access-control-allow-origin") == "http://app.example"
    assert asked.header("access-control-allow-headers") == "content-type, x"
    assert (await rpc(b"", method="OPTIONS", headers=page)).status == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8545", 200),
        ("127.0.0.1:8545", 200),
        ("127.0.0.2", 200),
        ("[::1]:8545", 200),
        ("10.1.2.3", 403),
        ("[2001:db8::1]:8545", 403),
        ("evil.example", 403),
        ("evil.example:8545", 403),
        ("localhost.evil.example", 403),
        ("", 403),
    ],
)
async def test_host_names(host: str, status: int) -> None:
    assert (await rpc(headers=[("Host", host)])).status == status


async def test_allowed_host_names() -> None:
    named = [("Host", "Node.example:80")]
    assert (await rpc(headers=named, hosts=("node.example",))).status == 200
    assert (await rpc(headers=named, hosts=("node.example:80",))).status == 200
    assert (await rpc(headers=named, hosts=("node.example:81",))).status == 403
    assert (await rpc(headers=named, hosts=("all",))).status == 200
    assert (await rpc(headers=named, interface="0.0.0.0")).status == 200
    assert (await rpc(headers=named, interface="0.0.0.0", hosts=("other",))).status == 403
    own = [("Host", "10.1.2.3:8545")]
    assert (await rpc(headers=own, interface="10.1.2.3")).status == 200
    assert (await rpc(headers=own, interface="10.1.2.4")).status == 403
    assert (await rpc(headers=[])).status == 200


async def test_batches_are_bounded() -> None:
    request = {"method": "echo", "id": 1}
    assert len(await answered([request] * MOST_IN_BATCH)) == MOST_IN_BATCH
    answer = await answered([request] * (MOST_IN_BATCH + 1))
    assert answer == {
        "jsonrpc": "2.0",
        "error": {
            "code": -32600,
            "message": "Invalid request",
            "data": "a batch has at most 100 calls",
        },
        "id": None,
    }


async def test_a_target_that_is_a_whole_url() -> None:
    """Its host counts."""
    needs = RpcDependencies(METHODS, OriginPolicy(()), HostPolicy(("none",), "127.0.0.1"), 1024)
    body = b'{"method":"echo","id":1}'
    for target, status in (("http://localhost:1/x", 200), ("http://evil.example/", 403)):
        answer = await call(json_rpc_app(needs), "POST", target, [("Host", "localhost")], body)
        assert answer.status == status
