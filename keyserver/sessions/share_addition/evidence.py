"""Records that convict a donor of a share addition (engine design, section 14.1).

Every signature used here covers `h1`, the hash of the terms and of everybody's one-time key: who
signed it agreed with both. A donor takes part in a session once, with one mask and one answer, so
nothing it signed in good faith can be set against anything else that it signed.
"""

from dataclasses import dataclass
from typing import ClassVar

from keyserver.crypto.curve import Point
from keyserver.crypto.dealkey import shared_from_point
from keyserver.crypto.dkg import Member
from keyserver.crypto.errors import DecryptionError, InvalidScalarError
from keyserver.crypto.proofs import verify
from keyserver.crypto.share_addition import (
    ReceivedMask,
    blinded_hash,
    blinded_is_right,
    mask_hash,
    mask_is_right,
    open_blinded,
    vanishes,
)
from keyserver.crypto.transcripts import complaint_statement, session_hash, share_digest
from keyserver.model.codec import RawPoint
from keyserver.model.identifiers import NodeId, SessionId, Signature
from keyserver.model.keys import KeyRecord
from keyserver.model.requests import Proof
from keyserver.sessions.conviction import (
    Conviction,
    InvalidEvidenceError,
    Rule,
    check_signed,
)
from keyserver.sessions.core import Refused
from keyserver.sessions.identity import is_canonical
from keyserver.sessions.share_addition.phases import Group
from keyserver.sessions.share_addition.terms import terms_of
from keyserver.sessions.sharing.evidence import Announced
from keyserver.sessions.sharing.messages import SealedShare, SignedShare


@dataclass(frozen=True, slots=True)
class Addition:
    """A share addition after START: what `h1` is made of, and the record that gives the places."""

    sid: SessionId
    record: KeyRecord
    late: NodeId
    participants: tuple[Announced, ...]
    """The donors and the late node."""

    @classmethod
    def of(cls, sid: SessionId, group: Group) -> "Addition":
        """The one of a running session."""
        listed = (Announced(node, member.one_time) for node, member in group.members.items())
        return cls(sid, group.terms.record, group.terms.late, tuple(listed))

    def hash(self) -> bytes:
        """`h1`; raises `InvalidEvidenceError` for what no honest donor takes part in."""
        nodes = [entry.node for entry in self.participants]
        if not is_canonical(nodes) or self.late not in nodes:
            raise InvalidEvidenceError("the participants are not those of a share addition")
        donors = tuple(node for node in nodes if node != self.late)
        try:
            terms = terms_of(self.sid, self.record, self.late, donors)
        except Refused as refused:
            raise InvalidEvidenceError(str(refused)) from refused
        pairs = [(entry.node.point, entry.one_time) for entry in self.participants]
        return session_hash(terms.params_hash, pairs)

    def member(self, node: NodeId) -> Member:
        """A participant with its place; raises `InvalidEvidenceError` for another node."""
        for entry in self.participants:
            if entry.node == node:
                return Member(node.point, entry.one_time, self.record.coordinates[node])
        raise InvalidEvidenceError(f"{node.short} takes no part in the session")

    def donor(self, node: NodeId) -> Member:
        """A donor; raises `InvalidEvidenceError` for another node."""
        if node == self.late:
            raise InvalidEvidenceError("the late node gives nothing")
        return self.member(node)

    def opened(
        self, session: bytes, *, culprit: Member, accuser: Member, common: Point, proof: Proof
    ) -> bytes:
        """What opens messages between two participants; raises `CryptoError` for a false proof."""
        statement = complaint_statement(
            session,
            dealer=culprit.node,
            dealer_one_time=culprit.one_time,
            accuser=accuser.node,
            accuser_one_time=accuser.one_time,
            common=common,
        )
        verify(statement, proof)
        return shared_from_point(common)

    def conviction(self, culprit: NodeId, rule: Rule) -> Conviction:
        """The conviction of a donor; one offence per session and rule."""
        return Conviction(culprit, rule, self.record.key_id, self.sid, self.sid)


