"""What client programs do, call by call, with the headers they send."""

import json
from typing import Any, Protocol

from keyserver.crypto.curve import SecretScalar
from keyserver.model.node_set import NodeAddress
from tests.support.raw_http import Answer, ask
from tests.support.rpc_listener import Rpc

NO_BODY = ("Content-Length", "0")

REQUESTS = [
    ("User-Agent", "python-requests/2.22.0"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Accept", "*/*"),
    ("Connection", "keep-alive"),
]
"""The Python library of C1 and C2."""

AXIOS = [
    ("Accept", "application/json, text/plain, */*"),
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("User-Agent", "axios/0.19.2"),
]
"""C3."""

REQUEST_JS: list[tuple[str, str]] = []
"""C4: no Accept, no content type."""

NODE_FETCH = [
    ("Accept", "application/json"),
    ("Content-Type", "application/json"),
    ("User-Agent", "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)"),
    ("Accept-Encoding", "gzip,deflate"),
    ("Connection", "close"),
]
"""C5."""

CURL = [("User-Agent", "curl/7.58.0"), ("Accept", "*/*")]
"""C6: a POST without a body has no Content-Length."""

POST_HEADERS = {
    "python-requests": [*REQUESTS, NO_BODY],
    "python-requests-json": [*REQUESTS, ("Content-Type", "application/json"), NO_BODY],
    "axios": [*AXIOS, NO_BODY],
    "request": [*REQUEST_JS, NO_BODY],
    "node-fetch": [*NODE_FETCH, NO_BODY],
    "curl": CURL,
}
"""The six header sets of a POST without a body."""


class Account(Protocol):
    """Who acts."""

    @property
    def address(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def key(self) -> SecretScalar: ...


class Client:
    """Publishes and consumes through any nodes, in turn."""

    def __init__(
        self,
        rpc: Rpc,
        nodes: list[NodeAddress],
        headers: list[tuple[str, str]],
        *,
        sends_length: bool = True,
    ) -> None:
        self.rpc = rpc
        self.nodes = nodes
        self.headers = headers
        self.sends_length = sends_length
        self._turn = 0

    async def http(self, method: str, path: str) -> Answer:
        """One request to the next node."""
        node = self.nodes[self._turn % len(self.nodes)]
        self._turn += 1
        length = [NO_BODY] if method == "POST" and self.sends_length else []
        return await ask(node, method, path, [*self.headers, *length])

    async def sign(self, who: Account, key_id: str) -> str:
        """Sign an id; bare."""
        signed = await self.rpc.result(
            "secretstore_signRawHash", who.address, who.password, f"0x{key_id}"
        )
        return str(signed[2:])

    async def generate(self, who: Account, key_id: str, threshold: int) -> Answer:
        signature = await self.sign(who, key_id)
        return await self.http("POST", f"/shadow/{key_id}/{signature}/{threshold}")

    async def store(self, who: Account, key_id: str, made: dict[str, str]) -> Answer:
        signature = await self.sign(who, key_id)
        points = f"{made['common_point'][2:]}/{made['encrypted_point'][2:]}"
        return await self.http("POST", f"/shadow/{key_id}/{signature}/{points}")

    async def publish(self, who: Account, key_id: str, document: bytes, threshold: int) -> str:
        """The whole of C1: returns the encrypted document."""
        generated = await self.generate(who, key_id, threshold)
        assert generated.status == 200, generated
        account = (who.address, who.password)
        made = await self.rpc.result(
            "secretstore_generateDocumentKey", *account, json.loads(generated.text)
        )
        encrypted = await self.rpc.result(
            "secretstore_encrypt", *account, made["encrypted_key"], f"0x{document.hex()}"
        )
        stored = await self.store(who, key_id, made)
        assert (stored.status, stored.body) == (200, b""), stored
        return str(encrypted)

    async def shadow(self, who: Account, key_id: str) -> Answer:
        return await self.http("GET", f"/shadow/{key_id}/{await self.sign(who, key_id)}")

    async def consume(self, who: Account, key_id: str, encrypted: str) -> bytes:
        answer = await self.shadow(who, key_id)
        assert answer.status == 200, answer
        return await self.open_shadow(who, json.loads(answer.text), encrypted)

    async def open_shadow(self, who: Account, shadow: dict[str, Any], encrypted: str) -> bytes:
        opened = await self.rpc.result(
            "secretstore_shadowDecrypt",
            who.address,
            who.password,
            shadow["decrypted_secret"],
            shadow["common_point"],
            shadow["decrypt_shadows"],
            encrypted,
        )
        return bytes.fromhex(opened[2:])
