"""Starts a node, keeps all its parts running, and stops them in order.

One task group owns every long task. If one of them ends, the node stops and says why.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog

from keyserver.api.listening import Listener
from keyserver.api.operator import operator_app
from keyserver.api.public_server import serve_public
from keyserver.app.accounts import check_accounts, load_node_key
from keyserver.app.client_listeners import (
    ClientListeners,
    client_listeners,
    compose_client_app,
)
from keyserver.app.clock import SystemClock
from keyserver.app.compose import Node, compose
from keyserver.app.compose_json_rpc import compose_json_rpc
from keyserver.app.config import Config, Loaded
from keyserver.app.logging import log_config_warnings
from keyserver.app.operator_listener import operator_listener
from keyserver.app.store import opened_store
from keyserver.app.view import OperatorView
from keyserver.crypto.randomness import RandomSource, SystemRandom
from keyserver.engine.set_changes import SetChanges
from keyserver.errors import ConfigError, KeyServerError

log = structlog.get_logger(__name__)

STOP_WITHIN_S: Final = 4.5
"""How long a stop may take before the process ends as it is; everything durable is on disk."""

MOST_JSON_RPC_CONNECTIONS: Final = 100
"""Fewer than for the HTTP interface: a request may be as large as `[rpc] max_payload`."""

MOST_OPERATOR_CONNECTIONS: Final = 50

OPERATOR_FINISH_S: Final = 0.5
"""How long operators' requests may take when all else has stopped."""

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

Announce = Callable[[Mapping[str, object]], None]
"""Is told once that the node is ready: where it listens and who it is."""


class NodeStoppedError(KeyServerError):
    """A part of the node ended by itself, which none should."""


