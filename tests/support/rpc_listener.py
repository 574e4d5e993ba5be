"""A JSON-RPC listener with the accounts of the vectors, and calls to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from keyserver.api.cors import OriginPolicy
from keyserver.api.json_rpc import HostPolicy, RpcDependencies, json_rpc_app
from keyserver.api.json_rpc_accounts import Accounts
from keyserver.api.json_rpc_methods import SecretStoreModule
from keyserver.api.listening import tcp_socket
from keyserver.api.ports import LockedKey
from keyserver.api.public_server import serve_public
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.model.identifiers import Address
from keyserver.model.node_set import NodeAddress
from tests.support.leaping_clock import LeapingClock
from tests.support.raw_http import Answer, ask

JSON_HEADERS = [("Content-Type", "application/json")]


class KnownAccount:
    """An account whose key needs no derivation."""

    def __init__(self, described: dict[str, str]) -> None:
        self.address = Address(bytes.fromhex(described["address"][2:]))
        self.password = described["password"]
        self.key = SecretScalar(bytes.fromhex(described["private_key"][2:]))

    def open(self, password: str) -> SecretScalar | None:
        return self.key if password == self.password else None


def known_accounts(described: Sequence[dict[str, str]]) -> list[LockedKey]:
    return [KnownAccount(each) for each in described]


def accounts_of(keys: Sequence[LockedKey]) -> Accounts:
    clock = LeapingClock()
    return Accounts(
        lambda address: [key for key in keys if key.address == address],
        monotonic=clock.monotonic,
        sleep=clock.sleep,
    )


class Rpc:
    """A client of the listener."""

    def __init__(self, address: NodeAddress) -> None:
        self.address = address

    async def raw(self, body: bytes, headers: Sequence[tuple[str, str]] = JSON_HEADERS) -> Answer:
        length = [("Content-Length", str(len(body)))]
        return await ask(self.address, "POST", "/", [*headers, *length], body)

    async def call(self, method: str, *params: Any, id_: Any = 1) -> dict[str, Any]:
        """The whole envelope."""
        request = {"jsonrpc": "2.0", "method": method, "params": list(params), "id": id_}
        answer = await self.raw(json.dumps(request).encode())
        assert answer.status == 200
        envelope: dict[str, Any] = json.loads(answer.body)
        assert envelope["id"] == id_
        return envelope

    async def result(self, method: str, *params: Any) -> Any:
        envelope = await self.call(method, *params)
        assert "error" not in envelope, envelope
        return envelope["result"]


@asynccontextmanager
async def rpc_listener(
    keys: Sequence[LockedKey], *, cors: Sequence[str] = (), hosts: Sequence[str] = ("all",)
) -> AsyncIterator[Rpc]:
    """A JSON-RPC listener on a free port."""
    module = SecretStoreModule(accounts_of(keys), SystemRandom())
    needs = RpcDependencies(
        module.methods, OriginPolicy(cors), HostPolicy(hosts, "127.0.0.1"), 5 << 20
    )
    listener = tcp_socket("rpc.port", "127.0.0.1", 0)
    server = asyncio.ensure_future(serve_public(json_rpc_app(needs), listener))
    try:
        yield Rpc(NodeAddress(*listener.getsockname()[:2]))
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)
