"""A local chain with the contracts on it, and nodes as processes of their own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from eth_account import Account
from web3 import AsyncHTTPProvider, AsyncWeb3

from keyserver.client.deployment import DeployedContracts, deploy_contracts
from keyserver.client.deployment_plan import DeploymentPlan, Permission, PlannedNode
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS, LocalChain, start_embedded
from keyserver.evm.abi import ContractAbi
from keyserver.evm.artifacts import load_artifact
from keyserver.evm.transaction import DynamicFee, TransactionSigner, UnsignedTransaction
from keyserver.model.identifiers import Address, Hash32, NodeId

CHAIN_ID = 515_151
READY_S = 60.0
STOP_S = 5.0
GWEI = 10**9
SERVICE = ContractAbi.of(load_artifact("SecretStoreService").abi)

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: Callable[[], T | None], *, timeout_s: float, doing: str) -> T:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = what()
        if found is not None:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{doing}: nothing within {timeout_s} s")


def http_get(url: str, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@dataclass
class NodeProcess:
    """One node: its directory, and its process while there is one."""

    directory: Path
    secret: SecretScalar
    port: int
    values: dict[str, dict[str, object]]
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> NodeId:
        return NodeId.of(self.secret.public())

    @property
    def config(self) -> Path:
        return self.directory / "config.toml"

    @property
    def log_file(self) -> Path:
        return self.directory / "log.jsonl"

    @property
    def ready_file(self) -> Path:
        return self.directory / "ready.json"

    @property
    def ready(self) -> dict[str, Any]:
        """What it told when it was ready."""
        told: dict[str, Any] = json.loads(self.ready_file.read_text())
        return told

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def set(self, section: str, **values: object) -> None:
        self.values.setdefault(section, {}).update(values)

    def write_config(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        for section, values in self.values.items():
            lines.append(f"[{section}]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        self.write_config()
        self.ready_file.unlink(missing_ok=True)
        self.log_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "keyserver.cli", "run", "--config", str(self.config)]
        command += ["--ready-file", str(self.ready_file)]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
            )

    def wait_ready(self) -> dict[str, Any]:
        def ready() -> dict[str, Any] | None:
            assert self.process is not None
            assert self.process.poll() is None, f"the node ended:\n{self.log_tail()}"
            return json.loads(self.ready_file.read_text()) if self.ready_file.exists() else None

        return wait_for(ready, timeout_s=READY_S, doing=f"start\n{self.log_tail()}")

    def fails_to_start(self) -> tuple[int, str]:
        """Start it and see it end by itself: the exit code, and what it printed but did not log."""
        self.start()
        assert self.process is not None
        code = self.process.wait(READY_S)
        self.process = None
        printed = [
            line for line in self.log_file.read_text().splitlines() if not line.startswith("{")
        ]
        return code, "\n".join(printed)

    def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit code and the seconds it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(4 * STOP_S)
        self.process = None
        return code, time.monotonic() - began

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def events(self) -> list[dict[str, Any]]:
        """What it has logged."""
        lines = self.log_file.read_text().splitlines() if self.log_file.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_event(self, name: str, timeout_s: float = READY_S) -> dict[str, Any]:
        def logged() -> dict[str, Any] | None:
            return next((event for event in self.events() if event["event"] == name), None)

        return wait_for(logged, timeout_s=timeout_s, doing=f"{name}\n{self.log_tail()}")

    def log_tail(self) -> str:
        text = self.log_file.read_text() if self.log_file.exists() else ""
        return "\n".join(text.splitlines()[-15:])

    def operator(self, path: str, method: str = "GET") -> tuple[int, Any]:
        url = json.loads((self.data / "operator.json").read_text())["url"]
        status, body = http_get(url, path, method)
        return status, json.loads(body)


@dataclass
class Network:
    """A chain, the contracts, and the nodes in their set."""

    chain: LocalChain
    deployed: DeployedContracts
    nodes: list[NodeProcess]
    nonces: dict[int, int] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        directory: Path,
        nodes: int,
        *,
        confirmations: int = 0,
        block_time_s: float | None = 0.5,
        permission: Permission = Permission.ONCE_TRANSFERABLE,
    ) -> "Network":
        secrets = [SecretScalar(bytes([0x41 + number]) * 32) for number in range(nodes)]
        ports = [free_port() for _ in secrets]
        fund = [NodeId.of(secret.public()).address for secret in secrets]
        chain = start_embedded(
            chain_id=CHAIN_ID,
            block_time_s=block_time_s,
            fund=fund,
            log_path=directory / "chain.log",
        )
        try:
            deployed = asyncio.run(_deploy(chain.rpc_url, secrets, ports, permission))
        except BaseException:
            chain.stop()
            raise
        made = [
            NodeProcess(directory / f"node{number}", secret, port, {})
            for number, (secret, port) in enumerate(zip(secrets, ports, strict=True))
        ]
        network = cls(chain, deployed, made)
        for node in made:
            network.configure(node, confirmations)
        return network

    def configure(self, node: NodeProcess, confirmations: int) -> None:
        node.set(
            "secretstore",
            self_secret=node.secret.expose().hex(),
            path=str(node.data),
            port=node.port,
            disable_http=True,
            acl_contract="registry",
            service_contract="registry",
        )
        node.set(
            "keyserver",
            rpc_endpoints=[self.chain.ws_url],
            chain_id=CHAIN_ID,
            registry_address=self.deployed.contracts["SimpleRegistry"],
            confirmations=confirmations,
            acl_depth="both",
            max_head_age_seconds=0,
            operator_listen="127.0.0.1:0",
            log_format="json",
        )
        node.set("misc", logging="keyserver=debug")

    def fresh_node(self, number: int, directory: Path) -> NodeProcess:
        """A member of the set, configured anew in an empty directory."""
        member = self.nodes[number]
        fresh = NodeProcess(directory / "fresh", member.secret, member.port, {})
        self.configure(fresh, confirmations=0)
        return fresh

    @property
    def service(self) -> Address:
        return Address(bytes.fromhex(self.deployed.contracts["SecretStoreService"][2:]))

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready()

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        self.chain.stop()

    # --- as a client -------------------------------------------------------------------------

    def request(self, method: str, *arguments: object, account: int = 1) -> int:
        """Send a request with a fee that suffices; returns the block it was mined in."""
        data = SERVICE.function(method).encode(*arguments)
        return self.transact(self.service, data, account=account, value=2 * 10**17)

    def transact(self, to: Address, data: bytes, *, account: int = 1, value: int = 0) -> int:
        signer = TransactionSigner(SecretScalar(DEVELOPMENT_PRIVATE_KEYS[account]))
        nonce = self.nonces.get(account)
        if nonce is None:
            count = self.chain.request(
                "eth_getTransactionCount", f"0x{signer.address.hex()}", "pending"
            )
            nonce = int(count, 16)
        self.nonces[account] = nonce + 1
        fee = DynamicFee(50 * GWEI, GWEI)
        transaction = UnsignedTransaction(CHAIN_ID, nonce, to, data, 2_000_000, fee, value)
        signed = signer.sign(transaction)
        tx_hash = self.chain.request("eth_sendRawTransaction", f"0x{signed.raw.hex()}")

        def mined() -> dict[str, Any] | None:
            found: dict[str, Any] | None = self.chain.request("eth_getTransactionReceipt", tx_hash)
            return found

        receipt = wait_for(mined, timeout_s=20, doing="mining")
        assert int(receipt["status"], 16) == 1, "the transaction failed"
        return int(receipt["blockNumber"], 16)

    def logs(self, event_name: str) -> list[tuple[int, tuple[Any, ...]]]:
        """All events of this name or signature so far: block and values."""
        event = SERVICE.event(event_name)
        found = self.chain.request(
            "eth_getLogs",
            {
                "address": f"0x{self.service.hex()}",
                "fromBlock": "0x0",
                "toBlock": "latest",
                "topics": [f"0x{event.topic0.hex()}"],
            },
        )
        return [
            (
                int(log["blockNumber"], 16),
                event.decode(
                    [Hash32(bytes.fromhex(topic[2:])) for topic in log["topics"]],
                    bytes.fromhex(log["data"][2:]),
                ),
            )
            for log in found
        ]

    def wait_log(self, event_name: str, timeout_s: float = 60.0) -> tuple[int, tuple[Any, ...]]:
        def there() -> tuple[int, tuple[Any, ...]] | None:
            for node in self.nodes:
                if node.process is not None:
                    assert node.process.poll() is None, f"a node ended:\n{node.log_tail()}"
            found = self.logs(event_name)
            return found[-1] if found else None

        return wait_for(there, timeout_s=timeout_s, doing=event_name)


async def _deploy(
    url: str, secrets: Sequence[SecretScalar], ports: Sequence[int], permission: Permission
) -> DeployedContracts:
    nodes = tuple(
        PlannedNode(NodeId.of(secret.public()), f"127.0.0.1:{port}")
        for secret, port in zip(secrets, ports, strict=True)
    )
    plan = DeploymentPlan(nodes, permission=permission)
    provider = AsyncHTTPProvider(url)
    try:
        account = Account.from_key(DEVELOPMENT_PRIVATE_KEYS[0])
        return await deploy_contracts(AsyncWeb3(provider), account, plan)
    finally:
        await provider.disconnect()


def write_certificate(certificate: Path, key: Path) -> None:
    """A certificate signed by itself, with its key."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(secret, SHA256())
    )
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    key.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
