"""The nodes, and the supervisor that starts them again whenever they end."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.local_chain import LOOPBACK
from keyserver.model.identifiers import Address, NodeId
from tests.chaos.chain import CHAIN_ID
from tests.chaos.endpoints import RpcProxy
from tests.support.node_processes import ConfiguredNode
from tests.support.ports import free_port
from tests.support.wire import request

HEAD_AGE_S = 20
"""Blocks here take a second where a chain's take twelve."""


@dataclass
class Seat:
    """One node's place: its process, its ports, its endpoints."""

    number: int
    node: ConfiguredNode
    announced: int
    """Port of its proxy, which the set contract tells."""
    http: str
    operator: str
    endpoints: tuple[RpcProxy, RpcProxy]

    @classmethod
    def make(cls, number: int, directory: Path, secret: SecretScalar, chain_url: str) -> "Seat":
        port, announced, http, operator, first, second = (free_port() for _ in range(6))
        node = ConfiguredNode(directory / f"node{number}", secret, port)
        endpoints = RpcProxy(chain_url, first), RpcProxy(chain_url, second)
        seat = cls(
            number,
            node,
            announced,
            f"http://{LOOPBACK}:{http}",
            f"http://{LOOPBACK}:{operator}",
            endpoints,
        )
        node.set(
            "secretstore",
            self_secret=secret.expose().hex(),
            path=str(node.data),
            port=port,
            http_port=http,
            acl_contract="registry",
            service_contract="registry",
        )
        node.set(
            "keyserver",
            rpc_endpoints=[endpoint.url for endpoint in endpoints],
            chain_id=CHAIN_ID,
            acl_depth="both",
            max_head_age_seconds=HEAD_AGE_S,
            rate_limit=0,
            operator_listen=f"{LOOPBACK}:{operator}",
            log_format="json",
        )
        return seat

    def follow(self, registry: str, confirmations: int, retry_blocks: int) -> None:
        self.node.set(
            "keyserver",
            registry_address=registry,
            confirmations=confirmations,
            retry_interval_blocks=retry_blocks,
        )

    @property
    def id(self) -> NodeId:
        return self.node.id

    @property
    def account(self) -> Address:
        return self.node.id.address

    def asks(self, path: str) -> tuple[int, Any]:
        """A request to the operator's listener; raises `OSError` if nobody answers."""
        answer = request(self.operator, "GET", path)
        return answer.status, json.loads(answer.body or b"null")

    def is_ready(self) -> bool:
        try:
            return request(self.operator, "GET", "/health/ready").status == 200
        except OSError:
            return False

    def log_lines(self) -> Iterator[str]:
        with self.node.log_file.open(encoding="utf-8", errors="replace") as log:
            yield from log


class Supervisor:
    """Starts nodes, and starts again those that end, as a machine's supervisor does."""

    def __init__(self, seats: Sequence[Seat]) -> None:
        self.seats = tuple(seats)
        self.starts: Counter[int] = Counter()
        self.unexpected_ends: list[str] = []
        self._down: set[int] = set()
        self._paused: set[int] = set()
        self._watch: asyncio.Task[None] | None = None

    def pids(self) -> Mapping[int, int]:
        """Process ids of the running nodes, with the nodes' numbers."""
        running = [seat for seat in self.seats if seat.node.is_running]
        return {seat.node.process.pid: seat.number for seat in running}

    @property
    def unwell(self) -> frozenset[int]:
        """Nodes that are down or hang."""
        return frozenset(self._down | self._paused)

    async def start_all(self) -> None:
        for seat in self.seats:
            self._start(seat)
        for seat in self.seats:
            await asyncio.to_thread(seat.node.wait_ready)
        self._watch = asyncio.create_task(self._restart_the_fallen())

    def kill(self, number: int) -> None:
        """End a node at once; it stays down until `revive`."""
        seat = self.seats[number]
        self._down.add(number)
        self._paused.discard(number)
        seat.node.kill()

    def revive(self, number: int) -> None:
        if number in self._down:
            self._down.discard(number)
            self._start(self.seats[number])

    def pause(self, number: int) -> None:
        """Stop the clock of a node's process; it goes on with `resume`."""
        self._paused.add(number)
        self.seats[number].node.process.send_signal(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        if number in self._paused:
            self._paused.discard(number)
            self.seats[number].node.process.send_signal(signal.SIGCONT)

    async def stop(self) -> list[int]:
        """Ask all nodes to end; their exit codes."""
        await self._stop_watching()
        return [(await asyncio.to_thread(seat.node.stop))[0] for seat in self.seats]

    async def kill_all(self) -> None:
        await self._stop_watching()
        for seat in self.seats:
            seat.node.kill()

    async def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None

    def _start(self, seat: Seat) -> None:
        self.starts[seat.number] += 1
        seat.node.start()

    async def _restart_the_fallen(self) -> None:
        while True:
            for seat in self.seats:
                if seat.number in self._down or seat.node.process.poll() is None:
                    continue
                self.unexpected_ends.append(f"node {seat.number}: {seat.node.log_tail()[-600:]}")
                seat.node.kill()
                self._start(seat)
            await asyncio.sleep(0.5)
