"""Errors as clients see them: the table of the HTTP interface, section 7.

On the original's paths the body is a JSON string that contains a quoted text; clients compare it
byte by byte. How `/v1` renders the same errors: `v1_errors`.
"""

import json
from dataclasses import dataclass
from typing import Final

from keyserver.errors import ChainError, KeyServerError, StorageError
from keyserver.model.set_change_rules import KeysWouldBeLostError, OrderRefusedError, Rule

JSON_TYPE: Final = "application/json; charset=utf-8"
"""Content type of every body that is not empty."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that failed."""

    status: int
    text: str
    code: str = "Internal"
    """Name of the error in the table of section 7.2, or of one of those beside it."""
    retry_after_s: int | None = None

    def body(self) -> bytes:
        """The text in double quotes, as a JSON string."""
        plain = self.text.replace("\\", "/").replace('"', "'")
        return json.dumps(f'"{plain}"').encode()


_TABLE: Final = {
    code: Refusal(status, text, code)
    for code, status, text in (
        ("AccessDenied", 403, "Access denied"),
        ("ConsensusUnreachable", 403, "Consensus unreachable"),
        ("ConsensusTemporaryUnreachable", 403, "Consensus temporary unreachable"),
        ("ServerKeyIsNotFound", 404, "Server key with this ID is not found"),
        ("DocumentKeyIsNotFound", 404, "Document key with this ID is not found"),
        ("ServerKeyAlreadyGenerated", 400, "Server key with this ID is already generated"),
        ("DocumentKeyAlreadyStored", 400, "Document key with this ID is already stored"),
        ("InvalidNodeAddress", 500, "invalid node address has been passed"),
        ("InvalidNodeId", 500, "invalid node id has been passed"),
        ("DuplicateSessionId", 500, "session with the same id is already registered"),
        ("NoActiveSessionWithId", 500, "no active session with given id"),
        ("NotEnoughNodesForThreshold", 500, "not enough nodes for passed threshold"),
        ("TooEarlyForRequest", 500, "session is not yet ready to process this request"),
        ("InvalidStateForRequest", 500, "session is in invalid state for processing this request"),
        ("InvalidNodeForRequest", 500, "invalid node for this request"),
        ("InvalidMessage", 500, "invalid message is received"),
        ("InvalidMessageVersion", 500, "unsupported message is received"),
        ("ReplayProtection", 500, "replay message is received"),
        ("NodeDisconnected", 500, "node required for this operation is currently disconnected"),
        ("ExclusiveSessionActive", 500, "Exclusive session active"),
        ("HasActiveSessions", 500, "Unable to start exclusive session"),
    )
}

SEALED: Final = Refusal(503, "Node is sealed", "Sealed", retry_after_s=5)
STANDBY: Final = Refusal(503, "Node is on standby", "Standby", retry_after_s=5)
TOO_MANY_REQUESTS: Final = Refusal(429, "Too many requests", "RateLimited", retry_after_s=1)
BAD_SIGNATURE: Final = Refusal(
    400,
    "Insufficient requester data: bad signature: invalid EC signature",
    "InsufficientRequesterData",
)
UNSIGNABLE_ID: Final = Refusal(
    400,
    "Insufficient requester data: a signature of this server key id proves nothing",
    "InsufficientRequesterData",
)
BAD_ADMIN_SIGNATURE: Final = Refusal(500, "cryptographic error invalid EC signature", "EthKey")
ACCESS_DENIED: Final = _TABLE["AccessDenied"]
CHAIN_TROUBLE: Final = Refusal(
    500, "Internal error: the Ethereum node, or the permission contract there, cannot be asked now"
)
DATABASE_TROUBLE: Final = Refusal(
    500, "Database error: stored data cannot be read or written", "Database"
)
UNEXPECTED: Final = Refusal(500, "Internal error: unexpected, see the log of this node")


def operation_disabled(operation: str, key: str, way: str) -> Refusal:
    """What the operator has switched off by a key of `[keyserver]`, and the way without it."""
    text = f"Operation is disabled: {operation} ([keyserver] {key}); use {way}"
    return Refusal(403, text, "OperationDisabled")


SET_CHANGE_PATH: Final = "/v1/set-change"
"""Where orders of the new form go."""

OLD_ORDER_DISABLED: Final = operation_disabled(
    "servers_set_change", "strict_admin", f"POST {SET_CHANGE_PATH}"
)


def by_code(code: str) -> Refusal:
    """The answer for an error of the table; one without a text of its own is internal."""
    return _TABLE.get(code, Refusal(500, f"Internal error: {code}"))


def refusal_of(error: KeyServerError) -> Refusal:
    """What a client is told; details stay in the log."""
    match error:
        case ChainError():
            return CHAIN_TROUBLE
        case StorageError():
            return DATABASE_TROUBLE
        case OrderRefusedError(rule=Rule.LEGACY_FORM):
            return OLD_ORDER_DISABLED
        case OrderRefusedError(rule=Rule.UNREADABLE_SIGNATURE):
            return BAD_ADMIN_SIGNATURE
        case KeysWouldBeLostError():
            return Refusal(500, f"Internal error: {error}")
    return by_code(error.code)
