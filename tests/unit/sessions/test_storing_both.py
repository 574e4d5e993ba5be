"""Storing what the generating node made itself (op 3): from it alone, under that request alone."""

from dataclasses import replace

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord
from keyserver.model.requests import GenerateServerKey, StoreDocumentKey
from keyserver.sessions.core import Completed, DeniedError, Failed
from keyserver.sessions.sharing import GENERATION
from keyserver.sessions.storing import STORING, Target
from tests.support.credentials import legacy
from tests.support.delivery import Delivery
from tests.support.key_life import KEY_ID, REQUESTER, document_for, try_generate

BOTH = GenerateServerKey(KEY_ID, 1, with_document_key=True)
STRANGER = SecretScalar.from_int(99)


@pytest.fixture
def net() -> Delivery:
    made = Delivery(4)
    outcome = made.run(GENERATION, BOTH, legacy(made, BOTH, REQUESTER), None)
    assert isinstance(outcome, Completed)
    made.generated_by = made.members[0].id
    return made


def _record(net: Delivery) -> CertifiedRecord:
    record = net.members[0].key.active
    assert record is not None
    return record


def _store(
    net: Delivery, *, client: SecretScalar = REQUESTER, coordinator: int = 0
) -> Completed | Failed:
    record = _record(net)
    target = Target(record, (), made_here=document_for(record.record.public))
    credential = legacy(net, BOTH, client, coordinator=coordinator)
    return net.run(STORING, BOTH, credential, target, coordinator=coordinator)


def test_the_generating_node_stores_its_own_document_key(net: Delivery) -> None:
    outcome = _store(net)
    assert isinstance(outcome, Completed)
    assert isinstance(outcome.result, CertifiedDocumentKey)
    assert outcome.result.document == document_for(_record(net).record.public)
    assert all(member.key.document == outcome.result for member in net.members)


def test_only_once(net: Delivery) -> None:
    assert isinstance(_store(net), Completed)
    again = _store(net)
    assert isinstance(again, Failed)
    assert again.error.code == "DocumentKeyAlreadyStored"


@pytest.mark.parametrize("generated_by", ["nobody known", "another node"])
def test_nobody_else_does(net: Delivery, generated_by: str) -> None:
    other: NodeId | None = net.members[1].id if generated_by == "another node" else None
    net.generated_by = other
    outcome = _store(net)
    assert isinstance(outcome, Failed)
    assert all(member.key.document is None for member in net.members)


def test_only_for_the_author(net: Delivery) -> None:
    outcome = _store(net, client=STRANGER)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "AccessDenied"


def test_points_of_ones_own_making_need_that_request(net: Delivery) -> None:
    record = _record(net)
    document = document_for(record.record.public)
    made_here, given = Target(record, (), made_here=document), Target(record, ())
    store = StoreDocumentKey(KEY_ID, document)
    for operation, target in ((store, made_here), (BOTH, given)):
        outcome = net.run(STORING, operation, legacy(net, operation, REQUESTER), target)
        assert isinstance(outcome, Failed)
        assert outcome.error.code == "InvalidMessage"


def test_plain_modes_that_others_forbid_are_unreachable() -> None:
    net = Delivery(4)
    for member in net.members[1:]:
        member.policy = replace(member.policy, forbid_plain_modes=True)
    outcome = net.run(GENERATION, BOTH, legacy(net, BOTH, REQUESTER), None)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, DeniedError)
    assert outcome.error.code == "ConsensusUnreachable"
    assert isinstance(try_generate(net, 1), Completed)
