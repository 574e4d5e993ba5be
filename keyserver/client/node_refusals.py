"""The errors of the two HTTP interfaces, told apart and with advice; plain computation.

HTTP interface, sections 7 and 13. Both interfaces name the same errors: the original by a text,
`/v1` by a code, which is what the rest of the client goes by.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from keyserver.client.errors import (
    ClientError,
    NodeFailedError,
    NodeNotReadyError,
    NodeUnreachableError,
    RefusedOverHttpError,
)
from keyserver.client.node_http import HttpAnswer

ALREADY_GENERATED: Final = "SERVER_KEY_ALREADY_GENERATED"
ALREADY_STORED: Final = "DOCUMENT_KEY_ALREADY_STORED"
NO_DOCUMENT_KEY: Final = "DOCUMENT_KEY_IS_NOT_FOUND"
NO_SERVER_KEY: Final = "SERVER_KEY_IS_NOT_FOUND"
ACCESS_DENIED: Final = "ACCESS_DENIED"

_MOST_TEXT = 300


class Kind(Enum):
    """What an error means for the next step."""

    FINAL = "final"
    LATER = "later"
    """The same request may succeed later."""
    NODE = "node"
    """Another node may do better."""


@dataclass(frozen=True, slots=True)
class _Known:
    code: str
    text: str
    """What the original's answer says, or how it begins where `is_start`."""
    kind: Kind = Kind.FINAL
    advice: str = ""
    is_start: bool = False


_KNOWN: Final = (
    _Known(
        ACCESS_DENIED,
        "Access denied",
        advice="Only the account that had the server key generated may do this; or this network"
        " lets certain accounts only generate keys.",
    ),
    _Known(
        "CONSENSUS_UNREACHABLE",
        "Consensus unreachable",
        advice="Has this account permission for the key? For ECDSA: do 2t + 1 key servers hold it?"
        " The original's interface says the same"
        " when too few of the key servers that hold it are running.",
    ),
    _Known(
        "CONSENSUS_TEMPORARY_UNREACHABLE",
        "Consensus temporary unreachable",
        Kind.LATER,
        "A permission counts when its block is confirmed; key servers may be starting.",
    ),
    _Known(
        NO_SERVER_KEY,
        "Server key with this ID is not found",
        advice="Is the key id right, and this the network where it was generated?",
    ),
    _Known(
        NO_DOCUMENT_KEY,
        "Document key with this ID is not found",
        advice="Nothing was encrypted under this key yet.",
    ),
    _Known(
        ALREADY_GENERATED,
        "Server key with this ID is already generated",
        advice="If it was for you, retrieve it; or use another id, drawn at random.",
    ),
    _Known(
        ALREADY_STORED,
        "Document key with this ID is already stored",
        advice="Each server key takes one document key: have another one generated.",
    ),
    _Known(
        "INSUFFICIENT_REQUESTER_DATA",
        "Insufficient requester data: ",
        advice="The node does not accept the signature. Ids of zero, and above the order of the"
        " curve, cannot be used with the original's interface.",
        is_start=True,
    ),
    _Known("SERDE", "Serialization error: ", is_start=True),
    _Known("HYPER", "Hyper error: ", is_start=True),
    _Known("INVALID_NODE_ADDRESS", "invalid node address has been passed"),
    _Known("INVALID_NODE_ID", "invalid node id has been passed"),
    _Known(
        "DUPLICATE_SESSION_ID",
        "session with the same id is already registered",
        Kind.LATER,
        "The same request is being worked on.",
    ),
    _Known("NO_ACTIVE_SESSION_WITH_ID", "no active session with given id", Kind.NODE),
    _Known(
        "NOT_ENOUGH_NODES_FOR_THRESHOLD",
        "not enough nodes for passed threshold",
        advice="The threshold must be less than the number of key servers.",
    ),
    _Known("TOO_EARLY_FOR_REQUEST", "session is not yet ready to process this request", Kind.NODE),
    _Known(
        "INVALID_STATE_FOR_REQUEST",
        "session is in invalid state for processing this request",
        Kind.NODE,
    ),
    _Known("INVALID_NODE_FOR_REQUEST", "invalid node for this request", Kind.NODE),
    _Known("INVALID_MESSAGE", "invalid message is received", Kind.NODE),
    _Known("INVALID_MESSAGE_VERSION", "unsupported message is received", Kind.NODE),
    _Known("REPLAY_PROTECTION", "replay message is received", Kind.NODE),
    _Known(
        "NODE_DISCONNECTED",
        "node required for this operation is currently disconnected",
        Kind.LATER,
        "Generating and storing need the nodes of the whole set.",
    ),
    _Known(
        "EXCLUSIVE_SESSION_ACTIVE",
        "Exclusive session active",
        Kind.LATER,
        "The set of key servers is being changed: wait until that is done.",
    ),
    _Known(
        "HAS_ACTIVE_SESSIONS", "Unable to start exclusive session", Kind.LATER, "Try again soon."
    ),
    _Known("ETH_KEY", "cryptographic error ", Kind.NODE, is_start=True),
    _Known("IO", "IO error: ", Kind.NODE, is_start=True),
    _Known("DATABASE", "Database error: ", Kind.NODE, is_start=True),
    _Known(
        "INTERNAL",
        "Internal error: ",
        Kind.NODE,
        "The node has trouble of its own: its operator finds the cause in its log.",
        is_start=True,
    ),
    _Known(
        "OPERATION_DISABLED",
        "Operation is disabled: ",
        advice="The operator takes no credentials that can be used again: --door v1 sends others.",
        is_start=True,
    ),
    _Known(
        "NOT_AVAILABLE", "Operation is not available", advice="This version does not have it yet."
    ),
    _Known(
        "SEALED", "Node is sealed", Kind.LATER, "Wait until its operator unseals it, or ask others."
    ),
    _Known("STANDBY", "Node is on standby", Kind.LATER, "Ask the node that is active."),
    _Known("RATE_LIMITED", "Too many requests", Kind.LATER, "Ask less often."),
    # Only of /v1, which has no texts of its own.
    _Known("BAD_REQUEST", "Bad request", advice="The message names the field and the rule."),
    _Known(
        "UNAUTHENTICATED",
        "Not authenticated",
        advice="The signature is for another network or another request: is this the right node?",
    ),
    _Known("SIGNATURE_EXPIRED", "Signature expired", advice="Is the clock of this machine right?"),
    _Known("NONCE_USED", "Nonce used", Kind.LATER, "The next attempt has another nonce."),
)
_PLAIN_MODES: Final = "forbid_plain_modes"
_PLAIN_ADVICE: Final = (
    "The operator wants no node to see document keys: retrieve_document_key needs none that does."
)
"""Of the options by which operations are switched off, the one that `/v1` does not help against."""

