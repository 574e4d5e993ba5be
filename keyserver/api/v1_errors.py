"""Errors as clients of `/v1` see them: `{"error": {"code", "message", "retriable"}}`.

HTTP interface, section 13. An error of the original's table keeps its name, in capitals; what is
*unavailable* (engine design, section 17) is 503 and may be repeated.
"""

import json
import re
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from keyserver.api.errors import JSON_TYPE, Refusal, refusal_of
from keyserver.errors import ChainError, KeyServerError
from keyserver.sessions.core import SessionError

RETRY_S: Final = 2
"""Seconds after which what was unavailable may be tried again."""

CHALLENGE: Final = 'Secretstore-Auth version="v1"'
"""What a 401 asks for where all nodes check the credential (RFC 9110, section 11.6.1)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """The answer to a request that failed."""

    status: int
    code: str
    message: str
    retry_after_s: int | None = None
    """Set exactly where a repeat can help."""
    challenge: str = CHALLENGE
    """What a 401 asks for."""

    @property
    def retriable(self) -> bool:
        """Whether the same request, with a new credential, may succeed later."""
        return self.retry_after_s is not None

    def response(self) -> Response:
        """The answer as it is sent."""
        error = {"code": self.code, "message": self.message, "retriable": self.retriable}
        headers = {"Content-Type": JSON_TYPE}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == 401:
            headers["WWW-Authenticate"] = self.challenge
        body = json.dumps({"error": error}, separators=(",", ":")).encode()
        return Response(body, self.status, headers)


class ProblemError(Exception):
    """Ends a request of `/v1` with this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.message}")
        self.problem = problem


# --- problems of the request itself -----------------------------------------------------------


def bad_request(field: str, rule: str) -> Problem:
    """A field, or `body`, that does not keep its rule."""
    return Problem(400, "BAD_REQUEST", f"{field}: {rule}")


def unauthenticated(why: str) -> Problem:
    """A credential that is missing or wrong."""
    return Problem(401, "UNAUTHENTICATED", why)


def expired(not_after: int, now: int) -> Problem:
    """A credential whose time is over, as this node's clock says."""
    return Problem(
        401,
        "SIGNATURE_EXPIRED",
        f"not_after {not_after} is past: the clock of this node says {now}; sign again",
    )


NONCE_USED: Final = Problem(
    401,
    "NONCE_USED",
    "a credential with this nonce was used already, here or at another node; sign again with "
    "another nonce",
)
EXPIRED_SINCE: Final = Problem(
    401,
    "SIGNATURE_EXPIRED",
    "the credential expired while the nodes were at work; sign again, with a later not_after",
)
"""Some of an operation may be done by then: of two keys, the first."""

NO_NODE_SET: Final = Problem(
    503,
    "NODE_DISCONNECTED",
    "this node does not know the set of nodes yet, and so not what requests are signed for; "
    "repeat later",
    RETRY_S,
)
NOT_FOUND: Final = Problem(404, "NOT_FOUND", "there is nothing at this path; see /v1/docs")
SLOW_BODY: Final = Problem(408, "REQUEST_TIMEOUT", "body: did not come in time", RETRY_S)
LARGE_BODY: Final = Problem(413, "BODY_TOO_LARGE", "body: must be 64 KiB at most")
BROKEN_BODY: Final = bad_request("body", "must be sent completely")


def method_not_allowed(allowed: str) -> Problem:
    """A path that is there for other methods."""
    return Problem(405, "METHOD_NOT_ALLOWED", f"this path takes {allowed}")


# --- errors that both doors know --------------------------------------------------------------

_REPEAT: Final = "repeat later with a new credential"

_DENIED: Final = {
    "AccessDenied": (
        "this account may not do that: only the author of a server key stores its document key "
        "and reads its public key, and an operator may restrict who generates keys"
    ),
    "ConsensusUnreachable": (
        "too few nodes agree: the permissioning contract or their operators refuse this account "
        "or this operation"
    ),
    "ServerKeyIsNotFound": "no node has a server key with this id; generate it first",
    "DocumentKeyIsNotFound": "no document key is stored under this id; its author stores it first",
    "ServerKeyAlreadyGenerated": "a server key with this id exists; choose another id, or use it",
    "DocumentKeyAlreadyStored": "a document key is stored under this id, once and for all",
    "NotEnoughNodesForThreshold": (
        "threshold: must be less than the number of nodes, as threshold + 1 of them use the key"
    ),
}
"""What to make of a final error."""

_UNAVAILABLE: Final = {
    "ConsensusUnreachable": "too few of the nodes that hold this key can be reached",
    "ConsensusTemporaryUnreachable": "not enough nodes agreed in time",
    "NodeDisconnected": "a node that has to take part is not connected",
    "DuplicateSessionId": "the same operation is under way for this id",
    "ExclusiveSessionActive": "the set of nodes is being changed",
    "HasActiveSessions": "other work is in progress",
    "ServerKeyAlreadyGenerated": "this id was generated at another node at the same moment",
    "Internal": "the Ethereum node, or the permission contract there, cannot be asked now",
}
"""What to make of an error that passes."""

_STATUS: Final = {"NotEnoughNodesForThreshold": 400}
"""Where the status differs from the original's; what is unavailable is 503 besides."""


def problem_of(error: KeyServerError) -> Problem:
    """What a client is told of an error below; details stay in the log."""
    refusal = refusal_of(error)
    if refusal.code == "ReplayProtection":
        return NONCE_USED
    if error.code == "SignatureExpired":
        return EXPIRED_SINCE
    if isinstance(error, ChainError) or (isinstance(error, SessionError) and error.retriable):
        text = _UNAVAILABLE.get(refusal.code, refusal.text)
        return Problem(503, _capitals(refusal.code), f"{text}; {_REPEAT}", RETRY_S)
    return problem_of_refusal(refusal)


def problem_of_refusal(refusal: Refusal) -> Problem:
    """The same answer in the form of `/v1`."""
    status = _STATUS.get(refusal.code, refusal.status)
    message = _DENIED.get(refusal.code, refusal.text)
    return Problem(status, _capitals(refusal.code), message, refusal.retry_after_s)


def _capitals(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()
