"""Keys as all nodes know them: records, certificates, document keys (engine design, section 4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

from keyserver.crypto.curve import Point, Scalar, SecretScalar
from keyserver.crypto.hashing import tagged_hash
from keyserver.crypto.vss import evaluate_commitments
from keyserver.model.codec import U8, U16, U32, Limit, RawPoint, encode
from keyserver.model.identifiers import (
    ZERO_HASH,
    Address,
    Hash32,
    KeyId,
    NodeId,
    Signature,
)

RECORD_FORMAT = 1
"""First byte of every record."""

ATTEMPTS_PER_VERSION = 2**16
"""How many attempts to store a document key have numbers under one version of a key."""

LAST_VERSION = 2**16
"""The last version under which attempts have numbers of 32 bits."""


@dataclass(frozen=True, slots=True)
class CommitteeMember:
    """A node of a key's committee and the coordinate of its share."""

    node: NodeId
    x: Scalar


@dataclass(frozen=True)
class KeyRecord:
    """The public description of one version of a key, identical on all nodes."""

    record_format: U8
    key_id: KeyId
    author: Address
    threshold: U16
    public: Point
    version: U32
    previous: Hash32
    set_id: Hash32
    document: Hash32
    committee: tuple[CommitteeMember, ...]
    commitments: tuple[Point, ...]

    def __post_init__(self) -> None:
        """Refuse what no honest node writes; raises `ValueError`."""
        if self.record_format != RECORD_FORMAT:
            raise ValueError(f"unknown record format {self.record_format}")
        if len(self.commitments) != self.threshold + 1 or self.commitments[0] != self.public:
            raise ValueError("the commitments do not belong to the public key and threshold")
        nodes = [member.node for member in self.committee]
        if nodes != sorted(set(nodes)):
            raise ValueError("the committee is not in canonical order")
        if len({int(member.x) for member in self.committee} - {0}) != len(nodes):
            raise ValueError("coordinates must be distinct and not zero")
        if self.threshold >= len(nodes):
            raise ValueError("the threshold leaves no set of nodes that could use the key")

    @cached_property
    def hash(self) -> Hash32:
        """The name of this version in all messages."""
        return Hash32(tagged_hash("tks/1/record", encode(self)))

    @cached_property
    def coordinates(self) -> Mapping[NodeId, Scalar]:
        """The coordinate of every member of the committee."""
        return {member.node: member.x for member in self.committee}

    @cached_property
    def nodes(self) -> tuple[NodeId, ...]:
        """The committee in canonical order."""
        return tuple(member.node for member in self.committee)

    @property
    def first_attempt(self) -> int:
        """The number of the first attempt to store a document key under this version.

        Every version has numbers of its own: what was given up under an earlier one, by another
        committee, needs no proof any more.
        """
        return (self.version - 1) * ATTEMPTS_PER_VERSION + 1

    @property
    def required_nodes(self) -> int:
        """How many holders can use the key: t + 1."""
        return self.threshold + 1

    @cached_property
    def _verification_shares(self) -> dict[NodeId, Point | None]:
        return {}

    def verification_share(self, node: NodeId) -> Point | None:
        """`X = share * G` of a member; `None` is the point at infinity, an unusable share."""
        known = self._verification_shares
        if node not in known:
            known[node] = evaluate_commitments(self.commitments, self.coordinates[node])
        return known[node]


@dataclass(frozen=True, slots=True)
class NodeSignature:
    """A signature together with who claims to have made it."""

    node: NodeId
    signature: Signature


@dataclass(frozen=True, slots=True)
class HoldingCertificate:
    """READY signatures: these nodes verified and stored a share of the record."""

    transcript: Hash32
    signatures: tuple[NodeSignature, ...]

    def prepares(self, record: "KeyRecord") -> "PreparedCertificate":
        """The same signatures as votes of round 0 for the record."""
        return PreparedCertificate(0, record.hash, self.transcript, self.signatures)


@dataclass(frozen=True, slots=True)
class PreparedCertificate:
    """PREPARE signatures of one round and value by a quorum of the deciding committee.

    For a record in round 0 these are the READY signatures of its holding certificate, and
    `transcript` is what they were given for; in every other case it is `None`.
    """

    round: U32
    value: Hash32
    transcript: Hash32 | None
    signatures: tuple[NodeSignature, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """COMMIT signatures of one round and value by a quorum of the deciding committee."""

    round: U32
    value: Hash32
    signatures: tuple[NodeSignature, ...]

    @property
    def is_nothing(self) -> bool:
        """Whether the attempt was given up."""
        return self.value == ZERO_HASH


Decisions = Annotated[tuple[Decision, ...], Limit(2**16)]
"""Of versions or attempts in a row, of which there may be any number."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The two parts that make a record usable; always carried together."""

    holding: HoldingCertificate
    decision: Decision


@dataclass(frozen=True, slots=True)
class CertifiedRecord:
    """A record that was decided."""

    record: KeyRecord
    certificate: Certificate
    skipped: Decisions = ()
    """Decisions of *nothing* for the versions between the previous record and this one."""


@dataclass(frozen=True, slots=True)
class DocumentKey:
    """A document key encrypted to the server key: `C = k*G`, `E = M + k*Y`."""

    common: RawPoint
    encrypted: RawPoint

    @property
    def hash(self) -> Hash32:
        """What names it in the records of later versions."""
        return Hash32(tagged_hash("tks/1/doc", self._points))

    def hash_under(self, record_hash: Hash32) -> Hash32:
        """The value that the nodes decide on when they store it."""
        return Hash32(tagged_hash("tks/1/doc", record_hash + self._points))

    @property
    def _points(self) -> bytes:
        return self.common.raw64 + self.encrypted.raw64


@dataclass(frozen=True, slots=True)
class CertifiedDocumentKey:
    """A document key with the decision that it is the one."""

    document: DocumentKey
    record_hash: Hash32
    attempt: U32
    decision: Decision


@dataclass(frozen=True, slots=True)
class KeyShare:
    """This node's secret share of one version; never encoded, printed or sent."""

    x: Scalar
    value: SecretScalar = field(repr=False)
