"""Nodes against which there is evidence are chosen last, and never missed."""

from dataclasses import replace

import pytest

from keyserver.model.identifiers import NodeId
from keyserver.sessions.core import Failed
from keyserver.sessions.messages import Cancel
from tests.support.delivery import Delivery, received
from tests.support.key_life import generate, retrieve, store, try_generate


def holders(net: Delivery, threshold: int) -> set[NodeId]:
    certificate = generate(net, threshold).certificate
    return {entry.node for entry in certificate.holding.signatures}


def cluster(nodes: int, quorum: int | None = None) -> Delivery:
    net = Delivery(nodes)
    for member in net.members:
        member.policy = replace(member.policy, generation_quorum=quorum)
    return net


@pytest.mark.parametrize("quorum", [None, 3])
def test_a_key_is_made_without_who_was_caught(quorum: int | None) -> None:
    net = cluster(4, quorum)
    net.avoided = frozenset({net.members[2].id})
    assert holders(net, 1) == set(net.by_id) - net.avoided
    assert len(received(net, Cancel)) == 1, "it need not wait for START"
    record = net.members[0].key.active
    assert record is not None
    assert net.members[2].id in record.record.nodes


def test_as_many_deal_as_the_operator_asks_for() -> None:
    net = cluster(4, 4)
    net.avoided = frozenset({net.members[2].id})
    assert holders(net, 1) == set(net.by_id)


def test_too_few_others_are_no_reason_to_fail() -> None:
    net = cluster(4, 3)
    net.avoided = frozenset({net.members[2].id, net.members[3].id})
    assert holders(net, 1) == set(net.by_id)
    high = cluster(4)
    high.avoided = frozenset({high.members[2].id})
    assert holders(high, 3) == set(high.by_id), "all have to hold this key"


def test_everybody_has_to_accept_all_the_same() -> None:
    net = cluster(4)
    net.avoided = frozenset({net.members[2].id})
    net.connected -= net.avoided
    assert isinstance(try_generate(net, 1), Failed)


def test_a_retrieval_asks_who_was_caught_only_if_it_must() -> None:
    net = cluster(7)
    record = generate(net, 2)
    document = store(net, record)
    net.openings.clear()
    net.avoided = frozenset(member.id for member in net.members[1:4])
    result = retrieve(net, record, document)
    assert not net.avoided & set(result.nodes)
    assert len(net.openings) == 4, "as many as can be trusted"
    net.avoided = frozenset(member.id for member in net.members[1:6])
    assert net.avoided & set(retrieve(net, record, document).nodes), "t + 1 are needed"
