"""Where clients reach the process: the HTTP interface, and the JSON-RPC module.

Both listen before any part runs, so that an address that is taken stops the start.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.types import ASGIApp

from keyserver.api.cors import OriginPolicy
from keyserver.api.listening import Listener, TlsFiles, tcp_socket, url_of
from keyserver.api.original import ClientDependencies, client_app
from keyserver.api.rate_limit import RateLimiter
from keyserver.api.v1 import v1_routes
from keyserver.api.v1_admission import NodeIdentity, V1Dependencies
from keyserver.app.certificate import check_certificate, tls_files
from keyserver.app.client_state import ClientState
from keyserver.app.compose import Node
from keyserver.app.config import Config, HostPort, http_address, rpc_address
from keyserver.crypto.randomness import RandomSource

HTTP_OPTION: Final = "[secretstore] http_interface, http_port"
RPC_OPTION: Final = "[rpc] interface, port"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ClientListeners:
    """The open listeners; `None` where the configuration has none."""

    http: Listener | None
    json_rpc: Listener | None

    @property
    def urls(self) -> Mapping[str, str]:
        """Where they listen: `http` and `json_rpc`, as far as they do."""
        both = {"http": self.http, "json_rpc": self.json_rpc}
        return {name: each.url for name, each in both.items() if each is not None}


@contextmanager
def client_listeners(config: Config) -> Iterator[ClientListeners]:
    """Listen where clients are expected.

    Raises `ConfigError` for an address that is taken or a certificate that cannot be used.
    """
    check_certificate(config)
    with ExitStack() as opened:
        http = _open(opened, HTTP_OPTION, http_address(config), tls_files(config))
        json_rpc = _open(opened, RPC_OPTION, rpc_address(config), None)
        listeners = ClientListeners(http, json_rpc)
        log.info("clients_listening", **listeners.urls)
        yield listeners


def _open(
    opened: ExitStack, option: str, address: HostPort | None, tls: TlsFiles | None
) -> Listener | None:
    if address is None:
        return None
    listener = opened.enter_context(tcp_socket(option, address.host, address.port))
    return Listener(listener, tls, url_of(listener, is_encrypted=tls is not None))


def compose_client_app(node: Node, random: RandomSource) -> ASGIApp:
    """The application of the HTTP interface: both doors, with the limits of the configuration."""
    config, state = node.config, ClientState(node)
    limiter = RateLimiter(config.keyserver.rate_limit, node.clock.monotonic)
    identity, changes = NodeIdentity(node.me, node.version), node.administrators_changes
    return client_app(
        ClientDependencies(state, random, OriginPolicy(config.secretstore.cors), limiter, changes),
        v1_routes(
            V1Dependencies(state, identity, random, limiter, node.clock.unix, set_changes=changes)
        ),
    )
