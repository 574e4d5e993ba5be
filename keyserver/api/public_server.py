"""The server under all listeners that speak HTTP: uvicorn, with the limits of the interface.

What is not even HTTP gets the answers of the HTTP interface, sections 2.1 and 3, too: an empty
body, and never a text of the framework.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

import h11
import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from keyserver.api.accepting import Acceptor, OpenConnections, Place, connection_limit
from keyserver.api.guard import ALWAYS, MAX_HEADER_BYTES, MAX_REQUEST_LINE
from keyserver.api.listening import TlsFiles

MAX_HEAD: Final = MAX_REQUEST_LINE + MAX_HEADER_BYTES + 1024
"""Bytes of a head that are read before it is complete."""

HEAD_S: Final = 20.0
"""How long a client may take from the first byte of a request's head to its last."""

READING_S: Final = 30.0
"""How long a client may leave an answer unread that does not fit into the buffers."""

KEEP_OPEN_S: Final = 75
"""How long a connection stays open without a request."""

FINISH_S: Final = 3.0
"""How long requests under way may take when the listener closes."""

MOST_CONNECTIONS: Final = 1000
"""Connections open at once, where the process may open that many files."""

MAX_SURPLUS: Final = 8 << 20
"""Bytes of a body that go on coming after the answer, before the connection is closed.

Enough for whoever sends somewhat too much: many clients read the answer only when all is sent.
"""

SPARE_CHUNKS: Final = 256
"""How many chunks of a body may be of any size."""

CHUNK_BYTES: Final = 256
"""What further chunks have on average, at least: a chunk costs as much time as many bytes."""

_FRAMEWORK_LOG: Final = logging.getLogger("uvicorn.public")
_FRAMEWORK_LOG.setLevel(logging.ERROR)  # what clients do wrong is told by this module

log = structlog.get_logger()


async def serve_public(
    app: ASGIApp,
    listener: socket.socket,
    *,
    tls: TlsFiles | None = None,
    trusted_proxies: Sequence[str] = (),
    most_connections: int = MOST_CONNECTIONS,
    most_per_address: int | None = None,
    finish_s: float | None = None,
) -> None:
    """Serve an application on a listening socket until cancelled; closes the socket.

    When cancelled it takes no more requests, and ends when those under way are answered, after
    `finish_s` (absent: `FINISH_S`) at the latest. The address of a client behind one of
    `trusted_proxies` is the one they forward. `most_per_address` bounds connections by the address
    that they come from; absent: one may have all, as a proxy does, until others come. Raises
    `OSError` or `ssl.SSLError` when the certificate cannot be used.
    """
    config = _config(app, tls, trusted_proxies)
    config.load()
    server = _Server(config)
    connections = OpenConnections(connection_limit(most_connections), most_per_address)

    def make_protocol(place: Place) -> PublicProtocol:
        state = server.server_state
        return PublicProtocol(connections, place, config=config, server_state=state)

    acceptor = Acceptor(listener, connections, make_protocol, config.ssl)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve())
            group.create_task(acceptor.run())
    finally:
        listener.close()
        await connections.finish(FINISH_S if finish_s is None else finish_s)
        await _cancel(server.server_state)


def _config(app: ASGIApp, tls: TlsFiles | None, trusted_proxies: Sequence[str]) -> uvicorn.Config:
    return uvicorn.Config(
        _Cancellable(app),
        http=PublicProtocol,
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_OPEN_S,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )


async def _cancel(state: ServerState) -> None:
    """End what works on requests whose clients are gone."""
    await asyncio.sleep(0)  # closed connections learn that they are
    tasks = list(state.tasks)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


class _Server(uvicorn.Server):
    """uvicorn's clock; connections are taken by an `Acceptor`, signals by the node's lifecycle."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen nowhere."""
        self.servers = []
        self.started = True


class _Cancellable:
    """An application whose requests may be cut off when the listener closes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            log.info("request_cut_off")


class _Connection(h11.Connection):
    """A reader of requests that refuses bodies in very many very small chunks."""

    _chunks = 0
    _bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """What the client says next; raises `h11.RemoteProtocolError`."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > SPARE_CHUNKS + self._bytes // CHUNK_BYTES:
                raise h11.RemoteProtocolError("the chunks of the body are too small")
        return event


class PublicProtocol(H11Protocol):
    """One connection: bounded in time and size, and without texts of the framework."""

    # Any: the arguments are uvicorn's own.
    def __init__(self, connections: OpenConnections, place: Place, **of_uvicorn: Any) -> None:
        super().__init__(app_state={}, **of_uvicorn)
        self.logger = _FRAMEWORK_LOG
        self.conn = _Connection(h11.SERVER, MAX_HEAD)
        self._open_connections = connections
        self._place = place
        self._head_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        self._surplus = 0
        self._half_closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the first request."""
        super().connection_made(transport)
        self._place.connection = self
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._open_connections.remove(self._place)
        self._stop_head_timer()
        self._stop_reading_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come: of a head, of a body, or of a body whose answer is out already."""
        self._open_connections.heard_of(self._place)
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY:
            self._surplus += len(data)
            if self._surplus > MAX_SURPLUS:
                self.transport.close()
                return
        super().data_received(data)
        if not self.transport.is_closing():
            self._watch_head()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: what it has asked completely is answered all the same."""
        encrypted = self.transport.get_extra_info("sslcontext") is not None
        self._half_closed = not self._is_idle and not encrypted
        return self._half_closed

    def on_response_complete(self) -> None:
        """An answer is out; the next request may be there already."""
        super().on_response_complete()
        if self._half_closed and self._is_idle:
            self.transport.close()

    def pause_writing(self) -> None:
        """The client does not read: it gets some time."""
        super().pause_writing()
        self._reading_timer = self.loop.call_later(READING_S, self.abort)

    def resume_writing(self) -> None:
        """The client reads."""
        self._open_connections.heard_of(self._place)
        self._stop_reading_timer()
        super().resume_writing()

    def _stop_reading_timer(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    # --- as one of many ----------------------------------------------------------------------

    @property
    def is_waiting(self) -> bool:
        """Whether no complete request is under way, or the client leaves answers unread."""
        return self._is_idle or self.flow.write_paused

    @property
    def _is_idle(self) -> bool:
        """Whether no complete request is under way."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete or cycle.more_body

    def finish(self) -> None:
        """Close when the answer under way is out."""
        if self._is_idle:
            self.transport.close()
        else:
            self.shutdown()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    # --- time and size -----------------------------------------------------------------------

    def _watch_head(self) -> None:
        """Time runs while a head is incomplete; a connection kept open is uvicorn's business."""
        if self.conn.their_state is not h11.IDLE:
            self._stop_head_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self._head_is_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request, or too large to be read as one."""
        self._stop_head_timer()
        status = self._status_of(sys.exception())
        log.info("http_unreadable", status=status)
        if self.cycle is not None:
            self.cycle.disconnected = True
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            headers = [(b"content-length", b"0"), (b"connection", b"close"), *ALWAYS]
            reason = HTTPStatus(status).phrase.encode()
            response = h11.Response(status_code=status, headers=headers, reason=reason)
            self.transport.write(self.conn.send(response) or b"")
            self.transport.write(self.conn.send(h11.EndOfMessage()) or b"")
        self.transport.close()

    def _status_of(self, problem: BaseException | None) -> int:
        """414 for a request line that does not end, 431 for headers that do not, else 400."""
        hint = problem.error_status_hint if isinstance(problem, h11.RemoteProtocolError) else 400
        if hint != HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            return 400
        received, _ = self.conn.trailing_data
        return 431 if b"\n" in received else 414
