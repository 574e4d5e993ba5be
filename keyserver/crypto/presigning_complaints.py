"""When a presigning deal is wrong: find the dealer, complain, judge (engine design, section 12.2).

As `complaints` does for joint generation. A presignature is abandoned after a complaint, so what it
lays open, both deals of one dealer for one receiver, serves nothing any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.complaints import Verdict
from keyserver.crypto.curve import Point
from keyserver.crypto.dealkey import OneTimeKey, shared_from_point
from keyserver.crypto.dkg import Member
from keyserver.crypto.errors import InvalidDealError, InvalidProofError
from keyserver.crypto.presigning import (
    Commitments,
    SealedDeal,
    check_signature,
    deal_hash,
    numbers_are_right,
)
from keyserver.crypto.proofs import prove, verify
from keyserver.crypto.randomness import RandomSource
from keyserver.crypto.transcripts import complaint_statement


@dataclass(frozen=True, slots=True)
class PresigningComplaint:
    """Everything needed to judge one dealer's deal for one accuser."""

    deal: SealedDeal
    commitments: Commitments
    """The dealer's own, of the round in question."""
    common: Point
    """The point the accuser shares with the dealer."""
    proof: bytes


def first_wrong_deal(
    deals: Sequence[SealedDeal],
    lists: Sequence[Commitments],
    *,
    threshold: int,
    receiver: Member,
    one_time: OneTimeKey,
    session: bytes,
    rng: RandomSource,
) -> PresigningComplaint | None:
    """Compare every deal with its dealer's own commitments; lay open the first wrong one.

    `lists` holds each dealer's commitments in the order of `deals`. `None` if all are right: then
    the sums were wrong, whose maker cannot be convicted. Raises InvalidDealError for a list that is
    not the one named in the deal, or has a wrong number of points, and for a wrong deal that its
    dealer has not signed.
    """
    for deal, commitments in zip(deals, lists, strict=True):
        dealer = deal.dealer.node
        if deal_hash(session, dealer, commitments) != deal.deal_hash:
            raise InvalidDealError("deal: commitments differ from their hash", dealer)
        if not commitments.fits(threshold):
            raise InvalidDealError("deal: a wrong number of commitments", dealer)
    for deal, commitments in zip(deals, lists, strict=True):
        shared = one_time.shared_with(deal.dealer.one_time)
        if not numbers_are_right(
            deal, commitments, shared=shared, receiver=receiver, session=session
        ):
            check_signature(deal, receiver.node, session)
            return _complain(deal, commitments, receiver, one_time, session, rng)
    return None


def _complain(
    deal: SealedDeal,
    commitments: Commitments,
    receiver: Member,
    one_time: OneTimeKey,
    session: bytes,
    rng: RandomSource,
) -> PresigningComplaint:
    common = one_time.reveal(deal.dealer.one_time)
    statement = complaint_statement(
        session,
        dealer=deal.dealer.node,
        dealer_one_time=deal.dealer.one_time,
        accuser=receiver.node,
        accuser_one_time=receiver.one_time,
        common=common,
    )
    return PresigningComplaint(deal, commitments, common, prove(statement, [one_time.secret], rng))


def judge(
    complaint: PresigningComplaint, *, session: bytes, threshold: int, accuser: Member
) -> Verdict:
    """Decide a complaint of `accuser`; both are given as announced in this session.

    Of round two the commitments must be in the base that all signed as the outcome of round one.
    """
    deal, commitments = complaint.deal, complaint.commitments
    dealer = deal.dealer
    try:
        check_signature(deal, accuser.node, session)
    except InvalidDealError:
        return Verdict.NOT_PROVEN
    if deal_hash(session, dealer.node, commitments) != deal.deal_hash:
        return Verdict.NOT_PROVEN
    if not commitments.fits(threshold):
        return Verdict.DEALER
    statement = complaint_statement(
        session,
        dealer=dealer.node,
        dealer_one_time=dealer.one_time,
        accuser=accuser.node,
        accuser_one_time=accuser.one_time,
        common=complaint.common,
    )
    try:
        verify(statement, complaint.proof)
    except InvalidProofError:
        return Verdict.ACCUSER
    right = numbers_are_right(
        deal,
        commitments,
        shared=shared_from_point(complaint.common),
        receiver=accuser,
        session=session,
    )
    return Verdict.ACCUSER if right else Verdict.DEALER
