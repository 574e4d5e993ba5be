"""Joint key generation: make a deal, check and add up the deals of all.

Pedersen's joint Feldman sharing (Pedersen, "A threshold cryptosystem without a trusted party",
1991) with proofs of possession, as in SimplPedPop, and encrypted shares. Engine design, sections
7.3 and 7.4. A redistribution runs the same way without the proofs of possession. What follows a
wrong share is in `complaints`.

Signatures are made by the caller over `transcripts.share_digest`: this module has no node key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.curve import (
    MaybeSecret,
    Point,
    Scalar,
    SecretScalar,
    read_secret,
    sum_points,
    sum_secrets,
    verify_digest,
)
from keyserver.crypto.dealkey import OneTimeKey, open_value, seal_value
from keyserver.crypto.errors import (
    DecryptionError,
    InvalidDealError,
    InvalidProofError,
    InvalidShareError,
    InvalidSignatureError,
)
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.proofs import prove, verify
from keyserver.crypto.randomness import RandomSource
from keyserver.crypto.transcripts import (
    constant_statement,
    deal_hash,
    share_digest,
    tail_hash,
    transcript_hash,
)
from keyserver.crypto.vss import check_share

SEALED_SHARE_SIZE = 48
"""Length of a sealed share in bytes: a scalar and the tag."""

POSSESSION_PROOF_SIZE = 64
"""Length of a proof of possession in bytes."""


@dataclass(frozen=True, slots=True)
class Member:
    """One participant of a session: its node key, its one-time key, its place."""

    node: Point
    one_time: Point
    x: Scalar


@dataclass(frozen=True, slots=True)
class Deal:
    """What a dealer gives out, its signatures apart."""

    commitments: tuple[Point, ...]
    pop: bytes
    """The proof of possession of the constant; empty in a redistribution."""
    deal_hash: bytes
    ciphertexts: tuple[bytes, ...]
    """The sealed shares, in the order of the receivers given."""


@dataclass(frozen=True, slots=True)
class ReceivedDeal:
    """One dealer's part as it reaches one receiver."""

    dealer: Member
    constant: Point
    pop: bytes
    tail_hash: bytes
    ciphertext: bytes
    signature: bytes

    def deal_hash(self, session: bytes) -> bytes:
        """Return the deal's hash as it follows from these fields."""
        return deal_hash(session, self.dealer.node, self.constant, self.pop, self.tail_hash)


@dataclass(frozen=True, slots=True)
class Holding:
    """The outcome for one receiver: its share of the joint key, and what it was made from."""

    share: SecretScalar
    transcript_hash: bytes


def make_deal(
    polynomial: SecretPolynomial,
    receivers: Sequence[Member],
    *,
    dealer: Point,
    one_time: OneTimeKey,
    session: bytes,
    rng: RandomSource,
    possession: bool = True,
) -> Deal:
    """Commit to a polynomial and seal its value for every receiver (the dealer itself included).

    `dealer` is the own node key, `session` the session hash `h1`; `possession` says whether the
    constant is proven (generation) or not (redistribution).
    """
    commitments = polynomial.commit()
    pop = b""
    if possession:
        statement = constant_statement(session, dealer, commitments[0])
        pop = prove(statement, [polynomial.constant], rng)
    named = deal_hash(session, dealer, commitments[0], pop, tail_hash(commitments))
    shares = polynomial.evaluate_all([receiver.x for receiver in receivers])
    ciphertexts = tuple(
        seal_value(
            share.expose(),
            session_hash=session,
            shared=one_time.shared_with(receiver.one_time),
            sender=dealer,
            receiver=receiver.node,
            bound_to=named,
        )
        for share, receiver in zip(shares, receivers, strict=True)
    )
    return Deal(commitments, pop, named, ciphertexts)


def check_possession(session: bytes, dealer: Point, constant: Point, pop: bytes) -> None:
    """Check a deal's proof of possession; raises InvalidProofError."""
    verify(constant_statement(session, dealer, constant), pop)


def receive_deals(
    deals: Sequence[ReceivedDeal],
    commitments: Sequence[Point],
    *,
    receiver: Member,
    one_time: OneTimeKey,
    session: bytes,
    possession: bool = True,
) -> Holding:
    """Check all deals of a session as they reached one receiver, and add up its share.

    `commitments` are the sums of all dealers' commitments. Raises InvalidDealError if a deal was
    not made or not relayed as it must be; DecryptionError, InvalidScalarError or InvalidShareError
    if some dealer's share is wrong: then the receiver asks for the full lists and looks for the
    dealer (`complaints`).
    """
    named = [
        (deal.dealer.node, check_deal(deal, receiver.node, session, possession=possession))
        for deal in deals
    ]
    if sum_points([deal.constant for deal in deals]) != commitments[0]:
        raise InvalidDealError("deals: the constants do not add up to the public key")
    share = sum_secrets(
        open_share(deal, name, receiver, one_time, session)
        for deal, (_, name) in zip(deals, named, strict=True)
    )
    if share is None:
        raise InvalidShareError("share: the shares add up to zero")
    check_share(commitments, receiver.x, share)
    return Holding(share, transcript_hash(session, named))


def check_deal(
    deal: ReceivedDeal, receiver: Point, session: bytes, *, possession: bool = True
) -> bytes:
    """Check one deal's signature and proof and return its hash; raises InvalidDealError.

    A deal of the receiver's own is not checked here: opening it, under a key that nobody else can
    have sealed with, shows that it is what the receiver made.
    """
    named = deal.deal_hash(session)
    if deal.dealer.node == receiver:
        return named
    digest = share_digest(session, deal.dealer.node, receiver, named, deal.ciphertext)
    try:
        verify_digest(digest, deal.signature, deal.dealer.node)
        if possession:
            check_possession(session, deal.dealer.node, deal.constant, deal.pop)
    except (InvalidSignatureError, InvalidProofError) as error:
        raise InvalidDealError(f"deal: {error}", deal.dealer.node) from error
    if not possession and deal.pop:
        raise InvalidDealError("deal: unexpected proof of possession", deal.dealer.node)
    return named


def open_share(
    deal: ReceivedDeal, named: bytes, receiver: Member, one_time: OneTimeKey, session: bytes
) -> MaybeSecret:
    """Open the share in a deal whose hash is `named`; `None` for a share of zero.

    Raises DecryptionError or InvalidScalarError, which are the dealer's fault.
    """
    return read_share(
        deal.ciphertext,
        shared=one_time.shared_with(deal.dealer.one_time),
        session=session,
        dealer=deal.dealer.node,
        receiver=receiver.node,
        named=named,
    )


def read_share(
    ciphertext: bytes,
    *,
    shared: bytes,
    session: bytes,
    dealer: Point,
    receiver: Point,
    named: bytes,
) -> MaybeSecret:
    """Open a sealed share with the hash of the common point; errors as `open_share`."""
    if len(ciphertext) != SEALED_SHARE_SIZE:
        raise DecryptionError(f"sealed share: need {SEALED_SHARE_SIZE} bytes")
    return read_secret(
        open_value(
            ciphertext,
            session_hash=session,
            shared=shared,
            sender=dealer,
            receiver=receiver,
            bound_to=named,
        )
    )
