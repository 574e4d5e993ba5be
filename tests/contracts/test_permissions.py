"""Who may use which key, for every permission contract."""

import pytest

from tests.contracts.chain import Chain, Contract, RevertError, key_of
from tests.contracts.world import STRANGER

OWNER, ALICE, BOB = 1, 2, 3
DOCUMENT = b"\x11" * 32
OTHER = b"\x22" * 32
ZERO = "0x" + "00" * 20
ALICE_ADDRESS, BOB_ADDRESS, STRANGER_ADDRESS = (
    str(key_of(number).address) for number in (ALICE, BOB, STRANGER)
)
CHECK_PERMISSIONS, ERC165, OWNABLE = (
    bytes.fromhex(interface) for interface in ("b36a9a7c", "01ffc9a7", "0e083076")
)


def may(contract: Contract, user: str, document: bytes = DOCUMENT) -> bool:
    return bool(contract.call("checkPermissions", user, document))


def test_once_transferable_permission(chain: Chain) -> None:
    contract = chain.deploy("OnceTransferablePermission")
    # C-32: the original lets the zero address use a key that has no owner.
    assert not may(contract, ZERO)
    assert not may(contract, ALICE_ADDRESS)
    contract.send("createKey", DOCUMENT, sender=ALICE)
    assert may(contract, ALICE_ADDRESS)
    assert contract.revert_reason("createKey", DOCUMENT, sender=BOB) == "KeyExists"
    args = DOCUMENT, BOB_ADDRESS
    assert contract.revert_reason("transferPermission", *args, sender=BOB) == "NotKeyOwner"
    reason = contract.revert_reason("transferPermission", DOCUMENT, ZERO, sender=ALICE)
    assert reason == "NewOwnerIsZero"
    contract.send("transferPermission", *args, sender=ALICE)

    assert may(contract, BOB_ADDRESS)
    assert not may(contract, ALICE_ADDRESS)
    back = DOCUMENT, ALICE_ADDRESS
    assert contract.revert_reason("transferPermission", *back, sender=BOB) == "AlreadyTransferred"


def test_static_permissions(chain: Chain) -> None:
    contract = chain.deploy("PermissioningStatic")
    document = bytes(chain.w3.keccak(text="sample document"))

    assert may(contract, str(key_of(1).address), document)
    assert may(contract, str(key_of(2).address), document)
    assert not may(contract, str(key_of(3).address), document)
    assert not may(contract, str(key_of(1).address), OTHER)


def test_fire_and_forget(chain: Chain) -> None:
    contract = chain.deploy("PermissioningFireAndForget", DOCUMENT, [ALICE_ADDRESS, BOB_ADDRESS])

    assert may(contract, ALICE_ADDRESS)
    assert may(contract, BOB_ADDRESS)
    assert not may(contract, STRANGER_ADDRESS)
    assert not may(contract, ALICE_ADDRESS, OTHER)
    assert contract.call("documentKeyId") == DOCUMENT
    assert contract.call("addresses", 1) == BOB_ADDRESS


def test_no_doc(chain: Chain) -> None:
    contract = chain.deploy("PermissioningNoDoc", [ALICE_ADDRESS])

    assert may(contract, ALICE_ADDRESS)
    assert may(contract, ALICE_ADDRESS, OTHER)
    assert not may(contract, BOB_ADDRESS)
    assert contract.call("addresses", 0) == ALICE_ADDRESS


@pytest.mark.parametrize(
    ("name", "args"), [("PermissioningNoDoc", ()), ("PermissioningFireAndForget", (DOCUMENT,))]
)
def test_fixed_lists_have_no_duplicates(chain: Chain, name: str, args: tuple[bytes, ...]) -> None:
    with pytest.raises(RevertError):
        chain.deploy(name, *args, [ALICE_ADDRESS, ALICE_ADDRESS])


