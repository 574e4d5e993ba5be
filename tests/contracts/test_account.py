"""The example account: a call is executed once, and only if the server key has signed it."""

from bisect import bisect_left

import pytest
from eth_account.messages import encode_typed_data
from eth_utils.abi import function_signature_to_4byte_selector as selector
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from keyserver.evm.abi import ContractAbi
from tests.contracts import signatures
from tests.contracts.bytecode import that_goes_on
from tests.contracts.chain import (
    ETHER,
    GAS_LIMIT,
    Chain,
    Contract,
    Mined,
    RevertError,
    key_of,
    public_of,
)
from tests.contracts.world import STRANGER, deploy_set

SERVER_KEY, OTHER_KEY = 201, 202
RECIPIENT = to_checksum_address("0x" + "ab" * 20)
CALL_GAS = 300_000
"""More than any call here takes, where not said otherwise."""


@pytest.fixture
def account(chain: Chain) -> Contract:
    """With three ether."""
    deployed = chain.deploy("ServerKeyAccount", key_of(SERVER_KEY).address)
    chain.transact(1, deployed.address, value=3 * ETHER)
    return deployed


def signed(
    account: Contract,
    target: str,
    value: int,
    data: bytes = b"",
    gas_limit: int = CALL_GAS,
    key: int = SERVER_KEY,
) -> tuple[str, int, bytes, int, bytes]:
    """What `execute` takes for the next call."""
    digest = account.call("hashOfCall", target, value, data, gas_limit)
    return target, value, data, gas_limit, signatures.ecdsa(key, digest)


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
    target, value, data, gas_limit, signature = signed(account, RECIPIENT, 1, b"data")
    for changed in (
        (key_of(STRANGER).address, value, data, gas_limit, signature),
        (target, value + 1, data, gas_limit, signature),
        (target, value, b"", gas_limit, signature),
        (target, value, data, gas_limit - 1, signature),
        (target, value, data, 0, signature),
        (target, value, data, gas_limit, signatures.high_s(signature)),
        (target, value, data, gas_limit, signature[:64] + bytes([55 - signature[64]])),
        (target, value, data, gas_limit, signature[:64]),
        (target, value, data, gas_limit, bytes(65)),
        (target, value, data, gas_limit, b""),
        signed(account, target, value, data, gas_limit, OTHER_KEY),
    ):
        assert account.revert_reason("execute", *changed) == "NotSignedByServerKey"
    assert account.call("nonce") == 0
    account.send("execute", target, value, data, gas_limit, signature)


def test_a_call_that_fails_changes_nothing(account: Contract) -> None:
    target = account.chain.deploy("OwnedKeyServerSetWithMigration").address
    too_much = signed(account, RECIPIENT, 4 * ETHER)

    for call in (signed(account, target, 0, b"\x01\x02\x03\x04"), too_much):
        assert account.revert_reason("execute", *call) == "CallFailed"
    assert account.call("nonce") == 0
    account.chain.transact(1, account.address, value=ETHER)
    account.send("execute", *too_much)
    assert account.chain.balance(RECIPIENT) == 4 * ETHER


def handed_in(account: Contract, call: tuple[str, int, bytes, int, bytes], gas: int) -> Mined:
    """By a stranger, with that much gas for the whole transaction."""
    data = ContractAbi.of(tuple(account.abi)).function("execute").encode(*call)
    return account.chain.transact(STRANGER, account.address, data, gas_limit=gas)


def word(chain: Chain, address: str) -> int:
    """The first word of a contract's storage."""
    return int.from_bytes(chain.w3.eth.get_storage_at(to_checksum_address(address), 0), "big")


def test_nobody_spends_a_call_by_bringing_little_gas(account: Contract) -> None:
    """The target does not mind that what it calls runs out of gas; the call is void then."""
    chain = account.chain
    target, called = that_goes_on(chain, words=20)
    call = signed(account, target, 0, gas_limit=600_000)

    outcomes = {}
    for gas in range(100_000, 1_000_000, 50_000):
        with chain.undone():
            succeeded = handed_in(account, call, gas).succeeded
            outcomes[gas] = succeeded, account.call("nonce"), word(chain, called)

    assert set(outcomes.values()) == {(False, 0, 0), (True, 1, 1)}


@pytest.mark.parametrize("size", [0, 60_000])
@pytest.mark.parametrize("value", [0, 1])
def test_the_target_gets_the_signed_gas(account: Contract, value: int, size: int) -> None:
    """Whatever the transaction brings, however much data goes along; ether brings 2,300 more.

    A 64th of what is asked for is more than the account reckons a call to cost.
    """
    chain, gas_limit = account.chain, 10_000_000
    target, _ = that_goes_on(chain, words=1)
    call = signed(account, target, value, bytes(size), gas_limit)

    def succeeds(gas: int) -> bool:
        with chain.undone():
            return handed_in(account, call, gas).succeeded

    limits = range(gas_limit, GAS_LIMIT)
    least = limits[bisect_left(limits, True, key=succeeds)]
    assert handed_in(account, call, least - 1).output == selector("TooLittleGas()")
    assert account.call("nonce") == 0
    before_it_looks = 2
    for gas in (least, GAS_LIMIT):
        with chain.undone():
            assert handed_in(account, call, gas).succeeded
            assert word(chain, target) == gas_limit + 2_300 * value - before_it_looks


def test_no_transaction_brings_more_gas_than_there_is(account: Contract) -> None:
    for gas_limit in (GAS_LIMIT, 2**256 - 1):
        call = signed(account, RECIPIENT, 0, b"", gas_limit)
        assert account.revert_reason("execute", *call) == "TooLittleGas"
    assert account.call("nonce") == 0


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
                {"name": "gasLimit", "type": "uint256"},
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
        "message": {
            "target": RECIPIENT,
            "value": 7,
            "data": b"data",
            "gasLimit": 50_000,
            "nonce": 1,
        },
    }
    signable = encode_typed_data(full_message=typed)
    expected = keccak(b"\x19" + signable.version + signable.header + signable.body)
    assert account.call("hashOfCall", RECIPIENT, 7, b"data", 50_000) == expected
