"""Deploy the contracts of a network, wire them, and tell where they stand.

`deploy_contracts` carries out a `DeploymentPlan` with one local account over any web3 endpoint.
Transactions that do not need each other's results are sent together, so a deployment takes three
blocks or four.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from eth_account.signers.local import LocalAccount
from web3 import AsyncWeb3, Web3
from web3.types import TxParams

from keyserver.client.deployment_plan import SERVICES, DeploymentPlan, Layout, Permission
from keyserver.errors import ChainError
from keyserver.evm.artifacts import load_artifact

RECEIPT_TIMEOUT = 120.0
"""Seconds to wait for one transaction to be mined."""

KEY_SERVER_SET = "OwnedKeyServerSetWithMigration"
COMBINED_SERVICE = "SecretStoreService"
REGISTRY = "SimpleRegistry"
REGISTRY_KEY = "A"
REGISTRY_FEE = 10**18

Progress = Callable[[str], None]


class DeploymentError(ChainError):
    """A transaction of the deployment failed, or the chain is not the one that was meant."""


@dataclass(frozen=True, slots=True)
class DeployedContracts:
    """Where everything stands. Addresses are in checksum form."""

    chain_id: int
    deployer: str
    block: int
    """Block of the first transaction: nothing of interest happened before it."""
    contracts: Mapping[str, str]
    """Contract name -> address."""
    entries: Mapping[str, str]
    """Registry entry -> address; also filled when no registry was wanted."""
    gas_used: int

    def to_json(self) -> str:
        """The form that `deploy/deploy.py` saves."""
        return json.dumps(
            {
                "chain_id": self.chain_id,
                "deployer": self.deployer,
                "block": self.block,
                "contracts": dict(self.contracts),
                "entries": dict(self.entries),
                "gas_used": self.gas_used,
            },
            indent=2,
        )


# --- carrying a plan out


async def deploy_contracts(
    w3: AsyncWeb3[Any],
    account: LocalAccount,
    plan: DeploymentPlan,
    progress: Progress = lambda line: None,
    *,
    chain_id: int | None = None,
) -> DeployedContracts:
    """Deploy and wire all contracts of `plan`, owned by `account`.

    `progress` gets one line per finished transaction. Raises `DeploymentError` if the chain is not
    `chain_id` (where given) or a transaction fails; what was mined before stays on chain.
    """
    sender = await _Sender.create(w3, account, progress)
    if chain_id is not None and sender.chain_id != chain_id:
        raise DeploymentError(f"the endpoint is on chain {sender.chain_id}, expected {chain_id}")
    block = await w3.eth.block_number + 1
    contracts = await _deploy_roots(sender, plan)
    service_entries = _service_entries(plan.layout)
    services = [
        sender.creation(name, contracts[KEY_SERVER_SET]) for name in service_entries.values()
    ]
    additions = [
        sender.call(
            KEY_SERVER_SET, contracts[KEY_SERVER_SET], "addKeyServer", n.public_key, n.address
        )
        for n in plan.nodes
    ]
    entry_names = {**_acl_entry(plan), **service_entries}
    reservations = await _reservations(sender, plan, contracts, list(entry_names))
    contracts.update(await sender.run([*services, *additions, *reservations]))
    entries = {entry: contracts[name] for entry, name in entry_names.items()}
    await sender.run(_finishing_steps(sender, plan, contracts, entries))
    return DeployedContracts(
        sender.chain_id, account.address, block, contracts, entries, sender.gas_used
    )


async def _deploy_roots(sender: "_Sender", plan: DeploymentPlan) -> dict[str, str]:
    """Everything that needs no other contract's address, and the relay over its registry."""
    roots = [sender.creation(KEY_SERVER_SET)]
    if plan.permission is Permission.RELAY:
        roots += [sender.creation("ERC165Query"), sender.creation(Permission.REGISTRY)]
    else:
        roots.append(sender.creation(plan.permission, *_permission_arguments(plan)))
    if plan.registry and plan.registry_address is None:
        roots.append(sender.creation(REGISTRY))
    contracts = await sender.run(roots)
    if plan.registry_address is not None:
        contracts[REGISTRY] = Web3.to_checksum_address(plan.registry_address)
    if plan.permission is Permission.RELAY:
        targets = contracts["ERC165Query"], contracts[Permission.REGISTRY]
        contracts |= await sender.run([sender.creation(Permission.RELAY, *targets)])
    return contracts


async def _reservations(
    sender: "_Sender", plan: DeploymentPlan, contracts: Mapping[str, str], names: Sequence[str]
) -> list["_Step"]:
    """Buy the names; in a registry of our own the fee is waived meanwhile."""
    if REGISTRY not in contracts:
        return []
    registry = contracts[REGISTRY]
    steps, fee = [], 0
    if plan.registry_address is None:
        steps.append(sender.call(REGISTRY, registry, "setFee", 0))
    else:
        fee = await sender.read(REGISTRY, registry, "fee")
    for name in names:
        step = sender.call(REGISTRY, registry, "reserve", entry_hash(name))
        # Not estimated: before the fee is waived, the estimate would fail.
        steps.append(replace(step, title=f"reserve {name}", value=fee, gas=200_000))
    return steps


