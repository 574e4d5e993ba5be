"""The server under the client listener: encryption, proxies, and how it stops."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from keyserver.api import accepting, public_server
from keyserver.api.cors import OriginPolicy
from keyserver.api.listening import TlsFiles, tcp_socket
from keyserver.api.original import ClientDependencies, client_app
from keyserver.api.public_server import serve_public
from keyserver.api.rate_limit import BURST_S, RateLimiter
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.node_set import NodeAddress
from tests.support.certificates import write_certificate
from tests.support.raw_http import Answer, Connection, ask
from tests.support.scripted_node import ScriptedNode


@asynccontextmanager
async def served(per_second: int = 0, **options: Any) -> AsyncIterator[NodeAddress]:
    """A scripted node behind the server; a client may make ten requests with `per_second` 1."""
    limiter = RateLimiter(per_second, lambda: 0.0)
    needs = ClientDependencies(ScriptedNode(), SeededRandom(1), OriginPolicy(()), limiter)
    listener = tcp_socket("http_port", "127.0.0.1", 0)
    address = NodeAddress(*listener.getsockname()[:2])
    server = asyncio.ensure_future(serve_public(client_app(needs), listener, **options))
    try:
        yield address
    finally:
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server


async def test_encryption(tmp_path: Path) -> None:
    tls = TlsFiles(tmp_path / "node.pem", tmp_path / "node.key")
    write_certificate(tls.certificate, tls.key)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    async with served(tls=tls) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=trusting)
        writer.write(b"GET /x HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def _from(address: NodeAddress, forwarded: str) -> Answer:
    return await ask(address, "GET", "/x", [("X-Forwarded-For", forwarded)])


async def test_clients_behind_a_trusted_proxy_are_told_apart() -> None:
    async with served(1, trusted_proxies=["127.0.0.1"]) as address:
        first = [await _from(address, "10.0.0.1") for _ in range(BURST_S + 1)]
        assert [answer.status for answer in first] == [400] * BURST_S + [429]
        assert (await _from(address, "10.0.0.2")).status == 400


async def test_what_others_forward_is_not_believed() -> None:
    async with served(1) as address:
        answers = [await _from(address, f"10.0.0.{number}") for number in range(BURST_S + 1)]
    assert answers[-1].status == 429


async def test_stopping_closes_everything() -> None:
    async with served() as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        await ask(address, "GET", "/x")
    assert await reader.read() == b""
    writer.close()
    with socket.socket() as probe:
        assert probe.connect_ex((address.host, address.port)) != 0


# --- how it ends ------------------------------------------------------------------------------


class Gate:
    """An application whose answers wait until the test lets them go."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.cut_off = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cut_off += 1
            raise
        await PlainTextResponse("done")(scope, receive, send)


@asynccontextmanager
async def behind(gate: Gate) -> AsyncIterator[tuple[NodeAddress, asyncio.Future[None]]]:
    listener = tcp_socket("http_port", "127.0.0.1", 0)
    address = NodeAddress(*listener.getsockname()[:2])
    server = asyncio.ensure_future(serve_public(gate, listener))
    try:
        yield address, server
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


async def refused(address: NodeAddress) -> None:
    """Wait until nobody listens there any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection(address.host, address.port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0)


async def test_stopping_lets_requests_under_way_finish() -> None:
    gate = Gate()
    async with behind(gate) as (address, server), await Connection.to(address) as connection:
        asking = asyncio.ensure_future(connection.ask("GET", "/x"))
        await gate.asked.wait()
        server.cancel()
        await refused(address)
        assert not server.done()
        gate.open.set()
        answer = await asking
        assert (answer.status, answer.body) == (200, b"done")
        assert await connection.is_closed_by_peer()
        with pytest.raises(asyncio.CancelledError):
            await server
    assert gate.cut_off == 0


async def test_stopping_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_server, "FINISH_S", 0.05)
    gate = Gate()
    async with behind(gate) as (address, server), await Connection.to(address) as connection:
        await connection.send(b"GET /x HTTP/1.1\r\nHost: n\r\n\r\n")
        await gate.asked.wait()
        server.cancel()
        assert await connection.is_closed_by_peer()
        with pytest.raises(asyncio.CancelledError):
            await server
    assert gate.cut_off == 1


async def test_stopping_does_not_wait_for_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for those that are idle, nor for those that are slow with a request."""
    monkeypatch.setattr(public_server, "FINISH_S", 3600)
    started = [
        b"",
        b"GET /x HTTP/1.1\r\nHo",
        b"POST / HTTP/1.1\r\nHost: n\r\nContent-Length: 9\r\n\r\na",
    ]
    async with served() as address:
        connections = [await Connection.to(address) for _ in started]
        for connection, begun in zip(connections, started, strict=True):
            await connection.send(b"GET /x HTTP/1.1\r\nHost: n\r\n\r\n" + begun)
            assert (await connection.answer()).status == 400
    for connection in connections:
        assert await connection.is_closed_by_peer()
        connection.close()


# --- clients that do not read -----------------------------------------------------------------


class Large:
    """An application whose answers do not fit into any buffer."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        """All but what the buffers take has been read, or the client is gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200}
        await send({**head, "headers": [(b"content-length", str(64 << 20).encode())]})
        part = {"type": "http.response.body", "body": b"x" * (64 << 20), "more_body": True}
        await send(part)
        self.begun.set()
        await send({"type": "http.response.body"})  # waits for room in the buffers
        self.ended.set()


async def test_who_does_not_read_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_server, "READING_S", 0.05)
    listener, app = tcp_socket("http_port", "127.0.0.1", 0), Large()
    server = asyncio.ensure_future(serve_public(app, listener))
    try:
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: n\r\n\r\n")
            await app.ended.wait()
            client.setblocking(False)
            received = 0
            while chunk := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
                received += len(chunk)
            assert received < 64 << 20
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


async def test_who_does_not_read_makes_room() -> None:
    listener, app = tcp_socket("http_port", "127.0.0.1", 0), Large()
    server = asyncio.ensure_future(serve_public(app, listener, most_connections=1))
    try:
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: n\r\n\r\n")
            await app.begun.wait()
            answer = await ask(NodeAddress(*listener.getsockname()[:2]), "GET", "/")
            assert len(answer.body) == 64 << 20
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


async def test_who_reads_slowly_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time runs only while nothing is read."""
    monkeypatch.setattr(public_server, "READING_S", 30)
    listener = tcp_socket("http_port", "127.0.0.1", 0)
    server = asyncio.ensure_future(serve_public(Large(), listener))
    try:
        answer = await ask(NodeAddress(*listener.getsockname()[:2]), "GET", "/")
        assert len(answer.body) == 64 << 20
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


async def test_a_place_among_few() -> None:
    """With one place, the connection that is there makes room for the next."""
    async with served(most_connections=1) as address:
        first = await Connection.to(address)
        assert (await first.ask("GET", "/x")).status == 400
        async with await Connection.to(address) as second:
            assert (await second.ask("GET", "/x")).status == 400
            assert await first.is_closed_by_peer()
        first.close()


async def test_a_client_that_never_agrees_on_encryption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "HANDSHAKE_S", 0.05)
    tls = TlsFiles(tmp_path / "node.pem", tmp_path / "node.key")
    write_certificate(tls.certificate, tls.key)
    async with served(tls=tls) as address, await Connection.to(address) as connection:
        assert await connection.is_closed_by_peer()
