"""Contracts that were deployed by ABI alone, and key servers that are told where they stand."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eth_account import Account
from web3 import AsyncWeb3, Web3

from keyserver.client.http_provider import HttpProvider
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS, LocalChain, start_embedded
from keyserver.model.identifiers import Address
from tests.e2e.node.settling import stop_settled
from tests.support.chain_network import CHAIN_ID, GWEI, follow_chain
from tests.support.node_processes import ConfiguredNode, kill_all, start_all
from tests.support.ports import free_port

ABI_FOLDER = Path(__file__).parents[3] / "abi"
CREATION_GAS = 8_000_000
CALL_GAS = 400_000
NAME_PRICE = 10**18
"""What a registry asks for a name at first, in wei."""

KEY_SERVER_SET = "OwnedKeyServerSetWithMigration"
PERMISSION = "PermissioningRegistry"
SIMPLE_REGISTRY = "SimpleRegistry"


def read_artifact(path: Path) -> dict[str, Any]:
    """The ABI and bytecode in a compiler's JSON file."""
    artifact: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return artifact


def published(name: str) -> dict[str, Any]:
    """A contract as it stands in the folder that is handed out to everybody."""
    return read_artifact(ABI_FOLDER / f"{name}.json")


class Deployer:
    """An account that sends one transaction after the other; `mined` waits for all."""

    def __init__(self, w3: AsyncWeb3[Any]) -> None:
        self._w3 = w3
        self._account = Account.from_key(DEVELOPMENT_PRIVATE_KEYS[0])
        self._nonce = 0
        self._sent: list[Any] = []

    async def create(self, artifact: Mapping[str, Any], *arguments: object) -> Any:
        """Deploy a contract; returns it, callable once it is mined."""
        factory = self._w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        sent = await self._send(factory.constructor(*arguments), CREATION_GAS)
        receipt = await self._w3.eth.wait_for_transaction_receipt(sent, timeout=20)
        assert receipt["status"] == 1
        return self._w3.eth.contract(address=receipt["contractAddress"], abi=artifact["abi"])

    async def call(self, function: Any, value: int = 0) -> None:
        self._sent.append(await self._send(function, CALL_GAS, value))

    async def mined(self) -> None:
        for sent in self._sent:
            receipt = await self._w3.eth.wait_for_transaction_receipt(sent, timeout=20)
            assert receipt["status"] == 1
        self._sent.clear()

    async def _send(self, built: Any, gas: int, value: int = 0) -> Any:
        transaction = await built.build_transaction(
            {
                "from": self._account.address,
                "nonce": self._nonce,
                "chainId": CHAIN_ID,
                "gas": gas,
                "value": value,
                "maxFeePerGas": 50 * GWEI,
                "maxPriorityFeePerGas": GWEI,
            }
        )
        self._nonce += 1
        signed = self._account.sign_transaction(transaction)
        return await self._w3.eth.send_raw_transaction(signed.raw_transaction)


async def deploy(
    url: str,
    nodes: Sequence[ConfiguredNode],
    services: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, str],
) -> dict[str, str]:
    """Deploy set, permission contract, registry and `services`; contract name -> address.

    `names` says what the registry shall hold: entry -> contract name.
    """
    provider = HttpProvider(url)
    try:
        deployer = Deployer(AsyncWeb3(provider))
        made = {
            name: await deployer.create(published(name))
            for name in (KEY_SERVER_SET, PERMISSION, SIMPLE_REGISTRY)
        }
        key_server_set, registry = made[KEY_SERVER_SET], made[SIMPLE_REGISTRY]
        for node in nodes:
            at = f"127.0.0.1:{node.port}"
            await deployer.call(key_server_set.functions.addKeyServer(bytes(node.id), at))
        await deployer.call(key_server_set.functions.completeInitialization())
        for name, artifact in services.items():
            made[name] = await deployer.create(artifact, key_server_set.address)
        for entry, name in names.items():
            hashed = bytes(Web3.keccak(text=entry))
            await deployer.call(registry.functions.reserve(hashed), NAME_PRICE)
            address = made[name].address
            await deployer.call(registry.functions.setAddress(hashed, "A", address))
        await deployer.mined()
        return {name: str(contract.address) for name, contract in made.items()}
    finally:
        await provider.disconnect()


@dataclass
class ForeignNetwork(AbstractContextManager["ForeignNetwork"]):
    """A chain with such contracts, and three nodes that have not been configured yet."""

    chain: LocalChain
    nodes: list[ConfiguredNode]
    contracts: dict[str, str]

    @classmethod
    def make(
        cls,
        directory: Path,
        services: Mapping[str, Mapping[str, Any]],
        names: Mapping[str, str],
    ) -> Self:
        secrets = [SecretScalar(bytes([0x51 + number]) * 32) for number in range(3)]
        nodes = [
            ConfiguredNode(directory / f"node{number}", secret, free_port())
            for number, secret in enumerate(secrets)
        ]
        chain = start_embedded(
            chain_id=CHAIN_ID,
            block_time_s=0.5,
            fund=[node.id.address for node in nodes],
            log_path=directory / "chain.log",
        )
        try:
            contracts = asyncio.run(deploy(chain.rpc_url, nodes, services, names))
        except BaseException:
            chain.stop()
            raise
        return cls(chain, nodes, contracts)

    @property
    def addresses(self) -> dict[str, Address]:
        return {name: Address(bytes.fromhex(text[2:])) for name, text in self.contracts.items()}

    def configure(
        self,
        nodes: Sequence[ConfiguredNode],
        sources: Mapping[str, str],
        registry: str | None = None,
    ) -> None:
        """Tell nodes for each contract option where the contract is to be found."""
        for node in nodes:
            follow_chain(node, self.chain)
            node.set("secretstore", **sources)
            if registry is not None:
                node.set("keyserver", registry_address=registry)

    def start(self) -> None:
        start_all(self.nodes)

    def stop(self) -> None:
        """See that every node has answered for good, logged no error, and ends when told to."""
        stop_settled(self.nodes)

    def members(self) -> set[Address]:
        return {node.id.address for node in self.nodes}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        kill_all(self.nodes)
        self.chain.stop()
