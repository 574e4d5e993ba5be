"""Where the operator listener listens, and how the operator's commands find it."""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from keyserver.api.listening import AddressTakenError, tcp_socket, unix_socket, url_of
from keyserver.app.config import Config, HostPort, UnixSocket, operator_address
from keyserver.errors import ConfigError
from keyserver.model.identifiers import NodeId

OPTION: Final = "[keyserver] operator_listen"
FILE_NAME: Final = "operator.json"

log = structlog.get_logger(__name__)


def open_operator_socket(config: Config) -> socket.socket:
    """Listen where the configuration says; a free port where it says nothing and that is taken.

    Raises `ConfigError`, also for an address that other machines reach: there is no encryption.
    """
    match operator_address(config):
        case None:
            raise ConfigError(f"{OPTION}: there is no listener without a key server")
        case UnixSocket(path):
            return unix_socket(OPTION, path)
        case HostPort() as address:
            return _tcp(config, address)


def _tcp(config: Config, address: HostPort) -> socket.socket:
    if not address.is_loopback:
        raise ConfigError(
            f"{OPTION}: {address} can be reached from other machines; this listener takes only a "
            "loopback address or unix:PATH as yet"
        )
    try:
        return tcp_socket(OPTION, address.host, address.port)
    except AddressTakenError:
        if config.keyserver.operator_listen is not None:
            raise
    log.info("operator_port_taken", wanted=str(address))
    return tcp_socket(OPTION, address.host, 0)


def write_operator_file(directory: Path, listener: socket.socket, me: NodeId) -> str:
    """Tell where the listener is, in `operator.json`; returns its URL. Raises `ConfigError`."""
    url = url_of(listener)
    facts = {"url": url, "pid": os.getpid(), "node_id": f"0x{me.hex()}"}
    write_json_file(directory / FILE_NAME, facts)
    log.info("operator_listening", url=url)
    return url


def write_json_file(path: Path, facts: Mapping[str, object]) -> None:
    """Write facts to a file that never is half there; raises `ConfigError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
