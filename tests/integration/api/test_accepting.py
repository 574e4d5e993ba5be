"""Taking connections from a socket."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
import structlog

from keyserver.api import accepting
from keyserver.api.accepting import Acceptor, OpenConnections, Place
from keyserver.api.listening import tcp_socket


class Echo(asyncio.Protocol):
    """A connection that says one byte; it is busy."""

    is_waiting = False

    def __init__(self, connections: OpenConnections, place: Place) -> None:
        self.connections = connections
        self.place = place

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.place.connection = self
        self.transport = transport
        transport.write(b"x")

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.remove(self.place)

    def finish(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()


class Unwilling(socket.socket):
    """A listener that cannot take a connection a few times, as without file descriptors."""

    failures = 2

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            self.failures -= 1
            raise OSError(24, "Too many open files")
        return super().accept()


async def test_a_connection_that_cannot_be_taken_is_taken_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accepting, "PAUSE_S", 0.0)
    with tcp_socket("test", "127.0.0.1", 0) as plain:
        listener = Unwilling(fileno=plain.detach())
    connections = OpenConnections(1)
    acceptor = Acceptor(listener, connections, lambda place: Echo(connections, place))
    structlog.reset_defaults()
    with listener, structlog.testing.capture_logs() as logs:
        accepts = asyncio.ensure_future(acceptor.run())
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        assert await reader.readexactly(1) == b"x"
        # The only place is taken by who is busy.
        refused, other = await asyncio.open_connection(*listener.getsockname())
        assert await refused.read() == b""
        for each in (writer, other):
            each.close()
        accepts.cancel()
        await connections.finish(5)
    assert [entry["event"] for entry in logs] == [
        "connection_not_taken",
        "connection_not_taken",
        "connection_refused",
    ]


async def test_the_end_comes_while_connections_are_being_opened() -> None:
    """Also one whose opening has not begun leaves nothing behind."""
    with tcp_socket("test", "127.0.0.1", 0) as listener:
        connections = OpenConnections(9)
        acceptor = Acceptor(listener, connections, lambda place: Echo(connections, place))
        accepts = asyncio.ensure_future(acceptor.run())
        streams = [await asyncio.open_connection(*listener.getsockname()) for _ in range(3)]
        accepts.cancel()
        await connections.finish(5)
        assert len(connections) == 0
        for _, writer in streams:
            writer.close()


class Elsewhere(socket.socket):
    """A listener whose clients come from the addresses that the test says."""

    peers: Iterator[str]

    def accept(self) -> tuple[socket.socket, object]:
        client, _ = super().accept()
        return client, (next(self.peers), 50_000)


async def test_each_address_has_places_of_its_own() -> None:
    with tcp_socket("test", "127.0.0.1", 0) as plain:
        listener = Elsewhere(fileno=plain.detach())
    listener.peers = iter(["192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::2", "192.0.2.3"])
    connections = OpenConnections(9, 1)
    acceptor = Acceptor(listener, connections, lambda place: Echo(connections, place))
    with listener:
        accepts = asyncio.ensure_future(acceptor.run())
        streams = [await asyncio.open_connection(*listener.getsockname()) for _ in range(5)]
        assert [await reader.read(1) for reader, _ in streams] == [b"x", b"", b"x", b"", b"x"]
        accepts.cancel()
        await connections.finish(5)
        for _, writer in streams:
            writer.close()
