"""Where clients reach the process: the HTTP interface, and the JSON-RPC module.

Both listen before any part runs, so that an address that is taken stops the start.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import structlog
from starlette.types import ASGIApp

from keyserver.api.cors import OriginPolicy
from keyserver.api.listening import Listener, TlsFiles, tcp_socket, url_of
from keyserver.api.original import ClientDependencies, client_app
from keyserver.api.ports import Availability, NodeState, SetChangeService
from keyserver.api.rate_limit import RateLimiter
from keyserver.api.service_keys_admission import ServiceKeyNeeds
from keyserver.api.v1 import v1_routes
from keyserver.api.v1_admission import NodeIdentity, V1Dependencies
from keyserver.api.v1_nonces import UsedNonces
from keyserver.app.certificate import check_certificate, tls_files
from keyserver.app.client_state import ClientState, ClosedState
from keyserver.app.compose import Node, takes_orders
from keyserver.app.config import Config, HostPort, http_address, rpc_address
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.model.identifiers import NodeId

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


class ClientDoors:
    """Makes the application of the HTTP interface: both doors, with the limits that stay.

    There is one for each thing that the process is: sealed, on standby, the node. What was counted
    of clients, and which credentials were used, outlives a change.
    """

    def __init__(
        self,
        config: Config,
        me: NodeId,
        *,
        random: RandomSource,
        clock: Clock,
        service_keys: ServiceKeyNeeds | None,
    ) -> None:
        self._config = config
        self._random = random
        self._clock = clock
        self._service_keys = service_keys
        self._identity = NodeIdentity(me, version("keyserver"))
        self._limiter = RateLimiter(config.keyserver.rate_limit, clock.monotonic)
        self._nonces = UsedNonces()

    def open(self, node: Node) -> ASGIApp:
        """What clients meet at a running node."""
        return self._app(ClientState(node), node.administrators_changes)

    def closed(self, availability: Availability) -> ASGIApp:
        """What clients meet while the process is not the node."""
        state = ClosedState(availability)
        return self._app(state, state if takes_orders(self._config) else None)

    def _app(self, state: NodeState, changes: SetChangeService | None) -> ASGIApp:
        origins = OriginPolicy(self._config.secretstore.cors)
        return client_app(
            ClientDependencies(state, self._random, origins, self._limiter, changes),
            v1_routes(
                V1Dependencies(
                    state,
                    self._identity,
                    self._random,
                    self._limiter,
                    self._clock.unix,
                    self._nonces,
                    changes,
                    self._service_keys,
                )
            ),
        )
