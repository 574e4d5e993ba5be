"""The record that convicts a voter of two votes in one round (engine design, section 7.6).

A node writes a vote down before it signs it and never signs another value of the same subject,
round and kind. READY is its signer's PREPARE of round 0; as it signs the record's hash and not the
subject, the record itself stands in the evidence.

A vote of a round below a STATUS of the same node proves nothing: nobody can show which came first.
"""

from dataclasses import dataclass
from typing import ClassVar

from keyserver.model.codec import U8, U32, encode
from keyserver.model.identifiers import Hash32, KeyId, NodeId, Signature
from keyserver.model.keys import KeyRecord
from keyserver.sessions.certificates import (
    document_subject,
    ready_digest,
    record_subject,
    vote_digest,
)
from keyserver.sessions.conviction import (
    Conviction,
    InvalidEvidenceError,
    Rule,
    check_signed,
)
from keyserver.sessions.writes import VoteKind

RECORD, DOCUMENT = 1, 2
"""What is decided about, as subjects are hashed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node votes once."""

    subject_kind: U8
    key_id: KeyId
    count: U32
    """The version of the record, or the attempt to store the document key."""
    round: U32
    vote: U8

    def __post_init__(self) -> None:
        """Refuse unknown kinds; raises `ValueError`."""
        VoteKind(self.vote)
        if self.subject_kind not in (RECORD, DOCUMENT):
            raise ValueError(f"unknown kind of subject {self.subject_kind}")

    @property
    def subject(self) -> Hash32:
        """What votes sign."""
        if self.subject_kind == RECORD:
            return record_subject(self.key_id, self.count)
        return document_subject(self.key_id, self.count)


@dataclass(frozen=True, slots=True)
class Readiness:
    """What READY was signed for."""

    record: KeyRecord
    transcript: Hash32


@dataclass(frozen=True, slots=True)
class SignedVote:
    """A vote as one node gave it."""

    value: Hash32
    readiness: Readiness | None
    """Where the vote is a READY."""
    signature: Signature


@dataclass(frozen=True, slots=True)
class TwoVotes:
    """Two votes of one node for different values."""

    KIND: ClassVar[int] = 6

    voter: NodeId
    place: Place
    first: SignedVote
    second: SignedVote

    def judge(self) -> Conviction:
        """Convict the voter."""
        if self.first.value == self.second.value:
            raise InvalidEvidenceError("both votes are for the same value")
        for vote in (self.first, self.second):
            signed = signed_by_vote(self.place, vote, self.voter)
            check_signed(signed, vote.signature, self.voter, "a vote")
        return Conviction(self.voter, Rule.TWO_VOTES, self.place.key_id, None, encode(self.place))


def signed_by_vote(place: Place, vote: SignedVote, voter: NodeId) -> Hash32:
    """The digest under a vote; raises `InvalidEvidenceError` for a READY of another place."""
    if vote.readiness is None:
        return vote_digest(VoteKind(place.vote), place.subject, place.round, vote.value, voter)
    record = vote.readiness.record
    ready_at = Place(RECORD, record.key_id, record.version, 0, VoteKind.PREPARE)
    if ready_at != place or record.hash != vote.value:
        raise InvalidEvidenceError("a READY belongs to another record or round")
    return ready_digest(record.hash, vote.readiness.transcript, voter)
