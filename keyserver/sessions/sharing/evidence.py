"""Records that convict a dealer or an accuser of a sharing (engine design, sections 7.4 and 13).

Every signature used here covers `h1`, the hash of the parameters and of everybody's one-time key:
who signed it agreed with both, so the parameters and keys in the record need no other signature.
A node that deals again after a restart has another one-time key, hence another `h1`: it deals at
most once under each.

Two signed one-time keys of a node for the same parameters prove nothing: a node that has restarted
between two deliveries of one proposal accepts it twice in good faith.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from keyserver.crypto import complaints
from keyserver.crypto.curve import Point
from keyserver.crypto.dkg import Member, check_possession
from keyserver.crypto.errors import InvalidProofError
from keyserver.crypto.resharing import dealt_constant
from keyserver.crypto.transcripts import (
    complaint_digest,
    deal_hash,
    session_hash,
    share_digest,
    tail_hash,
)
from keyserver.model.codec import Limit, RawPoint, encode
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.keys import KeyRecord
from keyserver.sessions.conviction import (
    Conviction,
    InvalidEvidenceError,
    Rule,
    check_signed,
)
from keyserver.sessions.core import SessionKind
from keyserver.sessions.identity import digest, is_canonical
from keyserver.sessions.sharing.messages import (
    MAX_PARTICIPANTS,
    Complaint,
    Deal,
    SealedShare,
    ShareParams,
)
from keyserver.sessions.sharing.phases import NO_PLACE, Group, Terms


@dataclass(frozen=True, slots=True)
class Announced:
    """A participant with its one-time key, as START listed it."""

    node: NodeId
    one_time: Point


@dataclass(frozen=True, slots=True)
class Sitting:
    """A sharing after START: what `h1` is made of."""

    params: ShareParams
    participants: Annotated[tuple[Announced, ...], Limit(MAX_PARTICIPANTS)]

    @classmethod
    def of(cls, group: Group) -> "Sitting":
        """The sitting of a running session."""
        listed = (Announced(node, member.one_time) for node, member in group.members.items())
        return cls(group.terms.params, tuple(listed))

    def hash(self) -> bytes:
        """`h1`; raises `InvalidEvidenceError` for what is no sharing."""
        if self.params.kind not in (SessionKind.GENERATION, SessionKind.REDISTRIBUTION):
            raise InvalidEvidenceError("the parameters are not those of a sharing")
        if not is_canonical([entry.node for entry in self.participants]):
            raise InvalidEvidenceError("the participants are not in canonical order")
        params_hash = digest("tks/1/params", encode(self.params))
        pairs = [(entry.node.point, entry.one_time) for entry in self.participants]
        return session_hash(params_hash, pairs)

    def member(self, node: NodeId) -> Member:
        """A participant with its coordinate; raises `InvalidEvidenceError` for another node."""
        one_time = next((e.one_time for e in self.participants if e.node == node), None)
        x = next((m.x for m in self.params.committee if m.node == node), None)
        if x is None and node in self.params.dealers:
            x = NO_PLACE
        if one_time is None or x is None:
            raise InvalidEvidenceError(f"{node.short} takes no part in the session")
        return Member(node.point, one_time, x)

    def conviction(self, culprit: NodeId, rule: Rule) -> Conviction:
        """The conviction of a participant; one offence per session and rule."""
        sid = self.params.sid
        return Conviction(culprit, rule, self.params.key_id, sid, sid)


@dataclass(frozen=True, slots=True)
class JudgedComplaint:
    """A complaint, signed by its accuser: convicts the dealer or the accuser."""

    KIND: ClassVar[int] = 1

    sitting: Sitting
    accuser: NodeId
    complaint: Complaint

    def judge(self) -> Conviction:
        """Convict whom the complaint convicts."""
        complaint, session = self.complaint, self.sitting.hash()
        if self.accuser == complaint.dealer:
            raise InvalidEvidenceError("a node complains about itself")
        dealer, accuser = self.sitting.member(complaint.dealer), self.sitting.member(self.accuser)
        signed = signed_complaint(session, self.accuser, complaint)
        check_signed(signed, complaint.accuser_signature, self.accuser, "the complaint")
        revealed = revealed_by(complaint)
        match complaints.judge(revealed, session=session, dealer=dealer, accuser=accuser):
            case complaints.Verdict.DEALER:
                return self.sitting.conviction(complaint.dealer, Rule.WRONG_SHARE)
            case complaints.Verdict.ACCUSER:
                return self.sitting.conviction(self.accuser, Rule.FALSE_COMPLAINT)
        raise InvalidEvidenceError("the dealer has not signed what the complaint is about")


def revealed_by(complaint: Complaint) -> complaints.Complaint:
    """A complaint in the form that is judged."""
    return complaints.Complaint(
        complaint.dealer.point,
        complaint.commitments,
        complaint.possession,
        complaint.ciphertext,
        complaint.signature,
        complaint.opened,
        complaint.proof,
    )


def signed_complaint(session: bytes, accuser: NodeId, complaint: Complaint) -> Hash32:
    """What an accuser signs; raises `InvalidEvidenceError` for a deal without commitments."""
    if not complaint.commitments:
        raise InvalidEvidenceError("the deal has no commitments")
    return complaint_hash(session, accuser, revealed_by(complaint))


def complaint_hash(session: bytes, accuser: NodeId, revealed: complaints.Complaint) -> Hash32:
    """The same, from what `investigate` found."""
    tail = tail_hash(revealed.commitments)
    constant = revealed.commitments[0]
    named = deal_hash(session, revealed.dealer, constant, revealed.pop, tail)
    return Hash32(
        complaint_digest(
            session,
            dealer=revealed.dealer,
            accuser=accuser.point,
            deal=named,
            ciphertext=revealed.ciphertext,
            signature=revealed.signature,
            common=revealed.common,
            proof=revealed.proof,
        )
    )


@dataclass(frozen=True, slots=True)
class WrongPossession:
    """A deal, signed for one receiver, whose proof of possession does not hold."""

    KIND: ClassVar[int] = 2

    sitting: Sitting
    dealer: NodeId
    receiver: NodeId
    constant: Point
    possession: bytes
    tail_hash: Hash32
    ciphertext: SealedShare
    signature: Signature

    def judge(self) -> Conviction:
        """Convict the dealer."""
        if self.sitting.params.kind != SessionKind.GENERATION:
            raise InvalidEvidenceError("only deals of a generation have a proof of possession")
        session = self.sitting.hash()
        dealer, receiver = self.sitting.member(self.dealer), self.sitting.member(self.receiver)
        named = deal_hash(session, dealer.node, self.constant, self.possession, self.tail_hash)
        signed = share_digest(session, dealer.node, receiver.node, named, self.ciphertext)
        check_signed(signed, self.signature, self.dealer, "the deal")
        try:
            check_possession(session, dealer.node, self.constant, self.possession)
        except InvalidProofError:
            return self.sitting.conviction(self.dealer, Rule.WRONG_POSSESSION_PROOF)
        raise InvalidEvidenceError("the proof of possession holds")


@dataclass(frozen=True, slots=True)
class WrongDegree:
    """A deal, signed for one receiver, with too few or too many commitments."""

    KIND: ClassVar[int] = 3

    sitting: Sitting
    dealer: NodeId
    receiver: NodeId
    commitments: tuple[RawPoint, ...]
    possession: bytes
    ciphertext: SealedShare
    signature: Signature

    def judge(self) -> Conviction:
        """Convict the dealer."""
        if len(self.commitments) == self.sitting.params.threshold + 1:
            raise InvalidEvidenceError("the number of commitments is right")
        if not self.commitments:
            raise InvalidEvidenceError("the deal has no commitments")
        session = self.sitting.hash()
        dealer, receiver = self.sitting.member(self.dealer), self.sitting.member(self.receiver)
        tail = tail_hash(self.commitments)
        named = deal_hash(session, dealer.node, self.commitments[0], self.possession, tail)
        signed = share_digest(session, dealer.node, receiver.node, named, self.ciphertext)
        check_signed(signed, self.signature, self.dealer, "the deal")
        return self.sitting.conviction(self.dealer, Rule.WRONG_DEGREE)


@dataclass(frozen=True, slots=True)
class WrongConstant:
    """A deal of a redistribution, signed for one receiver, of something else than its own share."""

    KIND: ClassVar[int] = 10

    sitting: Sitting
    before: KeyRecord
    dealer: NodeId
    receiver: NodeId
    constant: Point
    possession: bytes
    tail_hash: Hash32
    ciphertext: SealedShare
    signature: Signature

    def judge(self) -> Conviction:
        """Convict the dealer."""
        params = self.sitting.params
        if params.kind != SessionKind.REDISTRIBUTION or params.previous != self.before.hash:
            raise InvalidEvidenceError("the session does not redistribute the record")
        terms = Terms(params, digest("tks/1/params", encode(params)), (), self.before)
        session = self.sitting.hash()
        dealer, receiver = self.sitting.member(self.dealer), self.sitting.member(self.receiver)
        named = deal_hash(session, dealer.node, self.constant, self.possession, self.tail_hash)
        signed = share_digest(session, dealer.node, receiver.node, named, self.ciphertext)
        check_signed(signed, self.signature, self.dealer, "the deal")
        if self.constant == constant_of(terms, self.dealer):
            raise InvalidEvidenceError("the deal is of the dealer's own share")
        return self.sitting.conviction(self.dealer, Rule.WRONG_CONSTANT)


def constant_of(terms: Terms, dealer: NodeId) -> Point | None:
    """What a dealer of a redistribution must commit to; `InvalidEvidenceError` if it deals not."""
    before, dealers = terms.before, terms.params.dealers
    places = before.coordinates if before is not None else {}
    if before is None or dealer not in dealers or not set(dealers) <= places.keys():
        raise InvalidEvidenceError("the dealers are not members of the old committee")
    chosen = [places[node] for node in dealers]
    return dealt_constant(before.commitments, places[dealer], chosen)


def wrong_constants(group: Group, dealer: NodeId, deal: Deal) -> Iterator[WrongConstant]:
    """One record per receiver: any that the dealer has signed convicts it."""
    sitting, tail = Sitting.of(group), Hash32(tail_hash(deal.commitments))
    before = group.terms.before
    assert before is not None  # else nobody asks
    for receiver, share in zip(group.receivers, deal.shares, strict=True):
        yield WrongConstant(
            sitting,
            before,
            dealer,
            receiver,
            deal.commitments[0],
            deal.possession,
            tail,
            share.ciphertext,
            share.signature,
        )


def wrong_degrees(group: Group, dealer: NodeId, deal: Deal) -> Iterator[WrongDegree]:
    """One record per receiver: any that the dealer has signed convicts it."""
    sitting = Sitting.of(group)
    for receiver, share in zip(group.receivers, deal.shares, strict=True):
        yield WrongDegree(
            sitting,
            dealer,
            receiver,
            deal.commitments,
            deal.possession,
            share.ciphertext,
            share.signature,
        )


def wrong_possessions(group: Group, dealer: NodeId, deal: Deal) -> Iterator[WrongPossession]:
    """The same for a proof of possession that does not hold."""
    sitting, tail = Sitting.of(group), Hash32(tail_hash(deal.commitments))
    for receiver, share in zip(group.receivers, deal.shares, strict=True):
        yield WrongPossession(
            sitting,
            dealer,
            receiver,
            deal.commitments[0],
            deal.possession,
            tail,
            share.ciphertext,
            share.signature,
        )
