"""When a share is wrong: find the dealer, complain, judge (engine design, section 7.4).

A complaint reveals the point that dealer and accuser share, which opens the accuser's share for
everybody. Any node can judge it, and all come to the same verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from keyserver.crypto.curve import Point, mul_base, verify_digest
from keyserver.crypto.dealkey import OneTimeKey, shared_from_point
from keyserver.crypto.dkg import Member, ReceivedDeal, open_share, read_share
from keyserver.crypto.errors import (
    DecryptionError,
    InvalidDealError,
    InvalidProofError,
    InvalidScalarError,
    InvalidSignatureError,
)
from keyserver.crypto.proofs import prove, verify
from keyserver.crypto.randomness import RandomSource
from keyserver.crypto.transcripts import complaint_statement, deal_hash, share_digest, tail_hash
from keyserver.crypto.vss import evaluate_commitments


@dataclass(frozen=True, slots=True)
class Complaint:
    """Everything needed to judge one dealer's share for one accuser."""

    dealer: Point
    commitments: tuple[Point, ...]
    pop: bytes
    ciphertext: bytes
    signature: bytes
    common: Point
    """The point the accuser shares with the dealer."""
    proof: bytes


class Verdict(Enum):
    """Whom a complaint convicts."""

    DEALER = "dealer"
    ACCUSER = "accuser"
    NOT_PROVEN = "not proven"


def investigate(
    deals: Sequence[ReceivedDeal],
    lists: Sequence[Sequence[Point]],
    *,
    receiver: Member,
    one_time: OneTimeKey,
    session: bytes,
    rng: RandomSource,
) -> Complaint | None:
    """Compare every share with its dealer's own commitments; complain about the first wrong one.

    `lists` holds each dealer's full commitments, in the order of `deals`, whose signatures were
    checked before. Raises InvalidDealError if a list is not the one that the dealer signed.
    """
    for deal, commitments in zip(deals, lists, strict=True):
        if not commitments or commitments[0] != deal.constant:
            raise InvalidDealError("deal: another constant", deal.dealer.node)
        if tail_hash(commitments) != deal.tail_hash:
            raise InvalidDealError("deal: commitments differ from their hash", deal.dealer.node)
        if not _is_right(deal, commitments, receiver, one_time, session):
            return _complain(deal, commitments, receiver, one_time, session, rng)
    return None


def judge(complaint: Complaint, *, session: bytes, dealer: Member, accuser: Member) -> Verdict:
    """Decide a complaint of `accuser` about `dealer`, both as announced in this session."""
    if complaint.dealer != dealer.node or not complaint.commitments:
        return Verdict.NOT_PROVEN
    constant, tail = complaint.commitments[0], tail_hash(complaint.commitments)
    named = deal_hash(session, dealer.node, constant, complaint.pop, tail)
    digest = share_digest(session, dealer.node, accuser.node, named, complaint.ciphertext)
    try:
        verify_digest(digest, complaint.signature, dealer.node)
    except InvalidSignatureError:
        return Verdict.NOT_PROVEN
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
    try:
        share = read_share(
            complaint.ciphertext,
            shared=shared_from_point(complaint.common),
            session=session,
            dealer=dealer.node,
            receiver=accuser.node,
            named=named,
        )
    except (DecryptionError, InvalidScalarError):
        return Verdict.DEALER
    committed = evaluate_commitments(complaint.commitments, accuser.x)
    right = (None if share is None else mul_base(share)) == committed
    return Verdict.ACCUSER if right else Verdict.DEALER


def _is_right(
    deal: ReceivedDeal,
    commitments: Sequence[Point],
    receiver: Member,
    one_time: OneTimeKey,
    session: bytes,
) -> bool:
    try:
        share = open_share(deal, deal.deal_hash(session), receiver, one_time, session)
    except (DecryptionError, InvalidScalarError):
        return False
    committed = evaluate_commitments(commitments, receiver.x)
    return (None if share is None else mul_base(share)) == committed


def _complain(
    deal: ReceivedDeal,
    commitments: Sequence[Point],
    receiver: Member,
    one_time: OneTimeKey,
    session: bytes,
    rng: RandomSource,
) -> Complaint:
    common = one_time.reveal(deal.dealer.one_time)
    statement = complaint_statement(
        session,
        dealer=deal.dealer.node,
        dealer_one_time=deal.dealer.one_time,
        accuser=receiver.node,
        accuser_one_time=receiver.one_time,
        common=common,
    )
    proof = prove(statement, [one_time.secret], rng)
    return Complaint(
        deal.dealer.node,
        tuple(commitments),
        deal.pop,
        deal.ciphertext,
        deal.signature,
        common,
        proof,
    )
