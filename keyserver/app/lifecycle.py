"""Starts a node, keeps all its parts running, and stops them in order."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp

from keyserver.api.listening import Listener
from keyserver.api.operator import operator_app
from keyserver.api.operator_answers import read_json_body
from keyserver.api.operator_owners import owner_routes
from keyserver.api.operator_seal import SealRoutes, seal_routes
from keyserver.api.public_server import serve_public
from keyserver.app.accounts import check_accounts, load_node_key
from keyserver.app.client_listeners import ClientDoors, ClientListeners, client_listeners
from keyserver.app.clock import SystemClock
from keyserver.app.compose_json_rpc import compose_json_rpc
from keyserver.app.compose_seal import (
    SealSide,
    node_secret,
    opened_seal,
    seal_facts,
    start_warnings,
)
from keyserver.app.config import Config, ConfigWarning, Loaded
from keyserver.app.logging import log_config_warnings
from keyserver.app.operator_listener import operator_listener
from keyserver.app.parts import Deadline, Part, exit_process, run_parts, seal_signal, stop_signal
from keyserver.app.process_view import OperatorsProcess
from keyserver.app.replacing import Sealing, replace_process
from keyserver.app.replica import Replica
from keyserver.app.roles import Announce, Roles, peer_lines
from keyserver.app.store import make_data_directory
from keyserver.crypto.curve import sign_digest
from keyserver.crypto.randomness import RandomSource, SystemRandom
from keyserver.errors import ConfigError
from keyserver.sealing.ports import Actor, ActorKind, Scope
from keyserver.storage.database import opened

log = structlog.get_logger(__name__)

MOST_JSON_RPC_CONNECTIONS: Final = 100
"""Fewer than for the HTTP interface: a request may be as large as `[rpc] max_payload`."""

MOST_OPERATOR_CONNECTIONS: Final = 50

MOST_PER_OPERATOR_ADDRESS: Final = 10
"""So that who keeps all of theirs busy leaves places to operators."""

OPERATOR_FINISH_S: Final = 0.5
"""How long operators' requests may take when all else has stopped."""

LOCAL: Final = Actor(ActorKind.LOCAL)
"""Who sends the process a signal."""


async def run_node(loaded: Loaded, *, announce: Announce) -> Sealing | None:
    """Run the node until SIGTERM or SIGINT, until it is to be sealed, or until a part of it fails.

    Returns why it is to be sealed: then a fresh process is to take this one's place; `None` for a
    stop. Without a key server (`disable`), only the JSON-RPC module is served. Raises
    `ConfigError`, `StorageError` or whatever made a part end.
    """
    if loaded.config.secretstore.disable:
        await _run_without_key_server(loaded, announce)
        return None
    config = loaded.config
    key = load_node_key(config) if config.secretstore.self_secret is not None else None
    random, clock = SystemRandom(), SystemClock()
    make_data_directory(config.secretstore.path)
    with Deadline() as leaving:  # a database that hangs keeps no process, and no key, alive
        async with (
            opened(config.keyserver.database_url) as database,
            opened_seal(loaded, database, key, random=random, clock=clock) as seal,
        ):
            warnings = start_warnings(loaded, seal)
            log_config_warnings(warnings)
            text = f"Starting SecretStore node: 0x{seal.me.hex()}"
            log.info("node_starting", text=text, address=seal.me.address, pid=os.getpid())
            process = _Process(loaded, seal, random, clock, announce, warnings)
            sealing = await process.run(leaving)
    log.info("node_stopped", **({} if sealing is None else {"sealed_because": sealing.reason}))
    return sealing


