"""Answers of the key server set contract, also odd ones."""

import pytest

from keyserver.chain.client import CallResult, Returned, Reverted
from keyserver.chain.set_reading import (
    CURRENT,
    IS_CONFIRMED,
    Member,
    Membership,
    PlacedCall,
    SetReading,
    SetUnreadableError,
    first_calls,
    membership,
    parse_network_address,
    reading,
    second_calls,
)
from keyserver.evm.abi import Function
from keyserver.model.identifiers import Address, NodeId
from keyserver.model.node_set import NodeAddress
from tests.support.keys import nodes_of

ALICE, BOB, CAROL = nodes_of(3)
ME = ALICE.address
NUMBER = Function.parse("f(uint256)")
ADDRESSES = Function.parse("f(address[])")
BYTES = Function.parse("f(bytes)")
TEXT = Function.parse("f(string)")
NO_MIGRATION = Reverted(b"")


def returned(function: Function, *values: object) -> Returned:
    return Returned(function.encode(*values)[4:])


def listed(*nodes: NodeId) -> Returned:
    return returned(ADDRESSES, [node.address for node in nodes])


def first(*current: NodeId, new: tuple[NodeId, ...] = ()) -> list[CallResult]:
    return [
        returned(NUMBER, 7),
        listed(*current),
        listed(*(new or current)),
        listed(),
        Returned(bytes(32)),
        NO_MIGRATION,
    ]


def answers(calls: list[PlacedCall], overrides: dict[str, CallResult]) -> list[CallResult]:
    """What an honest contract says, but for some functions."""
    by_address = {node.address: node for node in (ALICE, BOB, CAROL)}
    out: list[CallResult] = []
    for function, arguments in calls:
        if function.name in overrides:
            out.append(overrides[function.name])
        elif function.name.endswith("Public"):
            out.append(returned(BYTES, bytes(by_address[arguments[0]])))
        elif function.name.endswith("Address"):
            out.append(returned(TEXT, "127.0.0.1:1"))
        else:
            out.append(returned(NUMBER, 1))
    return out


def read(members: Membership, **overrides: CallResult) -> SetReading:
    calls = second_calls(members, ME, {})
    return reading(members, ME, {}, calls, answers(calls, overrides))


def test_only_the_current_set_is_asked_without_migration() -> None:
    assert [function.name for function, _ in first_calls(with_migration=False)] == [
        "getCurrentLastChange",
        "getCurrentKeyServers",
    ]
    members = membership(first(ALICE)[:2])
    assert members.new == members.current == (ALICE.address,)


def test_a_contract_that_knows_no_migration_has_its_current_set() -> None:
    results = first(ALICE, BOB)
    for answer in (Reverted(b""), Returned(b"")):
        results[2] = answer
        members = membership(results)
        assert members.new == members.current
        assert members.migration == ()


@pytest.mark.parametrize("position", [0, 1])
def test_a_set_that_cannot_be_read_is_none(position: int) -> None:
    for answer in (Reverted(b""), Returned(b""), Returned(b"\xff" * 96)):
        results = first(ALICE)
        results[position] = answer
        if position == 0 and answer == Returned(b"\xff" * 96):
            continue  # any word is a number
        with pytest.raises(SetUnreadableError):
            membership(results)


def test_a_member_that_is_listed_twice_counts_once() -> None:
    assert membership(first(ALICE, ALICE, BOB)).current == (ALICE.address, BOB.address)


def test_public_keys_are_asked_once_and_known_ones_not_at_all() -> None:
    members = membership(first(ALICE, BOB, new=(ALICE, CAROL)))
    names = [function.name for function, _ in second_calls(members, ME, {})]
    assert names.count("getCurrentKeyServerPublic") == 2
    assert names.count("getNewKeyServerPublic") == 1
    known = {node.address: node for node in (ALICE, BOB, CAROL)}
    calls = second_calls(members, ME, known)
    assert not [f for f, _ in calls if f.name.endswith("Public")]
    answer = reading(members, ME, known, calls, answers(calls, {}))
    assert [member.node for member in answer.new] == [ALICE, CAROL]


@pytest.mark.parametrize(
    "public",
    [
        Reverted(b""),
        returned(BYTES, b""),
        returned(BYTES, bytes(63)),
        returned(BYTES, b"\x01" * 64),  # not on the curve
        returned(BYTES, bytes(CAROL)),  # of another account
    ],
)
def test_a_member_without_a_usable_public_key_spoils_the_reading(public: CallResult) -> None:
    with pytest.raises(SetUnreadableError, match=r"0x|refuses"):
        read(membership(first(ALICE, BOB)), getCurrentKeyServerPublic=public)


@pytest.mark.parametrize(
    "where", [Reverted(b""), returned(TEXT, "nonsense"), Returned(b"\xff" * 32)]
)
def test_a_member_without_a_usable_network_address_is_a_member(where: CallResult) -> None:
    answer = read(membership(first(ALICE, BOB)), getCurrentKeyServerAddress=where)
    assert answer.current == (Member(ALICE, None), Member(BOB, None))


def test_only_of_members_it_is_asked_whether_they_have_confirmed() -> None:
    results = first(ALICE, BOB)
    results[3] = listed(BOB, CAROL)
    results[4] = returned(Function.parse("f(address)"), BOB.address)
    results[5] = Returned(b"\x05" * 32)
    members = membership(results)
    assert (members.master, members.migration_id) == (BOB.address, b"\x05" * 32)
    assert (IS_CONFIRMED, (ME,)) in second_calls(members, ME, {})
    assert read(members).confirmed_by_self is True
    for member in (ALICE, BOB, CAROL):
        assert (IS_CONFIRMED, (member.address,)) in second_calls(members, ME, {})
    assert read(members).confirmed == {BOB, CAROL}, "of the migration set"
    assert read(members, isMigrationConfirmed=returned(NUMBER, 0)).confirmed == frozenset()
    stranger = Address(b"\x09" * 20)
    assert (IS_CONFIRMED, (stranger,)) not in second_calls(members, stranger, {})
    assert read(members, isMigrationConfirmed=Reverted(b"")).confirmed_by_self is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8083", NodeAddress("127.0.0.1", 8083)),
        ("[::1]:1", NodeAddress("::1", 1)),
        ("[2001:DB8::1]:65535", NodeAddress("2001:db8::1", 65535)),
        ("", None),
        ("127.0.0.1", None),
        ("127.0.0.1:", None),
        ("127.0.0.1:0", None),
        ("127.0.0.1:65536", None),
        ("127.0.0.1:99999999999", None),
        ("127.0.0.1:+1", None),
        ("127.0.0.1:١", None),
        ("[127.0.0.1]:1", None),
        ("::1:1", None),
        ("[fe80::1%eth0]:1", None),
        ("example.org:8083", None),
        (":8083", None),
    ],
)
def test_network_addresses(text: str, address: NodeAddress | None) -> None:
    assert parse_network_address(text) == address


def test_getters_have_the_published_selectors() -> None:
    assert CURRENT.members.selector.hex() == "5e9f171d"
    assert CURRENT.public.selector.hex() == "75de2a06"
    assert CURRENT.network_address.selector.hex() == "a86560be"


def test_a_set_of_more_nodes_than_a_set_can_have() -> None:
    many = [Address(number.to_bytes(20)) for number in range(1, 258)]
    largest = [returned(NUMBER, 7), returned(ADDRESSES, many[:256])]
    assert len(membership(largest).current) == 256
    with pytest.raises(SetUnreadableError, match="257 nodes: at most 256"):
        membership([returned(NUMBER, 7), returned(ADDRESSES, many)])
