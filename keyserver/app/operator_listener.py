"""Where the operator listener listens, and how the operator's commands find it."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from keyserver.api.listening import (
    AddressTakenError,
    Listener,
    TlsFiles,
    check_tls,
    tcp_socket,
    unix_socket,
    url_of,
)
from keyserver.app.certificate import OPTIONS, tls_files
from keyserver.app.config import Config, HostPort, UnixSocket, operator_address
from keyserver.errors import ConfigError
from keyserver.model.identifiers import NodeId

OPTION: Final = "[keyserver] operator_listen"
FILE_NAME: Final = "operator.json"

log = structlog.get_logger(__name__)


@contextmanager
def operator_listener(config: Config, me: NodeId) -> Iterator[Listener]:
    """Listen, and tell where in `operator.json`, which is gone when the node is.

    Where the configuration says nothing and the usual port is taken, a free one is used. Raises
    `ConfigError`, also for an address that other machines reach if there is no certificate.
    """
    listener, tls = _open(config)
    url = url_of(listener, is_encrypted=tls is not None)
    file = config.secretstore.path / FILE_NAME
    facts = {"url": url, "pid": os.getpid(), "node_id": f"0x{me.hex()}"}
    if tls is not None:
        facts["tls_cert"] = str(tls.certificate.absolute())
    try:
        write_json_file(file, facts)
        log.info("operator_listening", url=url)
        yield Listener(listener, tls, url)
    finally:
        listener.close()
        file.unlink(missing_ok=True)
        if url.startswith("unix:"):
            Path(url.removeprefix("unix:")).unlink(missing_ok=True)


def _open(config: Config) -> tuple[socket.socket, TlsFiles | None]:
    match operator_address(config):
        case None:
            raise ConfigError(f"{OPTION}: there is no listener without a key server")
        case UnixSocket(path):
            return unix_socket(OPTION, path.absolute()), None
        case HostPort() as address if address.is_loopback:
            return _loopback(config, address), None
        case HostPort(host, port) as address:
            tls = _tls(config, address)
            return tcp_socket(OPTION, host, port), tls


def _loopback(config: Config, address: HostPort) -> socket.socket:
    try:
        return tcp_socket(OPTION, address.host, address.port)
    except AddressTakenError:
        if config.keyserver.operator_listen is not None:
            raise
    log.info("operator_port_taken", wanted=str(address))
    return tcp_socket(OPTION, address.host, 0)


def _tls(config: Config, address: HostPort) -> TlsFiles:
    tls = tls_files(config)
    if tls is None:
        raise ConfigError(
            f"{OPTION}: {address} can be reached from other machines without encryption (use a "
            "loopback address, unix:PATH, or tls_cert and tls_key)"
        )
    check_tls(OPTIONS, tls)
    return tls


def write_json_file(path: Path, facts: Mapping[str, object]) -> None:
    """Write facts to a file that never is half there; raises `ConfigError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
