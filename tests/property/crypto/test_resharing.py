"""New shares of an old secret: enough of them give it, and old ones are of no use beside them."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.curve import Point, Scalar, SecretScalar, sum_secrets
from keyserver.crypto.errors import InvalidScalarError
from keyserver.crypto.polynomial import interpolate_secret
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.resharing import dealt_constant, scaled_polynomial
from keyserver.crypto.vss import check_share, deal, sum_commitments
from tests.property.crypto.strategies import secrets, seeds

_FEW = settings(max_examples=30, deadline=None)

Shares = dict[int, SecretScalar]


def _redistributed(
    old: Shares,
    commitments: tuple[Point, ...],
    dealers: list[int],
    new: int,
    threshold: int,
    seed: int,
) -> tuple[tuple[Point, ...], Shares]:
    """The new commitments and shares, at the places 1..new."""
    rng = SeededRandom(seed)
    places = [Scalar(x) for x in dealers]
    dealt = [
        scaled_polynomial(old[x], Scalar(x), places, threshold=threshold, rng=rng) for x in dealers
    ]
    for x, polynomial in zip(dealers, dealt, strict=True):
        assert dealt_constant(commitments, Scalar(x), places) == polynomial.commit()[0]
    sums = sum_commitments([polynomial.commit() for polynomial in dealt])
    shares: Shares = {}
    for x in range(1, new + 1):
        total = sum_secrets([polynomial.evaluate(Scalar(x)) for polynomial in dealt])
        assert total is not None
        shares[x] = total
    return tuple(point for point in sums if point is not None), shares


def _recovers(points: list[tuple[int, SecretScalar]], secret: SecretScalar) -> bool:
    """Whether interpolation through these points gives the secret."""
    try:
        found = interpolate_secret([Scalar(x) for x, _ in points], [share for _, share in points])
    except InvalidScalarError:
        return False
    return found == secret


@_FEW
@given(st.data(), st.integers(0, 3), st.integers(0, 3), secrets, seeds)
def test_enough_new_shares_give_the_secret(
    data: st.DataObject, old_t: int, new_t: int, secret: SecretScalar, seed: int
) -> None:
    places = range(1, old_t + 4)
    commitments, shares = deal(old_t, [Scalar(x) for x in places], SeededRandom(seed + 1), secret)
    old = dict(zip(places, shares, strict=True))
    dealers = sorted(data.draw(st.permutations(list(places)))[: old_t + 1])
    sums, new = _redistributed(old, commitments, dealers, new_t + 3, new_t, seed)
    assert sums[0] == commitments[0]
    for x, share in new.items():
        check_share(sums, Scalar(x), share)
    for chosen in combinations(new.items(), new_t + 1):
        assert _recovers(list(chosen), secret)


@_FEW
@given(st.data(), st.integers(1, 3), secrets, seeds)
def test_old_and_new_shares_mixed_never_do(
    data: st.DataObject, threshold: int, secret: SecretScalar, seed: int
) -> None:
    """No selection of at most t of either, t + 1 or more together, gives the secret.

    A refresh: the hardest case, as old and new shares have the same places and threshold.
    """
    places = list(range(1, threshold + 4))
    commitments, shares = deal(threshold, [Scalar(x) for x in places], SeededRandom(seed), secret)
    old = dict(zip(places, shares, strict=True))
    dealers = sorted(data.draw(st.permutations(places))[: threshold + 1])
    _, new = _redistributed(old, commitments, dealers, len(places), threshold, seed + 1)
    order = data.draw(st.permutations(places))
    from_old = data.draw(st.integers(1, threshold))
    mixed = [(x, old[x]) for x in order[:from_old]]
    mixed += [(x, new[x]) for x in order[from_old : from_old + threshold]]
    for size in range(threshold + 1, len(mixed) + 1):
        for chosen in combinations(mixed, size):
            if {share == old[x] for x, share in chosen} == {True, False}:
                assert not _recovers(list(chosen), secret)
