"""The key server set contract in calls and answers: pure (contracts, section 3).

A reading is two batches at the same block: `first_calls` tells who is a member of which set,
`second_calls` their public keys and network addresses. Membership comes from the address list and
the public keys alone; a network address that cannot be used only makes the member unreachable. A
member without a usable public key makes the whole reading worthless (chain watcher, W-19).
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyserver.chain.client import CallResult, Returned
from keyserver.crypto.errors import InvalidPointError
from keyserver.errors import ChainError
from keyserver.evm.abi import AbiError, Function
from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.node_set import NodeAddress
from keyserver.model.quorums import MAX_NODES

LAST_CHANGE = Function.parse("getCurrentLastChange()", "uint256")
MASTER = Function.parse("getMigrationMaster()", "address")
MIGRATION_ID = Function.parse("getMigrationId()", "bytes32")
IS_CONFIRMED = Function.parse("isMigrationConfirmed(address)", "bool")


@dataclass(frozen=True, slots=True)
class SetCalls:
    """The getters of one of the three sets."""

    members: Function
    public: Function
    network_address: Function


def _calls_of(name: str) -> SetCalls:
    return SetCalls(
        Function.parse(f"get{name}KeyServers()", "address[]"),
        Function.parse(f"get{name}KeyServerPublic(address)", "bytes"),
        Function.parse(f"get{name}KeyServerAddress(address)", "string"),
    )


CURRENT, MIGRATION, NEW = _calls_of("Current"), _calls_of("Migration"), _calls_of("New")

PlacedCall = tuple[Function, tuple[Any, ...]]
"""A function and its arguments."""


class SetUnreadableError(ChainError):
    """The contract answers what no key server set answers; the old snapshot stays."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What the first batch says."""

    last_change: int
    current: tuple[Address, ...]
    new: tuple[Address, ...]
    migration: tuple[Address, ...]
    master: Address | None
    """Who started the running migration."""
    migration_id: Hash32 | None


@dataclass(frozen=True, slots=True)
class Member:
    """A key server as one of the sets has it."""

    node: NodeId
    network_address: NodeAddress | None
    """`None` if it cannot be used: then the node cannot be dialled."""


@dataclass(frozen=True, slots=True)
class SetReading:
    """What the contract says at one block."""

    last_change: int
    current: tuple[Member, ...]
    new: tuple[Member, ...]
    migration: tuple[Member, ...]
    master: Address | None
    migration_id: Hash32 | None
    confirmed_by_self: bool | None
    """`None` unless this node is in the current or the migration set and one is running."""
    confirmed: frozenset[NodeId] = frozenset()
    """Members of the migration set who have confirmed."""


def first_calls(*, with_migration: bool) -> list[PlacedCall]:
    """Who is a member; without auto-migration only the current set matters."""
    calls: list[PlacedCall] = [(LAST_CHANGE, ()), (CURRENT.members, ())]
    if with_migration:
        calls += [(NEW.members, ()), (MIGRATION.members, ()), (MASTER, ()), (MIGRATION_ID, ())]
    return calls


def membership(results: Sequence[CallResult]) -> Membership:
    """The answers to `first_calls`; raises `SetUnreadableError`.

    A contract without the functions of migrations has only its current set.
    """
    last_change: int = _required(LAST_CHANGE, results[0])
    current: tuple[Address, ...] = _required(CURRENT.members, results[1])
    plain = Membership(last_change, _distinct(current), _distinct(current), (), None, None)
    if len(results) == 2 or not isinstance(results[2], Returned) or not results[2].data:
        return plain
    new: tuple[Address, ...] = _required(NEW.members, results[2])
    migration: tuple[Address, ...] = _required(MIGRATION.members, results[3])
    master: Address | None = _optional(MASTER, results[4])
    migration_id: bytes | None = _optional(MIGRATION_ID, results[5])
    return Membership(
        last_change,
        _distinct(current),
        _distinct(new),
        _distinct(migration),
        master,
        None if migration_id is None else Hash32(migration_id),
    )


