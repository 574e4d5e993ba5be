"""Taking connections: how many there may be, which one makes room, and how they end.

A client that keeps connections open without asking anything costs a file descriptor each; so their
number is bounded, and a new client takes the place of one that was silent for long. That is one of
the address with the most connections: however many one has, those of others stay.
"""

import asyncio
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from keyserver.api.serving import counted_address

HANDSHAKE_S: Final = 10.0
"""How long a client may take to agree on encryption."""

CLOSING_S: Final = 2.0
"""How long a client may take to agree that an encrypted connection ends."""

PAUSE_S: Final = 0.25
"""After a connection could not be taken, for instance for want of file descriptors."""

FILES_SHARE: Final = 4
"""One listener takes at most one part in so many of the files that the process may open."""

THIS_MACHINE: Final = "this machine"
"""Whose the connections over a Unix socket or a loopback address are."""

log = structlog.get_logger(__name__)


class Connection(Protocol):
    """An open connection."""

    @property
    def is_waiting(self) -> bool:
        """Whether the client has to send the next bytes, or to read what is there for it."""
        ...

    def finish(self) -> None:
        """Close it as soon as the answer under way is out."""
        ...

    def abort(self) -> None:
        """Close it at once."""
        ...


def connection_limit(wanted: int) -> int:
    """`wanted` connections, or as many as the process's limit of open files leaves room for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, files // FILES_SHARE))


# Any: a socket's address is a tuple, a text or bytes, as its family has it.
def owner_of(peer: Any) -> str:
    """Whom a connection is counted for: this machine, an IPv4 address or an IPv6 network."""
    if not isinstance(peer, tuple):
        return THIS_MACHINE
    address = counted_address(peer[0])
    return THIS_MACHINE if address.startswith(("127.", "::/64")) else address


@dataclass(eq=False, slots=True)
class Place:
    """A place among the open connections: of one that is being opened, then of the open one."""

    owner: str
    connection: Connection | None = None
    opening: asyncio.Task[None] | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether whoever has the place waits for the client."""
        return self.connection is None or self.connection.is_waiting

    def finish(self) -> None:
        """Have the place left soon."""
        if self.connection is not None:
            self.connection.finish()
        elif self.opening is not None:
            self.opening.cancel()

    def abort(self) -> None:
        """Have the place left at once."""
        if self.connection is not None:
            self.connection.abort()
        elif self.opening is not None:
            self.opening.cancel()


class OpenConnections:
    """The connections of one listener, those that were silent for longest first."""

    def __init__(self, most: int, most_of_one: int | None = None) -> None:
        """`most_of_one` is how many places one owner may have; absent: all that there are."""
        self._most = most
        self._most_of_one = most if most_of_one is None else most_of_one
        self._by_silence: dict[Place, None] = {}
        self._by_owner: Counter[str] = Counter()
        self._none_left = asyncio.Event()
        self._none_left.set()

    def __len__(self) -> int:
        return len(self._by_silence)

    def add(self, place: Place) -> None:
        """A connection has come."""
        self._by_silence[place] = None
        self._by_owner[place.owner] += 1
        self._none_left.clear()

    def heard_of(self, place: Place) -> None:
        """The client has sent or read something."""
        if place in self._by_silence:
            del self._by_silence[place]
            self._by_silence[place] = None

    def remove(self, place: Place) -> None:
        """A connection is closed."""
        if place not in self._by_silence:
            return
        del self._by_silence[place]
        self._by_owner[place.owner] -= 1
        if not self._by_owner[place.owner]:
            del self._by_owner[place.owner]
        if not self._by_silence:
            self._none_left.set()

    def make_room(self, owner: str) -> bool:
        """See that there is room for one more of `owner`; false if all that could leave are busy.

        Nobody leaves for an owner who has as many places.
        """
        own = self._share(owner)
        has_all = own >= self._most_of_one
        if len(self._by_silence) < self._most and not has_all:
            return True
        leaving, most = None, -1
        for place in self._by_silence:
            share = self._share(place.owner)
            may_leave = place.owner == owner or (share > own and not has_all)
            if may_leave and share > most and place.is_waiting:
                leaving, most = place, share
        if leaving is None:
            return False
        self.remove(leaving)
        leaving.abort()
        return True

    def _share(self, owner: str) -> int:
        """How many places somebody has; this machine has half of all besides."""
        places = self._by_owner[owner]
        return max(0, places - self._most // 2) if owner == THIS_MACHINE else places

    async def finish(self, within_s: float) -> None:
        """Let answers under way go out, then close what is still open after `within_s`."""
        for place in list(self._by_silence):
            place.finish()
        try:
            async with asyncio.timeout(within_s):
                await self._none_left.wait()
        except TimeoutError:
            log.warning("requests_cut_off", connections=len(self._by_silence))
        for place in list(self._by_silence):
            place.abort()


class Acceptor:
    """Takes the connections of a listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        connections: OpenConnections,
        make_protocol: Callable[[Place], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`make_protocol` makes one that takes the place over when its connection is open."""
        self._listener = listener
        self._connections = connections
        self._make_protocol = make_protocol
        self._tls = tls
        self._pause: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Take connections until cancelled."""
        self._listener.setblocking(False)
        self._begin()
        try:
            await asyncio.Event().wait()
        finally:
            if self._pause is not None:
                self._pause.cancel()
            asyncio.get_running_loop().remove_reader(self._listener)

    def _begin(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self._listener, self._take)

    def _take(self) -> None:
        """Take a connection: at once, so that none is lost when the task is cancelled."""
        try:
            client, peer = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # the client has changed its mind
        except OSError as error:
            log.warning("connection_not_taken", reason=error.strerror)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener)
            self._pause = loop.call_later(PAUSE_S, self._begin)
            return
        owner = owner_of(peer)
        if self._connections.make_room(owner):
            self._welcome(client, Place(owner))
        else:
            log.warning("connection_refused", open=len(self._connections))
            client.close()

    def _welcome(self, client: socket.socket, place: Place) -> None:
        client.setblocking(False)
        self._connections.add(place)
        place.opening = asyncio.create_task(self._open(client, place))
        place.opening.add_done_callback(lambda _: self._opened(client, place))

    async def _open(self, client: socket.socket, place: Place) -> None:
        encrypted = self._tls is not None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make_protocol(place),
                client,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_S if encrypted else None,
                ssl_shutdown_timeout=CLOSING_S if encrypted else None,
            )
        except OSError as error:
            log.info("connection_not_opened", reason=str(error))

    def _opened(self, client: socket.socket, place: Place) -> None:
        if place.connection is None:
            self._connections.remove(place)
            client.close()
