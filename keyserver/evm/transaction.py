"""Transactions: values, and signing them with the node's account (EIP-155, EIP-1559)."""

from dataclasses import dataclass
from typing import Any, assert_never

import rlp  # type: ignore[import-untyped]
from eth_account import Account
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.errors import KeyServerError
from keyserver.model.identifiers import Address, Hash32


@dataclass(frozen=True, slots=True)
class DynamicFee:
    """What a transaction pays on a chain with EIP-1559, in wei per gas."""

    max_fee: int
    """At most, all in all."""
    priority_fee: int
    """Of that, to the block's maker."""


@dataclass(frozen=True, slots=True)
class LegacyFee:
    """What a transaction pays on a chain without EIP-1559, in wei per gas."""

    gas_price: int


Fee = DynamicFee | LegacyFee


@dataclass(frozen=True, slots=True)
class UnsignedTransaction:
    """Everything that is signed."""

    chain_id: int
    nonce: int
    to: Address
    data: bytes
    gas: int
    fee: Fee
    value: int = 0


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """What is broadcast."""

    raw: bytes
    tx_hash: Hash32


class UnreadableTransactionError(KeyServerError):
    """Bytes that are no signed transaction."""


@dataclass(frozen=True, slots=True)
class ReadTransaction:
    """A signed transaction as whoever receives it reads it."""

    sender: Address
    unsigned: UnsignedTransaction
    tx_hash: Hash32


def read_transaction(raw: bytes) -> ReadTransaction:
    """Read a signed transaction with EIP-1559 fees and recover its sender.

    Raises `UnreadableTransactionError`, also for other kinds of transactions.
    """
    try:
        if raw[:1] != b"\x02":
            raise UnreadableTransactionError("transaction: not of type 2")
        chain_id, nonce, tip, most, gas, to, value, data, *_ = rlp.decode(raw[1:])
        sender = Address(bytes.fromhex(Account.recover_transaction(raw)[2:]))
        fee = DynamicFee(_number(most), _number(tip))
        unsigned = UnsignedTransaction(
            _number(chain_id), _number(nonce), Address(to), data, _number(gas), fee, _number(value)
        )
    except (RLPException, ValueError, TypeError, BadSignature, ValidationError) as error:
        raise UnreadableTransactionError(f"transaction: {error}") from error
    return ReadTransaction(sender, unsigned, Hash32(keccak256(raw)))


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


class TransactionSigner:
    """The node's account as far as transactions go; the key stays inside."""

    __slots__ = ("_account", "address")

    def __init__(self, key: SecretScalar) -> None:
        self._account = Account.from_key(key.expose())
        self.address = Address(bytes.fromhex(self._account.address[2:]))

    def sign(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """Sign; the nonce of the signature follows RFC 6979, so the result is always the same."""
        signed = self._account.sign_transaction(_fields(transaction))
        return SignedTransaction(bytes(signed.raw_transaction), Hash32(bytes(signed.hash)))

    def __repr__(self) -> str:
        return f"TransactionSigner({self.address.hex()})"


def _fields(transaction: UnsignedTransaction) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "chainId": transaction.chain_id,
        "nonce": transaction.nonce,
        "to": bytes(transaction.to),
        "data": transaction.data,
        "gas": transaction.gas,
        "value": transaction.value,
    }
    match transaction.fee:
        case DynamicFee(max_fee, priority_fee):
            fields |= {
                "type": 2,
                "maxFeePerGas": max_fee,
                "maxPriorityFeePerGas": priority_fee,
            }
        case LegacyFee(gas_price):
            fields |= {"gasPrice": gas_price}
        case _:
            assert_never(transaction.fee)
    return fields
