"""A fuzzer of the old paths over a served listener, and one of the bytes around them.

What is not in the grammar gets 400 with an empty body; nothing gets an unexpected 500, and nothing
is left without an end.
"""

from collections.abc import Iterator
from random import Random

import pytest

from tests.property.api.test_paths import accepted
from tests.support.random_paths import random_path
from tests.support.raw_http import Answer
from tests.support.wire import Wire, answers_of

pytestmark = pytest.mark.e2e

METHODS = ["GET", "POST", "POST", "GET", "PUT", "HEAD", "DELETE", "PATCH", "get", "OPTIONS"]
TOO_LONG = 8 * 1024 - len("POST  HTTP/1.1")

KNOWN_500 = b'"\\"not enough nodes for passed threshold\\""'
"""A random threshold of a cluster of one."""

STATUSES = {200, 400, 403, 404, 413, 414, 431, 501}
"""All that noise around a right request may be answered with."""

PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"/",
    b"%",
    b"%00",
    b"\xff",
    b"\x80",
    b"HTTP/1.1",
    b"HTTP/9.9",
    b"Host: n\r\n",
    b"Content-Length: 7\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Origin: http://evil.example\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"x" * 9_000,
    b"X: y\r\n" * 70,
]


def right_path(random: Random) -> tuple[str, bytes]:
    """A request of the grammar for an id that nobody knows, by nobody or by a stranger."""
    key_id, signature = random.randbytes(32).hex(), random.randbytes(64).hex()
    start = f"{key_id}/{signature}{random.choice(['00', '01', '1b'])}"
    point, message = random.randbytes(64).hex(), random.randbytes(32).hex()
    method, path = random.choice(
        [
            ("POST", f"/shadow/{start}/{random.randrange(3)}"),
            ("POST", f"//shadow/{start}/{point}/{point}"),
            ("GET", f"/server/{start}?query"),
            ("GET", f"/{start}"),
            ("GET", f"/shadow%2F{start}"),
            ("GET", f"/schnorr/{start}/{message}"),
            ("GET", f"/ecdsa/{start.upper()}/{message}"),
        ]
    )
    return method, path.encode()


def paths(random: Random, count: int) -> Iterator[tuple[str, bytes]]:
    for _ in range(count):
        if random.random() < 0.1:
            yield right_path(random)
            continue
        yield random.choice(METHODS), random_path(random).encode("latin-1", "replace")


def check(method: str, target: bytes, answer: Answer) -> None:
    path = target.partition(b"?")[0]
    if len(target) > TOO_LONG:
        assert answer.status in {400, 414}
    elif accepted(method, path):
        assert answer.status != 500 or answer.body == KNOWN_500, (method, target, answer)
    else:
        assert answer.is_empty_400, (method, target, answer)


def printable(target: bytes) -> bool:
    """Whether the target can stand in a request line at all."""
    return all(0x21 <= byte < 0x7F for byte in target)


@pytest.mark.parametrize("run", range(4))
def test_paths_out_of_the_grammar(http: str, run: int) -> None:
    """Five hundred requests on kept-open connections."""
    random, wire, known = Random(run), Wire(http), 0
    try:
        for method, target in paths(random, 500):
            wire.send(method.encode() + b" " + target + b" HTTP/1.1\r\nHost: n\r\n\r\n")
            answer = wire.answer(method)
            if printable(target):
                check(method, target, answer)
                known += accepted(method, target.partition(b"?")[0])
            else:
                assert answer.is_empty_400, (method, target, answer)
            if answer.header("connection") == "close":
                wire.socket.close()
                wire = Wire(http)
    finally:
        wire.socket.close()
    assert known > 20


def mutated(random: Random, data: bytes) -> bytes:
    """A request with a few pieces cut out, doubled or put in."""
    for _ in range(random.randrange(1, 4)):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.randrange(12))
        match random.randrange(4):
            case 0:
                data = data[:start] + data[end:]
            case 1:
                data = data[:end] + data[start:end] + data[end:]
            case 2:
                data = data[:start] + random.choice(PIECES) + data[start:]
            case _:
                data = data[:start] + random.randbytes(end - start) + data[end:]
    return data


def right_requests(random: Random) -> bytes:
    key_id, signature = random.randbytes(32).hex(), random.randbytes(64).hex() + "00"
    body = random.randbytes(random.randrange(20))
    heads = [
        f"GET /shadow/{key_id}/{signature} HTTP/1.1\r\nHost: n\r\n\r\n".encode(),
        f"GET /server/{key_id}/{signature} HTTP/1.1\r\nHost: n\r\nAccept: */*\r\n\r\n".encode(),
        f"POST /admin/servers_set_change/{signature}/{signature} HTTP/1.1\r\nHost: n\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body,
        b"POST /x HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body) or 1, body or b"x"),
    ]
    return b"".join(random.sample(heads, random.randrange(1, 4)))


@pytest.mark.parametrize("run", range(4))
def test_bytes_around_requests(http: str, run: int) -> None:
    """Whatever comes, there are whole answers of known kinds, and then the connection ends."""
    random = Random(100 + run)
    seen: set[int] = set()
    for _ in range(300):
        data = mutated(random, right_requests(random))
        for answer in answers_of(http, data):
            assert answer.status in STATUSES, (data, answer)
            if answer.status in {413, 414, 431}:
                assert not answer.body
            seen.add(answer.status)
    assert {400, 404} <= seen


@pytest.mark.parametrize("run", range(2))
def test_noise(http: str, run: int) -> None:
    random = Random(200 + run)
    for _ in range(200):
        data = random.randbytes(random.choice([1, 10, 100, 1000]))
        assert all(answer.is_empty_400 for answer in answers_of(http, data)), data
