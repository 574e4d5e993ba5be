"""Long tasks: kept running together, and ended one after the other.

One task group owns every long task of the process. If one of them ends, the node stops and says
why.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import structlog

from keyserver.errors import KeyServerError

log = structlog.get_logger(__name__)

STOP_WITHIN_S: Final = 4.5
"""How long a stop may take before the process ends as it is; everything durable is on disk."""

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

SEAL_SIGNAL: Final = signal.SIGUSR1
"""Asks the process to seal itself (sealing, C10)."""


class NodeStoppedError(KeyServerError):
    """A part of the node ended by itself, which none should."""


@dataclass(frozen=True, slots=True)
class Part:
    """A long task."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]


def exit_process() -> None:
    """End the process as it is."""
    os._exit(1)


async def run_parts(
    parts: Sequence[Part],
    stop: asyncio.Event,
    beside: Coroutine[Any, Any, None],
    *,
    when_overdue: Callable[[], None] = exit_process,
) -> None:
    """Run the parts until `stop` is set, then end them one after the other.

    `beside` runs along, and may end. If a part ends by itself, everything is cancelled and its
    error is raised. `when_overdue` is called if the stop takes too long.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_kept_running(part)) for part in parts]
            waiting = group.create_task(beside)
            await stop.wait()
            log.info("node_stopping")
            with Deadline() as deadline:
                deadline.begin(when_overdue)
                for task in (waiting, *tasks):
                    task.cancel()
                    await asyncio.wait([task])
    except BaseExceptionGroup as group_error:
        raise first_cause(group_error) from group_error


async def run_until(
    over: Coroutine[Any, Any, None], parts: Sequence[Part], beside: Coroutine[Any, Any, None]
) -> None:
    """Run parts inside a part: until `over` returns or this is cancelled; they end in order.

    If a part ends by itself, its error is raised.
    """
    done = asyncio.Event()

    async def wait() -> None:
        await over
        done.set()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_kept_running(part)) for part in parts]
            others = [group.create_task(beside), group.create_task(wait())]
            try:
                await done.wait()
            finally:
                for task in (*others, *tasks):
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


class Deadline:
    """Ends the process if what is left of a block takes too long, once it is told to watch."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, when_overdue: Callable[[], None]) -> None:
        """From now on the block has `STOP_WITHIN_S`; then `when_overdue` is called."""

        def give_up() -> None:
            log.error("stop_overdue", after_s=STOP_WITHIN_S)
            when_overdue()

        self._timer = asyncio.get_running_loop().call_later(STOP_WITHIN_S, give_up)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


@contextmanager
def stop_signal() -> Iterator[asyncio.Event]:
    """An event that is set when the process is asked to end."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


@contextmanager
def seal_signal(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` whenever the process is told to seal itself."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(SEAL_SIGNAL, ask)
    try:
        yield
    finally:
        loop.remove_signal_handler(SEAL_SIGNAL)