def _finishing_steps(
    sender: "_Sender",
    plan: DeploymentPlan,
    contracts: Mapping[str, str],
    entries: Mapping[str, str],
) -> list["_Step"]:
    """Fees, the end of initialization, and the names."""
    steps = [sender.call(KEY_SERVER_SET, contracts[KEY_SERVER_SET], "completeInitialization")]
    for service in SERVICES:
        if service.plan_name in plan.fees:
            name = service.contract if service.stands_alone(plan.layout) else COMBINED_SERVICE
            fee = plan.fees[service.plan_name]
            steps.append(sender.call(name, contracts[name], service.fee_setter, fee))
    if REGISTRY not in contracts:
        return steps
    for entry, address in entries.items():
        arguments = entry_hash(entry), REGISTRY_KEY, address
        step = sender.call(REGISTRY, contracts[REGISTRY], "setAddress", *arguments)
        steps.append(replace(step, title=f"register {entry} = {address}"))
    if plan.registry_address is None:
        steps.append(sender.call(REGISTRY, contracts[REGISTRY], "setFee", REGISTRY_FEE))
    return steps


def entry_hash(entry: str) -> bytes:
    """The 32 bytes under which the registry keeps an entry: keccak-256 of its name."""
    return bytes(Web3.keccak(text=entry))


def _acl_entry(plan: DeploymentPlan) -> dict[str, str]:
    return {"secretstore_server_set": KEY_SERVER_SET, "secretstore_acl_checker": plan.permission}


def _service_entries(layout: Layout) -> dict[str, str]:
    combined = {"secretstore_service": COMBINED_SERVICE} if layout is Layout.COMBINED else {}
    alone = [service for service in SERVICES if service.stands_alone(layout)]
    return {**combined, **{service.entry: service.contract for service in alone}}


def _permission_arguments(plan: DeploymentPlan) -> tuple[Any, ...]:
    users = [Web3.to_checksum_address(user) for user in plan.permission_users]
    match plan.permission:
        case Permission.FIRE_AND_FORGET:
            return plan.permission_document, users
        case Permission.NO_DOC:
            return (users,)
        case _:
            return ()


# --- transactions


@dataclass(frozen=True, slots=True)
class _Step:
    """One transaction to send; `creates` names the contract if it is a creation."""

    title: str
    to: str | None
    data: bytes
    creates: str | None = None
    value: int = 0
    gas: int | None = None


class _Sender:
    """Signs and sends the steps of one account, and waits for them."""

    def __init__(
        self,
        w3: AsyncWeb3[Any],
        account: LocalAccount,
        progress: Progress,
        chain_id: int,
        nonce: int,
    ) -> None:
        self._w3 = w3
        self._account = account
        self._progress = progress
        self._nonce = nonce
        self.chain_id = chain_id
        self.gas_used = 0

    @classmethod
    async def create(
        cls, w3: AsyncWeb3[Any], account: LocalAccount, progress: Progress
    ) -> "_Sender":
        nonce = await w3.eth.get_transaction_count(account.address, "pending")
        return cls(w3, account, progress, await w3.eth.chain_id, nonce)

    def creation(self, name: str, *arguments: Any) -> _Step:
        artifact = load_artifact(name)
        factory = self._w3.eth.contract(abi=list(artifact.abi), bytecode=artifact.bytecode)
        data = factory.constructor(*arguments).data_in_transaction
        return _Step(f"deploy {name}", None, bytes(Web3.to_bytes(hexstr=data)), creates=str(name))

    def call(self, name: str, address: str, function: str, *arguments: Any) -> _Step:
        contract = self._contract(name, address)
        data = contract.encode_abi(function, arguments)
        shown = ", ".join(
            str(argument) for argument in arguments if not isinstance(argument, bytes)
        )
        return _Step(f"{name}.{function}({shown})", address, bytes(Web3.to_bytes(hexstr=data)))

    async def read(self, name: str, address: str, function: str) -> Any:
        return await self._contract(name, address).functions[function]().call()

    async def run(self, steps: Sequence[_Step]) -> dict[str, str]:
        """Send all steps, wait for all; the addresses of those that create a contract."""
        sent = [await self._send(step) for step in steps]
        created: dict[str, str] = {}
        for step, transaction in zip(steps, sent, strict=True):
            receipt = await self._w3.eth.wait_for_transaction_receipt(
                transaction, timeout=RECEIPT_TIMEOUT
            )
            if receipt["status"] != 1:
                raise DeploymentError(f"{step.title}: transaction {transaction.to_0x_hex()} failed")
            self.gas_used += receipt["gasUsed"]
            if step.creates is not None:
                created[step.creates] = str(receipt["contractAddress"])
                self._progress(f"{step.title}: {receipt['contractAddress']}")
            else:
                self._progress(step.title)
        return created

    async def _send(self, step: _Step) -> Any:
        fields: dict[str, Any] = {
            "from": self._account.address,
            "data": step.data,
            "value": step.value,
            "chainId": self.chain_id,
            "nonce": self._nonce,
            **await self._price(),
        }
        if step.to is not None:
            fields["to"] = step.to
        # A fifth on top: a later step may meet storage that an earlier one has changed.
        estimate = step.gas or await self._w3.eth.estimate_gas(cast(TxParams, fields)) * 6 // 5
        fields["gas"] = estimate
        del fields["from"]
        signed = self._account.sign_transaction(fields)
        self._nonce += 1
        return await self._w3.eth.send_raw_transaction(signed.raw_transaction)

    async def _price(self) -> dict[str, int]:
        latest = await self._w3.eth.get_block("latest")
        if "baseFeePerGas" not in latest:
            return {"gasPrice": await self._w3.eth.gas_price}
        tip = await self._w3.eth.max_priority_fee
        return {
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": 2 * latest["baseFeePerGas"] + tip,
        }

    def _contract(self, name: str, address: str) -> Any:
        abi = list(load_artifact(name).abi)
        return self._w3.eth.contract(address=Web3.to_checksum_address(address), abi=abi)
