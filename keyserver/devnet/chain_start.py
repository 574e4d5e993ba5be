"""The devnet's chain with everything on it: money, contracts, and the names of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account
from web3 import AsyncWeb3

from keyserver.client.deployment import DeployedContracts, deploy_contracts
from keyserver.client.deployment_plan import DeploymentPlan, Permission, PlannedNode
from keyserver.client.ethereum import connect
from keyserver.client.http_provider import HttpProvider
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.anvil import start_anvil
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS, LocalChain, start_embedded
from keyserver.devnet.settings import EMBEDDED, Settings
from keyserver.errors import ChainError
from keyserver.model.identifiers import Address

CHAIN_ID = 1337
NODE_FUNDS_WEI = 10**18
ACCOUNT_FUNDS_WEI = 5 * 10**18
"""What nodes and accounts get on a chain that runs already; on others each has a million ether."""
_TRANSFER_GAS = 21_000


@dataclass(frozen=True, slots=True)
class ChainAccess:
    """How the chain is reached."""

    rpc_url: str
    ws_url: str | None
    chain_id: int


def start_chain(
    settings: Settings, port: int, fund: Sequence[Address], log_path: Path
) -> LocalChain:
    """Start the local chain of these settings; raises `ConfigError` or `ChainError`.

    The embedded one mines every transaction at once until `begin_intervals`: so the contracts need
    not wait for blocks.
    """
    if settings.chain == EMBEDDED:
        return start_embedded(chain_id=CHAIN_ID, fund=fund, port=port, log_path=log_path)
    return start_anvil(
        chain_id=CHAIN_ID,
        block_time_s=settings.block_time_s,
        fund=fund,
        port=port,
        log_path=log_path,
    )


def begin_intervals(settings: Settings, chain: LocalChain) -> None:
    """From now on there is a block every `block_time_s` seconds."""
    if settings.chain == EMBEDDED:
        chain.request("evm_setIntervalMining", settings.block_time_s)


async def reach(url: str) -> ChainAccess:
    """Look at a chain that runs already; raises `ChainError` if it does not answer."""
    async with connect(url) as ethereum:
        chain_id = await ethereum.chain_id()
    ws_url = "ws" + url.removeprefix("http")
    try:
        async with connect(ws_url, chain_id=chain_id):
            return ChainAccess(url, ws_url, chain_id)
    except ChainError:
        return ChainAccess(url, None, chain_id)  # many serve WebSocket elsewhere, or not at all


async def fund_all(settings: Settings, url: str, amounts: Mapping[Address, int]) -> None:
    """Send money from the funder; raises `ClientError` if it has too little."""
    assert settings.funder is not None
    wallet = Wallet(SecretScalar(settings.funder))
    async with connect(url) as ethereum:
        sent = [
            await ethereum.submit(wallet, address, b"", value=amount, gas=_TRANSFER_GAS)
            for address, amount in amounts.items()
        ]
        for tx_hash in sent:
            await ethereum.mined(tx_hash)


async def deploy(
    settings: Settings, access: ChainAccess, nodes: Sequence[PlannedNode]
) -> DeployedContracts:
    """Deploy and wire all contracts; raises `ChainError`.

    The permission contract is `PermissioningRegistry`: who reserves an id keeps the list of those
    who may use it.
    """
    plan = DeploymentPlan(
        nodes=tuple(nodes), layout=settings.layout, permission=Permission.REGISTRY
    )
    account = Account.from_key(settings.funder or DEVELOPMENT_PRIVATE_KEYS[0])
    provider = HttpProvider(access.rpc_url)
    try:
        return await deploy_contracts(AsyncWeb3(provider), account, plan, chain_id=access.chain_id)
    finally:
        await provider.disconnect()
