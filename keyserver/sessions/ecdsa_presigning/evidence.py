"""Records that convict a signer of a presigning (engine design, section 12.2).

Every signature used here covers `h1`, the hash of the record, the signers and their one-time keys,
or the name of the presignature, which covers all that was dealt and agreed on as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from keyserver.crypto.complaints import Verdict
from keyserver.crypto.curve import Point, Scalar
from keyserver.crypto.errors import InvalidDealError, InvalidProofError
from keyserver.crypto.presignatures import Presigning, product_statement
from keyserver.crypto.presigning import SealedDeal, deal_hash
from keyserver.crypto.presigning_complaints import PresigningComplaint, judge
from keyserver.crypto.proofs import verify
from keyserver.model.codec import Limit
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
from keyserver.sessions.ecdsa_presigning.messages import (
    MAX_SIGNERS,
    ProductProof,
    RawLists,
    SealedNumbers,
)
from keyserver.sessions.ecdsa_presigning.terms import (
    FIRST,
    SECOND,
    Agreement,
    Group,
    commitments_of,
    nonce_of,
    presigning_of,
    product_digest,
    terms_of,
)
from keyserver.sessions.sharing.evidence import Announced


@dataclass(frozen=True, slots=True)
class Assembly:
    """A presigning after START: what `h1` is made of, and the record that gives the places."""

    sid: SessionId
    record: KeyRecord
    signers: Annotated[tuple[Announced, ...], Limit(MAX_SIGNERS)]

    @classmethod
    def of(cls, group: Group) -> "Assembly":
        """The one of a running session."""
        listed = (
            Announced(node, member.one_time)
            for node, member in zip(group.terms.signers, group.members, strict=True)
        )
        return cls(group.terms.sid, group.terms.record, tuple(listed))

    def group(self) -> Group:
        """The signers; raises `InvalidEvidenceError` for what no honest node takes part in."""
        try:
            terms = terms_of(self.sid, self.record, tuple(entry.node for entry in self.signers))
        except Refused as refused:
            raise InvalidEvidenceError(str(refused)) from refused
        return Group.of(terms, [entry.one_time for entry in self.signers])

    def conviction(self, culprit: NodeId, rule: Rule) -> Conviction:
        """The conviction of a signer; one offence per session and rule."""
        return Conviction(culprit, rule, self.record.key_id, self.sid, self.sid)


def check_taking_part(group: Group, node: NodeId) -> None:
    """Raise `InvalidEvidenceError` unless a node is one of the signers."""
    if node not in group.terms.signers:
        raise InvalidEvidenceError(f"{node.short} takes no part in the session")


def check_agreements(group: Group, agreed: Sequence[Agreement]) -> None:
    """Raise `CryptoError` unless these have the form of the outcomes of round one, or both."""
    for number, agreement in enumerate(agreed, FIRST):
        base = group.terms.record.public  # only the numbers of points count here
        fits = commitments_of(number, agreement.sums, base).fits(group.threshold)
        if len(agreement.deals) != len(group.members) or not fits:
            raise InvalidDealError("this is no outcome of a round")


@dataclass(frozen=True, slots=True)
class SignedAgreement:
    """The outcome of round one, signed by the culprit."""

    agreement: Agreement
    signature: Signature


@dataclass(frozen=True, slots=True)
class WrongPresigningDeal:
    """Numbers, signed for one receiver, that are not what their dealer committed to.

    The receiver laid open the point that it shares with the dealer. In round two the dealer has
    signed the outcome of round one, from which the base of its commitments comes.
    """

    KIND: ClassVar[int] = 65

    assembly: Assembly
    before: Annotated[tuple[SignedAgreement, ...], Limit(1)]
    dealer: NodeId
    receiver: NodeId
    commitments: RawLists
    value: SealedNumbers
    common: Point
    proof: Proof

    def judge(self) -> Conviction:
        """Convict the dealer."""
        group, number = self.assembly.group(), len(self.before) + 1
        check_taking_part(group, self.dealer)
        check_taking_part(group, self.receiver)
        agreed = [entry.agreement for entry in self.before]
        check_agreements(group, agreed)
        base = nonce_of(agreed, group.terms.record)
        for entry in self.before:
            signed = entry.agreement.transcript(group, FIRST, base)
            check_signed(signed, entry.signature, self.dealer, "the outcome of round one")
        commitments = commitments_of(number, self.commitments, base)
        dealer = group.member(self.dealer)
        named = deal_hash(group.session_hash, dealer.node, commitments)
        deal = SealedDeal(dealer, named, self.value.ciphertext, self.value.signature)
        verdict = judge(
            PresigningComplaint(deal, commitments, self.common, self.proof),
            session=group.session_hash,
            threshold=group.threshold,
            accuser=group.member(self.receiver),
        )
        if verdict is not Verdict.DEALER:
            raise InvalidEvidenceError(f"the complaint does not convict the dealer: {verdict}")
        return self.assembly.conviction(self.dealer, Rule.WRONG_PRESIGNING_DEAL)


Both = Annotated[tuple[Agreement, ...], Limit(2)]
"""The outcomes of both rounds."""


def presigning_in(assembly: Assembly, agreed: Both, maker: NodeId) -> Presigning:
    """What a session has come to; raises `CryptoError` or `InvalidEvidenceError`."""
    group = assembly.group()
    check_taking_part(group, maker)
    if len(agreed) != SECOND:
        raise InvalidEvidenceError("need the outcomes of both rounds")
    check_agreements(group, agreed)
    return presigning_of(group, agreed)


@dataclass(frozen=True, slots=True)
class WrongProduct:
    """A signed part of the product of nonce and multiplier whose proof does not hold."""

    KIND: ClassVar[int] = 66

    assembly: Assembly
    agreed: Both
    maker: NodeId
    value: Scalar
    proof: ProductProof
    signature: Signature

    def judge(self) -> Conviction:
        """Convict the maker of the part."""
        presigning = presigning_in(self.assembly, self.agreed, self.maker)
        signed = product_digest(presigning.presig_id, self.maker, self.value, self.proof)
        check_signed(signed, self.signature, self.maker, "the part")
        place = self.assembly.record.coordinates[self.maker]
        statement = product_statement(presigning, (self.maker.point, place), self.value)
        try:
            verify(statement, self.proof)
        except InvalidProofError:
            return self.assembly.conviction(self.maker, Rule.WRONG_PRODUCT)
        raise InvalidEvidenceError("the proof of the part holds")
