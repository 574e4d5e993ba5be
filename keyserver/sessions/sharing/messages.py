"""Messages of a sharing session, in the order in which they are sent (engine design, section 7).

Generation and redistribution have most of them in common; those of a redistribution alone (section
13) have types of their own, 0x02xx.
"""

from dataclasses import dataclass
from typing import Annotated

from keyserver.crypto.curve import Point
from keyserver.model.codec import U8, U16, U32, U64, Limit, RawPoint
from keyserver.model.identifiers import (
    Address,
    FixedBytes,
    Hash32,
    KeyId,
    NodeId,
    SessionId,
    Signature,
)
from keyserver.model.keys import (
    CertifiedDocumentKey,
    CertifiedRecord,
    CommitteeMember,
    Decision,
    Decisions,
    KeyRecord,
    NodeSignature,
)
from keyserver.model.quorums import MAX_NODES
from keyserver.model.requests import Proof, Request
from keyserver.sessions.core import Message

MAX_PARTICIPANTS = 2 * MAX_NODES
"""Members of a redistribution: a whole new committee, and dealers that leave."""


class SealedShare(FixedBytes):
    """A share sealed to its receiver's one-time key: 32 bytes and the tag."""

    __slots__ = ()
    SIZE = 48


@dataclass(frozen=True, slots=True)
class ShareParams:
    """What a sharing is about; all nodes must see the same (`params_hash`)."""

    kind: U8
    sid: SessionId
    key_id: KeyId
    author: Address
    threshold: U16
    version: U32
    previous: Hash32
    set_id: Hash32
    committee: tuple[CommitteeMember, ...]
    dealers: tuple[NodeId, ...]
    request_hash: Hash32


@dataclass(frozen=True)
class Propose(Message):
    """Opens the session; `skipped` are the decisions about the versions before this one."""

    TYPE = 0x0101
    TO_COORDINATOR = False

    kind: U8
    counter: U64
    request: Request
    params: ShareParams
    skipped: Decisions


@dataclass(frozen=True)
class Accept(Message):
    """A node takes part, with a fresh one-time key and the proof that it knows it."""

    TYPE = 0x0102
    TO_COORDINATOR = True

    one_time: Point
    proof: Proof
    signature: Signature


@dataclass(frozen=True, slots=True)
class Accepted:
    """A participant as START lists it."""

    node: NodeId
    one_time: Point
    proof: Proof
    signature: Signature


@dataclass(frozen=True)
class Start(Message):
    """Who takes part, with everybody's one-time key."""

    TYPE = 0x0103
    TO_COORDINATOR = False

    accepted: tuple[Accepted, ...]


@dataclass(frozen=True, slots=True)
class SignedShare:
    """A sealed share with the dealer's signature that it is part of its deal."""

    ciphertext: SealedShare
    signature: Signature


@dataclass(frozen=True)
class Deal(Message):
    """A dealer's commitments and the sealed shares of all participants, in canonical order."""

    TYPE = 0x0104
    TO_COORDINATOR = True

    commitments: tuple[RawPoint, ...]
    possession: bytes
    shares: tuple[SignedShare, ...]


@dataclass(frozen=True, slots=True)
class DealtShare:
    """What one receiver gets of one dealer's deal."""

    dealer: NodeId
    constant: Point
    possession: bytes
    tail_hash: Hash32
    ciphertext: SealedShare
    signature: Signature


@dataclass(frozen=True)
class Shares(Message):
    """All deals as far as one receiver needs them, and the sums of all commitments."""

    TYPE = 0x0105
    TO_COORDINATOR = False

    deals: tuple[DealtShare, ...]
    commitments: tuple[Point, ...]


@dataclass(frozen=True)
class Ok(Message):
    """The receiver's share is right."""

    TYPE = 0x0106
    TO_COORDINATOR = True

    transcript: Hash32


@dataclass(frozen=True)
class Investigate(Message):
    """The sums do not fit: the receiver wants to see each dealer's commitments."""

    TYPE = 0x0107
    TO_COORDINATOR = True


