"""What error answers mean, in the words of several node programs."""

import pytest

from keyserver.chain.client import SendRefusal
from keyserver.chain.rpc_errors import (
    RpcFailure,
    is_overloaded,
    is_revert,
    is_too_many_logs,
    is_unknown_block,
    is_unknown_method,
    is_unsupported_pin,
    send_refusal,
)


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("nonce too low: next nonce 5, tx nonce 3", SendRefusal.NONCE_TOO_LOW),
        ("Nonce too low", SendRefusal.NONCE_TOO_LOW),
        ("already known", SendRefusal.ALREADY_KNOWN),
        ("AlreadyKnown: already known", SendRefusal.ALREADY_KNOWN),
        ("Known transaction", SendRefusal.ALREADY_KNOWN),
        ("Transaction with the same hash was already imported.", SendRefusal.ALREADY_KNOWN),
        ("replacement transaction underpriced", SendRefusal.UNDERPRICED),
        ("transaction underpriced: tip needed 1", SendRefusal.UNDERPRICED),
        ("max fee per gas less than block base fee: address 0x", SendRefusal.UNDERPRICED),
        ("FeeTooLow, EffectivePriorityFeePerGas too low 0 < 1", SendRefusal.UNDERPRICED),
        ("insufficient funds for gas * price + value", SendRefusal.INSUFFICIENT_FUNDS),
        ("Insufficient balance", SendRefusal.INSUFFICIENT_FUNDS),
        ("exceeds block gas limit", SendRefusal.OTHER),
    ],
)
def test_refusals_of_transactions(message: str, refusal: SendRefusal) -> None:
    assert send_refusal(message) is refusal


@pytest.mark.parametrize(
    "failure",
    [
        RpcFailure(3, "execution reverted: no", b"\x01"),
        RpcFailure(3, ""),
        RpcFailure(-32000, "execution reverted"),
        RpcFailure(-32015, "VM execution error.", b"\x02"),
        RpcFailure(-32000, "out of gas"),
        RpcFailure(-32000, "invalid opcode: INVALID"),
    ],
)
def test_reverts(failure: RpcFailure) -> None:
    assert is_revert(failure)


@pytest.mark.parametrize(
    "message",
    [
        "query returned more than 10000 results",
        "exceed maximum block range: 5000",
        "block range is too large",
        "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
        "query exceeds limit",
        "too many blocks",
        "HTTP status 413: too large a request?",
    ],
)
def test_log_queries_that_are_too_large(message: str) -> None:
    assert is_too_many_logs(RpcFailure(-32005, message))


@pytest.mark.parametrize(
    "message",
    [
        "header not found",
        "header for hash not found",
        "hash 0xabc is not currently canonical",
        "missing trie node 0xabc",
        "unknown block",
        "block not found",
        "Resource not found.",
    ],
)
def test_blocks_that_are_gone(message: str) -> None:
    failure = RpcFailure(-32000, message)
    assert is_unknown_block(failure)
    assert not is_revert(failure)


@pytest.mark.parametrize(
    "message",
    [
        "invalid argument 1: json: cannot unmarshal object into Go value of type string",
        "Invalid params: expected string",
        "data did not match any variant of untagged enum",
    ],
)
def test_endpoints_that_know_no_pinned_reads(message: str) -> None:
    failure = RpcFailure(-32602, message)
    assert is_unsupported_pin(failure)
    assert not is_unknown_block(failure)
    assert not is_revert(failure)


def test_endpoints_that_cannot_answer_now() -> None:
    assert is_overloaded(RpcFailure(429, "Too Many Requests"))
    assert is_overloaded(RpcFailure(-32005, "daily request count exceeded"))
    assert not is_overloaded(RpcFailure(-32000, "nonce too low"))


def test_methods_that_are_not_offered() -> None:
    assert is_unknown_method(RpcFailure(-32601, "whatever"))
    assert is_unknown_method(RpcFailure(-32000, "the method eth_x does not exist/is not available"))
    assert not is_unknown_method(RpcFailure(-32000, "nonce too low"))