def test_dynamic(chain: Chain) -> None:
    contract = chain.deploy("PermissioningDynamic")
    contract.send("addPermission", DOCUMENT, [], sender=STRANGER)
    added = contract.send("addPermission", DOCUMENT, [ALICE_ADDRESS, BOB_ADDRESS], sender=ALICE)

    assert [(e.name, e.args) for e in added.events] == [("Permission", (DOCUMENT,))]
    assert may(contract, ALICE_ADDRESS)
    assert not may(contract, ALICE_ADDRESS, OTHER)
    assert contract.call("users", DOCUMENT) == [ALICE_ADDRESS, BOB_ADDRESS]
    assert contract.call("permissions", DOCUMENT, 1) == BOB_ADDRESS
    assert contract.revert_reason("addPermission", DOCUMENT, [STRANGER_ADDRESS]) == "AlreadySet"
    twice = [BOB_ADDRESS, BOB_ADDRESS]
    assert contract.revert_reason("addPermission", OTHER, twice) == "DuplicateUser"


# --- the registry


@pytest.fixture
def registry(chain: Chain) -> Contract:
    contract = chain.deploy("PermissioningRegistry")
    contract.send("permission", DOCUMENT, [BOB_ADDRESS], sender=ALICE)
    return contract


def test_the_first_caller_is_admin(chain: Chain) -> None:
    contract = chain.deploy("PermissioningRegistry")
    assert not may(contract, ALICE_ADDRESS)
    receipt = contract.send("permission", DOCUMENT, [BOB_ADDRESS], sender=ALICE)

    assert [(e.name, e.args) for e in receipt.events] == [("Permission", (DOCUMENT,))]
    assert contract.call("getAdmin", DOCUMENT) == ALICE_ADDRESS
    assert contract.call("permissions", DOCUMENT) == [ALICE_ADDRESS, False]
    assert contract.call("getUsers", DOCUMENT) == [BOB_ADDRESS]
    assert may(contract, BOB_ADDRESS)
    assert not may(contract, ALICE_ADDRESS)


def test_a_document_starts_unexposed(chain: Chain) -> None:
    contract = chain.deploy("PermissioningRegistry")
    contract.send("setExposed", DOCUMENT, True, sender=OWNER)
    contract.send("permission", DOCUMENT, [BOB_ADDRESS], sender=ALICE)

    assert contract.call("permissions", DOCUMENT) == [ALICE_ADDRESS, False]
    assert not may(contract, STRANGER_ADDRESS)


@pytest.mark.parametrize("sender", [ALICE, OWNER])
def test_admin_and_owner_edit(registry: Contract, sender: int) -> None:
    registry.send("permission", DOCUMENT, [STRANGER_ADDRESS], sender=sender)
    # C-32: in the original the owner became the admin here.
    assert registry.call("getAdmin", DOCUMENT) == ALICE_ADDRESS
    assert (may(registry, BOB_ADDRESS), may(registry, STRANGER_ADDRESS)) == (False, True)
    registry.send("setUsers", DOCUMENT, [], sender=sender)
    assert not may(registry, STRANGER_ADDRESS)
    registry.send("addUser", DOCUMENT, BOB_ADDRESS, sender=sender)
    assert may(registry, BOB_ADDRESS)
    again = DOCUMENT, BOB_ADDRESS
    assert registry.revert_reason("addUser", *again, sender=sender) == "DuplicateUser"
    registry.send("setExposed", DOCUMENT, True, sender=sender)
    assert may(registry, STRANGER_ADDRESS)
    assert registry.call("isExposed", DOCUMENT) is True
    receipt = registry.send("setAdmin", DOCUMENT, BOB_ADDRESS, sender=sender)
    assert [(e.name, e.args) for e in receipt.events] == [("NewAdmin", (DOCUMENT,))]
    assert registry.call("getAdmin", DOCUMENT) == BOB_ADDRESS


def test_a_removed_entry_is_free_again(registry: Contract) -> None:
    registry.send("setExposed", DOCUMENT, True, sender=ALICE)
    registry.send("removePermission", DOCUMENT, sender=ALICE)

    assert not may(registry, BOB_ADDRESS)
    assert registry.call("getUsers", DOCUMENT) == []
    assert registry.call("permissions", DOCUMENT) == [ZERO, False]
    registry.send("permission", DOCUMENT, [BOB_ADDRESS], sender=STRANGER)
    assert registry.call("getAdmin", DOCUMENT) == STRANGER_ADDRESS
    assert may(registry, BOB_ADDRESS)


