"""A secret that is redistributed again and again: any t + 1 shares of one version give it, and at
most t of each version, of all versions together, say nothing about it.

Two ways to be sure. Whatever can be computed from shares by adding and multiplying with known
numbers lies in the span of their linear forms in what the dealers have drawn; the forms are held
against the values that the program has dealt. And interpolation through shares of two versions
is tried literally. The adversary is given more than shares: the whole polynomials of the dealers it
holds, and all that its receivers were dealt.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.curve import Point, Scalar, SecretScalar, sum_secrets
from keyserver.crypto.errors import InvalidScalarError
from keyserver.crypto.polynomial import SecretPolynomial, interpolate_secret, lagrange_at
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.resharing import dealt_constant, scaled_polynomial
from keyserver.crypto.vss import check_share, sum_commitments
from tests.property.crypto.strategies import secrets, seeds
from tests.property.linear_spans import Row, Span, combined, value_of

_ALL_NODES = 8
_LARGEST = 3
"""The largest threshold."""

KEY: Row = {0: 1}


@dataclass(frozen=True)
class Version:
    """One sharing of the secret."""

    threshold: int
    places: Mapping[int, int]
    """By node; 1 to n, in the order of the nodes."""
    shares: Mapping[int, SecretScalar]
    forms: Mapping[int, Row]
    commitments: tuple[Point, ...]
    dealt_by: Mapping[int, tuple[Row, ...]] = field(default_factory=dict)
    """Forms that determine the polynomial of each dealer, which are nodes of the version before."""
    dealt_to: Mapping[int, tuple[Row, ...]] = field(default_factory=dict)
    """Forms of what each node was dealt."""


class History:
    """A secret and all its versions; unknown number 0 is the secret."""

    def __init__(self, secret: SecretScalar, seed: int) -> None:
        self.secret = secret
        self.rng = SeededRandom(seed)
        self.drawn = [_number(secret)]
        """The values of the unknowns."""
        self.versions: list[Version] = []

    def _unknowns(self, polynomial: SecretPolynomial) -> list[Row]:
        """New unknowns that determine a polynomial beside its constant: its values at 1, 2, .."""
        places = [Scalar(x) for x in range(1, polynomial.degree + 1)]
        values = polynomial.evaluate_all(places)
        first = len(self.drawn)
        self.drawn += [_number(value) for value in values]
        return [{number: 1} for number in range(first, len(self.drawn))]

    def _dealt(
        self, constant: Row, polynomial: SecretPolynomial, places: Iterable[int]
    ) -> tuple[tuple[Row, ...], dict[int, Row]]:
        """What determines a polynomial, and the forms of its values."""
        known = (constant, *self._unknowns(polynomial))
        at = [Scalar(x) for x in range(len(known))]
        values = {}
        for x in places:
            factors = [int(factor) for factor in lagrange_at(at, Scalar(x))]
            values[x] = combined(list(zip(factors, known, strict=True)))
        return known, values

    def begin(self, nodes: Sequence[int], threshold: int) -> None:
        """Share the secret for the first time."""
        places = _places(nodes)
        polynomial = SecretPolynomial.random(threshold, self.rng, self.secret)
        _, values = self._dealt(KEY, polynomial, places.values())
        shares = {node: polynomial.evaluate(Scalar(x)) for node, x in places.items()}
        forms = {node: values[x] for node, x in places.items()}
        self._add(Version(threshold, places, shares, forms, polynomial.commit()))

    def redistribute(self, dealers: Sequence[int], nodes: Sequence[int], threshold: int) -> None:
        """Make the next version: other nodes, or the same, by these holders of the latest."""
        before, places = self.versions[-1], _places(nodes)
        old = [Scalar(before.places[node]) for node in dealers]
        polynomials, dealt_by, values = [], {}, []
        for node, own, factor in zip(dealers, old, lagrange_at(old), strict=True):
            polynomial = scaled_polynomial(
                before.shares[node], own, old, threshold=threshold, rng=self.rng
            )
            assert dealt_constant(before.commitments, own, old) == polynomial.commit()[0]
            constant = combined([(int(factor), before.forms[node])])
            dealt_by[node], dealt = self._dealt(constant, polynomial, places.values())
            polynomials.append(polynomial)
            values.append(dealt)
        shares = {}
        for node, x in places.items():
            share = sum_secrets([each.evaluate(Scalar(x)) for each in polynomials])
            assert share is not None
            shares[node] = share
        sums = sum_commitments([polynomial.commit() for polynomial in polynomials])
        commitments = tuple(point for point in sums if point is not None)
        dealt_to = {node: tuple(dealt[x] for dealt in values) for node, x in places.items()}
        forms = {
            node: combined([(1, form) for form in received]) for node, received in dealt_to.items()
        }
        version = Version(threshold, places, shares, forms, commitments, dealt_by, dealt_to)
        self._add(version)

    def _add(self, version: Version) -> None:
        assert version.commitments[0] == self.secret.public()
        for node, share in version.shares.items():
            check_share(version.commitments, Scalar(version.places[node]), share)
            assert value_of(version.forms[node], self.drawn) == _number(share)
        assert len(set(self.drawn)) == len(self.drawn), (
            "unknowns that are drawn, not made of others"
        )
        self.versions.append(version)


def _number(secret: SecretScalar) -> int:
    return int.from_bytes(secret.expose(), "big")


def _places(nodes: Sequence[int]) -> dict[int, int]:
    return {node: x for x, node in enumerate(sorted(nodes), 1)}


def _interpolated(points: Iterable[tuple[int, SecretScalar]]) -> SecretScalar | None:
    """What interpolation through these points gives; `None` where two have one place."""
    places, shares = zip(*points, strict=True)
    try:
        return interpolate_secret([Scalar(x) for x in places], list(shares))
    except InvalidScalarError:
        return None


def _knowledge(history: History, held: Sequence[Iterable[int]]) -> Span:
    """What somebody knows who holds some nodes in each version."""
    span = Span()
    for version, nodes in zip(history.versions, held, strict=True):
        for node in nodes:
            span.add(version.forms[node])
            for form in version.dealt_to.get(node, ()):
                span.add(form)
    for nodes, version in zip(held, history.versions[1:], strict=False):
        for node in set(nodes) & version.dealt_by.keys():
            for form in version.dealt_by[node]:
                span.add(form)
    return span


# --- what is drawn ----------------------------------------------------------------------------


@st.composite
def _sets(draw: st.DrawFn) -> tuple[list[int], int]:
    """Nodes and a threshold that they can have."""
    chosen = draw(st.sets(st.integers(0, _ALL_NODES - 1), min_size=1))
    threshold = draw(st.integers(0, min(_LARGEST, len(chosen) - 1)))
    return sorted(chosen), threshold


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A first sharing and up to three more: any sets and thresholds, refreshes among them."""
    history = History(draw(secrets), draw(seeds))
    nodes, threshold = draw(_sets())
    history.begin(nodes, threshold)
    for _ in range(draw(st.integers(1, 3))):
        dealers = draw(st.permutations(nodes))[: threshold + 1]
        if not draw(st.booleans()):  # else a refresh
            nodes, threshold = draw(_sets())
        history.redistribute(sorted(dealers), nodes, threshold)
    return history


