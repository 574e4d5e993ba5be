"""All session types; the one place that lists them."""

from typing import Any

from keyserver.sessions.core import SessionType
from keyserver.sessions.ecdsa_presigning import ECDSA_PRESIGNING
from keyserver.sessions.ecdsa_signing import ECDSA_SIGNING
from keyserver.sessions.frost_signing import FROST_SIGNING
from keyserver.sessions.retrieval import RETRIEVAL
from keyserver.sessions.set_change import SET_CHANGE
from keyserver.sessions.share_addition import SHARE_ADDITION
from keyserver.sessions.sharing import GENERATION, REDISTRIBUTION
from keyserver.sessions.storing import STORING
from keyserver.sessions.wire import MessageTable

SESSION_TYPES: tuple[SessionType[Any], ...] = (
    GENERATION,
    REDISTRIBUTION,
    STORING,
    RETRIEVAL,
    FROST_SIGNING,
    ECDSA_PRESIGNING,
    ECDSA_SIGNING,
    SHARE_ADDITION,
    SET_CHANGE,
)

MESSAGE_TABLE = MessageTable(SESSION_TYPES)

OPENINGS = {session_type.messages[0]: session_type for session_type in SESSION_TYPES}
"""Which message opens which session at a participant."""
