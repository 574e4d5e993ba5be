"""An operator listener on a real socket, in a thread: commands ask it and wait for the answer."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

from starlette.types import ASGIApp

from tests.support.asgi import call


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What is sent back."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Answering = Callable[[Asked], Reply]


@dataclass
class OperatorServer:
    """Where it listens, and what it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)


def from_app(app: ASGIApp) -> Answering:
    """Answers as an application does, one request at a time."""
    turn = threading.Lock()

    def answer(asked: Asked) -> Reply:
        with turn:
            headers = list(asked.headers.items())
            found = asyncio.run(call(app, asked.method, asked.path, headers, asked.body))
        return Reply(found.status, found.body, found.headers)

    return answer


@contextmanager
def operator_server(
    answering: Answering, *, tls: tuple[Path, Path] | None = None, unix: Path | None = None
) -> Iterator[OperatorServer]:
    """Serve on the loopback address, with certificate and key if there are any, or on a path."""
    found = OperatorServer("")
    handler = _handler_of(answering, found)
    server: Any  # Any: TCP and Unix servers share no useful base
    if unix is not None:
        server = ThreadingUnixStreamServer(str(unix), handler)
        found.url = f"unix:{unix}"
    else:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        scheme = "http" if tls is None else "https"
        found.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    server.daemon_threads = True
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler_of(answering: Answering, found: OperatorServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ssl.SSLError):
                self.close_connection = True  # a client that does not trust us has left

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, body)
            found.asked.append(asked)
            reply = answering(asked)
            self.send_response(reply.status)
            sent = {name.lower() for name, _ in reply.headers}
            for name, value in reply.headers:
                self.send_header(name, value)
            if "content-length" not in sent:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

        def address_string(self) -> str:
            return "client"

    return Handler


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
