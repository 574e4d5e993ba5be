"""When a list of signatures counts: enough of them, all different, all members, all right."""

from dataclasses import replace

import pytest

from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId, Signature
from keyserver.model.keys import (
    Certificate,
    CertifiedDocumentKey,
    CertifiedRecord,
    Decision,
    NodeSignature,
    PreparedCertificate,
)
from keyserver.model.quorums import Quorums
from keyserver.sessions.certificates import (
    check_certificate,
    check_decision,
    check_document,
    check_first_record,
    check_holding,
    check_prepared,
    check_skipped,
    document_subject,
    record_subject,
    vote_digest,
)
from keyserver.sessions.core import Refused
from keyserver.sessions.identity import is_canonical
from keyserver.sessions.writes import VoteKind
from keyserver.simulation.liars import OTHER_POINT
from tests.support.delivery import Delivery
from tests.support.key_life import KEY_ID, generate, store

QUORUMS = Quorums.of(4)
OTHER = Hash32(b"\x0f" * 32)


@pytest.fixture(scope="module")
def net() -> Delivery:
    made = Delivery(4)
    store(made, generate(made, 1))
    return made


@pytest.fixture
def certified(net: Delivery) -> CertifiedRecord:
    record = net.members[0].key.active
    assert record is not None
    return record


@pytest.fixture
def document(net: Delivery) -> CertifiedDocumentKey:
    found = net.members[0].key.document
    assert found is not None
    return found


def _spoilt(signatures: tuple[NodeSignature, ...]) -> list[tuple[NodeSignature, ...]]:
    """Every way in which a list may be wrong."""
    first, second, third, *_ = signatures
    stranger = NodeSignature(NodeId.of(OTHER_POINT), first.signature)
    high_s = NodeSignature(first.node, Signature(first.signature[:32] + b"\xff" * 32 + b"\0"))
    exchanged = NodeSignature(first.node, second.signature)
    return [
        (),
        (first, second),
        (first, first, second),
        (first, second, stranger),
        (exchanged, second, third),
        (high_s, second, third),
        (NodeSignature(first.node, Signature(bytes(65))), second, third),
    ]


def test_a_holding_certificate(certified: CertifiedRecord) -> None:
    record, holding = certified.record, certified.certificate.holding
    check_holding(record, holding, QUORUMS)
    for signatures in _spoilt(holding.signatures):
        with pytest.raises(Refused):
            check_holding(record, replace(holding, signatures=signatures), QUORUMS)
    with pytest.raises(Refused):
        check_holding(record, replace(holding, transcript=OTHER), QUORUMS)
    with pytest.raises(Refused):
        check_holding(replace(record, version=2), holding, QUORUMS)


def test_ready_signatures_prepare_round_zero_only(certified: CertifiedRecord) -> None:
    record = certified.record
    subject = record_subject(KEY_ID, 1)
    prepared = certified.certificate.holding.prepares(record)
    check_prepared(subject, prepared, record.nodes, QUORUMS)
    with pytest.raises(Refused, match="round 0 only"):
        check_prepared(subject, replace(prepared, round=1), record.nodes, QUORUMS)
    for signatures in _spoilt(prepared.signatures):
        with pytest.raises(Refused):
            check_prepared(subject, replace(prepared, signatures=signatures), record.nodes, QUORUMS)


def test_prepare_signatures(net: Delivery) -> None:
    subject, value = document_subject(KEY_ID, 3), OTHER
    nodes = tuple(member.id for member in net.members)
    signatures = tuple(
        NodeSignature(m.id, m.signer.sign(vote_digest(VoteKind.PREPARE, subject, 2, value, m.id)))
        for m in net.members
    )
    prepared = PreparedCertificate(2, value, None, signatures)
    check_prepared(subject, prepared, nodes, QUORUMS)
    for wrong in (
        replace(prepared, round=1),
        replace(prepared, value=ZERO_HASH),
        *(replace(prepared, signatures=spoilt) for spoilt in _spoilt(signatures)),
    ):
        with pytest.raises(Refused):
            check_prepared(subject, wrong, nodes, QUORUMS)
    with pytest.raises(Refused):
        check_prepared(document_subject(KEY_ID, 4), prepared, nodes, QUORUMS)


def test_a_decision(certified: CertifiedRecord) -> None:
    record, decision = certified.record, certified.certificate.decision
    subject = record_subject(KEY_ID, 1)
    check_decision(subject, decision, record.nodes, QUORUMS)
    wrong = [replace(decision, round=1), replace(decision, value=ZERO_HASH)]
    wrong += [replace(decision, signatures=spoilt) for spoilt in _spoilt(decision.signatures)]
    for changed in wrong:
        with pytest.raises(Refused):
            check_decision(subject, changed, record.nodes, QUORUMS)
    with pytest.raises(Refused):
        check_decision(document_subject(KEY_ID, 1), decision, record.nodes, QUORUMS)


def test_a_certificate_is_both_parts(certified: CertifiedRecord) -> None:
    record, certificate = certified.record, certified.certificate
    check_certificate(certified, record.nodes, QUORUMS)
    check_first_record(certified, QUORUMS)
    for part in (
        Certificate(certificate.holding, replace(certificate.decision, value=OTHER)),
        Certificate(certificate.holding, replace(certificate.decision, signatures=())),
        Certificate(replace(certificate.holding, signatures=()), certificate.decision),
    ):
        with pytest.raises(Refused):
            check_certificate(replace(certified, certificate=part), record.nodes, QUORUMS)


def test_versions_before_the_first_record(net: Delivery, certified: CertifiedRecord) -> None:
    record = certified.record
    for changed in (
        replace(record, previous=OTHER),
        replace(record, version=2),
    ):
        with pytest.raises(Refused, match="not accounted for"):
            check_first_record(replace(certified, record=changed), QUORUMS)
    subject = record_subject(KEY_ID, 1)
    signatures = tuple(
        NodeSignature(
            m.id, m.signer.sign(vote_digest(VoteKind.COMMIT, subject, 1, ZERO_HASH, m.id))
        )
        for m in net.members
    )
    nothing = Decision(1, ZERO_HASH, signatures)
    check_skipped(KEY_ID, 1, (nothing,), record.nodes, QUORUMS)
    check_skipped(KEY_ID, 7, (), record.nodes, QUORUMS)
    for first, skipped in (
        (2, (nothing,)),
        (1, (nothing, nothing)),
        (1, (certified.certificate.decision,)),
    ):
        with pytest.raises(Refused):
            check_skipped(KEY_ID, first, skipped, record.nodes, QUORUMS)


def test_a_document_key(certified: CertifiedRecord, document: CertifiedDocumentKey) -> None:
    record = certified.record
    check_document(KEY_ID, document, record, QUORUMS)
    other = replace(document.document, common=OTHER_POINT)
    for changed, why in (
        (replace(document, record_hash=OTHER), "another record"),
        (replace(document, document=other), "another document key"),
        (replace(document, attempt=2), "signature"),
        (replace(document, decision=replace(document.decision, signatures=())), "too few"),
    ):
        with pytest.raises(Refused, match=why):
            check_document(KEY_ID, changed, record, QUORUMS)


def test_canonical_order(net: Delivery) -> None:
    nodes = [member.id for member in net.members]
    assert is_canonical([])
    assert is_canonical(nodes)
    assert not is_canonical(nodes[::-1])
    assert not is_canonical([nodes[0], nodes[0]])
