"""Real nodes with client listeners, and a proxy in between that does what it should not."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from keyserver.client.doors import DoorKind
from keyserver.client.http import HttpKeyServers, connect_nodes
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import KeyId
from keyserver.simulation.clock import VirtualClock
from tests.support.client_node import ClientNetwork

RNG = SeededRandom("client over http")


def wallet(name: str) -> Wallet:
    return Wallet(SecretScalar(keccak256(name.encode())))


ALICE, BOB, CHARLIE = (wallet(name) for name in ("alice", "bob", "charlie"))


def urls(network: ClientNetwork) -> list[str]:
    return [f"http://{address.host}:{address.port}" for address in network.addresses]


def fresh_id() -> KeyId:
    return ALICE.new_key_id(RNG)


@asynccontextmanager
async def connected(
    who: Wallet, nodes: list[str], door: DoorKind = DoorKind.V1, **options: Any
) -> AsyncIterator[HttpKeyServers]:
    """A client in the time of the simulated nodes."""
    clock = VirtualClock().unix
    async with connect_nodes(nodes, who, door=door, unix_time=clock, **options) as servers:
        yield servers


Change = Callable[[web.Request, bytes], bytes | None]
"""What becomes of a successful answer's body; None: the connection is closed instead."""


@dataclass
class Proxy:
    """Stands before a node and changes successful answers, except what `/v1/node` says."""

    target: str
    change: Change
    hidden_headers: frozenset[str] = frozenset()
    """Of requests; a server that does not know a header does not act on it."""
    seen: list[tuple[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path))
        headers = {
            name: value
            for name, value in request.headers.items()
            if name not in {"Host", "Content-Length", *self.hidden_headers}
        }
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method,
                self.target + request.path,
                headers=headers,
                data=await request.read() or None,
            ) as answer,
        ):
            body: bytes | None = await answer.read()
            if answer.status == 200 and request.path != "/v1/node":
                body = self.change(request, body or b"")
            if body is None:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            kind = answer.headers.get("Content-Type")
            headers = {"Content-Type": kind} if kind else {}
            return web.Response(body=body, status=answer.status, headers=headers)


@asynccontextmanager
async def proxied(proxy: Proxy) -> AsyncIterator[str]:
    """The proxy's URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://{server.host}:{server.port}"


def changed(body: bytes, **fields: Any) -> bytes:
    """A JSON object with other values."""
    value: Mapping[str, Any] = json.loads(body)
    return json.dumps({**value, **fields}).encode()
