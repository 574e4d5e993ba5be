"""Errors as the original's clients see them (HTTP interface, section 7).

The body is a JSON string that contains a quoted text; clients compare it byte by byte.
"""

import json
from dataclasses import dataclass
from typing import Final

from keyserver.errors import ChainError, KeyServerError, StorageError

JSON_TYPE: Final = "application/json; charset=utf-8"
"""Content type of every body that is not empty."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that failed."""

    status: int
    text: str
    retry_after_s: int | None = None

    def body(self) -> bytes:
        """The text in double quotes, as a JSON string."""
        plain = self.text.replace("\\", "/").replace('"', "'")
        return json.dumps(f'"{plain}"').encode()


_TABLE: Final = {
    "AccessDenied": Refusal(403, "Access denied"),
    "ConsensusUnreachable": Refusal(403, "Consensus unreachable"),
    "ConsensusTemporaryUnreachable": Refusal(403, "Consensus temporary unreachable"),
    "ServerKeyIsNotFound": Refusal(404, "Server key with this ID is not found"),
    "DocumentKeyIsNotFound": Refusal(404, "Document key with this ID is not found"),
    "ServerKeyAlreadyGenerated": Refusal(400, "Server key with this ID is already generated"),
    "DocumentKeyAlreadyStored": Refusal(400, "Document key with this ID is already stored"),
    "InvalidNodeAddress": Refusal(500, "invalid node address has been passed"),
    "InvalidNodeId": Refusal(500, "invalid node id has been passed"),
    "DuplicateSessionId": Refusal(500, "session with the same id is already registered"),
    "NoActiveSessionWithId": Refusal(500, "no active session with given id"),
    "NotEnoughNodesForThreshold": Refusal(500, "not enough nodes for passed threshold"),
    "TooEarlyForRequest": Refusal(500, "session is not yet ready to process this request"),
    "InvalidStateForRequest": Refusal(
        500, "session is in invalid state for processing this request"
    ),
    "InvalidNodeForRequest": Refusal(500, "invalid node for this request"),
    "InvalidMessage": Refusal(500, "invalid message is received"),
    "InvalidMessageVersion": Refusal(500, "unsupported message is received"),
    "ReplayProtection": Refusal(500, "replay message is received"),
    "NodeDisconnected": Refusal(500, "node required for this operation is currently disconnected"),
    "ExclusiveSessionActive": Refusal(500, "Exclusive session active"),
    "HasActiveSessions": Refusal(500, "Unable to start exclusive session"),
}

NOT_AVAILABLE: Final = Refusal(501, "Operation is not available")
SEALED: Final = Refusal(503, "Node is sealed", retry_after_s=5)
STANDBY: Final = Refusal(503, "Node is on standby", retry_after_s=5)
TOO_MANY_REQUESTS: Final = Refusal(429, "Too many requests", retry_after_s=1)
BAD_SIGNATURE: Final = Refusal(
    400, "Insufficient requester data: bad signature: invalid EC signature"
)
UNSIGNABLE_ID: Final = Refusal(
    400, "Insufficient requester data: a signature of this server key id proves nothing"
)
ACCESS_DENIED: Final = _TABLE["AccessDenied"]
CHAIN_TROUBLE: Final = Refusal(500, "Internal error: the Ethereum node cannot be asked now")
UNEXPECTED: Final = Refusal(500, "Internal error: unexpected, see the log of this node")


def by_code(code: str) -> Refusal:
    """The answer for an error of the table; one without a text of its own is internal."""
    return _TABLE.get(code, Refusal(500, f"Internal error: {code}"))


def refusal_of(error: KeyServerError) -> Refusal:
    """What a client is told; details stay in the log."""
    match error:
        case ChainError():
            return CHAIN_TROUBLE
        case StorageError():
            return Refusal(500, "Database error: stored data cannot be read or written")
    return by_code(error.code)
