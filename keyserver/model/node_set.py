"""The nodes: who is in the set, in which order, under which name (engine design, section 4)."""

import struct
from dataclasses import dataclass
from functools import cached_property

from keyserver.crypto.curve import Scalar
from keyserver.crypto.hashing import tagged_hash
from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.keys import CommitteeMember
from keyserver.model.quorums import MAX_NODES

KEY_SPACE = 2**256
"""How many key ids there are."""


@dataclass(frozen=True)
class NodeSet:
    """At most 256 nodes in canonical order, under the contract that names the set."""

    chain_id: int
    contract: Address
    nodes: tuple[NodeId, ...]

    def __post_init__(self) -> None:
        """Raises `ValueError` unless the nodes are distinct, ascending and not too many."""
        if list(self.nodes) != sorted(set(self.nodes)):
            raise ValueError("a node set lists distinct nodes in ascending order")
        if len(self.nodes) > MAX_NODES:
            raise ValueError(f"a node set has at most {MAX_NODES} nodes, not {len(self.nodes)}")

    @classmethod
    def of(cls, chain_id: int, contract: Address, nodes: set[NodeId]) -> "NodeSet":
        """The set of these nodes, put in order."""
        return cls(chain_id, contract, tuple(sorted(nodes)))

    @cached_property
    def id(self) -> Hash32:
        """`set_id`: the name of this set in records and messages."""
        packed = struct.pack(">Q", self.chain_id) + self.contract
        packed += struct.pack(">I", len(self.nodes)) + b"".join(self.nodes)
        return Hash32(tagged_hash("tks/1/set", packed))

    @cached_property
    def committee(self) -> tuple[CommitteeMember, ...]:
        """The committee of a new sharing: node number i, from 1, gets `x = i`."""
        return tuple(CommitteeMember(node, Scalar(i)) for i, node in enumerate(self.nodes, 1))

    def __contains__(self, node: object) -> bool:
        return node in self._members

    def __len__(self) -> int:
        return len(self.nodes)

    @cached_property
    def _members(self) -> frozenset[NodeId]:
        return frozenset(self.nodes)


def static_set_contract(cluster_name: str) -> Address:
    """What stands for the contract's address in a set that is configured, not on a chain."""
    if not cluster_name:
        return Address(bytes(20))
    name = cluster_name.encode()
    return Address(tagged_hash("tks/1/static", struct.pack(">I", len(name)) + name)[:20])


def cluster_id(
    chain_id: int, contract: Address, cluster_name: str, max_faulty: int | None
) -> Hash32:
    """The name of the cluster; nodes that disagree about it do not talk to each other."""
    name = cluster_name.encode()
    packed = struct.pack(">Q", chain_id) + contract + struct.pack(">I", len(name)) + name
    packed += struct.pack(">H", 0xFFFF if max_faulty is None else max_faulty)
    return Hash32(tagged_hash("tks/1/cluster", packed))


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node listens for its peers."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Migration:
    """A running migration of the key server set contract."""

    id: Hash32
    nodes: frozenset[NodeId]
    master: NodeId
    confirmed_by_self: bool


@dataclass(frozen=True)
class NodeSetSnapshot:
    """What one block says about the node set (chain watcher, section 4)."""

    current: NodeSet
    new: NodeSet
    migration: Migration | None
    addresses: tuple[tuple[NodeId, NodeAddress], ...]
    """Network addresses of all members of any of the sets; a member without one is unreachable."""
    epoch: int
    """Block of the last completed migration: answers on chain belong to an epoch."""
    block_number: int
    stale: bool = False
    """Whether the chain could not be asked lately; the sets are then the last good ones."""

    @cached_property
    def address_by_node(self) -> dict[NodeId, NodeAddress]:
        """The network address of every reachable member."""
        return dict(self.addresses)

    def all_nodes(self) -> frozenset[NodeId]:
        """Members of any of the sets: who may connect."""
        migrating = self.migration.nodes if self.migration else frozenset()
        return frozenset(self.current.nodes) | frozenset(self.new.nodes) | migrating
