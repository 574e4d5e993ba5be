"""Who may use a key: reserving ids and granting permission on the permission contract."""

from collections.abc import Sequence

from keyserver.client.contracts import Contracts
from keyserver.client.errors import ClientError
from keyserver.client.ethereum import Ethereum, Receipt
from keyserver.client.wallet import Wallet
from keyserver.errors import ConfigError
from keyserver.evm.abi import Function
from keyserver.model.identifiers import Address, KeyId

ONCE_TRANSFERABLE = "OnceTransferablePermission"
REGISTRY = "PermissioningRegistry"

_CREATE_KEY = Function.parse("createKey(bytes32)")
_TRANSFER = Function.parse("transferPermission(bytes32,address)")
_PERMISSION = Function.parse("permission(bytes32,address[])", "bool")
_ADD_USER = Function.parse("addUser(bytes32,address)", "bool")
_USERS = Function.parse("getUsers(bytes32)", "address[]")
_ADMIN = Function.parse("getAdmin(bytes32)", "address")
_CHECK = Function.parse("checkPermissions(address,bytes32)", "bool")


class Permissions:
    """The permission contract as one account uses it.

    Two kinds are written to. `PermissioningRegistry` keeps a list of users for each id, in the
    hands of who reserved it. `OnceTransferablePermission` knows one owner of an id, who can pass it
    on once. Behind a `PermissioningRelay` the registry is used.
    """

    def __init__(self, ethereum: Ethereum, contracts: Contracts, wallet: Wallet) -> None:
        """Take the kind of contract there is; raises `ConfigError` if there is none of these."""
        names = [name for name in (REGISTRY, ONCE_TRANSFERABLE) if contracts.find(name)]
        if not names:
            raise ConfigError(f"contracts: neither {REGISTRY} nor {ONCE_TRANSFERABLE} given")
        self.kind = names[0]
        address = contracts.find(self.kind)
        assert address is not None
        self._address = address
        self._ethereum = ethereum
        self._wallet = wallet

    async def reserve(self, key_id: KeyId) -> Receipt:
        """Enter an id in this account's name, with permission for the account itself.

        Raises `RefusedByContractError` if another account has it.
        """
        if self.kind == ONCE_TRANSFERABLE:
            return await self._send(_CREATE_KEY.encode(key_id))
        return await self._send(_PERMISSION.encode(key_id, [_text(self._wallet.address)]))

    async def permit(self, key_id: KeyId, users: Sequence[Address]) -> list[Receipt]:
        """Let these accounts use the key.

        With `OnceTransferablePermission` that can be one account only, and this one loses its own
        permission. Raises `RefusedByContractError`.
        """
        if self.kind == REGISTRY:
            return [await self._send(_ADD_USER.encode(key_id, _text(user))) for user in users]
        if len(users) != 1:
            raise ClientError(f"{self.kind}: permission can be passed on to one account only")
        return [await self._send(_TRANSFER.encode(key_id, _text(users[0])))]

    async def allows(self, user: Address, key_id: KeyId) -> bool:
        """What the key servers will ask: may this account use the key?"""
        allowed: bool = await self._ethereum.call(self._address, _CHECK, _text(user), key_id)
        return allowed

    async def users(self, key_id: KeyId) -> list[Address] | None:
        """The accounts with permission; None where the contract keeps no list."""
        if self.kind != REGISTRY:
            return None
        return list(await self._ethereum.call(self._address, _USERS, key_id))

    async def admin(self, key_id: KeyId) -> Address | None:
        """Who reserved the id; None where the contract does not tell, or nobody has."""
        if self.kind != REGISTRY:
            return None
        admin: Address = await self._ethereum.call(self._address, _ADMIN, key_id)
        return admin if any(admin) else None

    async def _send(self, data: bytes) -> Receipt:
        return await self._ethereum.send(self._wallet, self._address, data)


def _text(address: Address) -> str:
    return "0x" + address.hex()
