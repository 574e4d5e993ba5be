"""The key server set contract for people: who is in the set, and the owner's edits.

An edit changes the *new* set only. When that has stayed as it is for five blocks the nodes move the
keys by themselves; then it is the current one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from keyserver.client.contracts import KEY_SERVER_SET, Contracts
from keyserver.client.errors import ClientError
from keyserver.client.ethereum import Ethereum, Receipt
from keyserver.client.wallet import Wallet
from keyserver.evm.abi import Function
from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.node_set import NodeAddress

_ADD: Final = Function.parse("addKeyServer(bytes,string)")
_REMOVE: Final = Function.parse("removeKeyServer(address)")
_MOVE: Final = Function.parse("updateKeyServerAddress(address,string)")
_CANCEL: Final = Function.parse("cancelMigration(bytes32)")
_ID: Final = Function.parse("getMigrationId()", "bytes32")
_MASTER: Final = Function.parse("getMigrationMaster()", "address")
_CONFIRMED: Final = Function.parse("isMigrationConfirmed(address)", "bool")


@dataclass(frozen=True, slots=True)
class Member:
    """A node as the contract has it."""

    address: Address
    public: bytes
    """Its id, 64 bytes; whatever is stored if that is something else."""
    at: str
    """`HOST:PORT`, unless something else is stored."""


@dataclass(frozen=True, slots=True)
class RunningMigration:
    """A migration that is not complete."""

    id: Hash32
    master: Address
    """Who started it and leads it."""
    members: tuple[Member, ...]
    confirmed: frozenset[Address]
    """Members that have confirmed that they have moved."""


@dataclass(frozen=True, slots=True)
class Sets:
    """All sets of the contract, as of now."""

    current: tuple[Member, ...]
    new: tuple[Member, ...]
    migration: RunningMigration | None


class NodeSetContract:
    """The contract; edits are its owner's transactions."""

    def __init__(self, ethereum: Ethereum, contracts: Contracts) -> None:
        """Raises `ClientError` if the addresses name no such contract."""
        address = contracts.find(KEY_SERVER_SET)
        if address is None:
            raise ClientError(f"no {KEY_SERVER_SET} among the contracts' addresses")
        self._contract = address
        self._ethereum = ethereum

    # --- looking ----------------------------------------------------------------------------------

    async def sets(self) -> Sets:
        """Read everything; raises `ChainError` and `ClientError`."""
        current, new = await self._members("Current"), await self._members("New")
        members = await self._members("Migration")
        if not members:
            return Sets(current, new, None)
        ask = self._ethereum.call
        confirmed = {
            member.address
            for member in members
            if await ask(self._contract, _CONFIRMED, f"0x{member.address.hex()}")
        }
        migration_id = Hash32(await ask(self._contract, _ID))
        master = Address(await ask(self._contract, _MASTER))
        running = RunningMigration(migration_id, master, members, frozenset(confirmed))
        return Sets(current, new, running)

    async def is_settled_on(self, nodes: Collection[Address]) -> bool:
        """Whether exactly these are the current set, and nothing migrates: two calls, no more."""
        if await self._listed("Migration"):
            return False
        return set(await self._listed("Current")) == set(nodes)

    async def _listed(self, which: str) -> list[Address]:
        function = Function.parse(f"get{which}KeyServers()", "address[]")
        listed: Sequence[bytes] = await self._ethereum.call(self._contract, function)
        return [Address(each) for each in listed]

    async def _members(self, which: str) -> tuple[Member, ...]:
        ask = self._ethereum.call
        public = Function.parse(f"get{which}KeyServerPublic(address)", "bytes")
        at = Function.parse(f"get{which}KeyServerAddress(address)", "string")
        members = []
        for address in await self._listed(which):
            text = f"0x{address.hex()}"
            members.append(
                Member(
                    address,
                    await ask(self._contract, public, text),
                    await ask(self._contract, at, text),
                )
            )
        return tuple(members)

    # --- editing ----------------------------------------------------------------------------------

    async def add(self, owner: Wallet, node: NodeId, at: NodeAddress) -> Receipt:
        """Put a node into the new set; raises `ClientError` if the contract refuses."""
        return await self._send(owner, _ADD.encode(node, str(at)))

    async def remove(self, owner: Wallet, node: Address) -> Receipt:
        """Take a node out of the new set; raises `ClientError` if the contract refuses."""
        return await self._send(owner, _REMOVE.encode(f"0x{node.hex()}"))

    async def move(self, owner: Wallet, node: Address, at: NodeAddress) -> Receipt:
        """Say where a node is reached from now on; no keys move for that.

        Raises `ClientError` if the contract refuses, as older ones do, which do not know of this.
        """
        return await self._send(owner, _MOVE.encode(f"0x{node.hex()}", str(at)))

    async def cancel(self, owner: Wallet) -> Receipt:
        """End the migration that runs; raises `ClientError` if none does, or as `move`."""
        sets = await self.sets()
        if sets.migration is None:
            raise ClientError("no migration runs")
        return await self._send(owner, _CANCEL.encode(sets.migration.id))

    async def _send(self, owner: Wallet, call: bytes) -> Receipt:
        return await self._ethereum.send(owner, self._contract, call)
