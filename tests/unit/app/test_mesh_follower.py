"""Who may connect, and who is connected to, as the node set changes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from keyserver.app.mesh_follower import MeshFollower
from keyserver.model.identifiers import ZERO_HASH, Address, NodeId
from keyserver.model.node_set import NodeAddress, NodeSet, NodeSetSnapshot
from keyserver.model.set_change import CompletedChange
from tests.support.fake_cluster import node_of

CONTRACT = Address(b"\x07" * 20)


def set_of(*numbers: int) -> NodeSet:
    return NodeSet.of(5, CONTRACT, {node_of(number) for number in numbers})


def snapshot(*numbers: int) -> NodeSetSnapshot:
    current = set_of(*numbers)
    at = tuple((node, NodeAddress("10.0.0.1", 8000 + n)) for n, node in enumerate(current.nodes))
    return NodeSetSnapshot(current, current, None, at, epoch=3, block_number=50)


@dataclass
class Peers:
    """What the connections are told."""

    addresses: Mapping[NodeId, NodeAddress]
    admitted: frozenset[NodeId]

    def update_peers(
        self, addresses: Mapping[NodeId, NodeAddress], admitted: frozenset[NodeId]
    ) -> None:
        self.addresses, self.admitted = addresses, admitted


@dataclass
class Sets:
    """A node set that changes."""

    snapshot: NodeSetSnapshot


def test_members_connect_to_each_other() -> None:
    peers, sets = Peers({}, frozenset()), Sets(snapshot(1, 2))
    follower = MeshFollower(peers, sets, None)
    follower.show()
    assert peers.admitted == set(set_of(1, 2).nodes) == set(peers.addresses)
    before, sets.snapshot = sets.snapshot, snapshot(2, 3)
    follower.on_node_set(before, sets.snapshot)
    assert peers.admitted == set(set_of(2, 3).nodes)


def test_who_has_left_with_the_latest_change_may_connect_but_is_left_alone() -> None:
    peers, sets = Peers({}, frozenset()), Sets(snapshot(2, 3))
    left = CompletedChange(1, ZERO_HASH, set_of(1, 2), set_of(2, 3), 1_700_000_000)
    MeshFollower(peers, sets, left).show()
    assert peers.admitted == set(set_of(1, 2, 3).nodes)
    assert set(peers.addresses) == set(set_of(2, 3).nodes)


def test_after_a_cancellation_who_holds_the_keys_may_connect() -> None:
    peers, sets = Peers({}, frozenset()), Sets(snapshot(1, 2))
    cancelled = CompletedChange(1, ZERO_HASH, set_of(1, 2), set_of(2, 3), 1_700_000_000)
    MeshFollower(peers, sets, cancelled).show()
    assert peers.admitted == set(set_of(1, 2, 3).nodes)
    assert set(peers.addresses) == set(set_of(1, 2).nodes)


def test_the_next_change_ends_that() -> None:
    peers, sets = Peers({}, frozenset()), Sets(snapshot(2, 3))
    first = CompletedChange(1, ZERO_HASH, set_of(1, 2), set_of(2, 3), 1_700_000_000)
    follower = MeshFollower(peers, sets, first)
    sets.snapshot = snapshot(3, 4)
    follower.on_completed(replace(first, epoch=2, old=set_of(2, 3), new=set_of(3, 4)))
    assert peers.admitted == set(set_of(2, 3, 4).nodes)
