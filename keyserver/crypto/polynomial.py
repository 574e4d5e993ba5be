"""Polynomials modulo the group order: secret ones to share with, and interpolation.

Shamir, "How to share a secret", 1979; Lagrange coefficients as in the engine design, section 2.
"""

import math
from collections.abc import Sequence

from keyserver.crypto.curve import (
    GENERATOR,
    ORDER,
    MaybePoint,
    Point,
    Scalar,
    SecretScalar,
    mul_base,
    mul_public,
    mul_secret,
    sum_points,
    sum_secrets,
)
from keyserver.crypto.errors import InvalidScalarError
from keyserver.crypto.randomness import RandomSource

_ZERO = Scalar(0)


class SecretPolynomial:
    """A polynomial with secret, non-zero coefficients; redacted when printed.

    The constant, which may belong to a long-lived key, is only ever handled in constant time. The
    other coefficients live for one session; they are evaluated with Python integers.
    """

    __slots__ = ("_constant", "_higher")

    def __init__(self, coefficients: Sequence[SecretScalar]) -> None:
        """Take the coefficients from the constant upwards; raises InvalidScalarError for none."""
        if not coefficients:
            raise InvalidScalarError("polynomial: need at least the constant")
        self._constant = coefficients[0]
        self._higher = tuple(coefficients[1:])

    @classmethod
    def random(
        cls, degree: int, rng: RandomSource, constant: SecretScalar | None = None
    ) -> "SecretPolynomial":
        """Draw the coefficients; the constant may be given."""
        first = SecretScalar.random(rng) if constant is None else constant
        return cls([first, *(SecretScalar.random(rng) for _ in range(degree))])

    @property
    def degree(self) -> int:
        """The number of coefficients beside the constant."""
        return len(self._higher)

    @property
    def constant(self) -> SecretScalar:
        """The value at 0: what is shared."""
        return self._constant

    def commit(self, base: Point = GENERATOR) -> tuple[Point, ...]:
        """Return every coefficient times the base, the constant's first (Feldman 1987)."""
        coefficients = (self._constant, *self._higher)
        if base == GENERATOR:
            return tuple(mul_base(coefficient) for coefficient in coefficients)
        return tuple(mul_secret(base, coefficient) for coefficient in coefficients)

    def evaluate(self, x: Scalar) -> SecretScalar:
        """Return the value at one non-zero `x`; see `evaluate_all`."""
        return self.evaluate_all([x])[0]

    def evaluate_all(self, xs: Sequence[Scalar]) -> list[SecretScalar]:
        """Return the values at non-zero places `xs`.

        Raises InvalidScalarError for a place 0 and for a value 0, which random coefficients do not
        have.
        """
        if not self._higher:
            return [self._constant for _ in xs]
        higher = [int.from_bytes(c.expose(), "big") for c in reversed(self._higher)]
        return [self._constant.add(_tail_at(higher, int(x))) for x in xs]

    def __repr__(self) -> str:
        return f"SecretPolynomial(degree={self.degree}, <redacted>)"


def _tail_at(falling: Sequence[int], x: int) -> SecretScalar:
    """The polynomial without its constant at `x`; `falling` has the highest coefficient first."""
    value = 0
    for coefficient in falling:
        value = (value * x + coefficient) % ORDER
    return SecretScalar.from_int(value * x % ORDER)


def lagrange_at(xs: Sequence[Scalar], x0: Scalar = _ZERO) -> list[Scalar]:
    """Return the Lagrange coefficients of the places `xs` for the value at `x0`.

    Uses one inversion in all. Raises InvalidScalarError unless the places are distinct.
    """
    places = [int(x) for x in xs]
    if len(set(places)) != len(places):
        raise InvalidScalarError("interpolation: places must be distinct")
    target = int(x0)
    if target in places:
        return [Scalar(int(place == target)) for place in places]
    every = math.prod(target - place for place in places) % ORDER
    denominators = [
        (target - place) * math.prod(place - other for other in places if other != place) % ORDER
        for place in places
    ]
    return [Scalar(every * inverse % ORDER) for inverse in _inverses(denominators)]


def _inverses(values: Sequence[int]) -> list[int]:
    """The inverses of non-zero values with one inversion (Montgomery's trick)."""
    before = [1]
    for value in values:
        before.append(before[-1] * value % ORDER)
    inverse = pow(before.pop(), -1, ORDER)
    result = []
    for value, product in zip(reversed(values), reversed(before), strict=True):
        result.append(inverse * product % ORDER)
        inverse = inverse * value % ORDER
    return result[::-1]


def interpolate(xs: Sequence[Scalar], values: Sequence[Scalar], x0: Scalar = _ZERO) -> Scalar:
    """Return the value at `x0` of the polynomial through public values at the places `xs`."""
    terms = zip(lagrange_at(xs, x0), values, strict=True)
    return Scalar(sum(int(factor) * int(value) for factor, value in terms) % ORDER)


def interpolate_secret(
    xs: Sequence[Scalar], shares: Sequence[SecretScalar], x0: Scalar = _ZERO
) -> SecretScalar:
    """Return the value at `x0` of the polynomial through secret values, in constant time.

    `x0` must not be one of `xs`. Raises InvalidScalarError if it is, or if the result is 0.
    """
    factors = lagrange_at(xs, x0)
    terms = [share.multiply(f) for share, f in zip(shares, factors, strict=True)]
    total = sum_secrets(terms)
    if total is None:
        raise InvalidScalarError("interpolation: the value is zero")
    return total


def interpolate_points(
    xs: Sequence[Scalar], points: Sequence[Point], x0: Scalar = _ZERO
) -> MaybePoint:
    """Return the value at `x0` of the polynomial through points: interpolation in the exponent."""
    factors = lagrange_at(xs, x0)
    terms = [mul_public(point, f) for point, f in zip(points, factors, strict=True)]
    return sum_points([term for term in terms if term is not None])
