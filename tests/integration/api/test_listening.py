"""Sockets that the node listens on, and what is said when it cannot."""

import asyncio
import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from keyserver.api.listening import (
    AddressTakenError,
    TlsFiles,
    check_tls,
    tcp_socket,
    unix_socket,
    url_of,
)
from keyserver.api.public_server import serve_public
from keyserver.errors import ConfigError
from tests.support.certificates import write_certificate
from tests.support.wire import request


def test_a_free_port() -> None:
    with tcp_socket("listen", "127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener, is_encrypted=False) == f"http://127.0.0.1:{port}"
        assert url_of(listener, is_encrypted=True) == f"https://127.0.0.1:{port}"


def test_what_is_written_leaves_at_once() -> None:
    with (
        tcp_socket("listen", "127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken() -> None:
    with tcp_socket("listen", "127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(AddressTakenError, match=f"listen: cannot listen on 127.0.0.1:{port}"):
            tcp_socket("listen", "127.0.0.1", port)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ConfigError, match=r"listen: cannot listen on 192\.0\.2\.1") as caught:
        tcp_socket("listen", "192.0.2.1", 0)
    assert not isinstance(caught.value, AddressTakenError)


def test_a_unix_socket_is_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "op.sock"
    with unix_socket("listen", path) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        assert url_of(listener, is_encrypted=False) == f"unix:{path}"
        with pytest.raises(AddressTakenError, match="another process listens"):
            unix_socket("listen", path)
    with unix_socket("listen", path) as again:  # what a dead process has left is replaced
        assert again.getsockname() == str(path)


def test_unix_sockets_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ConfigError, match="is there and is no socket"):
        unix_socket("listen", tmp_path / "file")
    with pytest.raises(ConfigError, match="No such file"):
        unix_socket("listen", tmp_path / "nowhere" / "op.sock")
    with pytest.raises(ConfigError, match="too long"):
        unix_socket("listen", tmp_path / ("x" * 120))


def test_certificates(tmp_path: Path) -> None:
    tls = TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    with pytest.raises(ConfigError, match=r"tls: .*cert.pem or .*No such file"):
        check_tls("tls", tls)
    write_certificate(tls.certificate, tls.key)
    check_tls("tls", tls)
    write_certificate(tmp_path / "other.pem", tls.key)
    with pytest.raises(ConfigError, match="key values mismatch"):
        check_tls("tls", tls)
    secret = load_pem_private_key(tls.key.read_bytes(), None)
    encrypted = BestAvailableEncryption(b"passphrase")
    tls.key.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted))
    with pytest.raises(ConfigError, match=r"key.pem: is encrypted"):
        check_tls("tls", tls)


async def test_an_application_is_served_until_cancelled() -> None:
    async def hello(_: Request) -> Response:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/hello", hello)])
    listener = tcp_socket("listen", "127.0.0.1", 0)
    url = url_of(listener, is_encrypted=False)
    serving = asyncio.create_task(serve_public(app, listener))
    answer = await asyncio.to_thread(request, url, "GET", "/hello")
    assert (answer.status, answer.body) == (200, b"hello")
    serving.cancel()
    await asyncio.wait([serving])
    assert listener.fileno() == -1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))


async def test_an_application_is_served_on_a_unix_socket(tmp_path: Path) -> None:
    async def hello(_: Request) -> Response:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/hello", hello)])
    path = tmp_path / "op.sock"
    serving = asyncio.create_task(serve_public(app, unix_socket("listen", path)))
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"GET /hello HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nhello")
    writer.close()
    serving.cancel()
    await asyncio.wait([serving])
