"""A chain with the contracts on it, and nodes that its owner adds to the set and removes again."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from web3 import AsyncWeb3

from keyserver.client.contracts import Contracts
from keyserver.client.deployment import KEY_SERVER_SET, DeployedContracts, deploy_contracts
from keyserver.client.deployment_plan import DeploymentPlan, Permission, PlannedNode
from keyserver.client.http_provider import HttpProvider
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.anvil import start_anvil
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS, LocalChain, start_embedded
from keyserver.evm.abi import ContractAbi
from keyserver.evm.artifacts import load_artifact
from keyserver.evm.transaction import DynamicFee, TransactionSigner, UnsignedTransaction
from keyserver.model.identifiers import Address, KeyId
from tests.chaos.chain import CHAIN_ID
from tests.support.node_processes import LOOPBACK, ConfiguredNode, kill_all, start_all
from tests.support.ports import free_ports
from tests.support.waiting import wait_for

GWEI: Final = 10**9
SET: Final = ContractAbi.of(load_artifact(KEY_SERVER_SET).abi)
CHANGE_S: Final = 180.0
"""Within which a change must be current."""

CHAINS: Final[Mapping[str, Callable[..., LocalChain]]] = {
    "anvil": start_anvil,
    "embedded": start_embedded,
}


@dataclass
class ChangingNetwork:
    """The chain, the contracts, and every node that is ever in the set, by its place."""

    chain: LocalChain
    deployed: DeployedContracts
    nodes: list[ConfiguredNode]
    members: list[int]
    """Places of the nodes in the current set."""
    urls: list[str] = field(default_factory=list)
    """HTTP interfaces of the nodes that are in the set, and stay there: changes with time."""
    changing_processes: threading.Lock = field(default_factory=threading.Lock)

    # --- the set ----------------------------------------------------------------------------------

    def edit(self, to: Sequence[int]) -> None:
        """Start who joins, and edit the contract so that its new set is this one."""
        joining = [place for place in to if place not in self.members]
        leaving = [place for place in self.members if place not in to]
        start_all([self.nodes[place] for place in joining])
        self.show_urls([place for place in self.members if place in to])
        for place in joining:
            node = self.nodes[place]
            self.as_owner("addKeyServer", node.id, f"{LOOPBACK}:{node.port}")
        for place in leaving:
            self.as_owner("removeKeyServer", self.nodes[place].id.address)

    def is_current(self, to: Sequence[int]) -> bool:
        """Whether the contract's current set is this one, and no migration runs."""
        wanted = {self.nodes[place].id.address for place in to}
        return self.current_members() == wanted and not self.read("getMigrationKeyServers")

    def wait_current(self, to: Sequence[int]) -> None:
        """Wait until the change is complete, at the contract and in the eyes of all members."""

        def complete() -> bool | None:
            self.check_alive()
            with self.changing_processes:
                seen = self.is_current(to) and all(self._shows(place, to) for place in to)
            return seen or None

        wait_for(complete, timeout_s=CHANGE_S, doing=f"change to {list(to)}")
        self.members = list(to)
        self.show_urls(self.members)

    def current_members(self) -> set[Address]:
        """The contract's current set."""
        return {Address(each) for each in self.read("getCurrentKeyServers")}

    def _shows(self, place: int, to: Sequence[int]) -> bool:
        """Whether a node sees that this is the current set, and that nothing migrates."""
        _, facts = self.nodes[place].operator("/v1/status")
        node_set = facts["node_set"]
        members = {each["node_id"] for each in node_set["nodes"] if each["is_current"]}
        wanted = {f"0x{self.nodes[each].id.hex()}" for each in to}
        return members == wanted and not node_set["migrating"]

    def show_urls(self, places: Sequence[int]) -> None:
        """From now on clients ask these nodes."""
        ports = [self.nodes[place].values["secretstore"]["http_port"] for place in places]
        self.urls[:] = [f"http://{LOOPBACK}:{port}" for port in ports]

    # --- the chain --------------------------------------------------------------------------------

    @property
    def contracts(self) -> Contracts:
        """Where everything is."""
        addresses = {
            name: Address(bytes.fromhex(text[2:])) for name, text in self.deployed.contracts.items()
        }
        return Contracts(addresses, CHAIN_ID, self.deployed.block)

    @property
    def set_contract(self) -> Address:
        """The contract of the sets."""
        return Address(bytes.fromhex(self.deployed.contracts[KEY_SERVER_SET][2:]))

    def read(self, method: str, *arguments: object) -> Any:
        """What a view of the set contract returns."""
        function = SET.function(method)
        data = f"0x{function.encode(*arguments).hex()}"
        call = {"to": f"0x{self.set_contract.hex()}", "data": data}
        answer = self.chain.request("eth_call", call, "latest")
        return function.decode_single(bytes.fromhex(answer[2:]))

    def as_owner(self, method: str, *arguments: object) -> None:
        """A transaction of the owner to the set contract, mined and not reverted."""
        signer = TransactionSigner(SecretScalar(DEVELOPMENT_PRIVATE_KEYS[0]))
        sender = f"0x{signer.address.hex()}"
        nonce = int(self.chain.request("eth_getTransactionCount", sender, "pending"), 16)
        unsigned = UnsignedTransaction(
            CHAIN_ID,
            nonce,
            self.set_contract,
            SET.function(method).encode(*arguments),
            1_000_000,
            DynamicFee(3000 * GWEI, GWEI),
            0,
        )
        tx_hash = self.chain.request(
            "eth_sendRawTransaction", f"0x{signer.sign(unsigned).raw.hex()}"
        )

        def mined() -> dict[str, Any] | None:
            found: dict[str, Any] | None = self.chain.request("eth_getTransactionReceipt", tx_hash)
            return found

        receipt = wait_for(mined, timeout_s=60, doing=method)
        assert receipt["status"] == "0x1", f"{method} reverted"

    # --- the nodes --------------------------------------------------------------------------------

    def restart(self, place: int) -> None:
        """Kill a node and start it again."""
        with self.changing_processes:
            self.nodes[place].kill()
            self.nodes[place].start()
            self.nodes[place].wait_ready()

    def check_alive(self) -> None:
        """No process may have ended by itself."""
        with self.changing_processes:
            running = [node for node in self.nodes if node.is_running]
            for node in running:
                assert node.process.poll() is None, f"a node ended:\n{node.log_tail()}"

    def key_at(self, place: int, key_id: KeyId) -> dict[str, Any] | None:
        """What a node's operator is told of a key."""
        status, facts = self.nodes[place].operator(f"/v1/keys/0x{key_id.hex()}")
        assert status in (200, 404), facts
        return facts if status == 200 else None


