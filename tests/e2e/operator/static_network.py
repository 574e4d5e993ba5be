"""Nodes of a static set, started from files that have the original's sections only."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from keyserver.crypto.curve import SecretScalar
from tests.integration.node.network import NodeProcess, free_port, wait_for
from tests.unit.app.samples import SECRETS, public, secret, write_account

ANSWER_S = 60
CONNECTED_S = 30.0


@dataclass(frozen=True)
class Answer:
    """One response: what a client looks at."""

    status: int
    reason: str
    content_type: str | None
    body: bytes


def ask(url: str, method: str, path: str, body: str | None = None) -> Answer:
    """One request over a connection of its own."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=ANSWER_S)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        kind = response.getheader("Content-Type")
        return Answer(response.status, response.reason, kind, response.read())
    finally:
        connection.close()


class StaticNetwork:
    """Nodes known by the names of the sample keys; any of them may run."""

    def __init__(self, directory: Path, names: Sequence[str], **options: object) -> None:
        self.nodes = {
            name: NodeProcess(directory / name, secret(name), free_port(), {}) for name in names
        }
        for name, node in self.nodes.items():
            node.set(
                "secretstore",
                self_secret=SECRETS[name],
                path=str(node.data),
                port=node.port,
                http_port=free_port(),
                server_set_contract="none",
                acl_contract="none",
                **options,
            )

    def configure(self, members: Sequence[str]) -> None:
        """Write the same list of nodes into the file of each member."""
        entries = [f"{public(name)}@127.0.0.1:{self.nodes[name].port}" for name in members]
        for name in members:
            self.nodes[name].set("secretstore", nodes=entries)

    def url(self, name: str) -> str:
        """Where clients reach a node."""
        return f"http://127.0.0.1:{self.nodes[name].values['secretstore']['http_port']}"

    def start(self, names: Sequence[str]) -> None:
        """Start nodes and wait until each of them reaches all others of the set."""
        for name in names:
            self.nodes[name].start()
        for name in names:
            self.nodes[name].wait_ready()
        for name in names:
            self.wait_connected(name)

    def wait_connected(self, name: str) -> None:
        """Wait until a node reaches all others of its set."""
        wait_for(
            lambda: not self.missing_at(name) or None,
            timeout_s=CONNECTED_S,
            doing=f"{name} reaches all others",
        )

    def missing_at(self, name: str) -> list[str]:
        """The node ids this node does not reach."""
        peers = self.nodes[name].operator("/v1/status")[1]["node_set"]["nodes"]
        return [peer["node_id"] for peer in peers if peer["state"] == "disconnected"]

    def stop(self, names: Sequence[str]) -> None:
        """Stop nodes as an operator does; each must end well."""
        for name in names:
            code, _ = self.nodes[name].stop()
            assert code == 0, self.nodes[name].log_tail()

    def close(self) -> None:
        """End whatever runs."""
        for node in self.nodes.values():
            node.kill()

    def ask(self, name: str, method: str, path: str, body: str | None = None) -> Answer:
        """One request to a node's client listener."""
        return ask(self.url(name), method, path, body)


def json_rpc_process(directory: Path, passwords: dict[str, str]) -> NodeProcess:
    """A process that is only a client, with key files of sample accounts (section 7, row 10)."""
    node = NodeProcess(directory, SecretScalar.from_int(1), 0, {})
    node.set("secretstore", disable=True)
    node.set("rpc", port=free_port(), apis=["secretstore"])
    node.set("parity", keys_path=str(directory / "keys"))
    for name, password in passwords.items():
        write_account(directory / "keys", name, password)
    return node


def call(url: str, method: str, *params: object) -> object:
    """One call of the JSON-RPC module; it must succeed."""
    request = {"jsonrpc": "2.0", "id": 1, "method": f"secretstore_{method}", "params": params}
    answer = json.loads(ask(url, "POST", "/", json.dumps(request)).body)
    assert "error" not in answer, answer
    result: object = answer["result"]
    return result
