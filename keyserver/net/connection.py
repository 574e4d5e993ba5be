"""One greeted peer: reader, bounded writer and keep-alive (engine design, sections 5.4 and 16)."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Coroutine

from keyserver.model.identifiers import Hash32
from keyserver.net.errors import LinkError, TransportError
from keyserver.net.framing import MAX_MESSAGE
from keyserver.net.limits import TransportLimits
from keyserver.net.link import (
    FIRST_ENGINE_TYPE,
    HEADER_SIZE,
    Hello,
    LinkMessage,
    Ping,
    Pong,
    check_hello,
    message_type,
    pack,
    unpack,
)
from keyserver.net.stream import SecureStream

MESSAGES_AT_A_TIME = 16
"""After so many messages of a peer everything else that waits has its turn."""

Deliver = Callable[[bytes], bool]
"""Takes a message of the engine; false asks to close the connection."""


async def greet(stream: SecureStream, own: Hello, cluster_id: Hash32) -> Hello:
    """Exchange HELLOs and return the peer's.

    Raises `LinkError` for a peer of another protocol or cluster, `TransportError` or `OSError`
    when the connection ends.
    """
    await stream.send(pack(own))
    hello = unpack(Hello, await stream.receive())
    check_hello(hello, cluster_id)
    return hello


class SendQueue:
    """Messages that wait for the writer, bounded in number and bytes."""

    def __init__(self, most_messages: int, most_bytes: int) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._messages: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def put(self, message: bytes, *, first: bool = False) -> bool:
        """Add a message at the end, or before all others; false when there is no room."""
        if len(self._messages) >= self._most_messages:
            return False
        if self._bytes + len(message) > self._most_bytes:
            return False
        self._bytes += len(message)
        if first:
            self._messages.appendleft(message)
        else:
            self._messages.append(message)
        self._filled.set()
        return True

    async def get(self) -> bytes:
        """Take the next message, waiting for one if there is none."""
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        message = self._messages.popleft()
        self._bytes -= len(message)
        return message


class Connection:
    """A connection after both HELLOs; whoever owns the socket runs it, then closes the socket."""

    def __init__(
        self, stream: SecureStream, hello: Hello, *, dialled: bool, limits: TransportLimits
    ) -> None:
        """`hello` is the peer's; `dialled` tells whether this node opened the connection."""
        self.peer = stream.peer
        self.hello = hello
        self.dialled = dialled
        self.unwanted = False
        """Whether the peer was sent away for what it sent."""
        self._stream = stream
        self._limits = limits
        self._queue = SendQueue(limits.queued_messages, limits.queued_bytes)
        self._loop = asyncio.get_running_loop()
        self._end_reason: asyncio.Future[str] = self._loop.create_future()

    @property
    def closed(self) -> bool:
        """Whether nothing is sent or delivered any more."""
        return self._end_reason.done()

    def close(self, reason: str) -> None:
        """End the connection; only the first reason counts."""
        if not self.closed:
            self._end_reason.set_result(reason)

    async def wait_closed(self) -> None:
        """Wait for the end."""
        await asyncio.wait([self._end_reason])

    def send(self, message: bytes) -> bool:
        """Queue a message; false when closed. An overflow closes the connection.

        Raises `ValueError` for what is no message: shorter than its header, longer than 4 MiB.
        """
        if not HEADER_SIZE <= len(message) <= MAX_MESSAGE:
            raise ValueError(f"a message of {len(message)} bytes cannot be sent")
        return self._enqueue(message)

    def _enqueue(self, message: bytes, *, first: bool = False) -> bool:
        if not self.closed and not self._queue.put(message, first=first):
            self.close("send queue overflow")
        return not self.closed

    def _enqueue_link(self, message: LinkMessage) -> None:
        """Link messages overtake what waits: a long queue must not look like silence."""
        self._enqueue(pack(message), first=True)

    async def run(self, deliver: Deliver) -> str:
        """Serve until the connection ends, and return why.

        `deliver` is called with every message that is not the link's own.
        """
        try:
            async with asyncio.TaskGroup() as group:
                parts = (self._read(deliver), self._write(), self._keep_alive())
                tasks = [group.create_task(self._until_lost(part)) for part in parts]
                await self.wait_closed()
                for task in tasks:
                    task.cancel()
        finally:
            self.close("stopped")
        return self._end_reason.result()

    async def _until_lost(self, part: Coroutine[None, None, None]) -> None:
        try:
            await part
        except (TransportError, OSError) as problem:
            self.close(str(problem) or type(problem).__name__)

    async def _read(self, deliver: Deliver) -> None:
        for count in itertools.count(1):
            if count % MESSAGES_AT_A_TIME == 0:
                await asyncio.sleep(0)  # reading does not yield while the buffer has more
            message = await self._stream.receive()
            if self.closed:
                return
            number = message_type(message)
            if number == Ping.TYPE:
                self._enqueue_link(Pong(unpack(Ping, message).number))
            elif number == Pong.TYPE:
                unpack(Pong, message)
            elif number < FIRST_ENGINE_TYPE:
                raise LinkError(f"link message {number:#06x} is out of place")
            elif not deliver(message):
                self.unwanted = True
                raise LinkError("the engine does not want this peer's messages")

    async def _write(self) -> None:
        while True:
            await self._stream.send(await self._queue.get())
            await asyncio.sleep(0)  # sending does not yield while the socket takes it

    async def _keep_alive(self) -> None:
        pinged = self._loop.time()
        while True:
            now, heard = self._loop.time(), self._stream.last_heard
            if now - heard >= self._limits.close_after_s:
                raise LinkError(f"silent for {now - heard:.3g} s")
            quiet_since = max(heard, pinged)
            if now - quiet_since >= self._limits.ping_after_s:
                self._enqueue_link(Ping(int(now * 1000)))
                quiet_since = pinged = now
            next_ping = quiet_since + self._limits.ping_after_s
            await asyncio.sleep(min(next_ping, heard + self._limits.close_after_s) - now)