@dataclass(frozen=True, slots=True)
class Part:
    """A long task."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]


async def run_node(loaded: Loaded, *, announce: Announce) -> None:
    """Run the node until SIGTERM or SIGINT, or until a part of it fails.

    Without a key server (`disable`), only the JSON-RPC module is served. Raises `ConfigError`,
    `StorageError` or whatever made a part end.
    """
    if loaded.config.secretstore.disable:
        await _run_without_key_server(loaded, announce)
        return
    key = load_node_key(loaded.config)
    log_config_warnings((*loaded.warnings, *key.warnings))
    text = f"Starting SecretStore node: 0x{key.node_id.hex()}"
    log.info("node_starting", text=text, address=key.node_id.address, pid=os.getpid())
    random, clock = SystemRandom(), SystemClock()
    async with opened_store(loaded, key.node_id, random=random, clock=clock) as store:
        node = compose(loaded, key, store, clock=clock, random=random)
        with (
            client_listeners(loaded.config) as clients,
            operator_listener(loaded.config, node.me) as operator,
        ):
            view = OperatorView(node, (*loaded.warnings, *key.warnings))
            servers = [*http_servers(node, clients, random)]
            servers += json_rpc_servers(node.config, clients, random)
            parts = [*client_parts(servers), *parts_of(node), operator_part(view, operator)]
            urls = {**clients.urls, "operator": operator.url}
            try:
                with _stop_signal() as stop:
                    await run_parts(parts, stop, tell_ready(node, view, urls, announce))
            finally:
                if node.chain is not None:
                    await node.chain.reading.client.close()
    log.info("node_stopped")


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

        with _stop_signal() as stop:
            await run_parts(parts, stop, tell())
    log.info("node_stopped")


Server = Callable[[], Coroutine[Any, Any, None]]
"""Serves clients until cancelled; then it lets requests under way finish."""


def http_servers(node: Node, clients: ClientListeners, random: RandomSource) -> list[Server]:
    """The HTTP interface, if it is served."""
    listener = clients.http
    if listener is None:
        return []
    app = compose_client_app(node, random)
    proxies = [str(network) for network in node.config.keyserver.trusted_proxies]

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


def parts_of(node: Node) -> list[Part]:
    """All long tasks, in the order in which they are stopped: reader, executor, sender, mesh."""
    parts = [
        Part("connections", lambda: node.mesh.run(node.peers)),
        Part("peer returns", node.peers.run),
        Part("share additions", node.share_additions.run),
        Part("refreshes", node.refreshes.run),
        Part("presignatures", node.key_server.signing.keep_stocked),
        Part("catalogue", node.catalogue.run),
        Part("set changes", lambda: stopped_at_the_end(node.set_changes)),
        Part("sessions", node.driver.run),
    ]
    if node.chain is None:
        return parts
    work = node.chain.work
    migrations = work.migrations
    return [
        Part("chain watcher", work.watcher.run),
        *([Part("migrations", migrations.driver.run)] if migrations is not None else []),
        Part("tasks", work.queue.run),
        Part("sender", work.sender.run),
        *parts,
        Part("outcomes", work.recorder.run),
    ]


async def stopped_at_the_end(changes: SetChanges) -> None:
    """A change that this node carries out goes on without whoever asked for it, until here."""
    try:
        await asyncio.Event().wait()
    finally:
        await changes.stop()


def operator_part(view: OperatorView, listener: Listener) -> Part:
    """The operator listener; the last to stop, so that a stop can be watched."""
    app = operator_app(view)

    def run() -> Coroutine[Any, Any, None]:
        most = MOST_OPERATOR_CONNECTIONS
        return serve_public(
            app,
            listener.socket,
            tls=listener.tls,
            most_connections=most,
            finish_s=OPERATOR_FINISH_S,
        )

    return Part("operator listener", run)


async def run_parts(
    parts: Sequence[Part], stop: asyncio.Event, beside: Coroutine[Any, Any, None]
) -> None:
    """Run the parts until `stop` is set, then end them one after the other.

    `beside` runs along, and may end. If a part ends by itself, everything is cancelled and its
    error is raised.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_kept_running(part)) for part in parts]
            waiting = group.create_task(beside)
            await stop.wait()
            log.info("node_stopping")
            with _deadline():
                for task in (waiting, *tasks):
                    task.cancel()
                    await asyncio.wait([task])
    except BaseExceptionGroup as group_error:
        raise first_cause(group_error) from group_error


async def _kept_running(part: Part) -> None:
    try:
        await part.run()
    except KeyServerError as error:
        log.error("part_failed", part=part.name, error=str(error))
        raise
    except Exception:
        log.exception("part_failed", part=part.name)
        raise
    raise NodeStoppedError(f"{part.name}: ended without being asked to")


def first_cause(error: BaseException) -> BaseException:
    """The first error inside groups of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def _deadline() -> Iterator[None]:
    """End the process if what is inside takes too long."""
    timer = asyncio.get_running_loop().call_later(STOP_WITHIN_S, _give_up)
    try:
        yield
    finally:
        timer.cancel()


def _give_up() -> None:
    log.error("stop_overdue", after_s=STOP_WITHIN_S)
    os._exit(1)


@contextmanager
def _stop_signal() -> Iterator[asyncio.Event]:
    """An event that is set when the process is asked to end."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


# --- being ready ------------------------------------------------------------------------------


async def tell_ready(
    node: Node, view: OperatorView, urls: Mapping[str, str], announce: Announce
) -> None:
    """Announce the node when it listens and has evaluated the chain once."""
    peer = await node.mesh.listening()
    view.peer_address = str(peer)
    log.info("node_listening", peer=str(peer))
    facts: dict[str, object] = {
        "node_id": f"0x{node.me.hex()}",
        "address": f"0x{node.me.address.hex()}",
        "peer": str(peer),
        **urls,
        "pid": os.getpid(),
    }
    if node.chain is not None:
        watcher = node.chain.work.watcher
        while not watcher.view.synced:
            await watcher.next_evaluation()
    log.info("node_ready", **facts)
    announce(facts)
