"""HTTP as it comes: old versions, odd forms, many connections, and clients that stop half-way."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from itertools import count

import pytest

from tests.e2e.listeners.nodes import CLIENT
from tests.support.client_node import sign_id
from tests.support.wire import Wire, answers_of, ask

pytestmark = pytest.mark.e2e

KIB = 1024
_NUMBERS = count(1)


def fresh_path(suffix: str = "/0") -> str:
    """The path of a generation that nobody has asked for."""
    key_id = next(_NUMBERS).to_bytes(32, "big")
    return f"/shadow/{key_id.hex()}/{sign_id(CLIENT, key_id)}{suffix}"


def is_public_key(body: bytes) -> bool:
    return len(body) == 132 and json.loads(body).startswith("0x")


def test_http_1_0(http: str) -> None:
    """Without a `Host`; the connection ends after the answer, as the client expects."""
    with Wire(http) as wire:
        answer = wire.ask(f"POST {fresh_path()} HTTP/1.0")
        assert answer.status == 200
        assert is_public_key(answer.body)
        assert wire.is_closed()


def test_every_answer_says_when(http: str) -> None:
    answer = ask(http, "GET /x HTTP/1.1\nHost: n")
    assert parsedate_to_datetime(answer.header("date") or "").tzinfo is not None
    assert answer.header("server") is None


def test_a_whole_url_as_target(http: str) -> None:
    host = http.removeprefix("http://")
    for target in (f"http://{host}", f"HTTP://{host}", "http://elsewhere.example"):
        answer = ask(http, f"POST {target}{fresh_path()} HTTP/1.1\nHost: {host}")
        assert answer.status == 200, target
    assert ask(http, f"GET http://{host} HTTP/1.1\nHost: {host}").is_empty_400
    # A page of the host in the target is the node's own page; one of the header's is not.
    own = "GET http://a.example/x HTTP/1.1\nHost: b.example\nOrigin: http://{}.example"
    assert ask(http, own.format("a")).status == 400
    assert ask(http, own.format("b")).status == 404


@pytest.mark.parametrize("target", ["*", "node:80", "ftp://node/x", "x", "?", "/", "//", "/%00"])
def test_targets_that_are_no_request(http: str, target: str) -> None:
    for method in ("GET", "POST", "PUT", "OPTIONS", "CONNECT"):
        assert ask(http, f"{method} {target} HTTP/1.1\nHost: node").is_empty_400, method


def test_pipelined_requests_are_answered_in_their_order(http: str) -> None:
    paths = [fresh_path() for _ in range(8)]
    heads = [f"POST {path} HTTP/1.1\r\nHost: node\r\n\r\n" for path in paths]
    with Wire(http) as wire:
        wire.send("".join(heads).encode())
        made = [wire.answer().body for _ in paths]
    assert len(set(made)) == len(paths)
    for path, body in zip(paths, made, strict=True):
        again = ask(http, f"GET {path.replace('/shadow', '/server')[:-2]} HTTP/1.1\nHost: node")
        assert again.body == body


def test_a_client_that_sends_no_more_gets_its_answers(http: str) -> None:
    heads = [f"POST {fresh_path()} HTTP/1.1\r\nHost: node\r\n\r\n" for _ in range(3)]
    answers = answers_of(http, "".join(heads).encode())
    assert [answer.status for answer in answers] == [200] * 3
    assert answers_of(http, b"") == []
    assert answers_of(http, b"GET /x HTTP/1.1\r\nHost:") == []
    assert answers_of(http, b"POST /x HTTP/1.1\r\nHost: n\r\nContent-Length: 5\r\n\r\nab") == []


def test_sixteen_connections_kept_open(http: str) -> None:
    wires = [Wire(http) for _ in range(16)]
    try:
        for _ in range(3):
            for wire in wires:
                wire.send(f"POST {fresh_path()} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
            answers = [wire.answer() for wire in wires]
            assert [answer.status for answer in answers] == [200] * 16
            assert len({answer.body for answer in answers}) == 16
    finally:
        for wire in wires:
            wire.socket.close()


def test_a_connection_for_each_call_in_parallel(http: str) -> None:
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda _: ask(http, "GET /x HTTP/1.1\nHost: node"), range(200)))
    assert all(answer.is_empty_400 for answer in found)


def test_a_client_that_waits_before_it_sends_a_body(http: str) -> None:
    head = f"POST {fresh_path()} HTTP/1.1\r\nHost: n\r\nContent-Length: {{}}\r\n"
    with Wire(http) as wire:
        wire.send(f"{head.format(2)}Expect: 100-continue\r\n\r\n".encode())
        assert wire.line() == b"HTTP/1.1 100 Continue\r\n"
        assert wire.line() == b"\r\n"
        wire.send(b"{}")
        assert wire.answer().status == 200
    with Wire(http) as wire:  # too much: it is told so before it sends anything
        wire.send(f"{head.format(64 * KIB + 1)}Expect: 100-continue\r\n\r\n".encode())
        assert wire.answer().status == 413


def test_bodies(http: str) -> None:
    body = b"\0" * 64 * KIB
    fits = ask(http, f"POST {fresh_path()} HTTP/1.1\nHost: n\nContent-Length: {len(body)}", body)
    assert fits.status == 200
    over = f"POST {fresh_path()} HTTP/1.1\nHost: n\nContent-Length: {len(body) + 1}"
    answer = ask(http, over, body + b"x")
    assert (answer.status, answer.body) == (413, b"")


def test_chunks(http: str) -> None:
    head = f"POST {fresh_path()} HTTP/1.1\nHost: n\nTransfer-Encoding: chunked"
    assert ask(http, head, b"1;ext=1\r\nx\r\n0\r\nTrailer: 1\r\n\r\n").status == 200
    to_any = "POST /x HTTP/1.1\nHost: n\nTransfer-Encoding: chunked"
    too_many = b"400\r\n" + b"x" * KIB + b"\r\n"
    assert ask(http, to_any, too_many * 65 + b"0\r\n\r\n").status == 413
    too_small = b"1\r\nx\r\n"
    assert ask(http, to_any, too_small * 1000 + b"0\r\n\r\n").status == 400


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 1\nContent-Length: 2",
        "Content-Length: 1, 2",
        "Content-Length: -1",
        "Content-Length: +1",
        "Content-Length: 0x1",
        "Content-Length: 1 1",
        "Content-Length: 1\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, gzip",
        "X-Nul: a\0b",
        "X\0: a",
        "X Y: a",
        ": a",
        "X",
    ],
)
def test_heads_that_two_readers_could_read_differently(http: str, head: str) -> None:
    """Each is refused as a whole, and nothing after it is read as another request."""
    request = f"POST {fresh_path()} HTTP/1.1\nHost: n\n{head}\n\n".replace("\n", "\r\n")
    smuggled = f"POST {fresh_path()} HTTP/1.1\r\nHost: n\r\n\r\n"
    (answer,) = answers_of(http, (request + smuggled).encode("latin-1"))
    assert answer.is_empty_400
    assert answer.header("connection") == "close"


@pytest.mark.parametrize("byte", [*range(1, 9), 11, 12, *range(14, 32), 127])
def test_control_bytes_in_a_header(http: str, byte: int) -> None:
    answer = ask(http, f"POST {fresh_path()} HTTP/1.1\nHost: n\nX: a{chr(byte)}b")
    assert answer.is_empty_400


def test_a_folded_header_is_one(http: str) -> None:
    """RFC 9112, 5.2: the fold becomes a blank."""
    assert ask(http, f"POST {fresh_path()} HTTP/1.1\nHost: n\nX: a\n b\n\tc").status == 200


def test_length_and_chunks_together(http: str) -> None:
    """Chunks count (RFC 9112, 6.3); what follows them is no part of the body."""
    head = f"POST {fresh_path()} HTTP/1.1\r\nHost: n\r\nContent-Length: 100\r\n"
    data = f"{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode()
    statuses = [answer.status for answer in answers_of(http, data)]
    assert statuses in ([200], [400])


@pytest.mark.parametrize("byte", [0, 1, 8, 9, 10, 11, 13, 27, 31, 32, 127, 128, 255])
def test_control_bytes_in_a_target(http: str, byte: int) -> None:
    path = fresh_path().encode()
    data = b"POST " + path + bytes([byte]) + b" HTTP/1.1\r\nHost: n\r\n\r\n"
    answers = answers_of(http, data)
    assert answers == [] or answers[0].is_empty_400
    assert len(answers) <= 1


def test_other_protocols_that_a_client_offers(http: str) -> None:
    offers = "Upgrade: h2c\nConnection: Upgrade, HTTP2-Settings\nHTTP2-Settings: AAMAAABk"
    assert ask(http, f"POST {fresh_path()} HTTP/1.1\nHost: n\n{offers}").status == 200
    assert ask(
        http, "GET /x HTTP/1.1\nHost: n\nUpgrade: websocket\nConnection: upgrade"
    ).is_empty_400
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    assert all(answer.is_empty_400 for answer in answers_of(http, preface))
    for version in ("0.9", "2.0", "1.2"):
        assert ask(http, f"POST {fresh_path()} HTTP/{version}\nHost: n").is_empty_400


def test_a_tls_client_at_a_plain_listener(http: str) -> None:
    hello = bytes.fromhex("1603010200010001fc0303") + b"\0" * 500
    assert all(answer.is_empty_400 for answer in answers_of(http, hello))


def test_pages_of_other_origins(http: str) -> None:
    page = "POST {} HTTP/1.1\nHost: node:1\nOrigin: {}"
    allowed = ask(http, page.format(fresh_path(), "http://App.example"))
    assert allowed.status == 200
    assert allowed.header("access-control-allow-origin") == "http://app.example"
    opaque = ask(http, page.format(fresh_path(), "null"))
    assert opaque.header("access-control-allow-origin") is None
    own = ask(http, page.format(fresh_path(), "http://node:1"))
    assert (own.status, own.header("access-control-allow-origin")) == (200, None)
    path = fresh_path()
    refused = ask(http, page.format(path, "http://evil.example"))
    assert (refused.status, refused.body) == (404, b"")
    assert refused.header("content-type") is None
    nothing = ask(http, f"GET {path.replace('/shadow', '/server')[:-2]} HTTP/1.1\nHost: n")
    assert nothing.status == 404  # nothing was done
    failed = ask(http, "GET /x HTTP/1.1\nHost: n\nOrigin: http://app.example")
    assert failed.is_empty_400
    assert failed.header("access-control-allow-origin") == "http://app.example"


def test_preflights(http: str) -> None:
    asked = "OPTIONS /any HTTP/1.1\nHost: n\nAccess-Control-Request-Headers: x-a, x-b\nOrigin: "
    answer = ask(http, f"{asked}http://app.example")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("access-control-allow-origin") == "http://app.example"
    assert answer.header("access-control-allow-methods") == "GET, POST"
    assert answer.header("access-control-allow-headers") == "x-a, x-b"
    assert ask(http, f"{asked}http://evil.example").status == 404
    assert ask(http, "OPTIONS /any HTTP/1.1\nHost: n").is_empty_400


def test_clients_that_go_away_in_the_middle(http: str) -> None:
    """Reset connections at any point; the node goes on."""
    request = f"POST {fresh_path()} HTTP/1.1\r\nHost: n\r\nContent-Length: 3\r\n\r\nabc".encode()
    for length in (0, 1, 10, len(request) - 1, len(request)):
        wire = Wire(http)
        wire.send(request[:length])
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wire.socket.close()
    assert ask(http, f"POST {fresh_path()} HTTP/1.1\nHost: n").status == 200
