"""A chain with all contracts, three accounts, and five scripted key servers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from eth_account import Account
from web3 import AsyncWeb3

from keyserver.client.contracts import Contracts
from keyserver.client.deployment import deploy_contracts
from keyserver.client.deployment_plan import DeploymentPlan, Permission, PlannedNode
from keyserver.client.ethereum import Ethereum, connect
from keyserver.client.http_provider import HttpProvider
from keyserver.client.requests import KeyServers, Progress
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.randomness import SeededRandom
from keyserver.devnet.embedded_chain import EmbeddedChain
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS
from keyserver.model.identifiers import Address, KeyId
from tests.integration.client.scripted import ScriptedServers

SERVERS = 5
CHAIN_ID = 5151
POLL_S = 0.02
RNG = SeededRandom("client tests")
_key_numbers = count(1)


def wallet(name: str) -> Wallet:
    return Wallet(SecretScalar(keccak256(name.encode())))


@dataclass
class World:
    url: str
    ethereum: Ethereum
    contracts: Contracts
    servers: ScriptedServers
    alice: Wallet
    bob: Wallet
    charlie: Wallet
    seen: list[Progress] = field(default_factory=list)

    def client(
        self, account: Wallet, *, patience_s: float = 20.0, confirmations: int = 0
    ) -> KeyServers:
        return KeyServers(
            self.ethereum,
            self.contracts,
            account,
            watch=self.seen.append,
            patience_s=patience_s,
            confirmations=confirmations,
        )

    def new_key_id(self) -> KeyId:
        return KeyId(keccak256(next(_key_numbers).to_bytes(8, "big")))


@pytest.fixture(scope="session")
async def chain() -> AsyncIterator[EmbeddedChain]:
    fund = [wallet(name).address for name in _names()]
    async with EmbeddedChain(chain_id=CHAIN_ID, fund=fund) as running:
        yield running


@pytest.fixture(scope="session")
async def deployed(chain: EmbeddedChain) -> dict[str, Contracts]:
    """The contracts, once with each permission contract."""
    provider = HttpProvider(chain.rpc_url)
    account = Account.from_key(DEVELOPMENT_PRIVATE_KEYS[0])
    nodes = tuple(
        PlannedNode(wallet(f"server {index}").public_key, f"127.0.0.1:{8000 + index}")
        for index in range(SERVERS)
    )
    found = {}
    for permission in (Permission.REGISTRY, Permission.ONCE_TRANSFERABLE):
        plan = DeploymentPlan(nodes, permission=permission)
        done = await deploy_contracts(AsyncWeb3(provider), account, plan)
        addresses = {n: Address(bytes.fromhex(a[2:])) for n, a in done.contracts.items()}
        found[str(permission)] = Contracts(addresses, done.chain_id, done.block)
    await provider.disconnect()
    return found


@pytest.fixture
async def world(
    chain: EmbeddedChain, deployed: dict[str, Contracts], request: pytest.FixtureRequest
) -> AsyncIterator[World]:
    contracts = deployed[getattr(request, "param", str(Permission.REGISTRY))]
    async with connect(chain.rpc_url, chain_id=CHAIN_ID, poll_s=POLL_S) as ethereum:
        wallets = [wallet(f"server {index}") for index in range(SERVERS)]
        alice, bob, charlie = (wallet(name) for name in ("alice", "bob", "charlie"))
        servers = ScriptedServers(ethereum, contracts, wallets)
        yield World(chain.rpc_url, ethereum, contracts, servers, alice, bob, charlie)


def _names() -> list[str]:
    return ["alice", "bob", "charlie", *(f"server {index}" for index in range(SERVERS))]
