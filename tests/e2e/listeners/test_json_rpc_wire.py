"""The JSON-RPC listener of a node's process: what clients and others may send it."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

from keyserver.app.accounts import write_key_file
from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import NodeId
from tests.e2e.listeners.nodes import ADDRESS, PASSWORD
from tests.support.node_processes import ConfiguredNode
from tests.support.raw_http import Answer
from tests.support.wire import Wire, answers_of, ask

pytestmark = pytest.mark.e2e

HASH = "0x" + "11" * 32
PARSE_ERROR = {"code": -32700, "message": "Parse error"}
INVALID_REQUEST = {"code": -32600, "message": "Invalid request"}
CODES = {-32700, -32600, -32601, -32602, -32023, -32055}


def post(url: str, body: bytes, *headers: str) -> Answer:
    host = "" if any(header.startswith("Host:") for header in headers) else "\nHost: localhost"
    more = "".join(f"\n{header}" for header in headers)
    return ask(url, f"POST / HTTP/1.1{host}\nContent-Length: {len(body)}{more}", body)


def reply(url: str, body: bytes) -> Any:
    answer = post(url, body)
    assert answer.status == 200
    assert answer.header("content-type") == "application/json; charset=utf-8"
    assert answer.body.endswith(b"\n")
    return json.loads(answer.body)


def call(url: str, method: str, *params: object) -> Any:
    return reply(url, json.dumps({"method": method, "params": params, "id": 1}).encode())


def test_a_call(rpc: str) -> None:
    signed = call(rpc, "secretstore_signRawHash", ADDRESS, PASSWORD, HASH)
    assert len(signed["result"]) == 2 + 130


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"\xff\xfe{}",
        b'{"id":1,"method":"\xc3\x28"}',
        b'{"id":1,"method":"\xed\xa0\x80"}',
        b'{"id":"\\ud800","method":"x"}',
        b"[" * 1_000_000,
        b'{"a":' * 500_000,
        b"[" * 1_000_000 + b"]" * 1_000_000,
        b"NaN",
        b'{"id":NaN,"method":"x"}',
        b'{"id":Infinity,"method":"x"}',
        b'{"id":' + b"9" * 1_000_000 + b',"method":"x"}',
        b'{"id":1,"method":"x",}',
        b'{"id":1,"method":"x"}{"id":2,"method":"x"}',
        b"{'id':1}",
    ],
    ids=range(16),
)
def test_what_is_no_json(rpc: str, body: bytes) -> None:
    began = time.monotonic()
    assert reply(rpc, body) == {"jsonrpc": "2.0", "error": PARSE_ERROR, "id": None}
    assert time.monotonic() - began < 5


def test_numbers_that_are_too_large(rpc: str) -> None:
    assert reply(rpc, b'{"id":1e999,"method":"x"}')["error"] == INVALID_REQUEST
    long = reply(rpc, b'{"id":123456789012345678901234567890,"method":"x"}')
    assert long["id"] == 123456789012345678901234567890
    assert reply(rpc, b'{"id":1,"method":"x","params":[1e999,' + b"9" * 4000 + b"]}")["id"] == 1


def test_the_later_of_two_equal_names_counts(rpc: str) -> None:
    """As other readers of JSON have it."""
    body = b'{"id":1,"method":"secretstore_nope","method":"secretstore_serversSetHash",'
    body += b'"params":5,"params":[[]],"id":2}'
    answer = reply(rpc, body)
    assert answer["id"] == 2
    assert answer["result"].startswith("0xc5d246")  # of nothing


def test_batches(rpc: str) -> None:
    requests = [{"id": number, "method": "eth_chainId"} for number in range(100)]
    answers = reply(rpc, json.dumps(requests).encode())
    assert [answer["id"] for answer in answers] == list(range(100))
    larger = reply(rpc, json.dumps([*requests, {"method": "x"}]).encode())
    assert larger["error"]["code"] == -32600
    assert "100" in larger["error"]["data"]
    million = reply(rpc, b"[" + b"0," * 1_000_000 + b"0]")
    assert million == larger
    silent = post(rpc, json.dumps([{"method": "x"}] * 3).encode())
    assert (silent.status, silent.body) == (200, b"")


def test_the_limit_of_bodies(rpc: str) -> None:
    body = b'{"id":1,"method":"x"}'
    limit = 5 << 20
    assert reply(rpc, body + b" " * (limit - len(body)))["id"] == 1
    assert post(rpc, body + b" " * (limit - len(body) + 1)).status == 413


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8545", "127.0.0.1.evil.example"])
def test_a_page_whose_name_leads_here(rpc: str, host: str) -> None:
    """DNS rebinding: the browser believes to talk to the page's own server."""
    for more in ([], [f"Origin: http://{host}"]):
        answer = post(rpc, b'{"id":1,"method":"eth_chainId"}', f"Host: {host}", *more)
        assert (answer.status, answer.body) == (403, b"")


