"""TCP between nodes, through proxies that can cut, hold up and delay the way between any two.

Each node announces the address of its proxy. Who has dialled is found by the process that owns the
other end of the connection (Linux: /proc), so that one pair can be disturbed and no other.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keyserver.devnet.local_chain import LOOPBACK

CHUNK = 64 * 1024
LOOPBACK_HEX = "0100007F"

Pids = Callable[[], Mapping[int, int]]
"""Process ids of the nodes that run now, with the nodes' numbers."""


def owner_of(port: int, proxy_port: int, pids: Mapping[int, int]) -> int | None:
    """The node whose process has a connection from `port` to `proxy_port`."""
    inode = _inode_of(port, proxy_port)
    if inode is None:
        return None
    wanted = f"socket:[{inode}]"
    return next((node for pid, node in pids.items() if wanted in _open_files(pid)), None)


def _inode_of(port: int, proxy_port: int) -> str | None:
    near, far = f"{LOOPBACK_HEX}:{port:04X}", f"{LOOPBACK_HEX}:{proxy_port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1], fields[2]) == (near, far):
            return fields[9]
    return None


def _open_files(pid: int) -> set[str]:
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                found.add(os.readlink(entry.path))
            except OSError:
                continue  # closed meanwhile
    except OSError:
        return set()  # the process has ended
    return found


@dataclass
class Way:
    """The way between two nodes, whoever dials."""

    is_cut: bool = False
    delay_s: float = 0.0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Not set: whatever is sent waits."""
    connections: set[asyncio.Task[None]] = field(default_factory=set)


class Links:
    """All ways between the nodes of a network."""

    def __init__(self, pids: Pids) -> None:
        self._pids = pids
        self._ways: dict[frozenset[int], Way] = {}
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self.cut_connections = 0

    async def listen(self, node: int, port: int, behind: int) -> None:
        """Pass connections to `port` on to the node, which listens at port `behind`."""

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer, node, port, behind))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        self._servers.append(await asyncio.start_server(accepted, LOOPBACK, port))

    def way(self, one: int, other: int) -> Way:
        pair = frozenset({one, other})
        if pair not in self._ways:
            self._ways[pair] = Way()
            self._ways[pair].open.set()
        return self._ways[pair]

    def cut(self, one: int, other: int) -> None:
        """End what is open between the two, and let nothing through."""
        way = self.way(one, other)
        way.is_cut = True
        self.cut_connections += len(way.connections)
        for connection in way.connections:
            connection.cancel()

    def hold(self, one: int, other: int) -> None:
        """Keep connections, and let nothing through them."""
        self.way(one, other).open.clear()

    def delay(self, one: int, other: int, seconds: float) -> None:
        self.way(one, other).delay_s = seconds

    def heal(self, one: int, other: int) -> None:
        way = self.way(one, other)
        way.is_cut, way.delay_s = False, 0.0
        way.open.set()

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        node: int,
        port: int,
        behind: int,
    ) -> None:
        dialler = owner_of(writer.get_extra_info("peername")[1], port, self._pids())
        if dialler is None or self.way(dialler, node).is_cut:
            writer.transport.abort()
            return
        way = self.way(dialler, node)
        me = asyncio.current_task()
        assert me is not None
        way.connections.add(me)
        try:
            await self._pass_on(reader, writer, way, behind)
        finally:
            way.connections.discard(me)
            writer.transport.abort()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        way: Way,
        behind: int,
    ) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection(LOOPBACK, behind)
        except OSError:
            return
        halves = {
            asyncio.create_task(_pump(reader, to_writer, way)),
            asyncio.create_task(_pump(to_reader, writer, way)),
        }
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)
            to_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
    try:
        while chunk := await reader.read(CHUNK):
            if way.delay_s:
                await asyncio.sleep(way.delay_s)
            await way.open.wait()
            writer.write(chunk)
            await writer.drain()
    except OSError:
        return  # the other side has ended the connection
