"""HTTP as bytes on a socket: sends exactly what it is told, returns exactly what comes.

This is the client for nodes in this process; `wire` is the one for nodes as processes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from keyserver.model.node_set import NodeAddress

ANSWER_S = 60
HOST = "localhost"


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """A header by its lower-case name; `None` if it is not there."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) <= 1, f"{name} stands there {len(values)} times"
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def is_empty_400(self) -> bool:
        """What the interface says to all that is not in its grammar."""
        return self.status == 400 and not self.body and self.header("content-type") is None

    def body_length(self, method: str = "GET") -> int:
        """How many bytes follow this head as the answer to a request with this method."""
        if method == "HEAD" or self.status < 200 or self.status == 204:
            return 0
        length = self.header("content-length")
        assert length is not None, "an answer without a length"
        return int(length)


def head(method: str, path: str, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def parse_head(text: bytes) -> Answer:
    """An answer whose body is still to come."""
    first, *lines = text.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    version, status, reason = first.split(" ", 2)
    assert version == "HTTP/1.1", first
    pairs = [line.split(": ", 1) for line in lines]
    names = [name.lower() for name, _ in pairs]
    assert len(set(names)) == len(names), f"a header stands there twice: {names}"
    return Answer(int(status), reason, tuple((name, value) for name, value in pairs), b"")


class Connection:
    """A connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, address: NodeAddress) -> "Connection":
        return cls(*await asyncio.open_connection(address.host, address.port))

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._writer.close()

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def flood(self, data: bytes, *, times: int) -> None:
        for _ in range(times):
            await self.send(data)

    async def ask(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Answer:
        await self.send(head(method, path, [("Host", HOST), *headers]) + body)
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> Answer:
        """The next response to a request with this method."""
        async with asyncio.timeout(ANSWER_S):
            answer = parse_head(await self._reader.readuntil(b"\r\n\r\n"))
            body = await self._reader.readexactly(answer.body_length(method))
            return replace(answer, body=body)

    async def reader_line(self) -> bytes:
        async with asyncio.timeout(ANSWER_S):
            return await self._reader.readline()

    async def is_closed_by_peer(self) -> bool:
        async with asyncio.timeout(ANSWER_S):
            try:
                return await self._reader.read(1) == b""
            except ConnectionResetError:
                return True


async def ask(
    address: NodeAddress,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> Answer:
    """One request on a connection of its own."""
    async with await Connection.to(address) as connection:
        return await connection.ask(method, path, headers, body)
