"""Clients that retrieve document keys at a constant rate, however long the answers take.

A request is due at its time whether or not earlier ones were answered, and its latency counts from
then: what waits because the service is slow is not left out.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.http import Client, Life, check
from benchmarks.static_network import RunningNode


@dataclass(frozen=True)
class Latencies:
    """How long requests took, in milliseconds from when they were due."""

    requests: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    most_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latencies":
        """Of at least one request."""
        ordered = sorted(seconds)
        at = [ordered[len(ordered) * percent // 100] * 1e3 for percent in (90, 99)]
        return cls(len(ordered), statistics.median(ordered) * 1e3, at[0], at[1], ordered[-1] * 1e3)


class ConstantLoad:
    """Asks all nodes in turn for some keys in turn."""

    def __init__(
        self, nodes: Sequence[RunningNode], lives: Sequence[Life], per_second: float, clients: int
    ) -> None:
        self._lives = lives
        self._interval_s = 1 / per_second
        self._clients = [Client(nodes, first) for first in range(clients)]
        self._asked = 0
        self._begun = 0.0
        self._taken: list[float] = []
        self._answers: list[tuple[Life, bytes]] = []

    async def connect(self) -> None:
        """Open all connections."""
        for client in self._clients:
            await client.connect()

    def close(self) -> None:
        """Close them."""
        for client in self._clients:
            client.close()

    async def run(self, until: asyncio.Event) -> Latencies:
        """Ask until told to stop; raises `RuntimeError` for any answer that is not right."""
        self._asked, self._begun = 0, time.perf_counter()
        self._taken, self._answers = [], []
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(self._ask(client, until))
        for life, answer in self._answers:
            check(life, answer)
        return Latencies.of(self._taken)

    async def run_for(self, seconds: float) -> Latencies:
        """The same for a while."""
        until = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, until.set)
        return await self.run(until)

    async def _ask(self, client: Client, until: asyncio.Event) -> None:
        while not until.is_set():
            number, self._asked = self._asked, self._asked + 1
            due = self._begun + number * self._interval_s
            with suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), max(0.0, due - time.perf_counter()))
                return
            life = self._lives[number % len(self._lives)]
            _, answer = await client.ask(life.retrieve)
            self._taken.append(time.perf_counter() - due)
            self._answers.append((life, answer))
