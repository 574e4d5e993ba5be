"""Verifiable secret sharing: deal, commit, check a share.

Feldman, "A practical scheme for non-interactive verifiable secret sharing", FOCS 1987. The
commitments `C_k` are the coefficients times the generator; whoever has them can check a share.
"""

from collections.abc import Sequence

from keyserver.crypto.curve import (
    MaybePoint,
    Point,
    Scalar,
    SecretScalar,
    horner,
    mul_base,
    sum_points,
)
from keyserver.crypto.errors import InvalidShareError
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import RandomSource


def deal(
    threshold: int, xs: Sequence[Scalar], rng: RandomSource, secret: SecretScalar | None = None
) -> tuple[tuple[Point, ...], list[SecretScalar]]:
    """Share a secret (random if not given) so that any `threshold + 1` shares determine it.

    Returns the commitments and the shares at the non-zero places `xs`.
    """
    polynomial = SecretPolynomial.random(threshold, rng, secret)
    return polynomial.commit(), polynomial.evaluate_all(xs)


def evaluate_commitments(commitments: Sequence[Point], x: Scalar) -> MaybePoint:
    """Return the verification share `X(x) = sum x^k * C_k`; variable time, public values only."""
    return horner(commitments, x)


def check_share(commitments: Sequence[Point], x: Scalar, share: SecretScalar) -> None:
    """Check that `share` is the committed polynomial's value at `x`.

    Raises InvalidShareError otherwise.
    """
    if mul_base(share) != evaluate_commitments(commitments, x):
        raise InvalidShareError("share: not on the committed polynomial")


def sum_commitments(dealt: Sequence[Sequence[Point]]) -> tuple[MaybePoint, ...]:
    """Return the sums of several dealers' commitments, coefficient by coefficient.

    All lists must have the same length (ValueError).
    """
    return tuple(sum_points(column) for column in zip(*dealt, strict=True))