def test_pages_of_other_origins(rpc: str) -> None:
    body = b'{"id":1,"method":"eth_chainId"}'
    for origin in ("http://evil.example", "null", "http://localhost.evil.example", "file://"):
        assert post(rpc, body, f"Origin: {origin}").status == 403
    assert (
        ask(rpc, "OPTIONS / HTTP/1.1\nHost: localhost\nOrigin: http://evil.example").status == 403
    )
    assert post(rpc, body, "Origin: http://localhost").status == 200


def test_other_methods(rpc: str) -> None:
    for method in ("GET", "PUT", "HEAD", "DELETE", "TRACE"):
        assert ask(rpc, f"{method} / HTTP/1.1\nHost: localhost").status == 405
    assert ask(rpc, "OPTIONS / HTTP/1.1\nHost: localhost").status == 200


@pytest.mark.parametrize("run", range(3))
def test_noise_in_a_request(rpc: str, run: int) -> None:
    """Every whole answer is an envelope of a known kind."""
    random = Random(run)
    right = json.dumps(
        {"jsonrpc": "2.0", "id": 7, "method": "secretstore_serversSetHash", "params": [[HASH * 2]]}
    ).encode()
    for _ in range(300):
        start = random.randrange(len(right))
        end = start + random.randrange(8)
        noise = random.choice(
            [b"", b"[", b"]", b'"', b"{", b"\\u0000", b"null", random.randbytes(3)]
        )
        answer = post(rpc, right[:start] + noise + right[end:])
        assert answer.status == 200
        if answer.body:
            envelope = json.loads(answer.body)
            assert "result" in envelope or envelope["error"]["code"] in CODES


def test_noise_around_a_request(rpc: str) -> None:
    random = Random(9)
    for _ in range(200):
        data = random.randbytes(random.choice([1, 10, 100, 1000]))
        assert all(answer.status == 400 for answer in answers_of(rpc, data))


def account(node: ConfiguredNode, number: int, **options: Any) -> str:
    """One more account, whose password is `right`; the process sees it at once."""
    key = SecretScalar.from_int(number)
    write_key_file(node.directory / "keys", key, "right", **options)
    return f"0x{NodeId.of(key.public()).address.hex()}"


def test_wrong_passwords_make_an_account_slow_and_no_other(node: ConfiguredNode, rpc: str) -> None:
    slow, other = (account(node, number, iterations=2) for number in (21, 22))
    began = time.monotonic()
    for _ in range(6):
        failed = call(rpc, "secretstore_signRawHash", slow, "wrong", HASH)
        assert failed["error"]["code"] == -32023
        assert failed["error"]["data"] == "SStore(InvalidPassword)"
    # Three are free, the fourth makes the next wait half a second, that one the next a second.
    assert time.monotonic() - began >= 1.5
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(call, rpc, "secretstore_signRawHash", slow, "right", HASH)
        assert "result" in call(rpc, "secretstore_signRawHash", other, "right", HASH)
        assert not waiting.done()
        assert "result" in waiting.result()
    began = time.monotonic()
    assert "result" in call(rpc, "secretstore_signRawHash", slow, "right", HASH)
    assert time.monotonic() - began < 1.5, "the right password has ended the wait"


def test_key_derivation_does_not_stop_the_node(node: ConfiguredNode, http: str, rpc: str) -> None:
    """Long derivations, more of them than run at once: all others are answered meanwhile."""
    costly = account(node, 23, iterations=400_000)
    with ThreadPoolExecutor(6) as threads:
        waiting = [
            threads.submit(call, rpc, "secretstore_signRawHash", costly, "right", HASH)
            for _ in range(6)
        ]
        for _ in range(5):
            assert ask(http, "GET /x HTTP/1.1\nHost: n").is_empty_400
            assert call(rpc, "eth_chainId")["error"]["code"] == -32601
        assert not all(each.done() for each in waiting)
        assert all("result" in each.result() for each in waiting)


def test_a_client_that_goes_away_during_a_derivation(node: ConfiguredNode, rpc: str) -> None:
    costly = account(node, 24, iterations=100_000)
    body = json.dumps(
        {"id": 1, "method": "secretstore_signRawHash", "params": [costly, "right", HASH]}
    ).encode()
    for _ in range(3):
        with Wire(rpc) as wire:
            wire.send(
                b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            wire.send(body)
    assert "result" in call(rpc, "secretstore_signRawHash", ADDRESS, PASSWORD, HASH)
