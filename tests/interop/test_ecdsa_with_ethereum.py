"""ECDSA signatures of whole committees as programs of Ethereum users take them."""

from typing import Any

import pytest
from coincurve import PublicKey
from eth_account import Account
from eth_account.messages import SignableMessage, encode_defunct, encode_typed_data
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_keys.datatypes import PublicKey as EthereumKey
from eth_keys.datatypes import Signature
from eth_utils.crypto import keccak

from keyserver.crypto.hashing import address_of
from keyserver.crypto.randomness import SeededRandom
from tests.interop.made import Committee

RNG = SeededRandom(b"ethereum")

PERMIT = {
    "domain": {"name": "Coin", "chainId": 1, "verifyingContract": "0x" + "c0" * 20},
    "primaryType": "Permit",
    "types": {
        "Permit": [
            {"name": "spender", "type": "address"},
            {"name": "value", "type": "uint256"},
        ],
    },
    "message": {"spender": "0x" + "5e" * 20, "value": 2**255},
}

TRANSFER = {
    "chainId": 1,
    "nonce": 7,
    "to": "0x" + "70" * 20,
    "value": 10**18,
    "data": "0x",
    "gas": 21_000,
}
FEE_MARKET: dict[str, Any] = TRANSFER | {
    "type": 2,
    "maxFeePerGas": 10**9,
    "maxPriorityFeePerGas": 10**8,
    "accessList": [],
}
ACCESS_LIST: dict[str, Any] = TRANSFER | {"type": 1, "gasPrice": 10**9, "accessList": []}


@pytest.fixture(scope="module", params=[0, 1, 2])
def committee(request: pytest.FixtureRequest) -> Committee:
    return Committee.of(request.param)


def address(committee: Committee) -> str:
    return EthereumKey(committee.public.raw64).to_checksum_address()


def test_the_address_is_the_same_for_all(committee: Committee) -> None:
    own = address_of(committee.public.raw64)
    assert f"0x{own.hex()}" == address(committee).lower()


def test_two_libraries_recover_the_key(committee: Committee) -> None:
    digest = RNG.bytes(32)
    signature = committee.ecdsa(digest)
    found = PublicKey.from_signature_and_message(signature, digest, hasher=None)
    assert found.format() == committee.public.compressed
    by_keys = Signature(signature).recover_public_key_from_msg_hash(digest)
    assert by_keys.to_bytes() == committee.public.raw64
    assert signature[64] in (0, 1)


@pytest.mark.parametrize(
    "message",
    [
        encode_defunct(text="I own this."),
        encode_defunct(primitive=bytes(range(256))),
        encode_typed_data(full_message=PERMIT),
    ],
    ids=["text", "bytes", "typed data"],
)
def test_messages_of_accounts(committee: Committee, message: SignableMessage) -> None:
    digest = keccak(b"\x19" + message.version + message.header + message.body)
    signature = committee.ecdsa(digest)
    for_ethereum = signature[:64] + bytes([signature[64] + 27])
    assert Account.recover_message(message, signature=for_ethereum) == address(committee)


@pytest.mark.parametrize("fields", [FEE_MARKET, ACCESS_LIST], ids=["fee market", "access list"])
def test_transactions_of_accounts(committee: Committee, fields: dict[str, Any]) -> None:
    signature = committee.ecdsa(TypedTransaction.from_dict(fields).hash())
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:64]))
    signed = TypedTransaction.from_dict(fields | {"r": r, "s": s, "v": signature[64]})
    assert Account.recover_transaction(signed.encode()) == address(committee)
