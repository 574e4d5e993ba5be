"""The administrator's orders against the vectors: hashes, signatures, what a node decides."""

from typing import Any

import pytest

from keyserver.api.node_ids import parse_new_set
from keyserver.api.original_paths import ChangeNodeSet, parse
from keyserver.model.identifiers import NodeId, Signature
from keyserver.model.node_set import NodeSet, static_set_contract
from keyserver.model.set_change import LegacyOrder, set_hash
from keyserver.model.set_change_rules import (
    AdministratorView,
    OrderRefusedError,
    Rule,
    judge_order,
)
from tests.vectors.files import load, raw

_FILE = load("http-api")
_CASES = _FILE["servers_set_change"]
every_case = pytest.mark.parametrize("case", _CASES, ids=lambda case: case["name"])


def nodes(case: dict[str, Any], which: str) -> set[NodeId]:
    return {NodeId(raw(node)) for node in case[f"{which}_set"]}


def view(case: dict[str, Any]) -> AdministratorView:
    configured = NodeSet.of(0, static_set_contract(""), nodes(case, "old"))
    return AdministratorView(configured, NodeId(raw(case["admin_public"])), (), 0)


def order(case: dict[str, Any]) -> LegacyOrder:
    """The order as a node reads it from the printed request."""
    request = case["request"]
    call = parse(request["method"], request["path"].encode())
    body = parse_new_set(request["body"].encode())
    assert isinstance(call, ChangeNodeSet)
    assert body is not None
    signatures = Signature(call.old_signature), Signature(call.new_signature)
    return LegacyOrder(tuple(sorted(body)), *signatures)


@every_case
def test_hashes_of_the_sets(case: dict[str, Any]) -> None:
    for which in ("old", "new"):
        assert set_hash(nodes(case, which)) == raw(case[f"{which}_set_hash"])


@every_case
def test_a_node_of_the_old_set_takes_the_printed_request(case: dict[str, Any]) -> None:
    change = judge_order(order(case), view(case))
    assert set(change.old.nodes) == nodes(case, "old")
    assert set(change.new.nodes) == nodes(case, "new")


@every_case
def test_the_requests_of_the_other_cases_are_refused(case: dict[str, Any]) -> None:
    for other in _CASES:
        if other["old_set"] == case["old_set"]:
            continue
        with pytest.raises(OrderRefusedError) as refusal:
            judge_order(order(other), view(case))
        assert refusal.value.rule in (Rule.UNKNOWN_NODE, Rule.WRONG_SIGNER)
