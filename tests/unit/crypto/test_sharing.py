"""Polynomials and verifiable sharing."""

import pytest

from keyserver.crypto.curve import ORDER, Point, Scalar, SecretScalar, mul_base, negate
from keyserver.crypto.errors import InvalidScalarError, InvalidShareError
from keyserver.crypto.polynomial import (
    SecretPolynomial,
    interpolate,
    interpolate_points,
    interpolate_secret,
    lagrange_at,
)
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.vss import check_share, deal, evaluate_commitments, sum_commitments


def _secrets(*values: int) -> list[SecretScalar]:
    return [SecretScalar.from_int(value) for value in values]


def _places(*values: int) -> list[Scalar]:
    return [Scalar(value) for value in values]


def test_evaluation() -> None:
    polynomial = SecretPolynomial(_secrets(7, 11, 13))
    assert polynomial.evaluate(Scalar(2)) == SecretScalar.from_int(7 + 22 + 52)
    values = polynomial.evaluate_all(_places(1, ORDER - 1))
    assert values == _secrets(31, 9)
    assert polynomial.degree == 2
    assert polynomial.constant == SecretScalar.from_int(7)
    assert polynomial.commit() == tuple(mul_base(Scalar(k)) for k in (7, 11, 13))


def test_constant_polynomial() -> None:
    polynomial = SecretPolynomial(_secrets(7))
    assert polynomial.evaluate_all(_places(1, 2)) == _secrets(7, 7)
    assert polynomial.degree == 0


def test_polynomial_limits() -> None:
    with pytest.raises(InvalidScalarError, match="constant"):
        SecretPolynomial([])
    with pytest.raises(InvalidScalarError):
        SecretPolynomial(_secrets(7, 11)).evaluate(Scalar(0))
    with pytest.raises(InvalidScalarError, match="zero"):
        SecretPolynomial(_secrets(ORDER - 3, 3)).evaluate(Scalar(1))


def test_polynomial_does_not_print() -> None:
    polynomial = SecretPolynomial.random(3, SeededRandom(1))
    assert repr(polynomial) == "SecretPolynomial(degree=3, <redacted>)"


def test_random_polynomial_keeps_a_given_constant() -> None:
    constant = SecretScalar.from_int(99)
    polynomial = SecretPolynomial.random(2, SeededRandom(1), constant)
    assert polynomial.constant == constant
    assert SecretPolynomial.random(2, SeededRandom(1)).constant != constant


def test_lagrange_coefficients() -> None:
    assert lagrange_at(_places(1, 2)) == [Scalar(2), -Scalar(1)]
    assert lagrange_at(_places(5)) == [Scalar(1)]
    assert lagrange_at([]) == []
    assert lagrange_at(_places(1, 2, 3), Scalar(2)) == _places(0, 1, 0)
    factors = lagrange_at(_places(3, ORDER - 9, 77), Scalar(1000))
    assert sum(int(factor) for factor in factors) % ORDER == 1


def test_lagrange_needs_distinct_places() -> None:
    with pytest.raises(InvalidScalarError, match="distinct"):
        lagrange_at(_places(1, 2, 1))


def test_interpolation() -> None:
    xs = _places(1, 4, 6)
    values = [Scalar(3 + 5 * int(x) + 2 * int(x) ** 2) for x in xs]
    assert interpolate(xs, values) == Scalar(3)
    assert interpolate(xs, values, Scalar(10)) == Scalar(253)
    shares = [SecretScalar(value.to_bytes()) for value in values]
    assert interpolate_secret(xs, shares) == SecretScalar.from_int(3)
    points = [mul_base(value) for value in values]
    assert interpolate_points(xs, points, Scalar(10)) == mul_base(Scalar(253))
    assert interpolate_points(xs, points, Scalar(4)) == points[1]


def test_interpolation_at_zero_values() -> None:
    xs, shares = _places(1, 2), _secrets(4, 8)
    with pytest.raises(InvalidScalarError, match="value is zero"):
        interpolate_secret(xs, shares)
    assert interpolate_points(xs, [mul_base(share) for share in shares]) is None
    with pytest.raises(InvalidScalarError):
        interpolate_secret(xs, shares, Scalar(1))
    with pytest.raises(ValueError, match="zip"):
        interpolate(xs, [Scalar(1)])


def test_dealing_and_checking() -> None:
    xs = _places(1, 2, 3, 4)
    commitments, shares = deal(2, xs, SeededRandom(8))
    assert len(commitments) == 3
    for x, share in zip(xs, shares, strict=True):
        check_share(commitments, x, share)
        assert evaluate_commitments(commitments, x) == mul_base(share)
    with pytest.raises(InvalidShareError):
        check_share(commitments, Scalar(2), shares[0])
    given, _ = deal(1, xs, SeededRandom(8), SecretScalar.from_int(6))
    assert given[0] == mul_base(Scalar(6))


def test_summed_commitments() -> None:
    a, b = mul_base(Scalar(2)), mul_base(Scalar(3))
    assert sum_commitments([[a, b], [b, negate(b)]]) == (mul_base(Scalar(5)), None)
    columns: list[list[Point]] = [[a, b], [a]]
    with pytest.raises(ValueError, match="zip"):
        sum_commitments(columns)
