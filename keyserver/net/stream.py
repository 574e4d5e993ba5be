"""Handshake and messages over a socket: the sans-IO parts given bytes."""

import asyncio
from collections.abc import Callable
from typing import Final

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource
from keyserver.model.identifiers import NodeId
from keyserver.model.node_set import NodeAddress
from keyserver.net.errors import Flaw, HandshakeError, TransportError
from keyserver.net.framing import MessageReader, MessageWriter
from keyserver.net.handshake import (
    ACT_ONE_SIZE,
    ACT_THREE_SIZE,
    ACT_TWO_SIZE,
    Admits,
    AwaitingActOne,
    Secured,
    begin,
)
from keyserver.net.node_key import NodeKey

_CHUNK: Final = 16 * 1024
"""Bytes of one peer that are handled before the others have their turn."""

Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(address: NodeAddress) -> Connected:
    """Open a connection; raises `OSError` or, for a name that cannot be one, `TransportError`."""
    try:
        return await asyncio.open_connection(address.host, address.port)
    except (ValueError, OverflowError) as problem:
        raise TransportError(f"{address} is no network address: {problem}") from problem


class SecureStream:
    """Messages to and from an authenticated peer."""

    def __init__(self, connected: Connected, secured: Secured, time: Callable[[], float]) -> None:
        """Take over after the handshake; `time` is the event loop's."""
        self.peer = secured.peer
        self._reader, self._writer = connected
        self._incoming = MessageReader(secured.keys)
        self._outgoing = MessageWriter(secured.keys)
        self._time = time
        self.last_heard = time()
        """When the last whole frame was seen, on the event loop's clock."""

    async def receive(self) -> bytes:
        """The next message; raises `FramingError`, `TransportError` at the end, `OSError`."""
        while (message := self._next_message()) is None:
            await asyncio.sleep(0)  # reading does not yield while bytes are buffered
            data = await self._reader.read(_CHUNK)
            if not data:
                raise TransportError("closed by the peer")
            self._incoming.receive(data)
        return message

    def _next_message(self) -> bytes | None:
        before = self._incoming.frames_received
        message = self._incoming.next_message()
        if self._incoming.frames_received > before:
            self.last_heard = self._time()
        return message

    async def send(self, message: bytes) -> None:
        """Send a whole message, at the peer's pace; raises `OSError`.

        A cancelled call leaves a message half sent: the connection must be closed.
        """
        for frame in self._outgoing.frames(message):
            self._writer.write(frame)
            await self._writer.drain()


async def initiate(
    connected: Connected, key: NodeKey, peer: NodeId, random: RandomSource
) -> SecureStream:
    """Shake hands with the node that is expected at the other end.

    Raises `HandshakeError` or `OSError`; the caller closes.
    """
    reader, writer = connected
    state, act_one = begin(key, peer.point, SecretScalar.random(random))
    writer.write(act_one)
    act_three, secured = state.receive(await _read_act(reader, 2, ACT_TWO_SIZE))
    writer.write(act_three)
    return _secure(connected, secured)


async def respond(
    connected: Connected, key: NodeKey, admits: Admits, random: RandomSource
) -> SecureStream:
    """Shake hands with whoever is at the other end, if `admits` says so.

    Raises `HandshakeError` or `OSError`; the caller closes.
    """
    reader, writer = connected
    first = AwaitingActOne(key, SecretScalar.random(random))
    state, act_two = first.receive(await _read_act(reader, 1, ACT_ONE_SIZE))
    writer.write(act_two)
    secured = state.receive(await _read_act(reader, 3, ACT_THREE_SIZE), admits)
    return _secure(connected, secured)


def _secure(connected: Connected, secured: Secured) -> SecureStream:
    return SecureStream(connected, secured, asyncio.get_running_loop().time)


async def _read_act(reader: asyncio.StreamReader, number: int, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as problem:
        raise HandshakeError(number, Flaw.READ_FAILED) from problem
