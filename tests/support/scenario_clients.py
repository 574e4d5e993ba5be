"""What client programs do, call by call, with the headers they send."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from keyserver.crypto.curve import SecretScalar
from keyserver.model.node_set import NodeAddress
from tests.support.raw_http import Answer, Connection, ask
from tests.support.rpc_listener import Rpc
from tests.vectors.files import load, secret

VECTORS: dict[str, Any] = load("http-api")
JSON_TYPE = "application/json; charset=utf-8"
ALREADY_GENERATED = b'"\\"Server key with this ID is already generated\\""'
IN_PROGRESS = b'"\\"session with the same id is already registered\\""'


@dataclass(frozen=True)
class Person:
    """An account of the vectors."""

    name: str
    address: str
    password: str
    key: SecretScalar


PEOPLE = {
    each["name"]: Person(
        each["name"], each["address"], each["password"], secret(each["private_key"])
    )
    for each in VECTORS["accounts"]
}
ALICE, BOB, CHARLIE = PEOPLE["alice"], PEOPLE["bob"], PEOPLE["charlie"]

_NUMBERS = count(1)


def fresh_id() -> str:
    """A server key id nobody has used, bare."""
    return f"{next(_NUMBERS):064x}"


class Servers(Protocol):
    """Running key servers, in this process or in others, which can be stopped and started."""

    @property
    def addresses(self) -> Sequence[NodeAddress]:
        """Where they serve clients."""

    async def stop(self, index: int) -> None:
        """End one of them without warning."""

    async def start(self, *indices: int) -> None:
        """Start some again; returns when all that run are connected with each other."""


def error(text: str) -> bytes:
    """The body of an error."""
    return json.dumps(f'"{text}"').encode()


def shown_by_axios(answer: Answer) -> str:
    """The message of C3: the body after one JSON decoding and without the outer quotes."""
    text = json.loads(answer.text) if answer.body else ""
    assert isinstance(text, str)
    return f"{answer.reason} ({answer.status}): {text.removeprefix(chr(34)).removesuffix(chr(34))}"


async def when_finished(request: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer of a node that is not busy with its own part of making this key any more.

    A key is there as soon as enough nodes have it; one that is behind says that work is in
    progress, and may be asked again.
    """
    answer = await request()
    while answer.body == IN_PROGRESS:
        assert answer.status == 500
        answer = await request()
    return answer


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


class Client:
    """Publishes and consumes through any nodes, in turn."""

    def __init__(
        self,
        rpc: Rpc,
        nodes: Sequence[NodeAddress],
        headers: Sequence[tuple[str, str]],
        *,
        sends_length: bool = True,
        keeps_open: bool = False,
    ) -> None:
        """With `keeps_open` there is one connection to each node, to be closed by `async with`."""
        self.rpc = rpc
        self.nodes = list(nodes)
        self.headers = list(headers)
        self.sends_length = sends_length
        self.keeps_open = keeps_open
        self._open: dict[NodeAddress, Connection] = {}
        self._turn = 0

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._open.values():
            connection.close()

    async def http(self, method: str, path: str) -> Answer:
        """One request to the next node."""
        node = self.nodes[self._turn % len(self.nodes)]
        self._turn += 1
        length = [NO_BODY] if method == "POST" and self.sends_length else []
        if not self.keeps_open:
            return await ask(node, method, path, [*self.headers, *length])
        if node not in self._open:
            self._open[node] = await Connection.to(node)
        kept = [(name, value) for name, value in self.headers if name != "Connection"]
        return await self._open[node].ask(method, path, [*kept, *length])

    async def sign(self, who: Person, key_id: str) -> str:
        """Sign an id; bare."""
        signed = await self.rpc.result(
            "secretstore_signRawHash", who.address, who.password, f"0x{key_id}"
        )
        return str(signed[2:])

    async def generate(self, who: Person, key_id: str, threshold: int) -> Answer:
        signature = await self.sign(who, key_id)
        return await self.http("POST", f"/shadow/{key_id}/{signature}/{threshold}")

    async def store(self, who: Person, key_id: str, made: dict[str, str]) -> Answer:
        signature = await self.sign(who, key_id)
        points = f"{made['common_point'][2:]}/{made['encrypted_point'][2:]}"
        return await self.http("POST", f"/shadow/{key_id}/{signature}/{points}")

    async def publish(self, who: Person, key_id: str, document: bytes, threshold: int) -> str:
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

    async def shadow(self, who: Person, key_id: str) -> Answer:
        return await self.http("GET", f"/shadow/{key_id}/{await self.sign(who, key_id)}")

    async def consume(self, who: Person, key_id: str, encrypted: str) -> bytes:
        answer = await self.shadow(who, key_id)
        assert answer.status == 200, answer
        return await self.open_shadow(who, json.loads(answer.text), encrypted)

    async def open_shadow(self, who: Person, shadow: dict[str, Any], encrypted: str) -> bytes:
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
