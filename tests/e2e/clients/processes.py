"""`keyserver run --config FILE` on files in the original's form, as processes of their own."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from keyserver.app.accounts import write_key_file
from keyserver.model.node_set import NodeAddress
from tests.support.node_processes import NodeProcess, kill_all, wait_connected
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


class Cluster:
    """Key servers as processes; a `Servers`."""

    def __init__(self, servers: Sequence[NodeProcess]) -> None:
        self.servers = list(servers)

    @property
    def addresses(self) -> Sequence[NodeAddress]:
        return [http_of(server) for server in self.servers]

    async def stop(self, index: int) -> None:
        await asyncio.to_thread(self.servers[index].kill)

    async def start(self, *indices: int) -> None:
        for index in indices:
            self.servers[index].start()
        await asyncio.to_thread(self._wait_connected)

    async def start_all(self) -> None:
        await self.start(*range(len(self.servers)))

    def stop_all(self) -> None:
        """Ask all that run to end, and see that they do so in good order."""
        running = self._running()
        for server in running:
            server.ask_to_stop()
        assert [server.wait_stopped() for server in running] == [0] * len(running)

    def kill(self) -> None:
        kill_all(self.servers)

    def _running(self) -> list[NodeProcess]:
        return [server for server in self.servers if server.is_running]

    def _wait_connected(self) -> None:
        running = self._running()
        for server in running:
            server.wait_ready()
        wait_connected(running)


def http_of(server: NodeProcess) -> NodeAddress:
    """Where it serves clients."""
    return _address(server.ready["http"])


def rpc_of(server: NodeProcess) -> Rpc:
    """A client of its JSON-RPC module."""
    return Rpc(_address(server.ready["json_rpc"]))


def _address(url: str) -> NodeAddress:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    host = "127.0.0.1" if parts.hostname == "0.0.0.0" else parts.hostname
    return NodeAddress(host, parts.port)
