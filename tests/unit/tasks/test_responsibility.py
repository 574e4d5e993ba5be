"""The range rule (chain watcher, section 5), its table row by row, and the fallback (W-16)."""

import random

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.node_set import NodeSet
from keyserver.tasks.responsibility import (
    backoff,
    hopeless_from,
    jitter,
    may_start_from,
    starter_index,
    turn_among,
    turn_of,
)
from tests.support.work import SET_CONTRACT

TOP = 2**256 - 1


RANGES = [
    (2, 0, "0000…0000", "7fff…ffff"),
    (2, 1, "8000…0000", "ffff…ffff"),
    (3, 0, "0000…0000", "5555…5555"),
    (3, 1, "5555…5556", "aaaa…aaab"),
    (3, 2, "aaaa…aaac", "ffff…ffff"),
    (4, 0, "0000…0000", "3fff…ffff"),
    (4, 1, "4000…0000", "7fff…ffff"),
    (4, 2, "8000…0000", "bfff…ffff"),
    (4, 3, "c000…0000", "ffff…ffff"),
    (5, 0, "0000…0000", "3333…3333"),
    (5, 1, "3333…3334", "6666…6667"),
    (5, 2, "6666…6668", "9999…999b"),
    (5, 3, "9999…999c", "cccc…cccf"),
    (5, 4, "cccc…ccd0", "ffff…ffff"),
]


def border(text: str) -> int:
    """The table abbreviates: the digit before the dots repeats."""
    first, last = text.split("…")
    return int(first + first[-1] * (64 - len(first) - len(last)) + last, 16)


def key(value: int) -> KeyId:
    return KeyId(value.to_bytes(32, "big"))


@pytest.mark.parametrize(("nodes", "index", "first", "last"), RANGES)
def test_ranges(nodes: int, index: int, first: str, last: str) -> None:
    low, high = border(first), border(last)
    assert starter_index(key(low), nodes) == starter_index(key(high), nodes) == index
    if low:
        assert starter_index(key(low - 1), nodes) == index - 1
    if high < TOP:
        assert starter_index(key(high + 1), nodes) == index + 1


@pytest.mark.parametrize(
    ("index", "first", "last"),
    [
        (1, "24924924" * 7 + "92492493", "49249249" * 7 + "24924925"),
        (6, "db6db6db" * 7 + "6db6db72", "f" * 64),
    ],
)
def test_sevenths(index: int, first: str, last: str) -> None:
    width = TOP // 7 + 1
    low, high = index * width, min(index * width + width - 1, TOP)
    for value, text in ((low, first), (high, last)):
        assert f"{value:064x}"[:8] == text[:8]
        assert f"{value:064x}"[-8:] == text[-8:]
        assert starter_index(key(value), 7) == index


WORKED_IDS = [
    ("00" * 31 + "01", (0, 0, 0, 0, 0)),
    ("33" * 32, (0, 0, 0, 0, 1)),
    ("55" * 32, (0, 0, 1, 1, 2)),
    ("55" * 31 + "56", (0, 1, 1, 1, 2)),
    ("99" * 32, (1, 1, 2, 2, 4)),
    ("aa" * 31 + "ab", (1, 1, 2, 3, 4)),
    ("aa" * 31 + "ac", (1, 2, 2, 3, 4)),
    (keccak256(b"document-1").hex(), (0, 0, 0, 0, 0)),
    (keccak256(b"document-2").hex(), (0, 0, 1, 1, 1)),
    (keccak256(b"document-3").hex(), (1, 2, 3, 4, 6)),
]


@pytest.mark.parametrize(("key_id", "indices"), WORKED_IDS)
def test_worked_ids(key_id: str, indices: tuple[int, ...]) -> None:
    found = tuple(starter_index(KeyId(bytes.fromhex(key_id)), n) for n in (2, 3, 4, 5, 7))
    assert found == indices


def node(secret: int) -> NodeId:
    return NodeId.of(SecretScalar(secret.to_bytes(32, "big")).public())


def node_set(*secrets: int) -> NodeSet:
    return NodeSet.of(1, SET_CONTRACT, {node(secret) for secret in secrets})


def test_nodes_are_ordered_by_id_not_by_their_place_in_the_contract() -> None:
    assert [NodeId.hex(each)[:16] for each in node_set(1, 2, 3, 4, 5).nodes] == [
        "2f8bde4d1a072093",
        "79be667ef9dcbbac",
        "c6047f9441ed7d6d",
        "e493dbf1c10d80f3",
        "f9308a019258c310",
    ]
    document_2 = KeyId(keccak256(b"document-2"))
    assert turn_of(node(1), node_set(1, 2, 3, 4, 5), document_2) == 0
    assert turn_of(node(1), node_set(3, 2, 1), document_2) == 0


def test_random_ids_against_the_rule_as_it_is_written() -> None:
    rng = random.Random(5)
    for nodes in [*range(1, 40), 100, 255, 256]:
        width = TOP // nodes
        for _ in range(20):
            value = rng.randrange(2**256)
            index = starter_index(key(value), nodes)
            low = index * (width + 1)
            assert low <= value <= min(low + width, TOP)


def test_turns_go_round_and_strangers_have_none() -> None:
    nodes = node_set(1, 2, 3)
    key_id = key(TOP)  # the third node's range
    turns = [turn_of(each, nodes, key_id) for each in nodes.nodes]
    assert turns == [1, 2, 0]
    assert [may_start_from(each, nodes, key_id, 100, 30) for each in nodes.nodes] == [
        130,
        160,
        100,
    ]
    assert may_start_from(node(9), nodes, key_id, 100, 30) is None
    assert hopeless_from(nodes, 100, 30) == 220


def test_nodes_that_are_away_have_no_turn() -> None:
    nodes = node_set(1, 2, 3)
    key_id = key(TOP)  # the third node's range
    first, second, third = nodes.nodes
    assert turn_among(first, nodes, key_id, {first, second, third}) == 1
    assert turn_among(first, nodes, key_id, {first, second}) == 0
    assert turn_among(second, nodes, key_id, {second}) == 0
    assert turn_among(second, nodes, key_id, set()) == 0
    assert turn_among(node(9), nodes, key_id, {first}) is None


def test_a_single_node_starts_everything() -> None:
    assert turn_of(node(1), node_set(1), key(TOP)) == 0


def test_backoff_doubles_up_to_a_cap() -> None:
    assert [backoff(attempts, 30) for attempts in range(1, 7)] == [30, 60, 120, 240, 240, 240]


def test_jitter_is_small_and_differs_between_nodes() -> None:
    values = {jitter(node(secret), key(7), 1, 80) for secret in range(1, 20)}
    assert len(values) > 3
    assert max(values) <= 10
    assert {jitter(node(secret), key(7), 1, 4) for secret in range(1, 20)} == {0}
