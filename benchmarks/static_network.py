"""Nodes as processes on this machine, in a static set: no chain, open to all, SQLite."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from keyserver.app.config.writer import render_file, write_new_file
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.devnet.local_chain import LOOPBACK, spawn
from keyserver.devnet.ports import free_ports
from keyserver.model.identifiers import NodeId

READY_S = 60.0
STOP_S = 10.0
NANOSECONDS = 1e9


@dataclass(frozen=True)
class RunningNode:
    """A node's process, and where it serves clients and operators."""

    process: subprocess.Popen[bytes]
    directory: Path
    port: int
    operator_port: int

    @property
    def profile(self) -> Path:
        """Where `benchmarks.sampled_node` writes."""
        return self.directory / "profile.json"

    def cpu_s(self) -> float:
        """CPU time of all its threads so far."""
        clock = (~self.process.pid << 3) | 2  # what clock_getcpuclockid(3) returns
        return time.clock_gettime_ns(clock) / NANOSECONDS

    def is_connected(self, peers: int) -> bool:
        """Whether it has a connection to that many others."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the node ended, see {self.directory / 'node.log'}")
        try:
            with urlopen(f"http://{LOOPBACK}:{self.operator_port}/v1/status", timeout=5) as answer:
                members = json.load(answer)["node_set"]["nodes"]
        except OSError:
            return False
        connected = [member for member in members if member["state"] == "connected"]
        return len(connected) >= peers


@contextmanager
def static_network(
    directory: Path, nodes: int, *, program: Sequence[str]
) -> Iterator[list[RunningNode]]:
    """Start nodes and wait until all are connected; they end with the block.

    `program`: what Python runs, the command line or something around it.
    """
    running: list[RunningNode] = []
    try:
        for config, ports in _configured(directory, nodes):
            home = config.parent
            command = [sys.executable, *program, "run", "--config", str(config)]
            environment = {"KEYSERVER_BENCHMARK_PROFILE": str(home / "profile.json")}
            process = spawn(command, log_path=home / "node.log", environment=environment)
            running.append(RunningNode(process, home, ports[1], ports[2]))
        for node in running:
            connected = partial(node.is_connected, nodes - 1)
            wait_until(connected, f"{node.directory} is connected")
        yield running
    finally:
        for node in running:
            node.process.terminate()
        for node in running:
            try:
                node.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()


def _configured(directory: Path, nodes: int) -> list[tuple[Path, list[int]]]:
    secrets = [SecretScalar.random(SystemRandom()) for _ in range(nodes)]
    ports = free_ports(3 * nodes)
    places = [ports[3 * index : 3 * index + 3] for index in range(nodes)]
    members = [
        f"{NodeId.of(secret.public()).hex()}@{LOOPBACK}:{place[0]}"
        for secret, place in zip(secrets, places, strict=True)
    ]
    made = []
    for number, (secret, place) in enumerate(zip(secrets, places, strict=True), 1):
        home = directory / f"node{number}"
        home.mkdir(parents=True)
        values: dict[str, object] = {
            "parity.base_path": str(home),
            "secretstore.nodes": [entry for entry in members if not entry.endswith(f":{place[0]}")],
            "secretstore.path": "$BASE/data",
            "secretstore.port": place[0],
            "secretstore.http_port": place[1],
            "secretstore.server_set_contract": "none",
            "secretstore.acl_contract": "none",
            "keyserver.rate_limit": 0,
            "keyserver.operator_listen": f"{LOOPBACK}:{place[2]}",
            "rpc.disable": True,
        }
        text = render_file(values, heading="Configuration of a node that is measured.")
        own_key = f'self_secret = "{secret.expose().hex()}"\n'
        text = text.replace("[secretstore]\n", f"[secretstore]\n{own_key}", 1)
        write_new_file(home / "config.toml", text)
        made.append((home / "config.toml", place))
    return made


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Look until it is so; raises `RuntimeError` after a minute."""
    deadline = time.monotonic() + READY_S
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {READY_S:.0f} s")
        time.sleep(0.05)
