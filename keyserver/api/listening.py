"""Sockets to listen on, and the server that runs an application on one."""

import errno
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyserver.errors import ConfigError

BACKLOG: Final = 1024
"""Connections that may wait to be taken."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a listener needs for encryption, in PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Listener:
    """An open listener."""

    socket: socket.socket
    tls: TlsFiles | None
    url: str


class AddressTakenError(ConfigError):
    """Somebody listens there already."""


def tcp_socket(name: str, host: str, port: int) -> socket.socket:
    """Listen on a TCP address; port 0 takes a free one.

    Raises `AddressTakenError` or `ConfigError`, both naming the option `name`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        text = f"{name}: cannot listen on {host}:{port}: {error.strerror}"
        wrong = AddressTakenError if error.errno == errno.EADDRINUSE else ConfigError
        raise wrong(text) from None
    # Connections inherit it. Without, the second part of an answer may wait 40 ms for the client's
    # delayed acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def unix_socket(name: str, path: Path) -> socket.socket:
    """Listen on a Unix socket that only its owner may use; a dead one is replaced.

    Raises `AddressTakenError` or `ConfigError`, both naming the option `name`.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(name, path)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        text = f"{name}: cannot listen on {path}: {error.strerror or error}"
        raise ConfigError(text) from None
    except ConfigError:
        listener.close()
        raise
    return listener


def _remove_dead(name: str, path: Path) -> None:
    """Make room where a process that is no more has listened."""
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ConfigError(f"{name}: {path} is there and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise AddressTakenError(f"{name}: another process listens on {path}")


def check_tls(name: str, tls: TlsFiles) -> None:
    """Load certificate and key once; raises `ConfigError` naming the options `name`."""

    def no_passphrase() -> str:
        # Without this, OpenSSL would ask for it at the terminal, at every start.
        raise ConfigError(f"{name}: {tls.key}: is encrypted; a key without passphrase is needed")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=no_passphrase)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).lower().replace("_", " ")
        raise ConfigError(f"{name}: {tls.certificate} and {tls.key}: {reason}") from None
    except OSError as error:
        raise ConfigError(f"{name}: {tls.certificate} or {tls.key}: {error.strerror}") from None


def url_of(listener: socket.socket, *, is_encrypted: bool) -> str:
    """`http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    scheme = "https" if is_encrypted else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
