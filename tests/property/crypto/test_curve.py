from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.curve import (
    Point,
    Scalar,
    SecretScalar,
    add,
    ecdh_sha256,
    horner,
    lincomb,
    lincomb_by_parts,
    mul_base,
    mul_public,
    mul_secret,
    recover,
    sign_digest,
    verify_digest,
)
from tests.property.crypto.strategies import nonzero, points, scalars, secrets
from tests.unit.crypto import reference_curve as reference

_FEW = settings(max_examples=40, deadline=None)


def _public(secret: SecretScalar) -> Scalar:
    return Scalar.from_bytes(secret.expose())


@_FEW
@given(nonzero)
def test_base_products_agree_with_the_definition(k: Scalar) -> None:
    assert mul_base(k).raw64 == reference.raw64(reference.multiply(int(k), reference.G))


@_FEW
@given(scalars, scalars, points)
def test_products_distribute(a: Scalar, b: Scalar, p: Point) -> None:
    assert mul_public(p, a + b) == add(mul_public(p, a), mul_public(p, b))
    assert lincomb(a, b, p) == lincomb_by_parts(a, b, p)


@_FEW
@given(secrets, points)
def test_secret_and_public_products_agree(k: SecretScalar, p: Point) -> None:
    assert mul_secret(p, k) == mul_public(p, _public(k))
    assert mul_base(k) == mul_base(_public(k))
    assert Point.parse(p.compressed) == Point.from_raw64(p.raw64) == p


@_FEW
@given(secrets, secrets)
def test_agreement(a: SecretScalar, b: SecretScalar) -> None:
    assert ecdh_sha256(a, b.public()) == ecdh_sha256(b, a.public())
    assert a.multiply(b) == b.multiply(a)
    assert _public(a.multiply(b)) == _public(a) * _public(b)
    assert _public(a.negate()) == -_public(a)


@_FEW
@given(st.lists(points, min_size=1, max_size=6), scalars)
def test_horner_is_the_sum_of_powers(coefficients: list[Point], x: Scalar) -> None:
    power, terms = Scalar(1), []
    for point in coefficients:
        terms.append(mul_public(point, power))
        power *= x
    assert horner(coefficients, x) == add(*terms)


@_FEW
@given(secrets, st.binary(min_size=32, max_size=32))
def test_signatures(key: SecretScalar, digest: bytes) -> None:
    signature = sign_digest(key, digest)
    verify_digest(digest, signature, key.public())
    assert recover(digest, signature) == key.public()