def second_calls(
    members: Membership, me: Address, known: Mapping[Address, NodeId]
) -> list[PlacedCall]:
    """Public keys, as far as they are not `known`, and network addresses of all members."""
    calls: list[PlacedCall] = []
    asked = set(known)
    for getters, addresses in _sets(members):
        for address in addresses:
            if address not in asked:
                calls.append((getters.public, (address,)))
                asked.add(address)
            calls.append((getters.network_address, (address,)))
    calls += [(IS_CONFIRMED, (address,)) for address in _confirmers(members, me)]
    return calls


def reading(
    members: Membership,
    me: Address,
    known: Mapping[Address, NodeId],
    calls: Sequence[PlacedCall],
    results: Sequence[CallResult],
) -> SetReading:
    """The answers to `second_calls`; raises `SetUnreadableError`."""
    result_of = {
        (function.selector, arguments): result
        for (function, arguments), result in zip(calls, results, strict=True)
    }
    nodes = dict(known)
    sets: list[tuple[Member, ...]] = []
    for getters, addresses in _sets(members):
        found: list[Member] = []
        for address in addresses:
            if address not in nodes:
                nodes[address] = _node(address, result_of[getters.public.selector, (address,)])
            where = result_of[getters.network_address.selector, (address,)]
            found.append(Member(nodes[address], _network_address(getters, where)))
        sets.append(tuple(found))
    current, migration, new = sets
    confirmations = {
        address: _optional(IS_CONFIRMED, result_of[IS_CONFIRMED.selector, (address,)])
        for address in _confirmers(members, me)
    }
    return SetReading(
        members.last_change,
        current,
        new,
        migration,
        members.master,
        members.migration_id,
        confirmations.get(me),
        frozenset(member.node for member in migration if confirmations[member.node.address]),
    )


def parse_network_address(text: str) -> NodeAddress | None:
    """`ip:port`, an IPv6 address in brackets; `None` for anything else, host names included."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 2**16:
        return None
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return None
    if bracketed != (address.version == 6) or "%" in host:
        return None
    return NodeAddress(str(address), int(port))


def _sets(members: Membership) -> tuple[tuple[SetCalls, tuple[Address, ...]], ...]:
    return (CURRENT, members.current), (MIGRATION, members.migration), (NEW, members.new)


def _confirmers(members: Membership, me: Address) -> tuple[Address, ...]:
    """Of whom is asked whether they have confirmed; the contract knows no strangers."""
    if not members.migration or me in members.migration or me not in members.current:
        return members.migration
    return (*members.migration, me)


def _node(address: Address, result: CallResult) -> NodeId:
    public: bytes = _required(CURRENT.public, result)
    try:
        node = NodeId(public)
        _ = node.point
    except (ValueError, InvalidPointError) as error:
        raise SetUnreadableError(f"public key of 0x{address.hex()}: {error}") from error
    if node.address != address:
        raise SetUnreadableError(f"public key of 0x{address.hex()}: it is that of another address")
    return node


def _network_address(getters: SetCalls, result: CallResult) -> NodeAddress | None:
    text: str | None = _optional(getters.network_address, result)
    return None if text is None else parse_network_address(text)


def _required(function: Function, result: CallResult) -> Any:
    if not isinstance(result, Returned):
        raise SetUnreadableError(f"{function.name}: the contract refuses the call")
    try:
        return function.decode_single(result.data)
    except AbiError as error:
        raise SetUnreadableError(str(error)) from error


def _optional(function: Function, result: CallResult) -> Any:
    try:
        return _required(function, result)
    except SetUnreadableError:
        return None


def _distinct(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    distinct = tuple(dict.fromkeys(addresses))
    if len(distinct) > MAX_NODES:
        raise SetUnreadableError(f"a set of {len(distinct)} nodes: at most {MAX_NODES} can be one")
    return distinct
