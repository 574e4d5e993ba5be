"""Nodes as processes on this machine, in a static set: no chain, open to all, SQLite."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
BEGIN = signal.SIGRTMIN
"""Has a node that counts something (`sampled_node`, `metered_node`) count from nothing."""
WRITE = signal.SIGRTMIN + 1
"""Has it write what it counted. The usual two are a node's own: SIGUSR1 seals it."""


@dataclass(frozen=True)
class NodeFiles:
    """A node that is configured and does not run yet."""

    secret: SecretScalar
    directory: Path
    peer_port: int
    port: int
    operator_port: int

    @property
    def id(self) -> NodeId:
        """Its node id."""
        return NodeId.of(self.secret.public())

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.directory / "config.toml"


@dataclass(frozen=True)
class RunningNode:
    """A node's process, and where it serves clients and operators."""

    process: subprocess.Popen[bytes]
    files: NodeFiles

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self.files.directory

    @property
    def port(self) -> int:
        """Where it serves clients."""
        return self.files.port

    @property
    def operator_port(self) -> int:
        """Where it serves operators."""
        return self.files.operator_port

    @property
    def profile(self) -> Path:
        """Where `sampled_node` and `metered_node` write."""
        return self.directory / "profile.json"

    def cpu_s(self) -> float:
        """CPU time of all its threads so far."""
        clock = (~self.process.pid << 3) | 2  # what clock_getcpuclockid(3) returns
        return time.clock_gettime_ns(clock) / NANOSECONDS

    def memory_mb(self, field: str) -> float:
        """A line of its status: `VmRSS`, what is resident, or `VmHWM`, the most that was."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"the process has no {field}")

    def forget_peak(self) -> None:
        """Let `VmHWM` begin anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def known_keys(self) -> int:
        """How many keys it has a record of."""
        return self._metric("keyserver_keys")

    def presignatures(self) -> int:
        """How many it has in stock."""
        return self._metric("keyserver_presignatures")

    def _metric(self, name: str) -> int:
        with urlopen(f"http://{LOOPBACK}:{self.operator_port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return int(float(next(line for line in lines if line.startswith(f"{name} ")).split()[1]))

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
    """Configure nodes, start them and wait until all are connected; they end with the block.

    `program`: what Python runs, the command line or something around it.
    """
    with running(configured(directory, nodes), program=program) as network:
        yield network


@contextmanager
def running(
    configured_nodes: Sequence[NodeFiles], *, program: Sequence[str]
) -> Iterator[list[RunningNode]]:
    """Start nodes that are configured; as `static_network`."""
    network: list[RunningNode] = []
    try:
        for files in configured_nodes:
            home = files.directory
            command = [sys.executable, *program, "run", "--config", str(files.config)]
            environment = {"KEYSERVER_BENCHMARK_PROFILE": str(home / "profile.json")}
            process = spawn(command, log_path=home / "node.log", environment=environment)
            network.append(RunningNode(process, files))
        for node in network:
            connected = partial(node.is_connected, len(network) - 1)
            wait_until(connected, f"{node.directory} is connected")
        yield network
    finally:
        for node in network:
            node.process.terminate()
        for node in network:
            try:
                node.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()


def configured(
    directory: Path, nodes: int, settings: Mapping[str, object] | None = None
) -> list[NodeFiles]:
    """Write the configuration of so many nodes that know each other; `settings` for all."""
    secrets = [SecretScalar.random(SystemRandom()) for _ in range(nodes)]
    ports = iter(free_ports(3 * nodes))
    files = [
        NodeFiles(secret, directory / f"node{number}", next(ports), next(ports), next(ports))
        for number, secret in enumerate(secrets, 1)
    ]
    for node in files:
        others = [each for each in files if each is not node]
        _write_config(node, others, settings or {})
    return files


def _write_config(
    node: NodeFiles, others: Sequence[NodeFiles], settings: Mapping[str, object]
) -> None:
    node.directory.mkdir(parents=True)
    values: dict[str, object] = {
        "parity.base_path": str(node.directory),
        "secretstore.nodes": [f"{other.id.hex()}@{LOOPBACK}:{other.peer_port}" for other in others],
        "secretstore.path": "$BASE/data",
        "secretstore.port": node.peer_port,
        "secretstore.http_port": node.port,
        "secretstore.server_set_contract": "none",
        "secretstore.acl_contract": "none",
        "keyserver.rate_limit": 0,
        "keyserver.operator_listen": f"{LOOPBACK}:{node.operator_port}",
        "rpc.disable": True,
        **settings,
    }
    text = render_file(values, heading="Configuration of a node that is measured.")
    own_key = f'self_secret = "{node.secret.expose().hex()}"\n'
    write_new_file(node.config, text.replace("[secretstore]\n", f"[secretstore]\n{own_key}", 1))


def wait_until(is_so: Callable[[], bool], what: str, *, within_s: float = READY_S) -> None:
    """Look until it is so; raises `RuntimeError` after that time."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {within_s:.0f} s")
        time.sleep(0.05)
