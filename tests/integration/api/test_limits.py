"""Bounds of requests in size and time, on sockets (HTTP interface, section 2.1)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from keyserver.api import bodies, public_server
from keyserver.api.public_server import MAX_SURPLUS
from tests.integration.api.conftest import ALICE, fresh_id
from tests.support.client_node import ClientNetwork, client_network, sign_id
from tests.support.raw_http import HOST, Answer, Connection, ask, head

KIB = 1024


@pytest.fixture(scope="module")
async def one() -> AsyncIterator[ClientNetwork]:
    async with client_network(1, seed=21) as network:
        yield network


def path_of(key_id: str) -> str:
    return f"/shadow/{key_id}/{sign_id(ALICE.key, bytes.fromhex(key_id))}/0"


def assert_empty(answer: Answer, status: int) -> None:
    assert (answer.status, answer.body) == (status, b"")
    assert answer.header("content-type") is None
    assert answer.header("content-length") == "0"


async def assert_refused(network: ClientNetwork, data: bytes, status: int) -> None:
    """The answer is empty, and the connection ends."""
    async with await Connection.to(network[0].address) as connection:
        await connection.send(data)
        answer = await connection.answer()
        assert_empty(answer, status)
        assert answer.header("cache-control") == "no-store"
        assert answer.header("x-content-type-options") == "nosniff"
        assert await connection.is_closed_by_peer()


async def test_the_largest_request_line(one: ClientNetwork) -> None:
    path = path_of(fresh_id()) + "?"
    room = 8 * KIB - len(f"POST {path} HTTP/1.1")
    answer = await ask(one[0].address, "POST", path + "x" * room)
    assert answer.status == 200
    assert_empty(await ask(one[0].address, "POST", path + "x" * (room + 1)), 414)


async def test_the_most_headers(one: ClientNetwork) -> None:
    headers = [(f"X-{number}", "1") for number in range(63)]
    path = path_of(fresh_id())
    assert (await ask(one[0].address, "POST", path, headers)).status == 200
    assert_empty(await ask(one[0].address, "POST", path, [*headers, ("X-64", "1")]), 431)


async def test_the_largest_headers(one: ClientNetwork) -> None:
    path, host = path_of(fresh_id()), len(f"Host: {HOST}\r\n")
    fits = "x" * (32 * KIB - host - len("X: \r\n"))
    assert (await ask(one[0].address, "POST", path, [("X", fits)])).status == 200
    assert_empty(await ask(one[0].address, "POST", path, [("X", fits + "x")]), 431)


async def test_a_head_without_an_end(one: ClientNetwork) -> None:
    await assert_refused(one, b"GET /" + b"a" * 64 * KIB, 414)
    await assert_refused(one, b"GET / HTTP/1.1\r\nX: " + b"a" * 64 * KIB, 431)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\xff\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: node\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: node\r\n\r\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\nHost: node\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: node\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: node\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http(one: ClientNetwork, data: bytes) -> None:
    await assert_refused(one, data, 400)


async def test_bodies_are_thrown_away_up_to_a_limit(one: ClientNetwork) -> None:
    fits, path = b"\xff" * 64 * KIB, path_of(fresh_id())
    length = [("Content-Length", str(len(fits))), ("Content-Type", "application/json")]
    assert (await ask(one[0].address, "POST", path, length, fits)).status == 200
    declared = [("Content-Length", str(len(fits) + 1))]
    assert_empty(await ask(one[0].address, "POST", path, declared, fits + b"x"), 413)
    chunk = b"10001\r\n" + fits + b"x\r\n0\r\n\r\n"
    chunked = [("Transfer-Encoding", "chunked")]
    assert_empty(await ask(one[0].address, "POST", path, chunked, chunk), 413)


async def test_the_connection_survives_a_body_that_is_too_large(one: ClientNetwork) -> None:
    size = 128 * KIB
    async with await Connection.to(one[0].address) as connection:
        length = [("Content-Length", str(size))]
        first = await connection.ask("POST", "/", length, b"x" * size)
        second = await connection.ask("GET", "/")
    assert_empty(first, 413)
    assert_empty(second, 400)


async def test_a_body_without_an_end(one: ClientNetwork) -> None:
    """Whoever goes on sending after the answer is cut off."""
    async with await Connection.to(one[0].address) as connection:
        length = [("Content-Length", str(16 * MAX_SURPLUS))]
        assert_empty(await connection.ask("POST", "/", length), 413)
        with pytest.raises(ConnectionError):
            await connection.flood(b"x" * (MAX_SURPLUS // 16), times=16 * 16)


def chunks(count: int, size: int) -> bytes:
    return count * (f"{size:x}\r\n".encode() + b"x" * size + b"\r\n")


CHUNKED = [("Transfer-Encoding", "chunked")]


@pytest.mark.parametrize(("count", "size"), [(256, 1), (512, 128)])
async def test_a_body_in_small_chunks(one: ClientNetwork, count: int, size: int) -> None:
    async with await Connection.to(one[0].address) as connection:
        for _ in range(2):  # each request is counted by itself
            body = chunks(count, size) + b"0\r\n\r\n"
            answer = await connection.ask("POST", path_of(fresh_id()), CHUNKED, body)
            assert answer.status == 200


async def test_one_chunk_in_small_pieces(one: ClientNetwork) -> None:
    """How the network cuts a body is nobody's fault."""
    async with await Connection.to(one[0].address) as connection:
        await connection.send(head("POST", path_of(fresh_id()), [("Host", HOST), *CHUNKED]))
        for byte in b"80\r\n" + b"x" * 128 + b"\r\n0\r\n\r\n":
            await connection.send(bytes([byte]))
        assert (await connection.answer()).status == 200