class _Process:
    """The running process of a node."""

    def __init__(
        self,
        loaded: Loaded,
        seal: SealSide,
        random: RandomSource,
        clock: SystemClock,
        announce: Announce,
        warnings: tuple[ConfigWarning, ...],
    ) -> None:
        self._loaded = loaded
        self._warnings = warnings
        self._seal = seal
        self._random = random
        self._clock = clock
        self._announce = announce
        self._sealing: Sealing | None = None
        self._stop = asyncio.Event()
        self._told = asyncio.Event()
        """Set when a signal asks for the seal."""

    async def run(self, leaving: Deadline) -> Sealing | None:
        """Listen, and play the role that seal and replicas give; returns why to be sealed.

        `leaving` begins when all parts have ended.
        """
        config, seal = self._loaded.config, self._seal
        async with AsyncExitStack() as stack:
            clients = stack.enter_context(client_listeners(config))
            operator = stack.enter_context(operator_listener(config, seal.me))
            replica = Replica(
                seal.database,
                replica_id=seal.boot_id,
                clock=self._clock,
                operator_url=operator.url,
                software=version("keyserver"),
                seal=seal.vault.status,
            )
            stack.push_async_callback(replica.release)
            urls = {**clients.urls, "operator": operator.url}
            roles = self._roles(replica, urls)
            parts = [
                *client_parts(self._servers(clients, roles.clients)),
                Part("node", roles.run),
                Part("replica", replica.run),
                *self._seal_parts(),
                self._operator_part(roles, replica, operator),
            ]
            stop = stack.enter_context(stop_signal())
            stack.enter_context(seal_signal(self._told.set))
            self._stop = stop
            try:
                await run_parts(
                    parts, stop, self._watch_seal(roles), when_overdue=self._end_overdue
                )
            finally:
                leaving.begin(self._end_overdue)
        return self._sealing

    def _roles(self, replica: Replica, urls: Mapping[str, str]) -> Roles:
        config, seal = self._loaded.config, self._seal
        doors = ClientDoors(
            config,
            seal.me,
            random=self._random,
            clock=self._clock,
            service_keys=None if seal.service_keys is None else seal.service_keys.client_needs,
        )
        return Roles(
            self._loaded,
            seal.key,
            seal.me,
            database=seal.database,
            vault=seal.vault,
            replica=replica,
            doors=doors,
            clock=self._clock,
            random=self._random,
            urls=urls,
            announce=self._announce,
            warnings=self._warnings,
        )

    # --- sealing ------------------------------------------------------------------------------

    async def _watch_seal(self, roles: Roles) -> None:
        """When the seal is to be shut, refuse new work at once, then stop everything."""
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self._ask_when_told())
            reason = await self._seal.vault.must_shut()
            asking.cancel()
        self._sealing = Sealing(reason, self._seal.vault.seen)
        roles.refuse_clients()
        log.warning("node_sealing", reason=reason)
        self._stop.set()

    async def _ask_when_told(self) -> None:
        """The signal is an operator's order, like the one over HTTP."""
        while True:
            await self._told.wait()
            self._told.clear()
            if self._seal.vault.is_open:
                await self._seal.vault.request_seal(LOCAL)

    def _end_overdue(self) -> None:
        """A stop that takes too long: whatever it is for, the keys go with the memory."""
        if self._sealing is not None:
            replace_process(self._sealing)
        exit_process()

    def _seal_parts(self) -> list[Part]:
        seal = self._seal
        return [
            Part("upkeep of the seal", seal.upkeep.run),
            Part("audit log", self._keep_audit_log),
            Part("refused orders", seal.denied.run),
            Part("refused shares", seal.refused_shares.run),
        ]

    async def _keep_audit_log(self) -> None:
        """From the unsealing on, sign checkpoints with the node's key."""
        seal = self._seal
        await seal.vault.opened()
        secret = node_secret(seal)
        seal.audit.sign_with(lambda digest: sign_digest(secret, digest))
        await seal.audit.checkpoint()
        await seal.audit.run()

    # --- listeners ----------------------------------------------------------------------------

    def _servers(self, clients: ClientListeners, app: ASGIApp) -> list["Server"]:
        config = self._loaded.config
        return [
            *http_servers(config, clients, app),
            *json_rpc_servers(config, clients, self._random),
        ]

    def _operator_part(self, roles: Roles, replica: Replica, listener: Listener) -> Part:
        """The operator listener; the last to stop, so that a stop can be watched."""
        seal = self._seal
        routes = seal_routes(
            SealRoutes(
                vault=seal.vault,
                upkeep=seal.upkeep,
                rekeys=seal.rekeys,
                administrators=seal.administrators,
                replicas=replica.all,
                facts=lambda: {**seal_facts(seal), "problem": roles.problem},
                refused_shares=seal.refused_shares,
                peers=lambda: peer_lines(roles.view),
            )
        )
        if seal.service_keys is not None:
            routes += owner_routes(seal.service_keys.owner_needs(seal.administrators))

        async def admit(request: Request) -> None:
            body = await read_json_body(request)
            await seal.administrators.admit(request, body.raw, Scope.SEAL_ADMIN)

        process = OperatorsProcess(roles, seal.vault, seal.upkeep)
        app = operator_app(process, admit, routes)

        def run() -> Coroutine[Any, Any, None]:
            most = MOST_OPERATOR_CONNECTIONS
            return serve_public(
                app,
                listener.socket,
                tls=listener.tls,
                most_connections=most,
                most_per_address=MOST_PER_OPERATOR_ADDRESS,
                finish_s=OPERATOR_FINISH_S,
            )

        return Part("operator listener", run)


Server = Callable[[], Coroutine[Any, Any, None]]
"""Serves clients until cancelled; then it lets requests under way finish."""


def http_servers(config: Config, clients: ClientListeners, app: ASGIApp) -> list[Server]:
    """The HTTP interface, if it is served."""
    listener = clients.http
    if listener is None:
        return []
    proxies = [str(network) for network in config.keyserver.trusted_proxies]

    def serve_http() -> Coroutine[Any, Any, None]:
        return serve_public(app, listener.socket, tls=listener.tls, trusted_proxies=proxies)

    return [serve_http]


def json_rpc_servers(
    config: Config, clients: ClientListeners, random: RandomSource
) -> list[Server]:
    """The JSON-RPC module, if it is served."""
    listener = clients.json_rpc
    if listener is None:
        return []
    app = compose_json_rpc(config, random)
    most = MOST_JSON_RPC_CONNECTIONS
    return [lambda: serve_public(app, listener.socket, most_connections=most)]


def client_parts(servers: Sequence[Server]) -> list[Part]:
    """What brings new work: one part, so that all listeners close at the same time."""

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(server())

    return [Part("client listeners", run)] if servers else []


async def _run_without_key_server(loaded: Loaded, announce: Announce) -> None:
    log_config_warnings((*loaded.warnings, *check_accounts(loaded.config)))
    with client_listeners(loaded.config) as clients:
        parts = client_parts(json_rpc_servers(loaded.config, clients, SystemRandom()))
        if not parts:
            raise ConfigError(
                "[secretstore] disable: is true, so there is no key server to run, and [rpc] apis "
                "does not ask for the JSON-RPC module either"
            )
        facts: dict[str, object] = {**clients.urls, "pid": os.getpid()}

        async def tell() -> None:
            log.info("node_ready", **facts)
            announce(facts)

        with stop_signal() as stop:
            await run_parts(parts, stop, tell())
    log.info("node_stopped")
