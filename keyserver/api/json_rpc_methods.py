"""The six methods of the `secretstore` module (section 5 of its description).

Checks run in this order: form of the parameters, account and password, messages encrypted to the
account, lengths, points.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from keyserver.api.json_rpc_accounts import UnknownAccountError, WrongPasswordError
from keyserver.api.json_rpc_errors import (
    RpcError,
    account_error,
    encryption_error,
    unusable_parameter,
)
from keyserver.api.json_rpc_params import POINT_SIZE, Params
from keyserver.crypto.curve import Point, SecretScalar, sign_digest, sum_secrets
from keyserver.crypto.documents import IV_SIZE, decrypt_document, encrypt_document
from keyserver.crypto.ecies import decrypt, encrypt
from keyserver.crypto.elgamal import encrypt_document_key, recover_document_key
from keyserver.crypto.errors import DecryptionError, InvalidPointError, InvalidScalarError
from keyserver.crypto.randomness import RandomSource
from keyserver.model.identifiers import Address, NodeId
from keyserver.model.set_change import set_hash

_CANNOT_SIGN: Final = "Could not sign raw hash."
_CANNOT_READ_PUBLIC: Final = "Could not read account public."
_CANNOT_DECRYPT: Final = "Could not decrypt key."
_INVALID_MESSAGE: Final = "SStore(EthPublicKeyCrypto(InvalidMessage))"


class OpensAccounts(Protocol):
    """`keyserver.api.json_rpc_accounts.Accounts`."""

    async def open(self, address: Address, password: str) -> SecretScalar:
        """The key of an account; raises `UnknownAccountError` or `WrongPasswordError`."""
        ...


Method = Callable[[Any], Awaitable[Any]]
"""Takes the `params` of a call and returns its result; raises `RpcError`."""


class SecretStoreModule:
    """The client's half of the cryptography, with the keys of accounts."""

    def __init__(self, accounts: OpensAccounts, random: RandomSource) -> None:
        self._accounts = accounts
        self._random = random

    @property
    def methods(self) -> dict[str, Method]:
        """All methods by name."""
        return {
            "secretstore_signRawHash": self.sign_raw_hash,
            "secretstore_serversSetHash": self.servers_set_hash,
            "secretstore_generateDocumentKey": self.generate_document_key,
            "secretstore_encrypt": self.encrypt,
            "secretstore_decrypt": self.decrypt,
            "secretstore_shadowDecrypt": self.shadow_decrypt,
        }

    # Any: the parameters are read by `Params`, here and below.
    async def sign_raw_hash(self, params: Any) -> str:
        """Sign any 32 bytes."""
        given = Params(params, "address", "password", "hash")
        address, password, digest = given.address(), given.password(), given.hash()
        key = await self._open(address, password, _CANNOT_SIGN)
        return _hex(sign_digest(key, digest))

    async def servers_set_hash(self, params: Any) -> str:
        """The hash that an administrator signs for a set of nodes."""
        nodes = Params(params, "nodes").points()
        return _hex(set_hash(NodeId(node) for node in nodes))

    async def generate_document_key(self, params: Any) -> dict[str, str]:
        """Make a document key, encrypted to a server key and to the account."""
        given = Params(params, "address", "password", "server_key")
        address, password, server_key = given.address(), given.password(), given.point()
        key = await self._open(address, password, _CANNOT_READ_PUBLIC, wrapped=False)
        public = _point(server_key, "server_key")
        document_key = SecretScalar.random(self._random).public()
        sealed = encrypt_document_key(public, document_key, self._random)
        message = encrypt(key.public(), document_key.raw64, self._random)
        return {
            "common_point": _hex(sealed.common.raw64),
            "encrypted_point": _hex(sealed.encrypted.raw64),
            "encrypted_key": _hex(message),
        }

    async def encrypt(self, params: Any) -> str:
        """Encrypt a document with a document key that is encrypted to the account."""
        given = Params(params, "address", "password", "key", "document")
        address, password = given.address(), given.password()
        message, document = given.data(), given.data()
        document_key = await self._document_key(address, password, message)
        point = _point(document_key, "key")
        return _hex(encrypt_document(point, document, self._random))

    async def decrypt(self, params: Any) -> str:
        """Decrypt a document with a document key that is encrypted to the account."""
        given = Params(params, "address", "password", "key", "encrypted_document")
        address, password = given.address(), given.password()
        message, document = given.data(), given.data()
        document_key = await self._document_key(address, password, message)
        _check_document(document)
        return _hex(decrypt_document(_point(document_key, "key"), document))

    async def shadow_decrypt(self, params: Any) -> str:
        """Decrypt a document with what the key servers answered to a shadow retrieval."""
        given = Params(
            params,
            "address",
            "password",
            "decrypted_secret",
            "common_point",
            "decrypt_shadows",
            "encrypted_document",
        )
        address, password = given.address(), given.password()
        decrypted_secret, common = given.point(), given.point()
        messages, document = given.datas(), given.data()
        if not messages:
            raise unusable_parameter("decrypt_shadows", "must not be empty")
        key = await self._open(address, password, _CANNOT_DECRYPT)
        shadows = _scalars([_opened(key, message) for message in messages])
        _check_document(document)
        secret, common_point = (
            _point(decrypted_secret, "decrypted_secret"),
            _point(common, "common"),
        )
        if sum_secrets(shadows) is None:
            raise encryption_error("decrypt_shadows: the sum is zero")
        try:
            document_key = recover_document_key(secret, common_point, shadows)
        except InvalidPointError as problem:
            raise encryption_error(str(problem)) from None
        return _hex(decrypt_document(document_key, document))

    async def _document_key(self, address: Address, password: str, message: bytes) -> bytes:
        key = await self._open(address, password, _CANNOT_DECRYPT)
        document_key = _opened(key, message)
        if len(document_key) != POINT_SIZE:
            raise unusable_parameter("key", "invalid public key length")
        return document_key

    async def _open(
        self, address: Address, password: str, message: str, *, wrapped: bool = True
    ) -> SecretScalar:
        """The account's key; `wrapped`: `data` names the error as the original's wrapper does."""
        try:
            return await self._accounts.open(address, password)
        except UnknownAccountError:
            data = "InvalidAccount"
        except WrongPasswordError:
            data = "InvalidPassword"
        raise account_error(message, f"SStore({data})" if wrapped else data)


def _opened(key: SecretScalar, message: bytes) -> bytes:
    try:
        return decrypt(key, message)
    except DecryptionError:
        raise account_error(_CANNOT_DECRYPT, _INVALID_MESSAGE) from None


def _scalars(shadows: list[bytes]) -> list[SecretScalar]:
    try:
        return [SecretScalar(shadow) for shadow in shadows]
    except InvalidScalarError:
        raise account_error("invalid secret", "a shadow is no scalar in 1 … n-1") from None


def _check_document(encrypted: bytes) -> None:
    if len(encrypted) < IV_SIZE:
        raise unusable_parameter("encrypted_document", "invalid encrypted data")


def _point(raw64: bytes, name: str) -> Point:
    try:
        return Point.from_raw64(raw64)
    except InvalidPointError:
        raise encryption_error(f"{name}: not a point of the curve") from None


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"


__all__ = ["Method", "OpensAccounts", "RpcError", "SecretStoreModule"]
