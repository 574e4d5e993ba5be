"""Nodes with the listeners that clients reach and no chain."""

from pathlib import Path

from keyserver.app.accounts import write_key_file
from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import NodeId
from tests.support.node_processes import LOOPBACK, ConfiguredNode, set_members, static_node

CLIENT = SecretScalar.from_int(7)
ACCOUNT = SecretScalar.from_int(0xA11CE)
ADDRESS = f"0x{NodeId.of(ACCOUNT.public()).address.hex()}"
PASSWORD = "pässword"


def static_nodes(directory: Path, count: int) -> list[ConfiguredNode]:
    """A cluster that needs no chain; none of its nodes runs yet."""
    nodes = [
        static_node(directory / f"node{number}", SecretScalar.from_int(0x50 + number))
        for number in range(count)
    ]
    set_members(nodes)
    for node in nodes:
        node.set("keyserver", operator_listen=f"{LOOPBACK}:0", log_format="json", rate_limit=0)
        node.set("parity", base_path=str(node.directory), keys_path=str(node.directory / "keys"))
    return nodes


def lone_node(directory: Path, *, accounts: bool = False) -> ConfiguredNode:
    """A cluster of one; with `accounts` it serves the JSON-RPC module, too."""
    (node,) = static_nodes(directory, 1)
    if accounts:
        write_key_file(node.directory / "keys", ACCOUNT, PASSWORD, iterations=1024)
        node.set("rpc", port=0, apis=["secretstore"])
    return node
