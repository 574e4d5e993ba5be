"""Nodes of a static set, started from files that have the original's sections only."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from keyserver.crypto.curve import SecretScalar
from tests.support.node_processes import (
    LOOPBACK,
    ConfiguredNode,
    kill_all,
    set_members,
    start_all,
    static_node,
    wait_connected,
)
from tests.support.raw_http import Answer
from tests.support.wire import request
from tests.unit.app.samples import secret, write_account


def ask(url: str, method: str, path: str, body: str | None = None) -> Answer:
    """One request; of the answer's headers only its type, as the others are never the same."""
    answer = request(url, method, path, body)
    kind = answer.header("content-type")
    return replace(answer, headers=() if kind is None else (("content-type", kind),))


class StaticNetwork:
    """Nodes known by the names of the sample keys; any of them may run."""

    def __init__(self, directory: Path, names: Iterable[str], **options: object) -> None:
        self.nodes = {
            name: static_node(directory / name, secret(name), **options) for name in names
        }

    def configure(self, members: Iterable[str]) -> None:
        """Write the same list of nodes into the file of each member."""
        set_members(self._named(members))

    def entry(self, name: str) -> str:
        """A node as lists of nodes have it."""
        node = self.nodes[name]
        return f"{node.id.hex()}@{LOOPBACK}:{node.port}"

    def url(self, name: str) -> str:
        """Where clients reach a node that runs."""
        return str(self.nodes[name].ready["http"])

    def start(self, names: Iterable[str]) -> None:
        """Start nodes and wait until each of them reaches all others."""
        nodes = self._named(names)
        start_all(nodes)
        wait_connected(nodes)

    def stop(self, names: Iterable[str]) -> None:
        """Stop nodes as an operator does; each must end well."""
        nodes = self._named(names)
        for node in nodes:
            node.ask_to_stop()
        for node in nodes:
            assert node.wait_stopped() == 0, node.log_tail()

    def close(self) -> None:
        """End whatever runs."""
        kill_all(self.nodes.values())

    def ask(self, name: str, method: str, path: str, body: str | None = None) -> Answer:
        """One request to a node's client listener."""
        return ask(self.url(name), method, path, body)

    def _named(self, names: Iterable[str]) -> list[ConfiguredNode]:
        return [self.nodes[name] for name in names]


def json_rpc_process(directory: Path, passwords: dict[str, str]) -> ConfiguredNode:
    """A process that is only a client, with key files of sample accounts (section 7, row 10)."""
    node = ConfiguredNode(directory, SecretScalar.from_int(1), 0)
    node.set("secretstore", disable=True)
    node.set("rpc", port=0, apis=["secretstore"])
    node.set("parity", keys_path=str(directory / "keys"))
    for name, password in passwords.items():
        write_account(directory / "keys", name, password)
    return node
