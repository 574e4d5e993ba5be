"""The server under the listeners that clients reach: uvicorn, with the limits of the interface.

What is not even HTTP gets the answers of the HTTP interface, sections 2.1 and 3, too: an empty
body, and never a text of the framework.
"""

import asyncio
import socket
import sys
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from keyserver.api.guard import MAX_HEADER_BYTES, MAX_REQUEST_LINE
from keyserver.api.listening import STOP_S, QuietServer, TlsFiles

HEAD_S: Final = 20.0
"""How long a client may take from the first byte of a request's head to its last."""

KEEP_OPEN_S: Final = 75
"""How long a connection stays open without a request."""

MAX_SURPLUS: Final = 1 << 20
"""Bytes of a body that go on coming after the answer, before the connection is closed."""

log = structlog.get_logger()


# Any: an ASGI application is whatever its framework makes.
async def serve_public(
    app: Any,
    listener: socket.socket,
    *,
    tls: TlsFiles | None = None,
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Serve an application on a listening socket until cancelled; closes the socket.

    The address of a client behind one of `trusted_proxies` is the one they forward. Raises
    `OSError` or `ssl.SSLError` when the certificate cannot be used.
    """
    config = uvicorn.Config(
        app,
        http=PublicProtocol,
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_OPEN_S,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=MAX_REQUEST_LINE + MAX_HEADER_BYTES + 1024,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )
    server = QuietServer(config)
    try:
        await server.serve(sockets=[listener])
    finally:
        for each in getattr(server, "servers", ()):
            each.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        listener.close()


class PublicProtocol(H11Protocol):
    """One connection: bounded in time and size, and without texts of the framework."""

    # Any: the arguments are uvicorn's own.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._surplus = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the first request."""
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come: of a head, of a body, or of a body whose answer is out already."""
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY:
            self._surplus += len(data)
            if self._surplus > MAX_SURPLUS:
                self.transport.close()
                return
        super().data_received(data)
        if not self.transport.is_closing():
            self._watch_head()

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
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
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
