"""Signed transactions, read back with another library."""

import pytest
import rlp  # type: ignore[import-untyped]
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.evm.transaction import (
    DynamicFee,
    LegacyFee,
    TransactionSigner,
    UnreadableTransactionError,
    UnsignedTransaction,
    read_transaction,
)
from keyserver.model.identifiers import Address

KEY = SecretScalar((1).to_bytes(32, "big"))
TO = Address(b"\x42" * 20)


def transaction(fee: DynamicFee | LegacyFee) -> UnsignedTransaction:
    return UnsignedTransaction(1337, 7, TO, b"\1\2\3", 60_000, fee, value=5)


def test_the_account_is_that_of_the_key() -> None:
    signer = TransactionSigner(KEY)
    assert signer.address.hex() == "7e5f4552091a69125d5dfcb7b8c2659029395bdf"
    assert signer.address.hex() in repr(signer)
    assert "0000000000000001" not in repr(signer)


def test_a_dynamic_fee_transaction() -> None:
    signed = TransactionSigner(KEY).sign(transaction(DynamicFee(900, 30)))
    assert signed.tx_hash == keccak256(signed.raw)
    fields = TypedTransaction.from_bytes(HexBytes(signed.raw)).as_dict()
    assert (fields["chainId"], fields["nonce"], fields["gas"]) == (1337, 7, 60_000)
    assert (fields["maxFeePerGas"], fields["maxPriorityFeePerGas"]) == (900, 30)
    assert (bytes(fields["to"]), bytes(fields["data"]), fields["value"]) == (TO, b"\1\2\3", 5)
    sender = Account.recover_transaction(signed.raw)
    assert bytes.fromhex(sender[2:]) == TransactionSigner(KEY).address


def test_a_legacy_transaction_is_bound_to_the_chain() -> None:
    signed = TransactionSigner(KEY).sign(transaction(LegacyFee(900)))
    assert signed.tx_hash == keccak256(signed.raw)
    nonce, price, gas, to, value, data, v, _, _ = rlp.decode(signed.raw)
    numbers = [int.from_bytes(each, "big") for each in (nonce, price, gas, value)]
    assert numbers == [7, 900, 60_000, 5]
    assert (to, data) == (TO, b"\1\2\3")
    assert int.from_bytes(v, "big") in (2 * 1337 + 35, 2 * 1337 + 36)  # EIP-155


def test_signing_twice_gives_the_same_bytes() -> None:
    signer = TransactionSigner(KEY)
    unsigned = transaction(DynamicFee(900, 30))
    assert signer.sign(unsigned) == signer.sign(unsigned)


def test_what_was_signed_is_read_back_with_its_sender() -> None:
    signer = TransactionSigner(SecretScalar(b"\x07" * 32))
    unsigned = UnsignedTransaction(
        5, 300, Address(b"\x11" * 20), b"\x01\x02", 90_000, DynamicFee(7, 3), 11
    )
    signed = signer.sign(unsigned)
    read = read_transaction(signed.raw)
    assert (read.sender, read.unsigned, read.tx_hash) == (signer.address, unsigned, signed.tx_hash)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x01", b"\x02", b"\x02\x80", b"\x02abc", b"\x02\xc9" + b"\x01" * 9],
)
def test_bytes_that_are_no_transaction_are_refused(raw: bytes) -> None:
    with pytest.raises(UnreadableTransactionError):
        read_transaction(raw)


def test_a_transaction_with_an_impossible_signature_is_refused() -> None:
    signer = TransactionSigner(SecretScalar(b"\x07" * 32))
    raw = signer.sign(
        UnsignedTransaction(5, 1, Address(bytes(20)), b"", 21_000, DynamicFee(7, 3))
    ).raw
    with pytest.raises(UnreadableTransactionError):
        read_transaction(raw[:-32] + b"\xff" * 32)
