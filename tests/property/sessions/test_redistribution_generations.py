"""A key that goes from set to set in whole sessions: what nodes have on disk in the end.

Any t + 1 shares of a version give the key; old and new ones mixed, at most t of either, do not; and
who is not in the set any more has nothing.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.curve import Point
from keyserver.crypto.errors import InvalidScalarError
from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.identifiers import NodeId
from keyserver.model.keys import KeyShare
from tests.support.successions import a_set, redistribute, shares_of, successor, with_key

_NODES = 7


def _recovers(shares: Sequence[KeyShare], public: Point) -> bool:
    """Whether interpolation through these shares gives the key."""
    try:
        found = interpolate_secret([s.x for s in shares], [s.value for s in shares])
    except InvalidScalarError:
        return False  # two of them have one place
    return found.public() == public


def _mixtures(
    old: Mapping[NodeId, KeyShare], new: Mapping[NodeId, KeyShare], threshold: int
) -> list[tuple[KeyShare, ...]]:
    """Every selection of at most t of either, with some of both."""
    sizes = range(1, threshold + 1)
    return [
        (*first, *second)
        for some in sizes
        for others in sizes
        for first in combinations(old.values(), some)
        for second in combinations(new.values(), others)
    ]


@settings(max_examples=8, deadline=None)
@given(st.data(), st.integers(0, 2))
def test_what_is_on_disk_after_each_of_several_changes(data: st.DataObject, threshold: int) -> None:
    sets = st.sets(st.integers(0, _NODES - 1), min_size=threshold + 1).map(sorted)
    members = data.draw(sets)
    net, record = with_key(_NODES, members, threshold)
    net.recording = False
    for _ in range(data.draw(st.integers(1, 3))):
        old = shares_of(net)
        dealers = sorted(data.draw(st.permutations(members))[: threshold + 1])
        if data.draw(st.booleans()):  # else a refresh
            members = data.draw(sets)
        by = data.draw(st.sampled_from(members))
        record = successor(redistribute(net, record, members, dealers=dealers, coordinator=by))
        net.node_set = a_set(net, members)
        new, public = shares_of(net), record.record.public
        assert new.keys() == {net.members[place].id for place in members}
        assert new.keys() == set(record.record.nodes)
        chosen = data.draw(st.permutations(sorted(new)))[: threshold + 1]
        assert _recovers([new[node] for node in chosen], public)
        mixtures = _mixtures(old, new, threshold)
        some = data.draw(st.lists(st.sampled_from(mixtures), max_size=40)) if mixtures else []
        assert not any(_recovers(each, public) for each in some)
