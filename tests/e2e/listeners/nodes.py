"""Nodes as processes of their own, each with the listeners that clients reach and no chain."""

from collections.abc import Sequence
from pathlib import Path

from keyserver.app.accounts import write_key_file
from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import NodeId
from tests.integration.node.network import NodeProcess, free_port

CLIENT = SecretScalar.from_int(7)
ACCOUNT = SecretScalar.from_int(0xA11CE)
ADDRESS = f"0x{NodeId.of(ACCOUNT.public()).address.hex()}"
PASSWORD = "pässword"
LOOPBACK = "127.0.0.1"


def static_nodes(directory: Path, count: int) -> list[NodeProcess]:
    """A cluster that needs no chain; none of its nodes runs yet."""
    secrets = [SecretScalar.from_int(0x50 + number) for number in range(count)]
    nodes = [
        NodeProcess(directory / f"node{number}", secret, free_port(), {})
        for number, secret in enumerate(secrets)
    ]
    members = [f"{node.id.hex()}@{LOOPBACK}:{node.port}" for node in nodes]
    for node in nodes:
        node.set(
            "secretstore",
            self_secret=node.secret.expose().hex(),
            path=str(node.data),
            port=node.port,
            http_port=free_port(),
            server_set_contract="none",
            acl_contract="none",
            nodes=members,
        )
        node.set("keyserver", operator_listen=f"{LOOPBACK}:0", log_format="json", rate_limit=0)
        node.set("parity", base_path=str(node.directory), keys_path=str(node.directory / "keys"))
    return nodes


def lone_node(directory: Path, *, accounts: bool = False) -> NodeProcess:
    """A cluster of one; with `accounts` it serves the JSON-RPC module, too."""
    (node,) = static_nodes(directory, 1)
    if accounts:
        write_key_file(node.directory / "keys", ACCOUNT, PASSWORD, iterations=1024)
        node.set("rpc", port=free_port(), apis=["secretstore"])
    return node


def kill_all(nodes: Sequence[NodeProcess]) -> None:
    for node in nodes:
        node.kill()
