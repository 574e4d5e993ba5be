"""What becomes of a key, by who holds it and who is there."""

from dataclasses import replace

import pytest

from keyserver.model.identifiers import Address, KeyId
from keyserver.model.node_set import NodeSet
from keyserver.sessions.set_change.fates import Fate, fate_of, loses_nobody
from tests.support.fake_cluster import certified_record, node_of

NODES = sorted(node_of(number) for number in range(1, 7))
RECORD = certified_record(
    KeyId(b"\x01" * 32), Address(bytes(20)), threshold=1, nodes=tuple(NODES[:4])
).record
"""Two of four nodes use the key; three of them are a quorum."""


def set_of(*places: int) -> NodeSet:
    return NodeSet.of(1, Address(bytes(20)), {NODES[place] for place in places})


def fate(target: NodeSet, holders: str, reachable: str) -> Fate:
    return fate_of(
        RECORD,
        target,
        holders={NODES[int(place)] for place in holders},
        reachable={NODES[int(place)] for place in reachable},
        max_faulty=None,
    )


@pytest.mark.parametrize(
    ("target", "holders", "reachable", "expected"),
    [
        (set_of(1, 2, 3, 4), "0123", "01234", Fate.MOVES),
        (set_of(1, 2, 3, 4), "01", "012", Fate.MOVES),
        (set_of(1, 2, 3, 4), "03", "0124", Fate.IS_LOST),
        (set_of(1, 2, 3, 4), "01", "01", Fate.IS_LOST),
        (set_of(1, 2, 3, 4), "045", "01245", Fate.IS_LOST),
        (set_of(4), "0123", "01234", Fate.IS_LOST),
        (set_of(0), "0123", "0123", Fate.IS_LOST),
        (set_of(0, 1, 2, 3, 4), "03", "0124", Fate.STAYS),
        (set_of(0, 1, 2, 3, 4), "01", "01", Fate.STAYS),
    ],
)
def test_the_fate_of_a_key(target: NodeSet, holders: str, reachable: str, expected: Fate) -> None:
    assert fate(target, holders, reachable) is expected


def test_a_key_on_the_target_set_has_arrived_whoever_is_there() -> None:
    target = NodeSet.of(1, Address(bytes(20)), set(NODES[:4]))
    arrived = replace(RECORD, set_id=target.id)
    assert fate_of(arrived, target, holders=set(), reachable=set(), max_faulty=None) is Fate.ARRIVED


def test_a_lower_bound_of_liars_needs_fewer_nodes() -> None:
    nodes = certified_record(
        KeyId(b"\x01" * 32), Address(bytes(20)), threshold=1, nodes=tuple(NODES[:4])
    ).record
    there = set(NODES[:3])
    assert fate_of(nodes, set_of(1, 2), holders=there, reachable=there, max_faulty=0) is Fate.MOVES


def test_who_loses_nobody() -> None:
    assert loses_nobody(RECORD, set_of(0, 1, 2, 3))
    assert loses_nobody(RECORD, set_of(0, 1, 2, 3, 5))
    assert not loses_nobody(RECORD, set_of(1, 2, 3, 4))
