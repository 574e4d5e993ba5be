"""Readiness: each reason alone, and none for a healthy node."""

from dataclasses import replace

from keyserver.api.facts import Trouble
from keyserver.app.health import Condition, troubles_of, warnings_of
from keyserver.model.identifiers import Address, NodeId
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from tests.unit.app.samples import node_id

NODES = tuple(sorted(node_id(name) for name in ("a", "b", "c", "d")))


def snapshot(*nodes: NodeId, stale: bool = False) -> NodeSetSnapshot:
    current = NodeSet.of(1, Address(bytes(20)), set(nodes))
    return NodeSetSnapshot(current, current, None, (), 0, 0, stale=stale)


HEALTHY = Condition(
    me=NODES[0],
    snapshot=snapshot(*NODES),
    connected=frozenset(NODES[1:3]),
    max_faulty=None,
    chain_problem=None,
    database_problem=None,
)


def codes(condition: Condition) -> list[str]:
    return [trouble.code for trouble in troubles_of(condition)]


def test_a_node_with_a_quorum_is_ready() -> None:
    assert codes(HEALTHY) == []


def test_a_node_alone_in_its_set_is_ready() -> None:
    assert codes(replace(HEALTHY, snapshot=snapshot(NODES[0]), connected=frozenset())) == []


def test_too_few_connections() -> None:
    # four nodes tolerate one fault: three must be there
    (trouble,) = troubles_of(replace(HEALTHY, connected=frozenset(NODES[1:2])))
    assert trouble == Trouble(
        "no_quorum", "2 of 4 nodes are reached, this one included; 3 are needed"
    )


def test_connections_to_strangers_do_not_count() -> None:
    outsiders = frozenset({NODES[1], node_id("alice"), node_id("bob")})
    assert codes(replace(HEALTHY, connected=outsiders)) == ["no_quorum"]


def test_a_lower_bound_on_faults_lowers_the_quorum() -> None:
    one_peer = replace(HEALTHY, connected=frozenset(NODES[1:2]))
    # floor((4 + 0) / 2) + 1 = 3, as with one fault: the quorum of four nodes is three
    assert codes(replace(one_peer, max_faulty=0)) == ["no_quorum"]
    seven = tuple(sorted({*NODES, node_id("alice"), node_id("bob"), node_id("charlie")}))
    four_of_seven = replace(
        HEALTHY, me=seven[0], snapshot=snapshot(*seven), connected=frozenset(seven[1:4])
    )
    assert codes(four_of_seven) == ["no_quorum"]
    assert codes(replace(four_of_seven, max_faulty=0)) == []


def test_an_isolated_node_says_only_that() -> None:
    assert codes(replace(HEALTHY, me=node_id("alice"))) == ["isolated"]


def test_all_that_is_wrong_is_told() -> None:
    bad = replace(
        HEALTHY,
        snapshot=snapshot(*NODES, stale=True),
        connected=frozenset(),
        chain_problem="no block",
        database_problem="gone",
    )
    assert codes(bad) == ["database", "chain", "node_set_stale", "no_quorum"]
    assert troubles_of(bad)[0].text == "gone"


def test_warnings() -> None:
    configured = (Trouble("lenient_default", "a key is not set"),)
    found = warnings_of(
        configuration=configured,
        contract_problems={"acl_contract": "the registry has no entry"},
        balance=9,
        least_balance=10,
    )
    assert [warning.code for warning in found] == [
        "contract_missing",
        "balance_low",
        "lenient_default",
    ]
    assert "acl_contract" in found[0].text


def test_no_warning_about_a_balance_that_is_unknown_or_enough() -> None:
    for balance in (None, 10):
        assert not warnings_of(
            configuration=(), contract_problems={}, balance=balance, least_balance=10
        )
