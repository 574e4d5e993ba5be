"""Messages of a storing session (engine design, section 8)."""

from dataclasses import dataclass
from typing import Annotated

from keyserver.model.codec import U32, U64, Limit
from keyserver.model.identifiers import Hash32, Signature
from keyserver.model.keys import Decision, Decisions, DocumentKey, NodeSignature
from keyserver.model.requests import Request
from keyserver.sessions.core import Message


@dataclass(frozen=True)
class StorePropose(Message):
    """Opens the session: the value of one attempt, and what became of those before."""

    TYPE = 0x0301
    TO_COORDINATOR = False

    counter: U64
    request: Request
    record_hash: Hash32
    attempt: U32
    skipped: Decisions
    document: DocumentKey


@dataclass(frozen=True)
class StoreAck(Message):
    """The value is written down: PREPARE of round 0."""

    TYPE = 0x0302
    TO_COORDINATOR = True

    signature: Signature


@dataclass(frozen=True)
class StoreCert(Message):
    """The prepared certificate: PREPARE of a quorum."""

    TYPE = 0x0303
    TO_COORDINATOR = False

    signatures: Annotated[tuple[NodeSignature, ...], Limit(256)]


@dataclass(frozen=True)
class StoreCommit(Message):
    """COMMIT of round 0."""

    TYPE = 0x0304
    TO_COORDINATOR = True

    signature: Signature


@dataclass(frozen=True)
class Stored(Message):
    """The decision."""

    TYPE = 0x0305
    TO_COORDINATOR = False

    decision: Decision


MESSAGES = (StorePropose, StoreAck, StoreCert, StoreCommit, Stored)