async def test_a_body_in_very_small_chunks(one: ClientNetwork) -> None:
    begun = head("POST", path_of(fresh_id()), [("Host", HOST), *CHUNKED])
    await assert_refused(one, begun + chunks(1000, 1), 400)


async def test_very_small_chunks_after_the_answer(one: ClientNetwork) -> None:
    async with await Connection.to(one[0].address) as connection:
        too_large = chunks(1, 64 * KIB + 1)
        assert_empty(await connection.ask("POST", "/", CHUNKED, too_large), 413)
        await connection.send(chunks(5000, 1))
        assert await connection.is_closed_by_peer()


async def test_a_client_that_waits_for_permission_to_send(one: ClientNetwork) -> None:
    async with await Connection.to(one[0].address) as connection:
        head = f"POST {path_of(fresh_id())} HTTP/1.1\r\nHost: n\r\nContent-Length: 2\r\n"
        await connection.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
        go_on = await connection.reader_line()
        assert go_on == b"HTTP/1.1 100 Continue\r\n"
        assert await connection.reader_line() == b"\r\n"
        await connection.send(b"{}")
        assert (await connection.answer()).status == 200


async def test_slow_clients(one: ClientNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.05)
    monkeypatch.setattr(public_server, "HEAD_S", 0.05)
    async with await Connection.to(one[0].address) as connection:
        assert_empty(await connection.ask("POST", "/", [("Content-Length", "5")], b"ab"), 408)
    for begun in (b"", b"GET /shadow HTTP/1.1\r\nHost:"):
        async with await Connection.to(one[0].address) as connection:
            await connection.send(begun)
            assert await connection.is_closed_by_peer()


async def test_many_connections_at_once(one: ClientNetwork) -> None:
    answers = await asyncio.gather(*(ask(one[0].address, "GET", "/x") for _ in range(100)))
    for answer in answers:
        assert_empty(answer, 400)


async def test_headers_of_every_answer(one: ClientNetwork) -> None:
    for path in (path_of(fresh_id()), "/x", f"/{fresh_id()}/{'00' * 65}"):
        answer = await ask(one[0].address, "POST", path)
        assert answer.header("cache-control") == "no-store"
        assert answer.header("referrer-policy") == "no-referrer"
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("server") is None
        assert answer.header("access-control-allow-origin") is None
        assert answer.header("transfer-encoding") is None
