from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.curve import Point, Scalar, SecretScalar, mul_base
from keyserver.crypto.elgamal import (
    combine_partials,
    encrypt_document_key,
    plain_partial,
    recover_document_key,
    result_common_point,
    shadow_factors,
    shadow_partial,
    shadow_scalar,
)
from keyserver.crypto.errors import InvalidShareError
from keyserver.crypto.polynomial import interpolate, interpolate_points, interpolate_secret
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.vss import check_share, deal
from tests.property.crypto.strategies import nonzero, places, points, secrets, seeds

_FEW = settings(max_examples=40, deadline=None)


@_FEW
@given(st.data(), st.integers(0, 5), secrets, seeds)
def test_any_enough_shares_recover(
    data: st.DataObject, threshold: int, secret: SecretScalar, seed: int
) -> None:
    xs = data.draw(places(threshold + 3))
    commitments, shares = deal(threshold, xs, SeededRandom(seed), secret)
    chosen = data.draw(
        st.lists(
            st.integers(0, threshold + 2),
            min_size=threshold + 1,
            max_size=threshold + 3,
            unique=True,
        )
    )
    some_xs, some = [xs[i] for i in chosen], [shares[i] for i in chosen]
    assert interpolate_secret(some_xs, some) == secret
    assert interpolate_points(some_xs, [mul_base(s) for s in some]) == commitments[0]


@_FEW
@given(st.data(), st.integers(1, 5), secrets, nonzero, seeds)
def test_too_few_shares_fit_every_secret(
    data: st.DataObject, threshold: int, secret: SecretScalar, other: Scalar, seed: int
) -> None:
    """Whatever secret one claims, a polynomial of the right degree has it and the known shares."""
    xs = data.draw(places(threshold + 1))
    _, shares = deal(threshold, xs, SeededRandom(seed), secret)
    known = [Scalar.from_bytes(share.expose()) for share in shares[:threshold]]
    claimed = interpolate([Scalar(0), *xs[:threshold]], [other, *known], xs[threshold])
    assert interpolate(xs, [*known, claimed]) == other
    truth = Scalar.from_bytes(shares[threshold].expose())
    assert (claimed == truth) == (other == Scalar.from_bytes(secret.expose()))


@_FEW
@given(st.data(), st.integers(0, 5), nonzero, seeds)
def test_altered_shares_are_noticed(
    data: st.DataObject, threshold: int, difference: Scalar, seed: int
) -> None:
    (x,) = data.draw(places(1))
    commitments, (share,) = deal(threshold, [x], SeededRandom(seed))
    check_share(commitments, x, share)
    try:
        check_share(commitments, x, share.add(difference))
    except InvalidShareError:
        return
    raise AssertionError("a wrong share passed")


@_FEW
@given(st.data(), st.integers(0, 4), points, seeds)
def test_both_decryptions_open_what_the_public_key_closed(
    data: st.DataObject, threshold: int, key: Point, seed: int
) -> None:
    rng = SeededRandom(seed)
    xs = data.draw(places(threshold + 1))
    commitments, shares = deal(threshold, xs, rng)
    stored = encrypt_document_key(commitments[0], key, rng)
    plain = [plain_partial(share, stored.common) for share in shares]
    assert combine_partials(stored.encrypted, xs, plain) == key
    masked = [shadow_partial(share, stored.common, rng) for share in shares]
    decrypted = combine_partials(stored.encrypted, xs, [made.partial for made in masked])
    shadows = [
        shadow_scalar(made.mask, factor)
        for made, factor in zip(masked, shadow_factors(xs), strict=True)
    ]
    common_point = result_common_point(threshold, stored.common)
    assert recover_document_key(decrypted, common_point, shadows) == key
    assert decrypted != key
