"""A sharing session of four nodes, threshold 1, every step of which a test may spoil."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from keyserver.crypto.curve import Point, Scalar, SecretScalar, sign_digest
from keyserver.crypto.dealkey import OneTimeKey, seal_value
from keyserver.crypto.dkg import Deal, Member, ReceivedDeal, make_deal
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.transcripts import session_hash, share_digest, tail_hash
from keyserver.crypto.vss import sum_commitments

RNG = SeededRandom("session of four")
NODE_KEYS = [SecretScalar.random(RNG) for _ in range(4)]
ONE_TIME = [OneTimeKey.random(RNG) for _ in range(4)]
MEMBERS = [
    Member(key.public(), one_time.public, Scalar(place))
    for place, (key, one_time) in enumerate(zip(NODE_KEYS, ONE_TIME, strict=True), 1)
]
SESSION = session_hash(bytes(32), [(member.node, member.one_time) for member in MEMBERS])
POLYNOMIALS = [SecretPolynomial.random(1, RNG) for _ in range(4)]


def deal_of(
    dealer: int, polynomial: SecretPolynomial | None = None, *, possession: bool = True
) -> Deal:
    return make_deal(
        POLYNOMIALS[dealer] if polynomial is None else polynomial,
        MEMBERS,
        dealer=MEMBERS[dealer].node,
        one_time=ONE_TIME[dealer],
        session=SESSION,
        rng=RNG,
        possession=possession,
    )


DEALS = [deal_of(dealer) for dealer in range(4)]


def sign_share(dealer: int, receiver: int, deal_hash: bytes, ciphertext: bytes) -> bytes:
    digest = share_digest(
        SESSION, MEMBERS[dealer].node, MEMBERS[receiver].node, deal_hash, ciphertext
    )
    return sign_digest(NODE_KEYS[dealer], digest)


def received(deals: Sequence[Deal], receiver: int) -> list[ReceivedDeal]:
    return [
        ReceivedDeal(
            dealer=MEMBERS[dealer],
            constant=deal.commitments[0],
            pop=deal.pop,
            tail_hash=tail_hash(deal.commitments),
            ciphertext=deal.ciphertexts[receiver],
            signature=sign_share(dealer, receiver, deal.deal_hash, deal.ciphertexts[receiver]),
        )
        for dealer, deal in enumerate(deals)
    ]


def sums(deals: Sequence[Deal]) -> list[Point]:
    totals = sum_commitments([deal.commitments for deal in deals])
    return [total for total in totals if total is not None]


def with_share(deal: Deal, dealer: int, receiver: int, plaintext: bytes) -> Deal:
    """The same deal with other bytes sealed for one receiver."""
    ciphertext = seal_value(
        plaintext,
        session_hash=SESSION,
        shared=ONE_TIME[dealer].shared_with(MEMBERS[receiver].one_time),
        sender=MEMBERS[dealer].node,
        receiver=MEMBERS[receiver].node,
        bound_to=deal.deal_hash,
    )
    return with_ciphertext(deal, receiver, ciphertext)


def with_ciphertext(deal: Deal, receiver: int, ciphertext: bytes) -> Deal:
    ciphertexts = list(deal.ciphertexts)
    ciphertexts[receiver] = ciphertext
    return replace(deal, ciphertexts=tuple(ciphertexts))


@dataclass(frozen=True)
class Spoiled:
    """One way for dealer 1 to cheat receiver 2."""

    name: str
    spoil: Callable[[Deal], Deal]


def _one_too_large(deal: Deal) -> Deal:
    wrong = POLYNOMIALS[1].evaluate(MEMBERS[2].x).add(Scalar(1))
    return with_share(deal, 1, 2, wrong.expose())


WRONG_SHARES = [
    Spoiled("value", _one_too_large),
    Spoiled("zero", lambda deal: with_share(deal, 1, 2, bytes(32))),
    Spoiled("not canonical", lambda deal: with_share(deal, 1, 2, b"\xff" * 32)),
    Spoiled("too short", lambda deal: with_share(deal, 1, 2, bytes(31))),
    Spoiled("does not open", lambda deal: with_ciphertext(deal, 2, bytes(48))),
]
