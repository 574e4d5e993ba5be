"""Shared zeros that hide what they are added to.

A mask is a polynomial whose constant is zero, so that adding its values to those of another one
changes every value and not the constant. Its commitments are Pedersen's ("Non-interactive and
information-theoretic secure verifiable secret sharing", CRYPTO 1991): `f_k*G + f'_k*HG`, with a
second polynomial `f'` that hides the first perfectly. There is none for the constant, which is how
everybody sees that it is zero. Engine design, section 12.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.curve import (
    SECOND_GENERATOR,
    MaybePoint,
    MaybeSecret,
    Point,
    Scalar,
    SecretScalar,
    add,
    horner,
    mul_base,
    mul_public,
    mul_secret,
)
from keyserver.crypto.errors import InvalidPointError
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import RandomSource


@dataclass(frozen=True, slots=True)
class Opening:
    """A mask's value at one place, and that of its blinding polynomial."""

    value: SecretScalar
    blinding: SecretScalar


class ZeroMask:
    """A random polynomial with the constant 0 and its blinding polynomial; redacted when printed.

    Kept as polynomials of one degree less, which are multiplied by `x`.
    """

    __slots__ = ("_blinding", "_values")

    def __init__(self, values: SecretPolynomial, blinding: SecretPolynomial) -> None:
        """Take `f(x)/x` and `f'(x)/x`; their degrees must be equal."""
        self._values = values
        self._blinding = blinding

    @classmethod
    def random(cls, degree: int, rng: RandomSource) -> "ZeroMask":
        """Draw a mask of a degree of at least 1."""
        return cls(
            SecretPolynomial.random(degree - 1, rng), SecretPolynomial.random(degree - 1, rng)
        )

    def commit(self) -> tuple[Point, ...]:
        """Return the commitments to the coefficients 1 and upwards."""
        pairs = zip(self._values.commit(), self._blinding.commit(SECOND_GENERATOR), strict=True)
        return tuple(_present(add(value, blinding)) for value, blinding in pairs)

    def evaluate_all(self, xs: Sequence[Scalar]) -> list[Opening]:
        """Return the openings at non-zero places."""
        pairs = zip(xs, self._values.evaluate_all(xs), self._blinding.evaluate_all(xs), strict=True)
        return [Opening(value.multiply(x), blind.multiply(x)) for x, value, blind in pairs]

    def __repr__(self) -> str:
        return f"ZeroMask(degree={self._values.degree + 1}, <redacted>)"


def evaluate_mask(commitments: Sequence[Point], x: Scalar) -> MaybePoint:
    """Return what a mask's opening at `x` must be an opening of; variable time."""
    shifted = horner(commitments, x)
    return None if shifted is None else mul_public(shifted, x)


def opened(value: MaybeSecret, blinding: MaybeSecret) -> MaybePoint:
    """Return `value*G + blinding*HG`, in constant time."""
    return add(
        None if value is None else mul_base(value),
        None if blinding is None else mul_secret(SECOND_GENERATOR, blinding),
    )


def _present(point: MaybePoint) -> Point:
    if point is None:
        raise InvalidPointError("mask: a commitment is infinity")
    return point
