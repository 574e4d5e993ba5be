from typing import Any

import pytest

from keyserver.crypto.curve import SECOND_GENERATOR, Point
from keyserver.crypto.errors import InvalidPointError
from keyserver.crypto.hashing import hash_to_scalar, keccak256, tagged_hash
from tests.vectors.files import load, raw

_VECTORS = load("hashing")


@pytest.mark.parametrize("case", _VECTORS["cases"])
def test_tagged_hash(case: dict[str, str]) -> None:
    message = raw(case["message"])
    assert tagged_hash(case["tag"], message) == raw(case["digest"])
    assert hash_to_scalar(case["tag"], message).to_bytes() == raw(case["as_scalar"])


@pytest.mark.parametrize("case", _VECTORS["keccak256"])
def test_keccak256(case: dict[str, str]) -> None:
    assert keccak256(raw(case["message"])) == raw(case["digest"])


def test_second_generator_follows_its_rule() -> None:
    expected = _VECTORS["generator_H"]
    counter = 0
    while True:
        x = tagged_hash("tks/1/generator-H", counter.to_bytes(4, "big"))
        try:
            found = Point.parse(b"\x02" + x)
            break
        except InvalidPointError:
            counter += 1
    assert counter == expected["counter"]
    assert found.compressed == raw(expected["point"])
    assert found == SECOND_GENERATOR


def test_node_set_hashes() -> None:
    node_set: dict[str, Any] = _VECTORS["node_set"]
    nodes = [raw(node) for node in node_set["nodes_sorted_raw64"]]
    assert nodes == sorted(nodes)
    head = node_set["chain_id"].to_bytes(8, "big") + raw(node_set["contract"])
    fields = head + len(nodes).to_bytes(4, "big") + b"".join(nodes)
    assert tagged_hash("tks/1/set", fields) == raw(node_set["set_id"])
    assert keccak256(b"".join(nodes)) == raw(node_set["legacy_ordered_nodes_keccak"])


@pytest.mark.parametrize("case", _VECTORS["static_set"]["cases"])
def test_static_set_hashes(case: dict[str, Any]) -> None:
    name = case["cluster_name"].encode()
    lengthed = len(name).to_bytes(4, "big") + name
    contract = tagged_hash("tks/1/static", lengthed)[:20] if name else bytes(20)
    assert contract == raw(case["contract"])
    faulty = 0xFFFF if case["max_faulty"] is None else case["max_faulty"]
    chain_id = case["chain_id"].to_bytes(8, "big")
    fields = chain_id + contract + lengthed + faulty.to_bytes(2, "big")
    assert tagged_hash("tks/1/cluster", fields) == raw(case["cluster_id"])
