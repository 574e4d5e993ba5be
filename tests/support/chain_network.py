"""A local chain with the contracts on it, and the nodes of its set as processes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account
from web3 import AsyncWeb3

from keyserver.client.deployment import DeployedContracts, deploy_contracts
from keyserver.client.deployment_plan import DeploymentPlan, Permission, PlannedNode
from keyserver.client.http_provider import HttpProvider
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS, LocalChain, start_embedded
from keyserver.evm.abi import ContractAbi
from keyserver.evm.artifacts import load_artifact
from keyserver.evm.transaction import DynamicFee, TransactionSigner, UnsignedTransaction
from keyserver.model.identifiers import Address, Hash32, NodeId
from tests.support.node_processes import LOOPBACK, ConfiguredNode, kill_all, start_all
from tests.support.ports import free_ports
from tests.support.waiting import wait_for

CHAIN_ID = 515_151
GWEI = 10**9
SERVICE = ContractAbi.of(load_artifact("SecretStoreService").abi)


@dataclass
class Network:
    """A chain, the contracts, and the nodes in their set."""

    chain: LocalChain
    deployed: DeployedContracts
    nodes: list[ConfiguredNode]
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
        ports = free_ports(nodes)
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
            ConfiguredNode(directory / f"node{number}", secret, port)
            for number, (secret, port) in enumerate(zip(secrets, ports, strict=True))
        ]
        network = cls(chain, deployed, made)
        for node in made:
            network.configure(node, confirmations)
        return network

    def configure(self, node: ConfiguredNode, confirmations: int) -> None:
        follow_chain(node, self.chain)
        node.set("secretstore", acl_contract="registry", service_contract="registry")
        registry = self.deployed.contracts["SimpleRegistry"]
        node.set("keyserver", registry_address=registry, confirmations=confirmations)
        node.set("misc", logging="keyserver=debug")

    def fresh_node(self, number: int, directory: Path) -> ConfiguredNode:
        """A member of the set, configured anew in an empty directory."""
        member = self.nodes[number]
        fresh = ConfiguredNode(directory / "fresh", member.secret, member.port)
        self.configure(fresh, confirmations=0)
        return fresh

    @property
    def service(self) -> Address:
        return Address(bytes.fromhex(self.deployed.contracts["SecretStoreService"][2:]))

    def start(self) -> None:
        start_all(self.nodes)

    def close(self) -> None:
        kill_all(self.nodes)
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

        receipt = wait_for(mined, timeout_s=60, doing="mining")
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
                if node.is_running:
                    assert node.process.poll() is None, f"a node ended:\n{node.log_tail()}"
            found = self.logs(event_name)
            return found[-1] if found else None

        return wait_for(there, timeout_s=timeout_s, doing=event_name)


def follow_chain(node: ConfiguredNode, chain: LocalChain) -> None:
    """Let a node follow a chain, and serve nobody but its operator and other nodes."""
    node.set(
        "secretstore",
        self_secret=node.secret.expose().hex(),
        path=str(node.data),
        port=node.port,
        disable_http=True,
    )
    node.set(
        "keyserver",
        rpc_endpoints=[chain.ws_url],
        chain_id=CHAIN_ID,
        acl_depth="both",
        max_head_age_seconds=0,
        operator_listen=f"{LOOPBACK}:0",
        log_format="json",
    )


async def _deploy(
    url: str, secrets: Sequence[SecretScalar], ports: Sequence[int], permission: Permission
) -> DeployedContracts:
    nodes = tuple(
        PlannedNode(NodeId.of(secret.public()), f"127.0.0.1:{port}")
        for secret, port in zip(secrets, ports, strict=True)
    )
    plan = DeploymentPlan(nodes, permission=permission)
    provider = HttpProvider(url)
    try:
        account = Account.from_key(DEVELOPMENT_PRIVATE_KEYS[0])
        return await deploy_contracts(AsyncWeb3(provider), account, plan)
    finally:
        await provider.disconnect()
