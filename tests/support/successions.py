"""Redistributions of a key over a `Delivery`: nodes are named by their places in it."""

from collections.abc import Sequence
from dataclasses import replace

from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord, KeyShare
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import NodeCredential, Reshare
from keyserver.sessions.core import Completed, Failed
from keyserver.sessions.sharing import REDISTRIBUTION, Succession
from tests.support.delivery import Delivery
from tests.support.key_life import KEY_ID, generate

CHANGE = Hash32(b"\xcc" * 32)


def a_set(net: Delivery, places: Sequence[int]) -> NodeSet:
    return NodeSet(1, Address(bytes(20)), tuple(sorted(net.members[i].id for i in places)))


def with_key(nodes: int, old: Sequence[int], threshold: int) -> tuple[Delivery, CertifiedRecord]:
    """A key of the nodes `old`, all of `nodes` connected."""
    net = Delivery(nodes)
    net.node_set = a_set(net, old)
    return net, generate(net, threshold, old[0])


def redistribute(
    net: Delivery,
    record: CertifiedRecord,
    new: Sequence[int],
    *,
    dealers: Sequence[int] | None = None,
    coordinator: int = 0,
    document: CertifiedDocumentKey | None = None,
) -> Completed | Failed:
    """Run the session; without `dealers` the first t + 1 holders deal."""
    net.target = a_set(net, new)
    able = record.record.nodes if dealers is None else [net.members[i].id for i in dealers]
    chosen = tuple(sorted(able))[: record.record.required_nodes]
    named = document.document.hash if document is not None else ZERO_HASH
    skipped = net.members[coordinator].key.skipped
    succession = Succession(record, skipped, document, chosen)
    operation = Reshare(KEY_ID, CHANGE, named)
    return net.run(REDISTRIBUTION, operation, NodeCredential(), succession, coordinator=coordinator)


def successor(outcome: Completed | Failed) -> CertifiedRecord:
    assert isinstance(outcome, Completed), outcome
    assert isinstance(outcome.result, CertifiedRecord)
    return outcome.result


def shares_of(net: Delivery) -> dict[NodeId, KeyShare]:
    return {m.id: m.key.share for m in net.members if m.key.share is not None}


def with_another_share(net: Delivery, place: int) -> NodeId:
    """Make a node one that deals something else than its share."""
    member = net.members[place]
    own = member.stored.shares[1]
    wrong = replace(own, share=KeyShare(own.share.x, SecretScalar.from_int(4242)))
    member.stored = replace(member.stored, shares={1: wrong})
    return member.id
