"""Somebody on the path between two nodes: he sees, alters, repeats, drops and cuts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from keyserver.model.node_set import NodeAddress

Alter = Callable[["Relay", str, bytes], Awaitable[None]]
"""(relay, "out" from the dialler or "in" to it, what came) → sends on what it likes."""


@dataclass
class Relay:
    """One connection through the hands of the attacker, piece by piece."""

    address: NodeAddress
    outward: asyncio.StreamWriter | None = None
    """To the node that was dialled."""
    inward: asyncio.StreamWriter | None = None
    """To the node that dialled."""
    seen: list[tuple[str, bytes]] = field(default_factory=list)
    connections: int = 0

    def pass_on(self, direction: str, data: bytes) -> None:
        writer = self.outward if direction == "out" else self.inward
        assert writer is not None
        if not writer.is_closing():
            writer.write(data)

    def cut(self) -> None:
        for writer in (self.outward, self.inward):
            if writer is not None:
                writer.transport.abort()


async def transparent(relay: Relay, direction: str, data: bytes) -> None:
    relay.pass_on(direction, data)


SIZES = {("out", 0): 50, ("in", 0): 50, ("out", 1): 66}
"""The acts of a handshake; everything else passes as it comes."""


@asynccontextmanager
async def relaying(target: NodeAddress, alter: Alter) -> AsyncIterator[Relay]:
    """Listen in front of `target`; the acts of the handshake come whole, the rest in pieces."""
    tasks: set[asyncio.Task[None]] = set()

    async def pump(relay: Relay, reader: asyncio.StreamReader, direction: str) -> None:
        number = 0
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                size = SIZES.get((direction, number))
                data = await (reader.read(65536) if size is None else reader.readexactly(size))
                if not data:
                    break
                number += 1
                relay.seen.append((direction, data))
                await alter(relay, direction, data)
        relay.cut()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay.connections += 1
        there, relay.outward = await asyncio.open_connection(target.host, target.port)
        relay.inward = writer
        for source, direction in ((reader, "out"), (there, "in")):
            task = asyncio.ensure_future(pump(relay, source, direction))
            tasks.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    relay = Relay(NodeAddress("127.0.0.1", server.sockets[0].getsockname()[1]))
    try:
        yield relay
    finally:
        server.close()
        relay.cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
