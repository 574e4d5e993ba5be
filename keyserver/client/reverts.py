"""Why a contract reverted, and what to do about it."""

from functools import cache

from keyserver.crypto.hashing import keccak256
from keyserver.evm.artifacts import load_artifact

_CONTRACTS = (
    "SecretStoreService",
    "SecretStoreEcdsaSigningService",
    "SecretStoreSchnorrSigningService",
    "OnceTransferablePermission",
    "PermissioningRegistry",
    "OwnedKeyServerSetWithMigration",
)
_ADVICE = {
    "AlreadyPending": "The same request is pending already: wait for its answer.",
    "TooManyPending": "The service is busy: try again in a few blocks.",
    "InvalidThreshold": "It must be less than the number of key servers.",
    "FeeNotPaid": "The fee was raised at this moment: try again.",
    "NotAuthor": "Only the account that had the server key generated can store a document key.",
    "KeyExists": "The key id belongs to another account: reserve a new one.",
    "NotAdmin": "The key id belongs to another account: reserve a new one.",
    "NotKeyOwner": "Only the owner of the key id can pass it on.",
    "AlreadyTransferred": "This permission contract lets a key id be passed on once only.",
    "DuplicateUser": "This account has the permission already.",
    "NoKeyServers": "The key server set is empty.",
    "NotOwner": "Only the account that owns the contract can do that.",
    "AlreadyMember": "The node is in the new set already.",
    "NotMember": "The node is not in the new set.",
}


@cache
def _names() -> dict[str, str]:
    """Names of errors without parameters, by selector; all of ours are such."""
    errors = [
        entry["name"]
        for contract in _CONTRACTS
        for entry in load_artifact(contract).abi
        if entry["type"] == "error"
    ]
    return {"0x" + keccak256(f"{name}()".encode())[:4].hex(): name for name in errors}


def name_of_revert(data: str) -> str:
    """The name of the error in what a call reverted with (`0x…`); empty if it is unknown."""
    return _names().get(data[:10], "")


def advice_for(name: str) -> str:
    """What to do about an error of our contracts; empty if there is nothing to say."""
    return _ADVICE.get(name, "")
