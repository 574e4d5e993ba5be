import pytest
from eth_account.messages import encode_typed_data

from keyserver.crypto.hashing import keccak256, tagged_hash
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.codec import CodecError, encode
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, NodeId, Signature
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import (
    BoundOrder,
    CompletedChange,
    LegacyOrder,
    MigrationOrder,
    SetChange,
    SetChangeOrder,
    current_set,
    decode_order,
    encode_order,
    set_change_digest,
    set_hash,
)
from tests.support.set_changes import (
    ALL,
    CONTRACT,
    NODES,
    bound_order,
    completed,
    legacy_order,
    set_of,
)

SIGNATURE = Signature(b"\x07" * 65)
MIGRATION = MigrationOrder(Hash32(b"\x4d" * 32), NODES[1:], NODES[2])
ORDERS: list[SetChangeOrder] = [legacy_order(), bound_order(), MIGRATION]
_FIELDS = [
    {"name": "oldSetId", "type": "bytes32"},
    {"name": "newSetId", "type": "bytes32"},
    {"name": "epoch", "type": "uint64"},
    {"name": "notAfter", "type": "uint64"},
]


@pytest.mark.parametrize("chain_id", [0, 1, 2**64 - 1])
def test_the_digest_is_that_of_the_typed_data(chain_id: int) -> None:
    old, new = Hash32(b"\x01" * 32), Hash32(b"\x02" * 32)
    typed = encode_typed_data(
        domain_data={
            "name": "SecretStore",
            "version": "2",
            "chainId": chain_id,
            "verifyingContract": "0x" + CONTRACT.hex(),
        },
        message_types={"SetChange": _FIELDS},
        message_data={
            "oldSetId": bytes(old),
            "newSetId": bytes(new),
            "epoch": 7,
            "notAfter": 1_800_000_000,
        },
    )
    digest = set_change_digest(
        SigningDomain(chain_id, CONTRACT),
        old_set_id=old,
        new_set_id=new,
        epoch=7,
        not_after=1_800_000_000,
    )
    assert digest == keccak256(b"\x19" + typed.version + typed.header + typed.body)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_an_order_survives_its_encoding(order: SetChangeOrder) -> None:
    assert decode_order(encode_order(order)) == order


def test_the_encoding_is_kind_and_fields() -> None:
    nodes = b"\0\0\0\x02" + b"".join(node.point.compressed for node in NODES[:2])
    legacy = LegacyOrder(NODES[:2], SIGNATURE, Signature(b"\x08" * 65))
    assert encode_order(legacy) == b"\x01" + nodes + b"\x07" * 65 + b"\x08" * 65
    bound = BoundOrder(ALL.id, NODES[:2], 3, 9, SIGNATURE)
    numbers = (3).to_bytes(8, "big") + (9).to_bytes(8, "big")
    assert encode_order(bound) == b"\x02" + ALL.id + nodes + numbers + SIGNATURE
    migration = MigrationOrder(Hash32(b"\x4d" * 32), NODES[:2], NODES[4])
    master = NODES[4].point.compressed
    assert encode_order(migration) == b"\x03" + b"\x4d" * 32 + nodes + master


def test_what_is_no_order() -> None:
    good = encode_order(bound_order())
    unsorted = b"\x03" + encode(MIGRATION)
    first, second = (node.point.compressed for node in NODES[1:3])
    swapped = unsorted.replace(first + second, second + first)
    assert swapped != unsorted
    nobody = b"\x03" + bytes(32) + bytes(4) + NODES[0].point.compressed
    for data in (b"", b"\x00" + good[1:], b"\x04", good[:-1], good + b"\0", swapped, nobody):
        with pytest.raises(CodecError):
            decode_order(data)


@pytest.mark.parametrize("nodes", [(), (NODES[1], NODES[0]), (NODES[0], NODES[0])])
def test_the_nodes_of_an_order_are_a_set(nodes: tuple[NodeId, ...]) -> None:
    for make in (
        lambda: LegacyOrder(nodes, SIGNATURE, SIGNATURE),
        lambda: BoundOrder(ZERO_HASH, nodes, 1, 1, SIGNATURE),
        lambda: MigrationOrder(ZERO_HASH, nodes, NODES[0]),
    ):
        with pytest.raises(ValueError, match="new_nodes"):
            make()


@pytest.mark.parametrize("number", [-1, 2**64])
def test_numbers_fit_64_bits(number: int) -> None:
    with pytest.raises(ValueError, match="epoch"):
        BoundOrder(ZERO_HASH, NODES, number, 1, SIGNATURE)
    with pytest.raises(ValueError, match="not_after"):
        BoundOrder(ZERO_HASH, NODES, 1, number, SIGNATURE)


def test_signatures_are_not_shown() -> None:
    for order in (legacy_order(), bound_order()):
        assert "Signature" not in repr(order)


def test_the_hash_of_a_set_is_of_ascending_ids() -> None:
    assert set_hash(NODES) == keccak256(b"".join(NODES))
    assert set_hash([NODES[1], NODES[0], NODES[1]]) == keccak256(NODES[0] + NODES[1])
    assert set_hash([]) == keccak256(b"")


def test_the_name_of_a_change() -> None:
    new, order_id = set_of(NODES[2:]), Hash32(b"\x77" * 32)
    change = SetChange.ordered(ALL, new, order_id)
    assert change.id == tagged_hash("tks/1/change", ALL.id + new.id + order_id)
    assert SetChange.ordered(ALL, new).id == tagged_hash(
        "tks/1/change", ALL.id + new.id + bytes(32)
    )
    assert change.leaving == NODES[:2]
    assert SetChange.ordered(ALL, ALL).leaving == ()


def test_the_current_set_is_the_target_until_the_configuration_changes() -> None:
    change = completed(SetChange.ordered(ALL, set_of(NODES[:3])))
    assert current_set(ALL, None) == ALL
    assert current_set(ALL, change) == change.new
    for configured in (set_of(NODES[:3]), set_of(NODES[:4])):
        assert current_set(configured, change) == configured


def test_a_completed_change_is_of_one_network_and_counted() -> None:
    elsewhere = NodeSet(1, Address(bytes(20)), NODES)
    with pytest.raises(ValueError, match="same network"):
        CompletedChange(1, ZERO_HASH, ALL, elsewhere, 0)
    with pytest.raises(ValueError, match="epoch"):
        CompletedChange(0, ZERO_HASH, ALL, ALL, 0)
