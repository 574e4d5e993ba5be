"""Giving a shared secret new shares, for the same holders or for others, without uniting it.

Verifiable redistribution (Desmedt and Jajodia, "Redistributing secret shares to new access
structures", 1997; Wong, Wang and Wing, 2002) as engine design, section 13, has it: each of t + 1
old holders deals its own share, multiplied by its Lagrange coefficient, so that receivers only add.
The deals are made, sealed and opened as in joint generation (`dkg`), without proofs of possession:
here everybody knows what the constants must be.
"""

from collections.abc import Sequence

from keyserver.crypto.curve import MaybePoint, Point, Scalar, SecretScalar, mul_public
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Holding, Member, ReceivedDeal, receive_deals
from keyserver.crypto.errors import InvalidDealError
from keyserver.crypto.polynomial import SecretPolynomial, lagrange_at
from keyserver.crypto.randomness import RandomSource
from keyserver.crypto.vss import evaluate_commitments


def scaled_polynomial(
    share: SecretScalar,
    own: Scalar,
    places: Sequence[Scalar],
    *,
    threshold: int,
    rng: RandomSource,
) -> SecretPolynomial:
    """Return what a dealer deals: a random polynomial over `lambda_i * s_i`.

    `own` is the dealer's old place, one of `places`, those of all dealers; `threshold` is the new
    one. Raises ValueError if `own` is not among them, InvalidScalarError unless they are distinct.
    """
    return SecretPolynomial.random(threshold, rng, share.multiply(_factor(own, places)))


def dealt_constant(
    commitments: Sequence[Point], own: Scalar, places: Sequence[Scalar]
) -> MaybePoint:
    """Return `lambda_i * X_i`, to which the dealer at the old place `own` must commit.

    `commitments` are those of the old sharing; errors as `scaled_polynomial`.
    """
    known = evaluate_commitments(commitments, own)
    return None if known is None else mul_public(known, _factor(own, places))


def receive_redistribution(
    deals: Sequence[ReceivedDeal],
    commitments: Sequence[Point],
    *,
    public: Point,
    receiver: Member,
    one_time: OneTimeKey,
    session: bytes,
) -> Holding:
    """Check all deals as they reached one receiver, and add up its new share of `public`.

    Raises as `dkg.receive_deals` does, and InvalidDealError if the deals make another key.
    """
    if commitments[0] != public:
        raise InvalidDealError("deals: they add up to another public key")
    return receive_deals(
        deals,
        commitments,
        receiver=receiver,
        one_time=one_time,
        session=session,
        possession=False,
    )


def _factor(own: Scalar, places: Sequence[Scalar]) -> Scalar:
    return lagrange_at(places)[list(places).index(own)]
