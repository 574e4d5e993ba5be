"""Node sets and their names."""

import pytest

from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.node_set import (
    Migration,
    NodeAddress,
    NodeSet,
    NodeSetSnapshot,
    cluster_id,
    static_set_contract,
)
from tests.support.keys import node_set_of, nodes_of
from tests.vectors.files import load


def test_names_of_sets_and_clusters_are_those_of_the_vectors() -> None:
    vectors = load("hashing")
    given = vectors["node_set"]
    nodes = tuple(NodeId(bytes.fromhex(node)) for node in given["nodes_sorted_raw64"])
    contract = Address(bytes.fromhex(given["contract"]))
    assert NodeSet(given["chain_id"], contract, nodes).id.hex() == given["set_id"]
    for case in vectors["static_set"]["cases"]:
        name = case["cluster_name"]
        assert static_set_contract(name).hex() == case["contract"]
        static = NodeSet(case["chain_id"], static_set_contract(name), nodes)
        assert static.id.hex() == case["set_id"]
        named = cluster_id(case["chain_id"], static.contract, name, case["max_faulty"])
        assert named.hex() == case["cluster_id"]


def test_a_set_is_ordered() -> None:
    nodes = nodes_of(3)
    ordered = NodeSet.of(1, Address(bytes(20)), set(nodes))
    assert ordered.nodes == nodes
    assert nodes[0] in ordered
    assert NodeId(bytes(64)) not in ordered
    assert len(ordered) == 3
    assert [int(member.x) for member in ordered.committee] == [1, 2, 3]

    with pytest.raises(ValueError, match="ascending"):
        NodeSet(1, Address(bytes(20)), nodes[::-1])


def test_a_snapshot_knows_who_may_connect() -> None:
    nodes = nodes_of(4)
    current = NodeSet(1, Address(bytes(20)), nodes[:2])
    new = NodeSet(1, Address(bytes(20)), nodes[1:3])
    migration = Migration(Hash32(bytes(32)), frozenset(nodes[3:]), nodes[3], False)
    addresses = ((nodes[0], NodeAddress("::1", 1)), (nodes[1], NodeAddress("10.0.0.1", 2)))
    snapshot = NodeSetSnapshot(current, new, migration, addresses, 0, 0)
    assert snapshot.all_nodes() == frozenset(nodes)
    assert str(snapshot.address_by_node[nodes[0]]) == "[::1]:1"
    assert str(snapshot.address_by_node[nodes[1]]) == "10.0.0.1:2"
    calm = NodeSetSnapshot(node_set_of(2), node_set_of(2), None, addresses, 0, 0)
    assert calm.all_nodes() == frozenset(nodes_of(2))


def test_a_set_has_at_most_256_nodes() -> None:
    assert len(NodeSet.of(1, Address(bytes(20)), set(nodes_of(256)))) == 256
    with pytest.raises(ValueError, match="at most 256 nodes, not 257"):
        NodeSet.of(1, Address(bytes(20)), set(nodes_of(257)))
