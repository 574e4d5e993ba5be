"""Error answers: texts, statuses, quoting (HTTP interface, section 7)."""

import json

import pytest

from keyserver.api.errors import Refusal, by_code, refusal_of
from keyserver.errors import ChainError, ConfigError, StorageError
from keyserver.sessions.core import DeniedError, UnavailableError

TABLE = {
    "AccessDenied": (403, "Access denied"),
    "ConsensusUnreachable": (403, "Consensus unreachable"),
    "ConsensusTemporaryUnreachable": (403, "Consensus temporary unreachable"),
    "ServerKeyIsNotFound": (404, "Server key with this ID is not found"),
    "DocumentKeyIsNotFound": (404, "Document key with this ID is not found"),
    "ServerKeyAlreadyGenerated": (400, "Server key with this ID is already generated"),
    "DocumentKeyAlreadyStored": (400, "Document key with this ID is already stored"),
    "InvalidNodeAddress": (500, "invalid node address has been passed"),
    "InvalidNodeId": (500, "invalid node id has been passed"),
    "DuplicateSessionId": (500, "session with the same id is already registered"),
    "NoActiveSessionWithId": (500, "no active session with given id"),
    "NotEnoughNodesForThreshold": (500, "not enough nodes for passed threshold"),
    "TooEarlyForRequest": (500, "session is not yet ready to process this request"),
    "InvalidStateForRequest": (500, "session is in invalid state for processing this request"),
    "InvalidNodeForRequest": (500, "invalid node for this request"),
    "InvalidMessage": (500, "invalid message is received"),
    "InvalidMessageVersion": (500, "unsupported message is received"),
    "ReplayProtection": (500, "replay message is received"),
    "NodeDisconnected": (500, "node required for this operation is currently disconnected"),
    "ExclusiveSessionActive": (500, "Exclusive session active"),
    "HasActiveSessions": (500, "Unable to start exclusive session"),
}


@pytest.mark.parametrize("code", TABLE)
def test_texts(code: str) -> None:
    refusal = refusal_of(DeniedError("details for the log", code))
    assert (refusal.status, refusal.text) == TABLE[code]
    assert refusal == refusal_of(UnavailableError("other details", code))


def test_details_stay_in_the_log() -> None:
    secret = "/var/lib/keyserver and 10.0.0.7"
    for error in (ChainError(secret), StorageError(secret), ConfigError(secret)):
        refusal = refusal_of(error)
        assert refusal.status == 500
        assert secret not in refusal.text
    assert refusal_of(ChainError("x")).text.startswith("Internal error: ")
    assert refusal_of(StorageError("x")).text.startswith("Database error: ")
    assert by_code("Unheard").text.startswith("Internal error: ")


def test_bodies_are_quoted_twice() -> None:
    assert Refusal(403, "Access denied").body() == b'"\\"Access denied\\""'
    awkward = Refusal(500, 'a "quoted" \\ text').body()
    assert json.loads(json.loads(awkward)) == "a 'quoted' / text"