@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("permission", ([STRANGER_ADDRESS],)),
        ("setUsers", ([STRANGER_ADDRESS],)),
        ("addUser", (STRANGER_ADDRESS,)),
        ("setExposed", (True,)),
        ("removePermission", ()),
        ("setAdmin", (STRANGER_ADDRESS,)),
    ],
)
def test_strangers_do_not_edit(registry: Contract, function: str, args: tuple[object, ...]) -> None:
    assert registry.revert_reason(function, DOCUMENT, *args, sender=STRANGER) == "NotAdmin"


def test_no_admin_is_zero_and_no_user_twice(registry: Contract) -> None:
    assert registry.revert_reason("setAdmin", DOCUMENT, ZERO, sender=ALICE) == "AdminIsZero"
    twice = [BOB_ADDRESS, BOB_ADDRESS]
    assert registry.revert_reason("setUsers", DOCUMENT, twice, sender=ALICE) == "DuplicateUser"


def test_ownership_is_passed_on_or_given_up(registry: Contract) -> None:
    assert registry.revert_reason("transferOwnership", ALICE_ADDRESS, sender=BOB) == "NotOwner"
    assert registry.revert_reason("transferOwnership", ZERO) == "OwnerIsZero"
    receipt = registry.send("transferOwnership", BOB_ADDRESS)
    assert receipt.events[0].args == (key_of(OWNER).address, BOB_ADDRESS)
    registry.send("renounceOwnership", sender=BOB)
    assert registry.call("owner") == ZERO


# --- the relay


def test_query_finds_interfaces(chain: Chain, registry: Contract) -> None:
    query = chain.deploy("ERC165Query")
    ask = "doesContractImplementInterface"
    for interface in (CHECK_PERMISSIONS, ERC165, OWNABLE):
        assert query.call(ask, registry.address, interface) is True
        assert registry.call("supportsInterface", interface) is True
    assert query.call(ask, registry.address, b"\x12\x34\x56\x78") is False
    assert registry.call("supportsInterface", b"\xff" * 4) is False
    # No contract, and one that does not know the question.
    assert query.call(ask, ALICE_ADDRESS, CHECK_PERMISSIONS) is False
    silent = chain.deploy("PermissioningStatic")
    assert query.call(ask, silent.address, CHECK_PERMISSIONS) is False
    assert query.call(ask, query.address, ERC165) is True


def test_relay_asks_the_contract_of_the_day(chain: Chain, registry: Contract) -> None:
    query = chain.deploy("ERC165Query")
    relay = chain.deploy("PermissioningRelay", query.address, registry.address)
    assert may(relay, BOB_ADDRESS)
    other = chain.deploy("PermissioningRegistry")
    assert relay.call("setPermissioningContract", other.address) == registry.address
    receipt = relay.send("setPermissioningContract", other.address)

    assert [(e.name, e.args) for e in receipt.events] == [
        ("NewPermissioningContract", (other.address,))
    ]
    assert not may(relay, BOB_ADDRESS)
    assert relay.call("permissioningContract") == other.address
    assert relay.call("oldPermissioningContracts", 0) == registry.address
    for interface in (CHECK_PERMISSIONS, ERC165, OWNABLE):
        assert relay.call("supportsInterface", interface) is True


def test_what_a_relay_refuses(chain: Chain, registry: Contract) -> None:
    query = chain.deploy("ERC165Query")
    relay = chain.deploy("PermissioningRelay", query.address, registry.address)
    silent = chain.deploy("PermissioningStatic")
    for target in (relay.address, registry.address, silent.address, ALICE_ADDRESS):
        reason = relay.revert_reason("setPermissioningContract", target)
        assert reason == "NotAPermissionContract"
    assert relay.revert_reason("setERC165Query", ZERO) == "QueryIsZero"
    other = chain.deploy("ERC165Query")
    assert relay.call("setERC165Query", other.address) == query.address
    relay.send("setERC165Query", other.address)
    assert relay.call("erc165Query") == other.address
    for function in ("setERC165Query", "setPermissioningContract"):
        assert relay.revert_reason(function, other.address, sender=BOB) == "NotOwner"
