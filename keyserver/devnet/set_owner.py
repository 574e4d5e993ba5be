"""The owner of a devnet's node set contract, who decides which nodes are in the set."""

from collections.abc import Collection
from typing import Final

from keyserver.client.deployment import KEY_SERVER_SET
from keyserver.client.ethereum import Ethereum
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.devnet_file import Devnet, DevnetNode
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS
from keyserver.evm.abi import Function
from keyserver.model.identifiers import Address

CURRENT: Final = Function.parse("getCurrentKeyServers()", "address[]")
NEW: Final = Function.parse("getNewKeyServers()", "address[]")
MIGRATING: Final = Function.parse("getMigrationKeyServers()", "address[]")
ADD: Final = Function.parse("addKeyServer(bytes,string)")
REMOVE: Final = Function.parse("removeKeyServer(address)")


class SetOwner:
    """Edits the set and looks at it; a change is complete when the keys have moved."""

    def __init__(self, ethereum: Ethereum, devnet: Devnet, key: bytes | None = None) -> None:
        """`key`: private key of who deployed the contracts, by default the development account."""
        self._ethereum = ethereum
        self._contract = Address(bytes.fromhex(devnet.contracts[KEY_SERVER_SET][2:]))
        self._wallet = Wallet(SecretScalar(key or DEVELOPMENT_PRIVATE_KEYS[0]))

    async def add(self, node: DevnetNode) -> None:
        """Put a node into the new set; raises `ClientError` if it is there."""
        call = ADD.encode(bytes.fromhex(node.node_id[2:]), node.peer)
        await self._ethereum.send(self._wallet, self._contract, call)

    async def remove(self, node: DevnetNode) -> None:
        """Take a node out of the new set; raises `ClientError` if it is not there."""
        await self._ethereum.send(self._wallet, self._contract, REMOVE.encode(node.address))

    async def new(self) -> frozenset[str]:
        """Addresses in the new set."""
        return await self._read(NEW)

    async def current(self) -> frozenset[str]:
        """Addresses in the current set."""
        return await self._read(CURRENT)

    async def is_complete(self, nodes: Collection[DevnetNode]) -> bool:
        """Whether these are the current set, and nothing migrates."""
        if await self._read(MIGRATING):
            return False
        return await self.current() == {node.address for node in nodes}

    async def _read(self, function: Function) -> frozenset[str]:
        members = await self._ethereum.call(self._contract, function)
        return frozenset(f"0x{bytes(member).hex()}" for member in members)