@dataclass(frozen=True, slots=True)
class WrongMask:
    """A mask, signed for one donor, that is not zero where it must be, or of another degree."""

    KIND: ClassVar[int] = 32

    addition: Addition
    dealer: NodeId
    receiver: NodeId
    commitments: tuple[RawPoint, ...]
    value: SignedShare

    def judge(self) -> Conviction:
        """Convict the dealer."""
        session = self.addition.hash()
        dealer, receiver = self.addition.donor(self.dealer), self.addition.donor(self.receiver)
        _check_dealt(session, dealer, receiver, self.commitments, self.value)
        record = self.addition.record
        right_degree = len(self.commitments) == record.threshold + 1
        if right_degree and vanishes(self.commitments, record.coordinates[self.addition.late]):
            raise InvalidEvidenceError("the mask is zero at the late node's place")
        return self.addition.conviction(self.dealer, Rule.WRONG_MASK)


@dataclass(frozen=True, slots=True)
class WrongMaskValue:
    """A value, signed for one donor, that is not on the mask that its dealer committed to.

    The receiver laid open the point that it shares with the dealer.
    """

    KIND: ClassVar[int] = 33

    addition: Addition
    dealer: NodeId
    receiver: NodeId
    commitments: tuple[RawPoint, ...]
    value: SignedShare
    common: Point
    proof: Proof

    def judge(self) -> Conviction:
        """Convict the dealer."""
        session = self.addition.hash()
        dealer, receiver = self.addition.donor(self.dealer), self.addition.donor(self.receiver)
        mask = _check_dealt(session, dealer, receiver, self.commitments, self.value)
        shared = self.addition.opened(
            session, culprit=dealer, accuser=receiver, common=self.common, proof=self.proof
        )
        if mask_is_right(mask, self.commitments, receiver=receiver, shared=shared, session=session):
            raise InvalidEvidenceError("the value is the one committed to")
        return self.addition.conviction(self.dealer, Rule.WRONG_MASK)


def _check_dealt(
    session: bytes,
    dealer: Member,
    receiver: Member,
    commitments: tuple[Point, ...],
    value: SignedShare,
) -> ReceivedMask:
    named = mask_hash(session, dealer.node, commitments)
    signed = share_digest(session, dealer.node, receiver.node, named, value.ciphertext)
    check_signed(signed, value.signature, NodeId.of(dealer.node), "the mask")
    return ReceivedMask(dealer, named, value.ciphertext, value.signature)


@dataclass(frozen=True, slots=True)
class WrongBlinded:
    """A blinded value, signed, that is not the donor's share with the masks it was given.

    What the donor signed names the sums of the masks' commitments, which it had checked its masks
    against; so it holds nobody else to account for them.
    """

    KIND: ClassVar[int] = 34

    addition: Addition
    donor: NodeId
    sums: tuple[Point, ...]
    ciphertext: SealedShare
    signature: Signature
    common: Point
    """Shared by the donor and the late node."""
    proof: Proof

    def judge(self) -> Conviction:
        """Convict the donor."""
        addition, record = self.addition, self.addition.record
        session = addition.hash()
        donor, late = addition.donor(self.donor), addition.member(addition.late)
        bound_to = blinded_hash(session, donor.node, self.sums)
        signed = share_digest(session, donor.node, late.node, bound_to, self.ciphertext)
        check_signed(signed, self.signature, self.donor, "the value")
        shared = addition.opened(
            session, culprit=donor, accuser=late, common=self.common, proof=self.proof
        )
        try:
            value = open_blinded(
                self.ciphertext,
                bound_to=bound_to,
                donor=donor.node,
                late=late.node,
                shared=shared,
                session=session,
            )
            is_right = blinded_is_right(value, record.commitments, self.sums, donor.x)
        except (DecryptionError, InvalidScalarError):
            is_right = False
        if is_right:
            raise InvalidEvidenceError("the value is the donor's share with the masks")
        return addition.conviction(self.donor, Rule.WRONG_BLINDED_SHARE)
