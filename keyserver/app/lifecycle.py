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

from keyserver.api.listening import serve
from keyserver.api.operator import operator_app
from keyserver.app.accounts import load_node_key
from keyserver.app.clock import SystemClock
from keyserver.app.compose import Node, compose
from keyserver.app.config import Loaded
from keyserver.app.logging import log_config_warnings
from keyserver.app.operator_listener import OperatorListener, operator_listener
from keyserver.app.store import opened_store
from keyserver.app.view import OperatorView
from keyserver.crypto.randomness import SystemRandom
from keyserver.errors import ConfigError, KeyServerError

log = structlog.get_logger(__name__)

STOP_WITHIN_S: Final = 4.5
"""How long a stop may take before the process ends as it is; everything durable is on disk."""

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

    Raises `ConfigError`, `StorageError` or whatever made a part end.
    """
    if loaded.config.secretstore.disable:
        raise ConfigError("[secretstore] disable: is true, so there is no key server to run")
    key = load_node_key(loaded.config)
    log_config_warnings((*loaded.warnings, *key.warnings))
    text = f"Starting SecretStore node: 0x{key.node_id.hex()}"
    log.info("node_starting", text=text, address=key.node_id.address, pid=os.getpid())
    random, clock = SystemRandom(), SystemClock()
    async with opened_store(loaded, key.node_id, random=random, clock=clock) as store:
        node = compose(loaded, key, store, clock=clock, random=random)
        with operator_listener(loaded.config, node.me) as listener:
            view = OperatorView(node, (*loaded.warnings, *key.warnings))
            parts = [*parts_of(node), operator_part(view, listener)]
            try:
                with _stop_signal() as stop:
                    await run_parts(parts, stop, tell_ready(node, view, listener.url, announce))
            finally:
                if node.chain is not None:
                    await node.chain.reading.client.close()
    log.info("node_stopped")


def parts_of(node: Node) -> list[Part]:
    """All long tasks, in the order in which they are stopped: reader, executor, sender, mesh."""
    parts = [
        Part("connections", lambda: node.mesh.run(node.peers)),
        Part("peer returns", node.peers.run),
        Part("catalogue", node.catalogue.run),
        Part("sessions", node.driver.run),
    ]
    if node.chain is None:
        return parts
    work = node.chain.work
    return [
        Part("chain watcher", work.watcher.run),
        Part("tasks", work.queue.run),
        Part("sender", work.sender.run),
        *parts,
        Part("outcomes", work.recorder.run),
    ]


def operator_part(view: OperatorView, listener: OperatorListener) -> Part:
    """The operator listener; the last to stop, so that a stop can be watched."""
    app = operator_app(view)
    return Part("operator listener", lambda: serve(app, listener.socket, listener.tls))


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


async def tell_ready(node: Node, view: OperatorView, url: str, announce: Announce) -> None:
    """Announce the node when it listens and has evaluated the chain once."""
    peer = await node.mesh.listening()
    view.peer_address = str(peer)
    log.info("node_listening", peer=str(peer))
    facts: dict[str, object] = {
        "node_id": f"0x{node.me.hex()}",
        "address": f"0x{node.me.address.hex()}",
        "peer": str(peer),
        "operator": url,
        "pid": os.getpid(),
    }
    if node.chain is not None:
        watcher = node.chain.work.watcher
        while not watcher.view.synced:
            await watcher.next_evaluation()
    log.info("node_ready", **facts)
    announce(facts)
