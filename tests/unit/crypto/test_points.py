import pickle

import pytest
from coincurve._libsecp256k1 import ffi  # type: ignore[import-not-found]

from keyserver.crypto import curve
from keyserver.crypto.curve import (
    GENERATOR,
    ORDER,
    SECOND_GENERATOR,
    MaybePoint,
    Point,
    Scalar,
    SecretScalar,
    add,
    ecdh_sha256,
    ecdh_x,
    horner,
    lincomb,
    lincomb_by_parts,
    mul_base,
    mul_public,
    mul_secret,
    negate,
    sum_points,
)
from keyserver.crypto.errors import CryptoError, InvalidPointError, InvalidScalarError
from keyserver.crypto.hashing import sha256
from tests.unit.crypto import reference_curve as reference

_K = 0x1F2E3D4C5B6A79880102030405060708090A0B0C0D0E0F101112131415161718
_P = mul_base(Scalar(_K))
_NUMBERS = [1, 2, 3, 200, 65535, _K, ORDER // 2, ORDER - 2, ORDER - 1]


def _raw(point: MaybePoint) -> bytes | None:
    return None if point is None else point.raw64


def _affine(point: Point) -> reference.Affine:
    return int.from_bytes(point.raw64[:32], "big"), int.from_bytes(point.raw64[32:], "big")


@pytest.mark.parametrize("k", _NUMBERS)
def test_products_agree_with_the_definition(k: int) -> None:
    by_base = reference.raw64(reference.multiply(k, reference.G))
    by_point = reference.raw64(reference.multiply(k, _affine(_P)))
    assert _raw(mul_base(Scalar(k))) == by_base
    assert _raw(mul_base(SecretScalar.from_int(k))) == by_base
    assert _raw(mul_public(_P, Scalar(k))) == by_point
    assert _raw(mul_secret(_P, SecretScalar.from_int(k))) == by_point


def test_products_by_zero() -> None:
    assert mul_public(_P, Scalar(0)) is None
    with pytest.raises(InvalidScalarError, match="0 times"):
        mul_base(Scalar(0))


def test_sums_agree_with_the_definition() -> None:
    twice = reference.add(_affine(_P), _affine(_P))
    assert _raw(sum_points([_P, _P])) == reference.raw64(twice)
    three = reference.add(twice, reference.G)
    assert _raw(sum_points([_P, GENERATOR, _P])) == reference.raw64(three)
    assert _raw(add(_P, None, GENERATOR, _P)) == reference.raw64(three)


def test_sums_at_infinity() -> None:
    assert sum_points([]) is None
    assert add() is None
    assert add(None, None) is None
    assert sum_points([_P, negate(_P)]) is None
    assert sum_points([_P, GENERATOR, negate(_P)]) == GENERATOR
    assert sum_points((_P,)) == _P


def test_negation() -> None:
    assert negate(negate(_P)) == _P
    assert negate(_P) != _P
    assert negate(_P).raw64[:32] == _P.raw64[:32]
    assert negate(_P) == mul_base(Scalar(ORDER - _K))


def _beyond_the_order() -> Point:
    """A point whose x-coordinate is not below the group order; there are about 2^128 of them."""
    for x in range(ORDER, ORDER + 64):
        try:
            return Point.parse(b"\x02" + x.to_bytes(32, "big"))
        except InvalidPointError:
            continue
    raise AssertionError("no such point found")


@pytest.mark.parametrize("point", [_P, negate(_P), GENERATOR, _beyond_the_order()])
@pytest.mark.parametrize("a", [0, 1, _K, ORDER - 1])
@pytest.mark.parametrize("b", [0, 1, _K, ORDER - 1])
def test_linear_combination_agrees_with_its_plain_form(a: int, b: int, point: Point) -> None:
    expected = reference.add(
        reference.multiply(a, reference.G), reference.multiply(b, _affine(point))
    )
    assert _raw(lincomb(Scalar(a), Scalar(b), point)) == reference.raw64(expected)
    assert _raw(lincomb_by_parts(Scalar(a), Scalar(b), point)) == reference.raw64(expected)


def test_linear_combination_at_infinity() -> None:
    assert lincomb(Scalar(_K), Scalar(ORDER - 1), _P) is None
    assert lincomb(Scalar(0), Scalar(0), _P) is None


@pytest.mark.parametrize("x", [1, 2, 255, 70000, _K, ORDER - 1])
def test_horner_agrees_with_powers(x: int) -> None:
    points = [_P, GENERATOR, SECOND_GENERATOR, negate(_P)]
    for length in range(1, 5):
        powers = [
            mul_public(point, Scalar(pow(x, k, ORDER))) for k, point in enumerate(points[:length])
        ]
        assert horner(points[:length], Scalar(x)) == add(*powers)


def test_horner_passes_through_infinity() -> None:
    one, minus = Scalar(1), negate(_P)
    assert horner([minus, _P], one) is None
    assert horner([GENERATOR, minus, _P], one) == GENERATOR
    assert horner([minus, _P, minus, _P], one) is None
    assert horner([_P, GENERATOR], Scalar(0)) == _P


def test_ecdh() -> None:
    a, b = SecretScalar.from_int(77), SecretScalar.from_int(_K)
    common = mul_secret(b.public(), a)
    assert common == mul_secret(a.public(), b)
    assert ecdh_sha256(a, b.public()) == ecdh_sha256(b, a.public()) == sha256(common.compressed)
    assert ecdh_x(a, b.public()) == common.raw64[:32]


def test_an_interrupted_product_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library must never see a point that was not written."""
    k = SecretScalar.from_int(77)
    monkeypatch.setattr(curve, "_copy_uncompressed", _interrupted)
    with pytest.raises(CryptoError, match="interrupted"):
        mul_secret(_P, k)
    with pytest.raises(CryptoError, match="interrupted"):
        ecdh_x(k, _P)


@ffi.callback("int(unsigned char *, const unsigned char *, const unsigned char *, void *)")  # type: ignore[untyped-decorator,unused-ignore]
def _interrupted(output: object, x: object, y: object, _: object) -> int:
    """What the library sees of a callback that raised."""
    return 0


def test_serialised_forms_round_trip() -> None:
    again = Point.parse(_P.compressed)
    assert again.raw64 == _P.raw64
    assert again.compressed is again.compressed
    other = Point.from_raw64(_P.raw64)
    assert other.compressed == _P.compressed
    assert other.raw64 is other.raw64
    assert Point.parse(bytearray(_P.compressed)) == _P  # type: ignore[arg-type]


def test_points_are_values() -> None:
    again = Point.from_raw64(_P.raw64)
    assert again == _P
    assert hash(again) == hash(_P)
    assert {again, _P, GENERATOR} == {_P, GENERATOR}
    assert _P.compressed != _P
    assert pickle.loads(pickle.dumps(_P)) == _P
    assert repr(GENERATOR) == "Point(0279be667e..)"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(33),
        b"\x02" + b"\xff" * 32,
        b"\x04" + GENERATOR.compressed[1:],
        b"\x02" + bytes(31) + b"\x05",
        GENERATOR.compressed[:32],
        GENERATOR.compressed + b"\0",
        b"\x04" + GENERATOR.raw64,
    ],
)
def test_compressed_form_is_checked(data: bytes) -> None:
    with pytest.raises(InvalidPointError):
        Point.parse(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(64),
        b"\xff" * 64,
        GENERATOR.raw64[:63],
        GENERATOR.raw64 + b"\0",
        GENERATOR.raw64[:63] + b"\0",
    ],
)
def test_raw_form_is_checked(data: bytes) -> None:
    with pytest.raises(InvalidPointError):
        Point.from_raw64(data)