def _some(draw: st.DataObject, version: Version, count: int) -> list[int]:
    return draw.draw(st.permutations(sorted(version.places)))[:count]


# --- what must be so --------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.data(), histories())
def test_enough_shares_of_any_version_give_the_secret(
    data: st.DataObject, history: History
) -> None:
    for version in history.versions:
        chosen = _some(data, version, version.threshold + 1)
        points = [(version.places[node], version.shares[node]) for node in chosen]
        assert _interpolated(points) == history.secret
        span = Span()
        for node in chosen:
            span.add(version.forms[node])
        assert KEY in span


@settings(max_examples=80, deadline=None)
@given(st.data(), histories())
def test_at_most_t_of_every_version_together_say_nothing(
    data: st.DataObject, history: History
) -> None:
    """Other nodes in each version, those that were removed with their old shares among them."""
    held = [_some(data, version, version.threshold) for version in history.versions]
    span = _knowledge(history, held)
    assert KEY not in span
    latest = history.versions[-1]
    for node in sorted(latest.places.keys() - set(held[-1])):
        if latest.threshold:  # without one a share is the secret itself
            assert latest.forms[node] not in span


@settings(max_examples=80, deadline=None)
@given(st.data(), histories())
def test_one_more_of_any_version_says_all(data: st.DataObject, history: History) -> None:
    """The same view with t + 1 of one version: the test above can fail."""
    counts = [version.threshold for version in history.versions]
    counts[data.draw(st.integers(0, len(counts) - 1))] += 1
    held = [
        _some(data, version, count) for version, count in zip(history.versions, counts, strict=True)
    ]
    assert KEY in _knowledge(history, held)


CHANGES = {
    "two join": ([0, 1, 2, 3, 4], 2, [0, 1, 2, 3, 4, 5, 6], 2),
    "two join, higher threshold": ([0, 1, 2, 3, 4], 2, [0, 1, 2, 3, 4, 5, 6], 3),
    "two leave": ([0, 1, 2, 3, 4, 5], 2, [0, 1, 2, 3], 2),
    "two leave, lower threshold": ([0, 1, 2, 3, 4], 2, [1, 2, 4], 1),
    "refresh": ([0, 1, 2, 3, 4], 2, [0, 1, 2, 3, 4], 2),
    "all others": ([0, 1, 2, 3], 1, [4, 5, 6], 1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_mixture_of_old_and_new_shares_is_worthless(name: str) -> None:
    """All selections of t old and t' new shares, and every subset of each by interpolation."""
    nodes, threshold, target, new_threshold = CHANGES[name]
    history = History(SecretScalar.from_int(20_26), 7)
    history.begin(nodes, threshold)
    history.redistribute(nodes[-threshold - 1 :], target, new_threshold)
    old, new = history.versions
    few = combinations(nodes, threshold), combinations(target, new_threshold)
    tried = 0
    for held in product(*few):
        assert KEY not in _knowledge(history, held)
        mixed = [(old.places[node], old.shares[node]) for node in held[0]]
        mixed += [(new.places[node], new.shares[node]) for node in held[1]]
        for size in range(1, len(mixed) + 1):
            for chosen in combinations(mixed, size):
                assert _interpolated(chosen) != history.secret
                tried += 1
    assert tried
