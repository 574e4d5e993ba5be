"""Meshes on loopback, a listener that can be waited for, and peers that can misbehave."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from keyserver.crypto.randomness import SystemRandom
from keyserver.engine.ports import TimerCallback, TimerHandle
from keyserver.model.identifiers import Hash32, NodeId, Nonce32
from keyserver.model.node_set import NodeAddress
from keyserver.net.connection import greet
from keyserver.net.limits import TransportLimits
from keyserver.net.mesh import Mesh
from keyserver.net.node_key import LocalNodeKey
from keyserver.net.stream import SecureStream, initiate, respond
from tests.unit.net.peers import CLUSTER, hello, node_key

LOOPBACK = NodeAddress("127.0.0.1", 0)
QUICK = TransportLimits(first_retry_s=0.01, longest_retry_s=0.1)
PATIENCE_S = 20
"""When a test gives up; far above what anything here takes."""

KEYS = sorted((node_key(number) for number in range(1, 30)), key=lambda key: NodeId.of(key.public))
"""Node keys in ascending order of the nodes' ids."""
IDS = [NodeId.of(key.public) for key in KEYS]


class WallClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def unix(self) -> int:
        return int(time.time())

    def call_later(self, seconds: float, callback: TimerCallback) -> TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)


class Witness:
    """A listener that remembers, and wakes those who wait for something to have happened."""

    def __init__(self) -> None:
        self.events: list[tuple[str, NodeId]] = []
        self.messages: list[tuple[NodeId, bytes]] = []
        self.refuses: set[bytes] = set()
        self.breaks_on: set[bytes] = set()
        self.on_each_message: Callable[[NodeId, bytes], None] = lambda peer, message: None
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def on_connected(self, peer: NodeId) -> None:
        self.events.append(("connected", peer))
        self._wake()

    def on_disconnected(self, peer: NodeId) -> None:
        self.events.append(("disconnected", peer))
        self._wake()

    def on_message(self, peer: NodeId, message: bytes) -> bool:
        if message in self.breaks_on:
            raise RuntimeError("a mistake in the engine")
        self.messages.append((peer, message))
        self.on_each_message(peer, message)
        self._wake()
        return message not in self.refuses

    def _wake(self) -> None:
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        if condition():
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((condition, future))
        async with asyncio.timeout(PATIENCE_S):
            await future

    async def until_event(self, kind: str, peer: NodeId, times: int = 1) -> None:
        await self.until(lambda: self.events.count((kind, peer)) >= times)

    async def until_message(self, peer: NodeId, message: bytes) -> None:
        await self.until(lambda: (peer, message) in self.messages)


@dataclass(frozen=True)
class Node:
    """A running mesh."""

    id: NodeId
    mesh: Mesh
    witness: Witness
    address: NodeAddress
    task: asyncio.Task[None]

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def make_mesh(
    number: int,
    *,
    limits: TransportLimits = QUICK,
    boot: int = 1,
    listen: NodeAddress = LOOPBACK,
) -> Mesh:
    return Mesh(
        key=KEYS[number],
        cluster_id=lambda: CLUSTER,
        set_id=lambda: Hash32(bytes([8]) * 32),
        boot_nonce=Nonce32(bytes([boot]) * 32),
        listen=listen,
        clock=WallClock(),
        random=SystemRandom(),
        software=b"test",
        limits=limits,
    )


@asynccontextmanager
async def running(
    number: int,
    *,
    limits: TransportLimits = QUICK,
    boot: int = 1,
    listen: NodeAddress = LOOPBACK,
) -> AsyncIterator[Node]:
    """Run the mesh of node `number`."""
    mesh = make_mesh(number, limits=limits, boot=boot, listen=listen)
    witness = Witness()
    task = asyncio.create_task(mesh.run(witness))
    async with asyncio.timeout(PATIENCE_S):
        node = Node(IDS[number], mesh, witness, await mesh.listening(), task)
    try:
        yield node
    finally:
        await node.stop()
        if not task.cancelled():
            task.result()


def introduce(*nodes: Node) -> None:
    """Tell these nodes of each other so that of two the lower one dials: no duplicates."""
    everybody = frozenset(node.id for node in nodes)
    for node in nodes:
        higher = {other.id: other.address for other in nodes if other.id > node.id}
        node.mesh.update_peers(higher, everybody)


def introduce_fully(*nodes: Node) -> None:
    """Tell these nodes of each other as in a real network: both of two may dial."""
    addresses = {node.id: node.address for node in nodes}
    for node in nodes:
        node.mesh.update_peers(addresses, frozenset(addresses))


async def bring(one: Node, other: Node, message: bytes) -> None:
    """Send a message as often as it takes while a duplicate connection may still be replaced."""
    while (one.id, message) not in other.witness.messages:
        losses = one.witness.events.count(("disconnected", other.id))
        await one.witness.until(lambda: other.id in one.mesh.connected)
        if one.mesh.send(other.id, message):
            arrived = asyncio.create_task(other.witness.until_message(one.id, message))
            lost = asyncio.create_task(
                one.witness.until_event("disconnected", other.id, losses + 1)
            )
            await asyncio.wait([arrived, lost], return_when=asyncio.FIRST_COMPLETED)
            for task in (arrived, lost):
                task.cancel()
            await asyncio.wait([arrived, lost])


def admit(node: Node, *numbers: int) -> None:
    """Let these nodes connect, without knowing where they are."""
    node.mesh.update_peers({}, frozenset(IDS[number] for number in numbers))


async def open_socket(node: Node) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(node.address.host, node.address.port)


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the other side closes, in whatever manner."""
    data = bytearray()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while piece := await reader.read(65536):
                data += piece
    except ConnectionError:
        pass
    return bytes(data)


class Peer:
    """The other end of a mesh's connection, in the hands of the test."""

    def __init__(
        self, stream: SecureStream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.stream = stream
        self.reader = reader
        self.writer = writer

    async def receive(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.stream.receive()

    async def send(self, message: bytes) -> None:
        await self.stream.send(message)

    async def closed(self) -> None:
        """Wait until the mesh has closed."""
        await read_to_end(self.reader)


@asynccontextmanager
async def shaken(node: Node, key: LocalNodeKey) -> AsyncIterator[Peer]:
    """A peer that dialled `node` and shook hands, but did not say HELLO."""
    reader, writer = await open_socket(node)
    try:
        remote = node.id
        yield Peer(await initiate((reader, writer), key, remote, SystemRandom()), reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def dialled(node: Node, number: int, boot: int = 1) -> AsyncIterator[Peer]:
    """A peer that dialled `node` and exchanged HELLOs."""
    async with shaken(node, KEYS[number]) as peer:
        await greet(peer.stream, hello(boot=boot), CLUSTER)
        yield peer


class Doorstep:
    """Listens as node `number`; hands out connections that were dialled by a mesh."""

    def __init__(self, number: int, boot: int = 1) -> None:
        self.number = number
        self.boot = boot
        self.arrived: asyncio.Queue[Peer] = asyncio.Queue()
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Doorstep":
        self.server = await asyncio.start_server(self._welcome, "127.0.0.1", 0)
        self.address = NodeAddress("127.0.0.1", self.server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        key = KEYS[self.number]
        stream = await respond((reader, writer), key, lambda _: True, SystemRandom())
        await greet(stream, hello(boot=self.boot), CLUSTER)
        await self.arrived.put(Peer(stream, reader, writer))

    async def next(self) -> Peer:
        async with asyncio.timeout(PATIENCE_S):
            return await self.arrived.get()
