"""The example account: a call is executed once, and only if the server key has signed it."""

import pytest
from eth_account.messages import encode_typed_data
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from keyserver.evm.abi import ContractAbi
from tests.contracts import signatures
from tests.contracts.chain import ETHER, Chain, Contract, RevertError, key_of, public_of
from tests.contracts.world import STRANGER, deploy_set

SERVER_KEY, OTHER_KEY = 201, 202
RECIPIENT = to_checksum_address("0x" + "ab" * 20)


@pytest.fixture
def account(chain: Chain) -> Contract:
    """With three ether."""
    deployed = chain.deploy("ServerKeyAccount", key_of(SERVER_KEY).address)
    chain.transact(1, deployed.address, value=3 * ETHER)
    return deployed


def signed(
    account: Contract, target: str, value: int, data: bytes = b"", key: int = SERVER_KEY
) -> tuple[str, int, bytes, bytes]:
    """What `execute` takes for the next call."""
    digest = account.call("hashOfCall", target, value, data)
    return target, value, data, signatures.ecdsa(key, digest)


def test_the_owner_is_the_address_of_the_server_key(account: Contract) -> None:
    assert account.call("serverKey") == key_of(SERVER_KEY).address
    assert account.call("nonce") == 0
    with pytest.raises(RevertError):
        account.chain.deploy("ServerKeyAccount", "0x" + "00" * 20)


def test_anybody_hands_in_a_signed_call(account: Contract) -> None:
    done = account.send("execute", *signed(account, RECIPIENT, ETHER), sender=STRANGER)

    assert account.chain.balance(RECIPIENT) == ETHER
    (event,) = done.events
    assert (event.name, event.args[0], event.args[2:]) == ("Executed", 0, (ETHER, b""))
    assert account.call("nonce") == 1


def test_the_account_acts_on_other_contracts(account: Contract) -> None:
    """It owns a key server set, to which the server key adds a member."""
    chain = account.chain
    key_servers = deploy_set(chain, (101,))
    key_servers.send("setOwner", account.address)
    added = public_of(102), "10.0.0.1:1"
    with pytest.raises(RevertError, match="NotOwner"):
        key_servers.send("addKeyServer", *added)

    data = ContractAbi.of(tuple(key_servers.abi)).function("addKeyServer").encode(*added)
    account.send("execute", *signed(account, key_servers.address, 0, data))

    assert chain.address(102) in key_servers.call("getNewKeyServers")


def test_what_the_call_returned_is_given_back(account: Contract) -> None:
    data = ContractAbi.of(tuple(account.abi)).function("serverKey").encode()
    result = account.call("execute", *signed(account, account.address, 0, data))
    assert to_checksum_address(result[-20:]) == key_of(SERVER_KEY).address


def test_no_call_is_executed_twice(account: Contract) -> None:
    call = signed(account, RECIPIENT, 1)
    account.send("execute", *call)

    assert account.revert_reason("execute", *call) == "NotSignedByServerKey"
    account.send("execute", *signed(account, RECIPIENT, 1))
    assert account.revert_reason("execute", *call) == "NotSignedByServerKey"
    assert account.chain.balance(RECIPIENT) == 2


def test_a_call_is_for_one_account_only(account: Contract) -> None:
    other = account.chain.deploy("ServerKeyAccount", key_of(SERVER_KEY).address)
    call = signed(account, RECIPIENT, 0)

    assert other.revert_reason("execute", *call) == "NotSignedByServerKey"
    account.send("execute", *call)


def test_nothing_of_a_signed_call_may_change(account: Contract) -> None:
    target, value, data, signature = signed(account, RECIPIENT, 1, b"data")
    for changed in (
        (key_of(STRANGER).address, value, data, signature),
        (target, value + 1, data, signature),
        (target, value, b"", signature),
        (target, value, data, signatures.high_s(signature)),
        (target, value, data, signature[:64] + bytes([55 - signature[64]])),
        (target, value, data, signature[:64]),
        (target, value, data, bytes(65)),
        (target, value, data, b""),
        signed(account, target, value, data, OTHER_KEY),
    ):
        assert account.revert_reason("execute", *changed) == "NotSignedByServerKey"
    assert account.call("nonce") == 0
    account.send("execute", target, value, data, signature)


def test_a_call_that_fails_changes_nothing(account: Contract) -> None:
    target = account.chain.deploy("OwnedKeyServerSetWithMigration").address
    too_much = signed(account, RECIPIENT, 4 * ETHER)

    for call in (signed(account, target, 0, b"\x01\x02\x03\x04"), too_much):
        assert account.revert_reason("execute", *call) == "CallFailed"
    assert account.call("nonce") == 0
    account.chain.transact(1, account.address, value=ETHER)
    account.send("execute", *too_much)
    assert account.chain.balance(RECIPIENT) == 4 * ETHER


def test_the_hash_is_that_of_typed_data(account: Contract) -> None:
    """Wallets show what is signed; the chain's number is in it."""
    account.send("execute", *signed(account, RECIPIENT, 0))
    typed = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Call": [
                {"name": "target", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "data", "type": "bytes"},
                {"name": "nonce", "type": "uint256"},
            ],
        },
        "primaryType": "Call",
        "domain": {
            "name": "ServerKeyAccount",
            "version": "1",
            "chainId": account.chain.w3.eth.chain_id,
            "verifyingContract": account.address,
        },
        "message": {"target": RECIPIENT, "value": 7, "data": b"data", "nonce": 1},
    }
    signable = encode_typed_data(full_message=typed)
    expected = keccak(b"\x19" + signable.version + signable.header + signable.body)
    assert account.call("hashOfCall", RECIPIENT, 7, b"data") == expected
