"""Answers of endpoints: well formed ones, odd ones, junk."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyserver.chain import rpc_codec as codec
from keyserver.chain.client import HEAD, BlockId, BlockRef, ContractCall, Log, Receipt
from keyserver.chain.endpoint import RpcValue, answer_of, label_of
from keyserver.chain.rpc_codec import MalformedAnswerError
from keyserver.chain.rpc_errors import RpcFailure
from keyserver.model.identifiers import Address, Hash32

HASH = Hash32(b"\x01" * 32)
PARENT = Hash32(b"\x02" * 32)
WHO = Address(b"\x03" * 20)
HEX_HASH, HEX_PARENT, HEX_WHO = "0x" + "01" * 32, "0x" + "02" * 32, "0x" + "03" * 20

BLOCK = {"number": "0x10", "hash": HEX_HASH, "parentHash": HEX_PARENT, "timestamp": "0x5"}
LOG = {
    "address": HEX_WHO,
    "topics": [HEX_HASH],
    "data": "0xabcd",
    "blockNumber": "0x10",
    "blockHash": HEX_HASH,
    "transactionHash": HEX_PARENT,
    "logIndex": "0x2",
}
RECEIPT = {
    "transactionHash": HEX_HASH,
    "status": "0x1",
    "blockNumber": "0x10",
    "blockHash": HEX_PARENT,
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x7",
}


def test_a_block() -> None:
    assert codec.block(BLOCK) == BlockRef(16, HASH, PARENT, 5, None)
    assert codec.block(BLOCK | {"baseFeePerGas": "0x7", "extra": 1}) == BlockRef(
        16, HASH, PARENT, 5, 7
    )
    assert codec.block(None) is None


def test_logs_are_ordered_and_removed_ones_left_out() -> None:
    earlier = LOG | {"logIndex": "0x1"}
    removed = LOG | {"removed": True}
    log = Log(WHO, (HASH,), b"\xab\xcd", 16, HASH, PARENT, 2)
    assert codec.logs([LOG, removed, earlier])[1] == log
    assert [each.log_index for each in codec.logs([LOG, removed, earlier])] == [1, 2]


def test_a_receipt() -> None:
    assert codec.receipt(RECEIPT) == Receipt(HASH, True, 16, PARENT, 21000, 7)
    failed = codec.receipt(RECEIPT | {"status": "0x0"})
    assert failed is not None
    assert not failed.succeeded
    assert codec.receipt(None) is None
    assert codec.receipt(RECEIPT | {"blockNumber": None}) is None


@pytest.mark.parametrize(
    "broken",
    [
        BLOCK | {"number": None},
        BLOCK | {"number": "16"},
        BLOCK | {"number": "0xzz"},
        BLOCK | {"number": "0x8000000000000000"},
        BLOCK | {"timestamp": "0x1" + 64 * "0"},
        BLOCK | {"baseFeePerGas": "0x1" + 64 * "0"},
        BLOCK | {"hash": "0x01"},
        BLOCK | {"hash": "0x" + "zz" * 32},
        BLOCK | {"parentHash": 5},
        "0x10",
        [],
    ],
)
def test_a_broken_block_is_refused(broken: Any) -> None:
    with pytest.raises(MalformedAnswerError):
        codec.block(broken)


@pytest.mark.parametrize(
    "broken", [None, {}, [None], [LOG | {"topics": None}], [LOG | {"address": HEX_HASH}]]
)
def test_broken_logs_are_refused(broken: Any) -> None:
    with pytest.raises(MalformedAnswerError):
        codec.logs(broken)


@pytest.mark.parametrize(
    ("error", "data"),
    [
        ({"code": 3, "message": "m", "data": "0xabcd"}, b"\xab\xcd"),
        ({"code": 3, "message": "m", "data": {"data": "0xabcd"}}, b"\xab\xcd"),
        ({"code": 3, "message": "m", "data": "Reverted 0xabcd"}, b"\xab\xcd"),
        ({"code": 3, "message": "m", "data": "0x"}, b""),
        ({"code": 3, "message": "m", "data": "reason in words"}, None),
        ({"code": 3, "message": "m"}, None),
    ],
)
def test_revert_data_in_its_various_places(error: dict[str, Any], data: bytes | None) -> None:
    assert codec.failure(error) == RpcFailure(3, "m", data)


def test_odd_errors_are_read_as_far_as_they_go() -> None:
    assert codec.failure("no") == RpcFailure(0, "no")
    assert codec.failure({"code": "x", "message": 5}) == RpcFailure(0, "")


def test_parameters() -> None:
    block = BlockId(16, HASH)
    assert codec.pinned_block(HEAD) == codec.numbered_block(HEAD) == "latest"
    assert codec.pinned_block(block) == {"blockHash": HEX_HASH, "requireCanonical": True}
    assert codec.numbered_block(block) == "0x10"
    assert codec.call_object(ContractCall(WHO, b"\x01")) == {"to": HEX_WHO, "data": "0x01"}
    assert codec.call_object(ContractCall(WHO, b"", WHO, 5)) == {
        "to": HEX_WHO,
        "data": "0x",
        "from": HEX_WHO,
        "value": "0x5",
    }
    assert codec.log_filter([WHO], 1, 2, [HASH]) == {
        "address": [HEX_WHO],
        "fromBlock": "0x1",
        "toBlock": "0x2",
        "topics": [[HEX_HASH]],
    }


def test_answers() -> None:
    assert answer_of({"id": 1, "result": None}) == RpcValue(None)
    assert answer_of({"id": 1, "result": 1, "error": None}) == RpcValue(1)
    assert answer_of({"id": 1, "error": {"code": 1, "message": "m"}}) == RpcFailure(1, "m")
    assert isinstance(answer_of({"id": 1}), RpcFailure)
    assert isinstance(answer_of([]), RpcFailure)


def test_labels_hold_no_secrets() -> None:
    assert label_of("https://user:password@node.test/v3/key?k=1") == "https://node.test"
    assert label_of("ws://[::1]:8546/") == "ws://[::1]:8546"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("0x1"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*BLOCK, *LOG, *RECEIPT, "removed"]), inner, max_size=5)
    ),
    max_leaves=8,
)


@given(json_values)
def test_junk_brings_no_other_error(value: Any) -> None:
    for parse in (codec.block, codec.logs, codec.receipt):
        with contextlib.suppress(MalformedAnswerError):
            parse(value)
    codec.failure(value)
    answer_of(value)
