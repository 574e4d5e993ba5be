"""What an Ethereum node's error answers mean: pure classification by code and text.

JSON-RPC fixes neither codes nor texts for these cases, so each list holds the words that node
programs and public services are known to use; anything unknown counts as trouble of the endpoint,
which is the safe reading.
"""

import re
from dataclasses import dataclass

from keyserver.chain.client import SendRefusal

EXECUTION_REVERTED = 3
"""The error code that carries revert data."""

METHOD_NOT_FOUND = -32601
"""The error code of JSON-RPC for a method that is not offered."""


@dataclass(frozen=True, slots=True)
class RpcFailure:
    """The `error` of a JSON-RPC answer."""

    code: int
    message: str
    data: bytes | None = None
    """Revert data, where the error carries any."""

    def __str__(self) -> str:
        return f"{self.message} (code {self.code})"


_REVERTED = re.compile(
    r"execution reverted|revert|out of gas|invalid opcode|bad instruction|stack underflow"
    r"|invalid jump|vm execution error|intrinsic gas too low",
    re.IGNORECASE,
)
_OUT_OF_RANGE = re.compile(
    r"too many|more than \d+|range|limit exceeded|exceeds? (the )?(max|limit)|too large"
    r"|response size|query timeout|query returned",
    re.IGNORECASE,
)
_UNKNOWN_BLOCK = re.compile(
    r"(header|block|hash|state)( with the given hash)?( is)? (not (found|canonical|available)"
    r"|missing|unknown)|unknown block|missing trie node|not (currently )?canonical"
    r"|resource not found",
    re.IGNORECASE,
)
_UNSUPPORTED_BLOCK = re.compile(
    r"cannot unmarshal|invalid (argument|params?|type|block)|unsupported|expected (a )?string"
    r"|deserializ|did not match|parse error|hex string",
    re.IGNORECASE,
)

_OVERLOADED = re.compile(
    r"rate limit|too many requests|capacity|timed? ?out|try again|service unavailable|-32005"
    r"|\b429\b",
    re.IGNORECASE,
)
_NO_METHOD = re.compile(
    r"method .*not (found|available|supported|exist)|not supported", re.IGNORECASE
)

_REFUSALS = (
    (
        SendRefusal.NONCE_TOO_LOW,
        re.compile(r"nonce (is )?too low|nonce .*already used|old nonce", re.IGNORECASE),
    ),
    (
        SendRefusal.ALREADY_KNOWN,
        re.compile(r"already known|known transaction|already imported", re.IGNORECASE),
    ),
    (
        SendRefusal.UNDERPRICED,
        re.compile(
            r"underpriced|fee ?too ?low|(less|lower) than (the )?(block )?base ?fee"
            r"|gas price.*too low|tip.*too low|max fee per gas less",
            re.IGNORECASE,
        ),
    ),
    (
        SendRefusal.INSUFFICIENT_FUNDS,
        re.compile(r"insufficient (funds|balance)", re.IGNORECASE),
    ),
)


def send_refusal(message: str) -> SendRefusal:
    """Why a transaction was not taken, from the text of the refusal."""
    matching = (refusal for refusal, pattern in _REFUSALS if pattern.search(message))
    return next(matching, SendRefusal.OTHER)


def is_revert(failure: RpcFailure) -> bool:
    """Whether a failed `eth_call` or estimate was refused by the contract, not by the endpoint."""
    return (
        failure.code == EXECUTION_REVERTED
        or failure.data is not None
        or bool(_REVERTED.search(failure.message))
    )


def is_too_many_logs(failure: RpcFailure) -> bool:
    """Whether a smaller range of blocks might be answered (W-11)."""
    return bool(_OUT_OF_RANGE.search(failure.message))


def is_unknown_block(failure: RpcFailure) -> bool:
    """Whether the block that the read was pinned to is not, or no longer, there."""
    return bool(_UNKNOWN_BLOCK.search(failure.message))


def is_unsupported_pin(failure: RpcFailure) -> bool:
    """Whether the endpoint does not take a block object as a parameter (EIP-1898)."""
    return bool(_UNSUPPORTED_BLOCK.search(failure.message))


def is_overloaded(failure: RpcFailure) -> bool:
    """Whether the endpoint itself cannot answer now, whatever the question."""
    return bool(_OVERLOADED.search(str(failure)))


def is_unknown_method(failure: RpcFailure) -> bool:
    """Whether the endpoint does not offer the method."""
    return failure.code == METHOD_NOT_FOUND or bool(_NO_METHOD.search(failure.message))
