"""The name registry."""

import pytest

from tests.contracts.chain import ETHER, Chain, Contract, RevertError, key_of
from tests.contracts.world import STRANGER

OWNER, ALICE, BOB = 1, 2, 3
TEXT = "secretstore_server_set"
ZERO = "0x" + "00" * 20
ALICE_ADDRESS, BOB_ADDRESS = str(key_of(ALICE).address), str(key_of(BOB).address)


@pytest.fixture
def registry(chain: Chain) -> Contract:
    return chain.deploy("SimpleRegistry")


@pytest.fixture
def name(chain: Chain, registry: Contract) -> bytes:
    """Reserved by Alice."""
    hashed = bytes(chain.w3.keccak(text=TEXT))
    registry.send("reserve", hashed, sender=ALICE, value=ETHER)
    return hashed


def test_names_are_bought_once(chain: Chain, registry: Contract) -> None:
    name = b"\x01" * 32
    assert registry.call("fee") == ETHER
    args = "reserve", name
    assert registry.revert_reason(*args, sender=ALICE, value=ETHER - 1) == "FeeNotPaid"
    receipt = registry.send(*args, sender=ALICE, value=2 * ETHER)
    assert [(e.name, e.args) for e in receipt.events] == [("Reserved", (name, ALICE_ADDRESS))]
    assert chain.balance(registry.address) == 2 * ETHER
    assert registry.revert_reason(*args, sender=BOB, value=ETHER) == "NameTaken"
    assert registry.call("reserved", name) is True
    assert registry.call("getOwner", name) == ALICE_ADDRESS


@pytest.mark.parametrize("getter", ["getAddress", "getData", "getUint"])
def test_unknown_names_revert(registry: Contract, getter: str) -> None:
    with pytest.raises(RevertError, match="UnknownName"):
        registry.call(getter, b"\x99" * 32, "A")
    for question in ("getOwner", "reserved", "hasReverse", "getReverse"):
        with pytest.raises(RevertError, match="UnknownName"):
            registry.call(question, b"\x99" * 32)


def test_values_under_a_name(registry: Contract, name: bytes) -> None:
    assert registry.call("getAddress", name, "A") == ZERO
    receipt = registry.send("setAddress", name, "A", BOB_ADDRESS, sender=ALICE)
    event = receipt.events[0]
    assert (event.name, event.args) == ("DataChanged", (name, "A", "A"))
    registry.send("setData", name, "D", b"\x07" * 32, sender=ALICE)
    registry.send("setUint", name, "U", 7, sender=ALICE)

    assert registry.call("getAddress", name, "A") == BOB_ADDRESS
    assert registry.call("getData", name, "D") == b"\x07" * 32
    assert registry.call("getUint", name, "U") == 7


def test_only_the_name_owner_writes(registry: Contract, name: bytes) -> None:
    for function, args in (
        ("setAddress", (name, "A", BOB_ADDRESS)),
        ("setData", (name, "A", b"\0" * 32)),
        ("setUint", (name, "A", 1)),
        ("transfer", (name, BOB_ADDRESS)),
        ("drop", (name,)),
        ("proposeReverse", (TEXT, BOB_ADDRESS)),
    ):
        assert registry.revert_reason(function, *args, sender=BOB) == "NotNameOwner"


def test_names_are_passed_on(registry: Contract, name: bytes) -> None:
    assert registry.revert_reason("transfer", name, ZERO, sender=ALICE) == "NameOwnerIsZero"
    receipt = registry.send("transfer", name, BOB_ADDRESS, sender=ALICE)

    assert receipt.events[0].args == (name, ALICE_ADDRESS, BOB_ADDRESS)
    registry.send("setUint", name, "U", 1, sender=BOB)
    assert registry.revert_reason("setUint", name, "U", 2, sender=ALICE) == "NotNameOwner"


def test_a_dropped_name_is_dead(registry: Contract, name: bytes) -> None:
    registry.send("setAddress", name, "A", BOB_ADDRESS, sender=ALICE)
    receipt = registry.send("drop", name, sender=ALICE)

    assert [(e.name, e.args) for e in receipt.events] == [("Dropped", (name, ALICE_ADDRESS))]
    with pytest.raises(RevertError, match="UnknownName"):
        registry.call("getAddress", name, "A")
    assert registry.revert_reason("reserve", name, sender=BOB, value=ETHER) == "NameTaken"
    assert registry.revert_reason("setUint", name, "U", 1, sender=ALICE) == "UnknownName"


def test_reverse_names(registry: Contract, name: bytes) -> None:
    proposed = registry.send("proposeReverse", TEXT, BOB_ADDRESS, sender=ALICE)
    assert [(e.name, e.args) for e in proposed.events] == [("ReverseProposed", (TEXT, BOB_ADDRESS))]
    assert registry.call("canReverse", BOB_ADDRESS) is False
    assert registry.revert_reason("confirmReverse", TEXT, sender=STRANGER) == "NotProposed"
    confirmed = registry.send("confirmReverse", TEXT, sender=BOB)
    assert confirmed.names == ["ReverseConfirmed"]
    assert registry.call("canReverse", BOB_ADDRESS) is True
    assert registry.call("reverse", BOB_ADDRESS) == TEXT
    assert registry.call("hasReverse", name) is True
    assert registry.call("getReverse", name) == BOB_ADDRESS
    assert registry.send("removeReverse", sender=BOB).names == ["ReverseRemoved"]
    assert registry.call("canReverse", BOB_ADDRESS) is False
    assert registry.call("hasReverse", name) is False


def test_a_new_proposal_takes_the_old_reverse_away(registry: Contract, name: bytes) -> None:
    registry.send("proposeReverse", TEXT, BOB_ADDRESS, sender=ALICE)
    args = TEXT, BOB_ADDRESS
    assert registry.revert_reason("confirmReverseAs", *args, sender=ALICE) == "NotOwner"
    registry.send("confirmReverseAs", *args, sender=OWNER)
    receipt = registry.send("proposeReverse", TEXT, ALICE_ADDRESS, sender=ALICE)

    assert receipt.names == ["ReverseRemoved", "ReverseProposed"]
    assert registry.call("reverse", BOB_ADDRESS) == ""
    registry.send("confirmReverse", TEXT, sender=ALICE)
    assert registry.send("drop", name, sender=ALICE).names == ["ReverseRemoved", "Dropped"]
    assert registry.call("canReverse", ALICE_ADDRESS) is False


def test_the_registry_owner_earns(chain: Chain, registry: Contract, name: bytes) -> None:
    assert registry.revert_reason("setFee", 5, sender=ALICE) == "NotOwner"
    assert registry.revert_reason("drain", sender=ALICE) == "NotOwner"
    assert registry.send("setFee", 5).events[0].args == (5,)
    assert registry.call("fee") == 5
    assert registry.send("drain").events[0].args == (ETHER,)
    assert chain.balance(registry.address) == 0