@dataclass(frozen=True, slots=True)
class DealtCommitments:
    """All commitments of one dealer."""

    dealer: NodeId
    commitments: tuple[RawPoint, ...]


@dataclass(frozen=True)
class AllCommitments(Message):
    """Every dealer's commitments, for a receiver that investigates."""

    TYPE = 0x0108
    TO_COORDINATOR = False

    dealt: tuple[DealtCommitments, ...]


@dataclass(frozen=True)
class Complaint(Message):
    """A wrong share, laid open so that any third party can judge (section 7.4)."""

    TYPE = 0x0109
    TO_COORDINATOR = True

    dealer: NodeId
    commitments: tuple[RawPoint, ...]
    possession: bytes
    ciphertext: SealedShare
    signature: Signature
    """The dealer's."""
    opened: Point
    proof: Proof
    accuser_signature: Signature
    """Over all of it: nobody can accuse in another's name."""


@dataclass(frozen=True)
class Finalize(Message):
    """The record that all receivers can build; they are asked to store it."""

    TYPE = 0x010A
    TO_COORDINATOR = False

    record: KeyRecord
    transcript: Hash32


@dataclass(frozen=True)
class Ready(Message):
    """Record and share are stored; the vote for this record in this version."""

    TYPE = 0x010B
    TO_COORDINATOR = True

    signature: Signature


@dataclass(frozen=True)
class Cert(Message):
    """The holding certificate's signatures."""

    TYPE = 0x010C
    TO_COORDINATOR = False

    signatures: tuple[NodeSignature, ...]


@dataclass(frozen=True)
class Commit(Message):
    """The node has stored the certificate and commits to the record (round 0)."""

    TYPE = 0x010D
    TO_COORDINATOR = True

    signature: Signature


@dataclass(frozen=True)
class Installed(Message):
    """The decision: the record is in force."""

    TYPE = 0x010E
    TO_COORDINATOR = False

    decision: Decision


# --- redistribution only -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What nodes outside the old committee need to know about a key."""

    record: CertifiedRecord
    document: CertifiedDocumentKey | None


@dataclass(frozen=True)
class Redistribute(Message):
    """Opens a redistribution; `inheritance` is for nodes outside the old committee."""

    TYPE = 0x0201
    TO_COORDINATOR = False

    kind: U8
    counter: U64
    request: Request
    params: ShareParams
    skipped: Decisions
    inheritance: Inheritance | None


@dataclass(frozen=True)
class Handover(Message):
    """Who takes part, and which members of the old committee have promised besides."""

    TYPE = 0x0202
    TO_COORDINATOR = False

    accepted: Annotated[tuple[Accepted, ...], Limit(MAX_PARTICIPANTS)]
    promised: tuple[Accepted, ...]


@dataclass(frozen=True)
class Certified(Message):
    """The record and its holding certificate, for the old committee to decide about."""

    TYPE = 0x0203
    TO_COORDINATOR = False

    record: KeyRecord
    transcript: Hash32
    signatures: tuple[NodeSignature, ...]


@dataclass(frozen=True)
class Prepare(Message):
    """A member of the old committee prepares the record (round 0)."""

    TYPE = 0x0204
    TO_COORDINATOR = True

    signature: Signature


@dataclass(frozen=True)
class Prepared(Message):
    """The prepared certificate's signatures."""

    TYPE = 0x0205
    TO_COORDINATOR = False

    signatures: tuple[NodeSignature, ...]


GENERATION_MESSAGES = (
    Propose,
    Accept,
    Start,
    Deal,
    Shares,
    Ok,
    Investigate,
    AllCommitments,
    Complaint,
    Finalize,
    Ready,
    Cert,
    Commit,
    Installed,
)

REDISTRIBUTION_MESSAGES = (
    Redistribute,
    Accept,
    Handover,
    Deal,
    Shares,
    Ok,
    Investigate,
    AllCommitments,
    Complaint,
    Finalize,
    Ready,
    Cert,
    Certified,
    Prepare,
    Prepared,
    Commit,
    Installed,
)
