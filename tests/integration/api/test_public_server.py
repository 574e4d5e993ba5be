"""The server under the client listener: encryption, proxies, and how it stops."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from keyserver.api.cors import OriginPolicy
from keyserver.api.listening import TlsFiles, tcp_socket
from keyserver.api.original import ClientDependencies, client_app
from keyserver.api.public_server import serve_public
from keyserver.api.rate_limit import BURST_S, RateLimiter
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.node_set import NodeAddress
from tests.integration.node.network import write_certificate
from tests.support.raw_http import Answer, ask
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
