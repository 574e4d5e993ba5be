"""One node of a devnet: its directory, its process, and whether it is ready."""

import http.client
import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keyserver.app.accounts import write_key_file
from keyserver.app.config.writer import STRICT_VALUES, render_file, write_new_file
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource
from keyserver.devnet.devnet_file import DevnetNode
from keyserver.devnet.local_chain import LOOPBACK, spawn
from keyserver.devnet.processes import Process
from keyserver.model.identifiers import Address, NodeId

KEY_ITERATIONS = 1
"""Rounds of PBKDF2 for the key files: the keys are worth nothing, and starting should be quick."""
PROBE_TIMEOUT_S = 2.0
DATA = "data"
"""Directory of a node's database, below its own."""

_HEADING = "Configuration of a node of a devnet, written by `keyserver devnet up`."


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node before its directory exists."""

    directory: Path
    secret: SecretScalar
    peer_port: int
    http_port: int
    operator_port: int

    @classmethod
    def draw(cls, directory: Path, ports: tuple[int, int, int], rng: RandomSource) -> "NodePlan":
        """Make a node with a new key."""
        return cls(directory, SecretScalar.random(rng), *ports)

    @property
    def node_id(self) -> NodeId:
        """The node's public key."""
        return NodeId.of(self.secret.public())

    @property
    def peer(self) -> str:
        """Where other nodes reach it."""
        return f"{LOOPBACK}:{self.peer_port}"

    @property
    def config_path(self) -> Path:
        """Its configuration file."""
        return self.directory / "config.toml"

    def describe(self, pid: int | None) -> DevnetNode:
        """Its entry in `devnet.json`."""
        return DevnetNode(
            node_id=f"0x{self.node_id.hex()}",
            address=f"0x{self.node_id.address.hex()}",
            peer=self.peer,
            http=f"http://{LOOPBACK}:{self.http_port}",
            operator=f"http://{LOOPBACK}:{self.operator_port}",
            pid=pid,
            config=str(self.config_path),
        )


@dataclass(frozen=True, slots=True)
class NodeChain:
    """What all nodes' configurations say about the chain."""

    endpoints: tuple[str, ...]
    chain_id: int
    registry: Address
    service_keys: tuple[str, ...]
    """The keys that say where service contracts are."""
    confirmations: int
    poll_s: float
    refresh_interval_days: float


def write_directory(plan: NodePlan, chain: NodeChain, *, is_sealed: bool = False) -> None:
    """Write a node's configuration, and files of its key and of the one that seals its database.

    A node that operators are to open has neither of the two: both are in its database, which is
    made by `keyserver.app.sealed_stores`. Raises `ConfigError` if a file exists.
    """
    plan.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    values = _values_for(plan, chain)
    if not is_sealed:
        values |= _write_keys(plan)
    write_new_file(plan.config_path, render_file(values, heading=_HEADING))


def _write_keys(plan: NodePlan) -> dict[str, object]:
    """Write the files of keys; what the configuration says of them."""
    password = secrets.token_urlsafe(18)
    password_file = plan.directory / "node.password"
    write_key_file(plan.directory / "keys", plan.secret, password, iterations=KEY_ITERATIONS)
    write_new_file(password_file, password + "\n")
    seal_file = plan.directory / "seal.key"
    write_new_file(seal_file, secrets.token_hex(32) + "\n")
    return {
        "parity.keys_path": "$BASE/keys",
        "account.password": [str(password_file)],
        "secretstore.self_secret": plan.node_id.address.hex(),
        "keyserver.seal.key_file": str(seal_file),
    }


def _values_for(plan: NodePlan, chain: NodeChain) -> dict[str, object]:
    return {
        "parity.base_path": str(plan.directory),
        "secretstore.path": f"$BASE/{DATA}",
        "secretstore.interface": "local",
        "secretstore.port": plan.peer_port,
        "secretstore.http_interface": "local",
        "secretstore.http_port": plan.http_port,
        "secretstore.server_set_contract": "registry",
        "secretstore.acl_contract": "registry",
        **dict.fromkeys(chain.service_keys, "registry"),
        "keyserver.rpc_endpoints": list(chain.endpoints),
        "keyserver.chain_id": chain.chain_id,
        "keyserver.registry_address": f"0x{chain.registry.hex()}",
        "keyserver.confirmations": chain.confirmations,
        "keyserver.poll_seconds": chain.poll_s,
        "keyserver.refresh_interval_days": chain.refresh_interval_days,
        "keyserver.operator_listen": f"{LOOPBACK}:{plan.operator_port}",
        "rpc.disable": True,
        **STRICT_VALUES,
    }


def start(config: Path) -> tuple[subprocess.Popen[bytes], Process]:
    """Run the program with this configuration; its log goes to `node.log` beside it."""
    command = [sys.executable, "-m", "keyserver.cli", "run", "--config", str(config)]
    child = spawn(command, log_path=log_path(config))
    return child, Process(child.pid, str(config))


def log_path(config: Path) -> Path:
    """Where the log of the node with this configuration is."""
    return config.with_name("node.log")


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What a node's operator listener answered."""

    status: int
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body, which must be JSON; raises `ValueError`."""
        return json.loads(self.body)

    @property
    def error(self) -> tuple[str, str]:
        """The name of the error that it is, and words for it."""
        try:
            error = self.json()["error"]
            return str(error["code"]), str(error["message"])
        except (ValueError, KeyError, TypeError):
            return "", f"the node answered with status {self.status}, see its log"


def readiness(node: DevnetNode) -> str:
    """`ready`, or what the node says or does not say instead."""
    answer = ask(node, "/health/ready")
    if answer is None:
        return "does not answer"
    if answer.status == 200:
        return "ready"
    return "; ".join(f"{each['code']}: {each['text']}" for each in answer.json()["reasons"])


def answers(node: DevnetNode) -> bool:
    """Whether the node runs and can be asked."""
    return ask(node, "/health/live") is not None


def facts(node: DevnetNode, path: str) -> Any:  # Any: JSON
    """What the node's operator listener has at `path`; `None` if it does not answer, or has not."""
    answer = ask(node, path)
    return answer.json() if answer is not None and answer.status == 200 else None


def ask(
    node: DevnetNode,
    path: str,
    *,
    body: Mapping[str, object] | None = None,
    timeout_s: float = PROBE_TIMEOUT_S,
) -> NodeAnswer | None:
    """Ask a node's operator listener, with a body by POST; `None` if it does not answer."""
    location = urlsplit(node.operator)
    connection = http.client.HTTPConnection(location.netloc, timeout=timeout_s)
    headers = {"Content-Type": "application/json"}
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body).encode(), headers)
        answer = connection.getresponse()
        return NodeAnswer(answer.status, answer.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
