"""`keyserver run --config FILE` on files in the original's form, as processes of their own."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keyserver.app.accounts import write_key_file
from keyserver.model.node_set import NodeAddress
from tests.integration.node.network import READY_S, STOP_S, http_get, wait_for
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import Person

ROUNDS = 1
"""Of the key derivation: the keys are published, and a test has no time."""


def with_ports(text: str, ports: Mapping[int, int]) -> str:
    """A configuration or a command with other ports in it, and nothing else changed."""
    return re.sub(r"\b\d{4,5}\b", lambda number: str(ports.get(int(number[0]), number[0])), text)


def copy_config(source: Path, directory: Path, ports: Mapping[int, int]) -> Path:
    """Copy a file into the directory its relative paths are meant from."""
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / source.name
    target.write_text(with_ports(source.read_text(), ports))
    return target


def write_accounts(keys: Path, people: Iterable[Person]) -> None:
    """Key files as the original keeps them, in the subdirectory of the development chain."""
    for who in people:
        write_key_file(keys / "DevelopmentChain", who.key, who.password, iterations=ROUNDS)


class Server:
    """One process; its working directory is that of its configuration."""

    def __init__(self, config: Path, environment: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.environment = dict(environment or {})
        self.ready: dict[str, Any] = {}
        """What it announced when it was ready."""
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_file = config.with_suffix(".ready.json")
        self._log_file = config.with_suffix(".log")

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def http(self) -> NodeAddress:
        return _address(self.ready["http"])

    @property
    def rpc(self) -> Rpc:
        return Rpc(_address(self.ready["json_rpc"]))

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        assert self._process is not None
        return self._process.poll()

    def launch(self) -> None:
        """Start it; `wait_ready` tells when it serves."""
        assert self._process is None
        self._ready_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "keyserver.cli", "run", "--config", self.config.name]
        command += ["--ready-file", str(self._ready_file)]
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.config.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._own_home() | self.environment,
            )

    def _own_home(self) -> dict[str, str]:
        """So that nothing a user of this machine has is found."""
        return dict.fromkeys(("HOME", "XDG_DATA_HOME"), str(self.config.parent))

    def wait_ready(self) -> None:
        def announced() -> dict[str, Any] | None:
            assert self._process is not None
            assert self._process.poll() is None, f"it ended:\n{self.log}"
            exists = self._ready_file.exists()
            return json.loads(self._ready_file.read_text()) if exists else None

        self.ready = wait_for(announced, timeout_s=READY_S, doing=f"start of {self.config.name}")

    def ask_to_end(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait_end(self) -> int:
        """The exit status."""
        assert self._process is not None
        code = self._process.wait(4 * STOP_S)
        self._process = None
        return code

    def stop(self) -> int:
        """Ask it to end; the exit status."""
        self.ask_to_end()
        return self.wait_end()

    def kill(self) -> None:
        """End it without warning, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def log(self) -> str:
        return self._log_file.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def connected(self) -> int:
        """To how many other nodes it has a connection."""
        status, body = http_get(self.ready["operator"], "/v1/status")
        assert status == 200
        nodes = json.loads(body)["node_set"]["nodes"]
        return sum(node["state"] == "connected" for node in nodes)


class Cluster:
    """Key servers as processes; a `Servers`."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = list(servers)

    @property
    def addresses(self) -> Sequence[NodeAddress]:
        return [server.http for server in self.servers]

    async def stop(self, index: int) -> None:
        await asyncio.to_thread(self.servers[index].kill)

    async def start(self, *indices: int) -> None:
        for index in indices:
            self.servers[index].launch()
        await asyncio.to_thread(self._wait_connected)

    async def start_all(self) -> None:
        await self.start(*range(len(self.servers)))

    def stop_all(self) -> None:
        """Ask all that run to end, and see that they do so in good order."""
        running = [server for server in self.servers if server.is_running]
        for server in running:
            server.ask_to_end()
        assert [server.wait_end() for server in running] == [0] * len(running)

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    def _wait_connected(self) -> None:
        running = [server for server in self.servers if server.is_running]
        for server in running:
            server.wait_ready()

        def all_see_all() -> bool | None:
            return all(server.connected() == len(running) - 1 for server in running) or None

        wait_for(all_see_all, timeout_s=READY_S, doing="connecting")


def _address(url: str) -> NodeAddress:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    host = "127.0.0.1" if parts.hostname == "0.0.0.0" else parts.hostname
    return NodeAddress(host, parts.port)
