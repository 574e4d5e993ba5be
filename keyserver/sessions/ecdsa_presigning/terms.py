"""What all who take part in a presigning compute alike (engine design, section 12.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.curve import Point, Scalar
from keyserver.crypto.dkg import Member
from keyserver.crypto.errors import InvalidDealError, InvalidSignersError
from keyserver.crypto.presignatures import Presigning
from keyserver.crypto.presigning import (
    Commitments,
    FirstCommitments,
    SecondCommitments,
    check_signers,
    presignature_id,
    presigning_params_hash,
    presigning_transcript,
)
from keyserver.crypto.transcripts import session_hash
from keyserver.model.identifiers import Hash32, NodeId, SessionId
from keyserver.model.keys import KeyRecord
from keyserver.sessions.core import Refusal, Refused
from keyserver.sessions.ecdsa_presigning.messages import PointLists, ProductProof
from keyserver.sessions.identity import digest, node_bytes

FIRST, SECOND = 1, 2
"""The two rounds in which something is dealt."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a presigning is about, for all sides."""

    sid: SessionId
    record: KeyRecord
    signers: tuple[NodeId, ...]
    params_hash: Hash32


def terms_of(sid: SessionId, record: KeyRecord, signers: tuple[NodeId, ...]) -> Terms:
    """The terms of a presigning; raises `Refused` unless 2t + 1 of the committee are in order.

    The places are those of the record: nobody says where a signer stands.
    """
    places = record.coordinates
    if not set(signers) <= places.keys():
        raise Refused(Refusal.BAD, "signers: not all are in the key's committee")
    listed = [(node.point, places[node]) for node in signers]
    try:
        own = signers[0].point if signers else record.public
        check_signers(listed, listed, threshold=record.threshold, own=own)
    except InvalidSignersError as problem:
        raise Refused(Refusal.BAD, str(problem)) from problem
    return Terms(sid, record, signers, Hash32(presigning_params_hash(sid, record.hash, listed)))


@dataclass(frozen=True, slots=True)
class Group:
    """Who takes part, after START."""

    terms: Terms
    session_hash: Hash32
    """`h1`: terms and everybody's one-time key."""
    members: tuple[Member, ...]
    """In the order of the signers."""

    @classmethod
    def of(cls, terms: Terms, one_time: Sequence[Point]) -> "Group":
        """The signers with their one-time keys, in their order."""
        places = terms.record.coordinates
        members = tuple(
            Member(node.point, key, places[node])
            for node, key in zip(terms.signers, one_time, strict=True)
        )
        pairs = [(member.node, member.one_time) for member in members]
        return cls(terms, Hash32(session_hash(terms.params_hash, pairs)), members)

    @property
    def threshold(self) -> int:
        """The key's threshold t."""
        return self.terms.record.threshold

    def index(self, node: NodeId) -> int:
        """The number of a signer."""
        return self.terms.signers.index(node)

    def member(self, node: NodeId) -> Member:
        """A signer with its keys and its place."""
        return self.members[self.index(node)]


@dataclass(frozen=True, slots=True)
class Agreement:
    """The outcome of a round that all signers have signed."""

    deals: tuple[Hash32, ...]
    """The hashes of the deals, in the order of the signers."""
    sums: PointLists

    def transcript(self, group: Group, number: int, base: Point) -> Hash32:
        """What all sign: of round one or two, the latter in the base `R`."""
        sums = commitments_of(number, self.sums, base)
        named = [
            (member.node, named) for member, named in zip(group.members, self.deals, strict=True)
        ]
        return Hash32(presigning_transcript(group.session_hash, named, sums))


def commitments_of(
    number: int, lists: Sequence[Sequence[Point]], base: Point
) -> FirstCommitments | SecondCommitments:
    """The lists of a message as commitments; `base` counts in round two only.

    Raises InvalidDealError for another number of lists than the round has.
    """
    points = [tuple(one) for one in lists]
    if number == FIRST and len(points) == 4:
        return FirstCommitments(*points)
    if number == SECOND and len(points) == 1:
        return SecondCommitments(base, *points)
    raise InvalidDealError(f"deal: {len(points)} lists of commitments in round {number}")


def lists_of(commitments: Commitments) -> tuple[tuple[Point, ...], ...]:
    """The opposite of `commitments_of`."""
    if isinstance(commitments, FirstCommitments):
        return (
            commitments.nonce,
            commitments.product_mask,
            commitments.fixed_mask,
            commitments.scaled_mask,
        )
    assert isinstance(commitments, SecondCommitments), "there are two rounds"
    return (commitments.multiplier,)


def nonce_of(agreed: Sequence[Agreement], record: KeyRecord) -> Point:
    """The base of the next round: `R` once round one is agreed on, before that of no meaning."""
    return agreed[0].sums[0][0] if agreed else record.public


def presigning_of(group: Group, agreed: Sequence[Agreement]) -> Presigning:
    """What both rounds have come to."""
    one, two = agreed
    base = nonce_of(agreed, group.terms.record)
    first = commitments_of(FIRST, one.sums, base)
    second = commitments_of(SECOND, two.sums, base)
    assert isinstance(first, FirstCommitments), "by its number"
    assert isinstance(second, SecondCommitments), "by its number"
    transcripts = (one.transcript(group, FIRST, base), two.transcript(group, SECOND, base))
    return Presigning(
        presignature_id(*transcripts),
        group.terms.record.hash,
        tuple((member.node, member.x) for member in group.members),
        first,
        second,
    )


def product_digest(presig_id: bytes, node: NodeId, value: Scalar, proof: ProductProof) -> Hash32:
    """What a signer signs with its part of the product."""
    return digest("tks/1/psproduct", presig_id, node_bytes(node), value.to_bytes(), proof)
