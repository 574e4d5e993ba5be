"""What nodes say to each other outside sessions (engine design, sections 5.4, 7.6 and 14.3).

`u16 type || 32 zero bytes || u64 number || fields`, types 0x0010 to 0x00ff; those below belong to
the connection itself. A request has a number, which its answer echoes; 0 means that no answer is
expected, or that nobody asked.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from keyserver.model.codec import U8, U16, U32, U64, CodecError, Limit, decode, encode
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId, Signature
from keyserver.model.keys import (
    CertifiedDocumentKey,
    CertifiedRecord,
    Decisions,
    DocumentKey,
    HoldingCertificate,
    KeyRecord,
    PreparedCertificate,
)
from keyserver.model.quorums import MAX_NODES
from keyserver.sessions.certificates import document_subject, record_subject
from keyserver.sessions.conviction import MAX_EVIDENCE_BYTES
from keyserver.sessions.identity import digest

MAX_PAGE = 4096
"""Entries of a catalogue page."""

MAX_KEYS = 64
"""Keys of one REC_REQ."""

MAX_ANSWER_BYTES = 3 * 2**20
"""An answer is closed when it has grown so far; a message has at most 4 MiB."""

_HEADER = struct.Struct(">H32s")
_NO_SESSION = bytes(32)


class LinkMessage:
    """Base of all link messages: frozen dataclasses with a `TYPE`, their first field the number."""

    __slots__ = ()
    TYPE: ClassVar[int]


# --- catalogue -------------------------------------------------------------------------------


@dataclass(frozen=True)
class DigestRequest(LinkMessage):
    """Asks for the digest of the catalogue: is there anything to synchronise?"""

    TYPE = 0x0010

    number: U64


@dataclass(frozen=True)
class Digest(LinkMessage):
    """`H("tks/1/catalogue", all entries without flags)`, and the same of those with a document."""

    TYPE = 0x0011

    number: U64
    keys: Hash32
    documents: Hash32


@dataclass(frozen=True)
class CatalogueRequest(LinkMessage):
    """CAT_REQ: the entries after a key id, `None` from the start; at most `limit` of them."""

    TYPE = 0x0012

    number: U64
    after: KeyId | None
    limit: U16


SHARE_FLAG = 1
DOCUMENT_FLAG = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a catalogue: the active record of a key and what else the node has of it."""

    key_id: KeyId
    version: U32
    record_hash: Hash32
    flags: U8

    @property
    def has_share(self) -> bool:
        """Whether the node says that it holds a share."""
        return bool(self.flags & SHARE_FLAG)

    @property
    def has_document(self) -> bool:
        """Whether the node says that it has the document key."""
        return bool(self.flags & DOCUMENT_FLAG)


