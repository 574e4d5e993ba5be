"""Another threshold for the same key: the session carries one, and one rule keeps it as it was.

`ShareParams.threshold` is that of the new sharing, everything after the parameters goes by it, and
the number of dealers by the record before. That the two are the same is said in one place
(`terms.redistribution_params`), which every node asks about every proposal.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from keyserver.crypto.errors import InvalidScalarError
from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.keys import KeyShare
from keyserver.model.quorums import Quorums
from keyserver.sessions.certificates import check_certificate
from keyserver.sessions.core import Failed
from keyserver.sessions.sharing import redistribution, succession
from keyserver.sessions.sharing.messages import ShareParams
from tests.support.delivery import changing, lying
from tests.support.key_life import DOCUMENT_KEY, opened, retrieve, store
from tests.support.successions import redistribute, shares_of, successor, with_key

Ruled = Callable[[int], None]


@pytest.fixture
def ruled(monkeypatch: pytest.MonkeyPatch) -> Ruled:
    """Have all nodes go by another rule: the new threshold is this one."""

    def rule(threshold: int) -> None:
        for module in (redistribution, succession):
            as_it_was: Callable[..., ShareParams] = module.redistribution_params

            def another(*about: Any, was: Callable[..., ShareParams] = as_it_was) -> ShareParams:
                return replace(was(*about), threshold=threshold)

            monkeypatch.setattr(module, "redistribution_params", another)

    return rule


def _recovers(shares: tuple[KeyShare, ...], public: object) -> bool:
    try:
        secret = interpolate_secret([s.x for s in shares], [s.value for s in shares])
    except InvalidScalarError:
        return False
    return secret.public() == public


@pytest.mark.parametrize(
    ("old", "threshold", "new", "new_threshold"),
    [
        (range(5), 2, range(7), 3),
        (range(5), 2, range(1, 5), 1),
        (range(4), 1, range(4), 3),
        (range(3), 0, range(3, 7), 2),
        (range(5), 3, range(2, 4), 0),
    ],
)
def test_the_session_moves_a_key_to_another_threshold(
    ruled: Ruled, old: range, threshold: int, new: range, new_threshold: int
) -> None:
    net, before = with_key(7, old, threshold)
    document = store(net, before, old[0])
    ruled(new_threshold)
    after = successor(redistribute(net, before, new, coordinator=old[0], document=document))
    record = after.record
    assert (record.threshold, record.public) == (new_threshold, before.record.public)
    assert len(record.commitments) == new_threshold + 1
    quorums, of_holders = Quorums.of(len(old)), Quorums.of(len(new))
    check_certificate(after, before.record.nodes, quorums, of_holders=of_holders)
    shares = shares_of(net)
    assert shares.keys() == set(record.nodes)
    for chosen in combinations(shares.values(), new_threshold + 1):
        assert _recovers(chosen, record.public)
    for chosen in combinations(shares.values(), new_threshold):
        assert not chosen or not _recovers(chosen, record.public)
    net.node_set = net.target or net.node_set
    result = retrieve(net, after, document, new[0])
    assert len(result.shadows) == new_threshold + 1
    assert opened(result) == DOCUMENT_KEY
    assert not net.reports


def test_nodes_refuse_what_does_not_keep_it() -> None:
    net, before = with_key(7, range(5), 2)
    old_shares = shares_of(net)
    higher = changing(Redistribute=lambda m: replace(m, params=replace(m.params, threshold=3)))
    net.tamper = lying({net.members[0].id: higher})
    assert isinstance(redistribute(net, before, range(7)), Failed)
    assert shares_of(net) == old_shares
    assert all(member.key.active in (None, before) for member in net.members)
