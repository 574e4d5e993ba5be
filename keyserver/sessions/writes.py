"""What sessions have written to disk, in the words of the protocols.

A store applies the writes of one commit as a whole (`keyserver.storage.stored_key`).
"""

from dataclasses import dataclass
from enum import IntEnum

from keyserver.model.identifiers import Hash32, KeyId
from keyserver.model.keys import (
    CertifiedDocumentKey,
    CertifiedRecord,
    Decision,
    DocumentKey,
    HoldingCertificate,
    KeyRecord,
    KeyShare,
)


class VoteKind(IntEnum):
    """The three votes of the agreement (engine design, section 7.6)."""

    PREPARE = 1
    COMMIT = 2
    STATUS = 3


@dataclass(frozen=True, slots=True)
class CastVote:
    """This node's own vote, at most one value per (subject, round, kind), for ever.

    The store refuses with `VoteConflictError` a vote for another value, and a PREPARE or COMMIT
    of a round below one for which a STATUS was cast.
    """

    subject: Hash32
    round: int
    kind: VoteKind
    value: Hash32
    evidence: bytes = b""
    """The prepared certificate behind a COMMIT or STATUS, encoded; empty where there is none."""


@dataclass(frozen=True, slots=True)
class PutPrepared:
    """A record this node verified, with its share, before its READY leaves."""

    record: KeyRecord
    share: KeyShare
    transcript: Hash32


@dataclass(frozen=True, slots=True)
class PutHolding:
    """The holding certificate of a prepared (or, without a share, foreign) record."""

    record: KeyRecord
    holding: HoldingCertificate


@dataclass(frozen=True, slots=True)
class PutActive:
    """A decided record; the prepared share of the same record becomes its share."""

    record: CertifiedRecord


@dataclass(frozen=True, slots=True)
class PutShare:
    """This node's share of the record in force, which it was given later (section 14.1).

    The store refuses with `VoteConflictError` a share of another record than that one, and one that
    is not on the record's polynomial at the place of a member.
    """

    key_id: KeyId
    record_hash: Hash32
    share: KeyShare


@dataclass(frozen=True, slots=True)
class PutNothing:
    """A version decided as *nothing*: its prepared record and share are erased."""

    key_id: KeyId
    version: int
    decision: Decision


@dataclass(frozen=True, slots=True)
class PutDocument:
    """A decided document key."""

    key_id: KeyId
    document: CertifiedDocumentKey


@dataclass(frozen=True, slots=True)
class PutDocumentCandidate:
    """A document key this node has voted for in an attempt that is not decided yet."""

    key_id: KeyId
    attempt: int
    record_hash: Hash32
    document: DocumentKey


@dataclass(frozen=True, slots=True)
class PutDocumentNothing:
    """An attempt to store a document key, decided as *nothing*."""

    key_id: KeyId
    attempt: int
    decision: Decision


Write = (
    CastVote
    | PutPrepared
    | PutHolding
    | PutActive
    | PutShare
    | PutNothing
    | PutDocument
    | PutDocumentCandidate
    | PutDocumentNothing
)