@dataclass(frozen=True)
class CataloguePage(LinkMessage):
    """Entries in ascending order of key id; empty: there are no more."""

    TYPE = 0x0013

    number: U64
    entries: Annotated[tuple[Entry, ...], Limit(MAX_PAGE)]


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What can be proven about a key: all that was decided."""

    key_id: KeyId
    record: CertifiedRecord | None
    skipped: Decisions
    """Versions after the record (from 1 without one) decided as *nothing*."""
    document: CertifiedDocumentKey | None
    document_skipped: Decisions
    """Attempts to store a document key decided as *nothing*, from 1."""


@dataclass(frozen=True)
class KeysRequest(LinkMessage):
    """REC_REQ: what was decided about these keys."""

    TYPE = 0x0014

    number: U64
    key_ids: Annotated[tuple[KeyId, ...], Limit(MAX_KEYS)]


@dataclass(frozen=True)
class Keys(LinkMessage):
    """Facts about keys; those a node knows nothing of, or that have no room, are left out."""

    TYPE = 0x0015

    number: U64
    keys: Annotated[tuple[KeyFacts, ...], Limit(MAX_KEYS)]


@dataclass(frozen=True)
class Have(LinkMessage):
    """The sender holds a share of this record now."""

    TYPE = 0x0016

    number: U64
    key_id: KeyId
    record_hash: Hash32


# --- agreement -------------------------------------------------------------------------------


class SubjectKind(IntEnum):
    """What a decision is about."""

    RECORD = 1
    DOCUMENT = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """A version of a key, or an attempt to store its document key."""

    kind: U8
    key_id: KeyId
    count: U32
    """The version or the attempt, from 1."""

    def __post_init__(self) -> None:
        """Refuse an unknown kind; raises `ValueError`."""
        SubjectKind(self.kind)

    @property
    def hash(self) -> Hash32:
        """What votes sign."""
        if self.kind == SubjectKind.RECORD:
            return record_subject(self.key_id, self.count)
        return document_subject(self.key_id, self.count)


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """An undecided record with the proof that enough nodes hold shares of it."""

    record: KeyRecord
    holding: HoldingCertificate


@dataclass(frozen=True, slots=True)
class HeldDocument:
    """An undecided document key and the record it is stored under."""

    record_hash: Hash32
    document: DocumentKey


@dataclass(frozen=True, slots=True)
class Backing:
    """What stands behind a value that is voted on; both `None` behind *nothing*."""

    record: HeldRecord | None = None
    document: HeldDocument | None = None

    @property
    def value(self) -> Hash32:
        """The value."""
        if self.record is not None:
            return self.record.record.hash
        if self.document is not None:
            return self.document.document.hash_under(self.document.record_hash)
        return ZERO_HASH


@dataclass(frozen=True, slots=True)
class Backed:
    """A prepared certificate with what stands behind its value."""

    certificate: PreparedCertificate
    backing: Backing


def certificate_hash(certificate: PreparedCertificate | None) -> Hash32:
    """What a STATUS signs: `H("tks/1/prepared", certificate)`, zeros for none."""
    return ZERO_HASH if certificate is None else digest("tks/1/prepared", encode(certificate))


@dataclass(frozen=True)
class HoldingRequest(LinkMessage):
    """FETCH_CERT: the holding certificate of a version."""

    TYPE = 0x0020

    number: U64
    key_id: KeyId
    version: U32


@dataclass(frozen=True)
class Holding(LinkMessage):
    """The record of a version that has a holding certificate, if the node knows one."""

    TYPE = 0x0021

    number: U64
    held: HeldRecord | None


@dataclass(frozen=True)
class DecisionRequest(LinkMessage):
    """INST_REQ: the decision about a subject; answered with `Keys`, empty if there is none."""

    TYPE = 0x0022

    number: U64
    subject: Subject


@dataclass(frozen=True)
class Status(LinkMessage):
    """To the proposer: the sender enters a round, with the highest certificate it knows."""

    TYPE = 0x0023

    number: U64
    subject: Subject
    round: U32
    highest: Backed | None
    signature: Signature


@dataclass(frozen=True)
class Entered(LinkMessage):
    """To everybody else: the same vote, the certificate by its hash only."""

    TYPE = 0x0024

    number: U64
    subject: Subject
    round: U32
    certificate: Hash32
    signature: Signature


@dataclass(frozen=True, slots=True)
class StatusVote:
    """A STATUS as a proposal lists it."""

    node: NodeId
    certificate: Hash32
    signature: Signature


@dataclass(frozen=True)
class Proposal(LinkMessage):
    """The STATUS of a quorum, and what follows from them."""

    TYPE = 0x0025

    number: U64
    subject: Subject
    round: U32
    statuses: Annotated[tuple[StatusVote, ...], Limit(MAX_NODES)]
    certificates: Annotated[tuple[PreparedCertificate, ...], Limit(MAX_NODES)]
    """Those that the STATUS votes name, each once."""
    backing: Backing


@dataclass(frozen=True)
class PrepareVote(LinkMessage):
    """PREPARE, to the proposer."""

    TYPE = 0x0026

    number: U64
    subject: Subject
    round: U32
    value: Hash32
    signature: Signature


@dataclass(frozen=True)
class PreparedValue(LinkMessage):
    """From the proposer: a quorum has prepared."""

    TYPE = 0x0027

    number: U64
    subject: Subject
    certificate: PreparedCertificate


@dataclass(frozen=True)
class CommitVote(LinkMessage):
    """COMMIT, to the proposer."""

    TYPE = 0x0028

    number: U64
    subject: Subject
    round: U32
    value: Hash32
    signature: Signature


# --- blame -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Accusation(LinkMessage):
    """Evidence against a node; whoever gets it judges it (`keyserver.sessions.evidence`)."""

    TYPE = 0x0030

    number: U64
    evidence: Annotated[bytes, Limit(MAX_EVIDENCE_BYTES)]


Request = DigestRequest | CatalogueRequest | KeysRequest | HoldingRequest | DecisionRequest
"""What is answered under the same number."""

Answer = Digest | CataloguePage | Keys | Holding

Vote = Status | Entered | Proposal | PrepareVote | PreparedValue | CommitVote
"""Messages of a round of the agreement."""

AnyLink = Request | Answer | Vote | Have | Accusation

_ALL: tuple[type[AnyLink], ...] = (
    DigestRequest,
    Digest,
    CatalogueRequest,
    CataloguePage,
    KeysRequest,
    Keys,
    Have,
    HoldingRequest,
    Holding,
    DecisionRequest,
    Status,
    Entered,
    Proposal,
    PrepareVote,
    PreparedValue,
    CommitVote,
    Accusation,
)

LINK_CLASSES: dict[int, type[AnyLink]] = {kind.TYPE: kind for kind in _ALL}


def pack_link(message: AnyLink) -> bytes:
    """The bytes of a link message."""
    return _HEADER.pack(message.TYPE, _NO_SESSION) + encode(message)


def unpack_link(data: bytes) -> AnyLink:
    """Parse a link message; raises `CodecError`."""
    if len(data) < _HEADER.size:
        raise CodecError("message is shorter than its header")
    number, session = _HEADER.unpack_from(data)
    kind = LINK_CLASSES.get(number)
    if kind is None or session != _NO_SESSION:
        raise CodecError(f"link message type {number:#06x} is not known")
    return decode(kind, data[_HEADER.size :])