_BY_CODE: Final = {known.code: known for known in _KNOWN}

Advice = Mapping[str, str]
"""What to do about errors, by code, where that is something else than for requests about keys."""

NO_ADVICE: Final[Advice] = MappingProxyType({})

_NOT_STARTED: Final = frozenset({"SEALED", "STANDBY", "RATE_LIMITED"})


def may_have_worked(error: ClientError) -> bool:
    """Whether a request that ended with this error may still have been carried out."""
    match error:
        case NodeUnreachableError():
            return error.may_have_worked
        case NodeNotReadyError():
            return error.error_code not in _NOT_STARTED
    return True


def refusal_by_text(
    answer: HttpAnswer, text: str, advice: Advice = NO_ADVICE
) -> ClientError | None:
    """The error that the original's interface names by this text; None if it has no such."""
    for known in _KNOWN:
        if text == known.text or (known.is_start and text.startswith(known.text)):
            return make_error(answer, known.code, text, known.kind, advice)
    return None


def refusal_by_code(
    answer: HttpAnswer, code: str, message: str, *, retriable: bool, advice: Advice = NO_ADVICE
) -> ClientError:
    """The error that `/v1` names by this code."""
    known = _BY_CODE.get(code)
    kind = known.kind if known is not None else Kind.FINAL
    if retriable:
        kind = Kind.LATER
    elif kind is Kind.LATER and code != "NONCE_USED":
        kind = Kind.FINAL
    if kind is Kind.FINAL and answer.status >= 500 and answer.status != 501:
        kind = Kind.NODE
    return make_error(answer, code, message, kind, advice)


def make_error(
    answer: HttpAnswer, code: str, text: str, kind: Kind, advice: Advice = NO_ADVICE
) -> ClientError:
    """The exception for an error of this kind."""
    known = _BY_CODE.get(code)
    usual, said = known.advice if known is not None else "", printable(text)
    if code == "OPERATION_DISABLED" and _PLAIN_MODES in text:
        usual = _PLAIN_ADVICE
    what_to_do = advice.get(code, usual)
    if kind is Kind.LATER:
        return NodeNotReadyError(
            answer.node,
            said,
            status=answer.status,
            error_code=code,
            retry_after_s=answer.retry_after_s,
            advice=what_to_do,
        )
    error = NodeFailedError if kind is Kind.NODE else RefusedOverHttpError
    return error(answer.node, said, status=answer.status, error_code=code, advice=what_to_do)


def printable(text: str) -> str:
    """A node's words as they may be shown on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:_MOST_TEXT])
