"""Whatever is altered in an order, no node takes it; how a set is written makes no difference."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.model.codec import CodecError
from keyserver.model.identifiers import NodeId
from keyserver.model.set_change import (
    AdministratorOrder,
    MigrationOrder,
    decode_order,
    encode_order,
    set_hash,
)
from keyserver.model.set_change_rules import OrderRefusedError, judge_order
from tests.support.set_changes import ALL, NODES, bound_order, legacy_order, set_of, view

_FEW = settings(max_examples=60, deadline=None)
subsets = st.sets(st.sampled_from(NODES), min_size=1)


@_FEW
@given(st.permutations(NODES), st.lists(st.sampled_from(NODES)))
def test_order_and_repetition_of_ids_do_not_matter(
    nodes: list[NodeId], again: list[NodeId]
) -> None:
    assert set_hash(nodes + again) == set_hash(NODES)
    assert legacy_order(old=set_of(nodes + again)) == legacy_order()


@_FEW
@given(subsets, subsets)
def test_different_sets_have_different_hashes(one: set[NodeId], other: set[NodeId]) -> None:
    assert (set_hash(one) == set_hash(other)) == (one == other)


def accepted(data: bytes) -> bool:
    """Whether a node carries out what these bytes say."""
    try:
        order = decode_order(data)
    except CodecError:
        return False
    if isinstance(order, MigrationOrder):
        return False  # never an administrator's: judged by the chain alone
    try:
        judge_order(order, view())
    except OrderRefusedError:
        return False
    return True


@_FEW
@given(st.sampled_from([legacy_order(), bound_order()]), st.data())
def test_no_altered_byte_is_accepted(order: AdministratorOrder, data: st.DataObject) -> None:
    encoded = bytearray(encode_order(order))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    assert accepted(encode_order(order))
    assert not accepted(bytes(encoded))


@_FEW
@given(subsets, subsets)
def test_the_signatures_of_one_target_are_for_no_other(
    one: set[NodeId], other: set[NodeId]
) -> None:
    moved: list[AdministratorOrder] = [
        replace(legacy_order(ALL, one), new_nodes=tuple(sorted(other))),
        replace(bound_order(ALL, one), new_nodes=tuple(sorted(other))),
    ]
    for order in moved:
        assert accepted(encode_order(order)) == (one == other)


@_FEW
@given(st.binary(max_size=400))
def test_junk_is_no_order(junk: bytes) -> None:
    try:
        order = decode_order(junk)
    except CodecError:
        return
    assert encode_order(order) == junk