@contextmanager
def changing_network(
    directory: Path, *, chain: str, nodes: int, members: int, fund: Sequence[Wallet]
) -> Iterator[ChangingNetwork]:
    """A network whose first `members` nodes are in the set and run; ended when left."""
    secrets = [SecretScalar(bytes([0x51 + place]) * 32) for place in range(nodes)]
    ports = free_ports(2 * nodes)
    made = [
        ConfiguredNode(directory / f"node{place}", secret, ports[2 * place])
        for place, secret in enumerate(secrets)
    ]
    accounts = [*(node.id.address for node in made), *(wallet.address for wallet in fund)]
    local = CHAINS[chain](
        chain_id=CHAIN_ID, block_time_s=0.5, fund=accounts, log_path=directory / "chain.log"
    )
    try:
        deployed = asyncio.run(_deploy(local, made[:members]))
        for place, node in enumerate(made):
            _configure(node, local, deployed, http_port=ports[2 * place + 1])
        network = ChangingNetwork(local, deployed, made, list(range(members)))
        start_all(made[:members])
        network.show_urls(network.members)
        yield network
    finally:
        kill_all(made)
        local.stop()


def _configure(
    node: ConfiguredNode, chain: LocalChain, deployed: DeployedContracts, *, http_port: int
) -> None:
    node.set(
        "secretstore",
        self_secret=node.secret.expose().hex(),
        path=str(node.data),
        port=node.port,
        http_port=http_port,
        acl_contract="registry",
        service_contract="registry",
    )
    node.set(
        "keyserver",
        rpc_endpoints=[chain.ws_url],
        chain_id=CHAIN_ID,
        registry_address=deployed.contracts["SimpleRegistry"],
        confirmations=1,
        max_head_age_seconds=0,
        rate_limit=0,
        operator_listen=f"{LOOPBACK}:0",
        log_format="json",
    )


async def _deploy(chain: LocalChain, members: Sequence[ConfiguredNode]) -> DeployedContracts:
    planned = tuple(PlannedNode(bytes(node.id), f"{LOOPBACK}:{node.port}") for node in members)
    plan = DeploymentPlan(planned, permission=Permission.REGISTRY)
    provider = HttpProvider(chain.rpc_url)
    try:
        account = Account.from_key(DEVELOPMENT_PRIVATE_KEYS[0])
        return await deploy_contracts(AsyncWeb3(provider), account, plan, chain_id=CHAIN_ID)
    finally:
        await provider.disconnect()
