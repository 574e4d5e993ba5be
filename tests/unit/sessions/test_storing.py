"""Storing: who may, what is refused, and that nodes that come late have the key all the same."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keyserver.model.identifiers import Address, Hash32, NodeId, Signature
from keyserver.model.keys import CertifiedRecord, Decision, DocumentKey, NodeSignature
from keyserver.model.requests import GenerateServerKey, OnChainAddress, Request, StoreDocumentKey
from keyserver.sessions.core import (
    Authorise,
    Authorised,
    Completed,
    DeniedError,
    Failed,
    KeyState,
    PeerLost,
    Received,
    Refusal,
    Refused,
    SetTimer,
    Step,
    TimerFired,
    UnavailableError,
    Verdict,
)
from keyserver.sessions.messages import Refuse
from keyserver.sessions.runner import Role
from keyserver.sessions.storing import STORING, Target
from keyserver.sessions.storing.messages import StoreAck, StoreCommit, Stored
from keyserver.sessions.storing.phases import AwaitingAcks, AwaitingCert, AwaitingCommits
from keyserver.simulation import liars
from keyserver.simulation.adversary.rows import Behaviour, lies_of
from keyserver.simulation.adversary.storing import COORDINATORS, MEMBERS
from keyserver.simulation.liars import at, with_field
from tests.support.credentials import legacy
from tests.support.delivery import CONTRACT, Delivery, received
from tests.support.key_life import (
    KEY_ID,
    ON_CHAIN,
    REQUESTER,
    document_for,
    generate,
    store,
    try_generate,
    try_store,
)
from tests.support.lying_delivery import over_delivery


@pytest.fixture
def net() -> Delivery:
    made = Delivery(4)
    generate(made, 1)
    return made


def _record(net: Delivery) -> CertifiedRecord:
    record = net.members[0].key.active
    assert record is not None
    return record


def test_everybody_has_the_decided_document_key(net: Delivery) -> None:
    certified = store(net, _record(net))
    assert all(member.key.document == certified for member in net.members)
    assert all(member.key.document_candidate is None for member in net.members)


def test_a_second_document_key_is_denied(net: Delivery) -> None:
    store(net, _record(net))
    outcome = try_store(net, _record(net))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, DeniedError)
    assert outcome.error.code == "DocumentKeyAlreadyStored"


def test_only_the_author_stores(net: Delivery) -> None:
    stranger = OnChainAddress(CONTRACT, Address(b"\x66" * 20))
    outcome = try_store(net, _record(net), credential=stranger)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "AccessDenied"


def test_all_nodes_must_be_there(net: Delivery) -> None:
    net.connected -= {net.members[3].id}
    outcome = try_store(net, _record(net))
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "NodeDisconnected"


def test_another_operation_is_refused(net: Delivery) -> None:
    outcome = net.run(STORING, GenerateServerKey(KEY_ID, 1), ON_CHAIN, Target(_record(net), ()))
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "InvalidMessage"


def test_own_refusals_are_final_and_those_of_others_are_not(net: Delivery) -> None:
    net.members[0].verdict = Verdict.DENIED
    for member in net.members[1:]:
        member.verdict = Verdict.UNAVAILABLE
    denied = try_store(net, _record(net))
    assert isinstance(denied, Failed)
    assert isinstance(denied.error, DeniedError)
    assert denied.error.code == "AccessDenied"
    elsewhere = try_store(net, _record(net), coordinator=1)
    assert isinstance(elsewhere, Failed)
    assert isinstance(elsewhere.error, UnavailableError)


def test_others_refusals_are_final_if_the_rest_is_too_few(net: Delivery) -> None:
    for denying, final in ((1, None), (2, True)):
        for member in net.members:
            member.verdict = Verdict.ALLOWED
        for member in net.members[4 - denying :]:
            member.verdict = Verdict.DENIED
        if final is None:
            net.members[1].verdict = Verdict.UNAVAILABLE
        outcome = try_store(net, _record(net))
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, DeniedError if final else UnavailableError)
        expected = "ConsensusUnreachable" if final else "NodeDisconnected"
        assert outcome.error.code == expected


def test_a_node_that_is_late_gets_the_decision(net: Delivery) -> None:
    """The quorum does not wait for ever for a node whose chain is slow; it tells it the outcome."""
    slow = net.members[3].id
    net.tamper = lambda sender, _to, message: (
        None if sender == slow and isinstance(message, StoreAck) else message
    )
    certified = store(net, _record(net))
    assert net.by_id[slow].key.document == certified


PARTICIPANT_LIES = lies_of(MEMBERS, lambda row: row.behaviour is not Behaviour.OVERSIZED)


@pytest.mark.parametrize("name", PARTICIPANT_LIES)
def test_one_liar_among_four_stops_nothing(net: Delivery, name: str) -> None:
    liar = net.members[2].id
    net.tamper = over_delivery(net, {liar: PARTICIPANT_LIES[name]})
    certified = store(net, _record(net))
    for member in net.members:
        if member.id != liar:
            assert member.key.document == certified
    assert net.reports == []


OTHER = Hash32(b"\x0f" * 32)


def _other_document(document: DocumentKey) -> DocumentKey:
    return DocumentKey(document.encrypted, document.common)


def _twice(signatures: tuple[NodeSignature, ...]) -> tuple[NodeSignature, ...]:
    return (signatures[0],) * len(signatures)


def _forged(signatures: tuple[NodeSignature, ...]) -> tuple[NodeSignature, ...]:
    return tuple(NodeSignature(entry.node, Signature(bytes(65))) for entry in signatures)


# A liar lies to its own member here, too: then a certificate that is wrong comes to nothing.
COORDINATOR_LIES = lies_of(
    COORDINATORS,
    lambda row: (
        row.behaviour in (Behaviour.LIED_REQUEST, Behaviour.LIED_SET, Behaviour.BAD_PROOF)
        and row.message != "Stored"
    ),
)


@pytest.mark.parametrize("name", COORDINATOR_LIES)
def test_a_lying_coordinator_gets_nothing_stored(net: Delivery, name: str) -> None:
    liar = net.members[0].id
    net.tamper = over_delivery(net, {liar: COORDINATOR_LIES[name]})
    assert isinstance(try_store(net, _record(net)), Failed)
    assert all(member.key.document is None for member in net.members)


@pytest.mark.parametrize("field", ["value", "signatures", "round"])
def test_a_forged_decision_installs_nothing(net: Delivery, field: str) -> None:
    changes = {"value": lambda _: OTHER, "signatures": _forged, "round": lambda _: 3}
    lie = with_field("decision", lambda d: _changed(d, field, changes[field]))
    net.tamper = over_delivery(net, {net.members[0].id: at("Stored", lie)})
    try_store(net, _record(net))
    assert all(member.key.document is None for member in net.members)
    assert all(member.key.document_candidate is not None for member in net.members)


def _changed(decision: Decision, field: str, change: Callable[[Any], Any]) -> Decision:
    return replace(decision, **{field: change(getattr(decision, field))})


def test_a_decision_for_another_document_key_is_refused(net: Delivery) -> None:
    record = _record(net)
    store(net, record)
    decided = received(net, Stored)[0]
    for member in net.members:
        member.stored = type(member.stored)(active=record, shares=member.stored.shares)
        member.votes.clear()
    net.tamper = lambda _s, _t, message: decided if isinstance(message, Stored) else message
    try_store(net, record, document_for(record.record.public, 5))
    assert all(member.key.document is None for member in net.members)


def test_what_a_member_refuses_at_once(net: Delivery) -> None:
    document = store(net, _record(net))
    ctx, sender, message = net.openings[-1]
    active, own = _record(net), ctx.key
    outside = replace(active, record=replace(active.record, committee=active.record.committee[:3]))
    cases = [
        (KeyState(), message, Refusal.NOT_FOUND),
        (own, replace(message, record_hash=OTHER), Refusal.STALE),
        (
            replace(own, active=outside),
            replace(message, record_hash=outside.record.hash),
            Refusal.BAD,
        ),
        (replace(own, document=document), message, Refusal.EXISTS),
        (own, replace(message, document=_other_document(message.document)), Refusal.BAD),
    ]
    for key, opening, refusal in cases:
        with pytest.raises(Refused) as refused:
            STORING.join(replace(ctx, key=key), sender, opening)
        assert refused.value.code is refusal
    with pytest.raises(Refused) as refused:
        STORING.join(replace(ctx, request=_generation()), sender, message)
    assert refused.value.code is Refusal.BAD
    stranger = Request.of(
        StoreDocumentKey(KEY_ID, message.document), OnChainAddress(CONTRACT, Address(bytes(20)))
    )
    with pytest.raises(Refused) as refused:
        STORING.join(replace(ctx, request=stranger), sender, message)
    assert refused.value.code is Refusal.DENIED


def _generation() -> Request:
    return Request.of(GenerateServerKey(KEY_ID, 1), ON_CHAIN)


def test_the_coordinators_part_step_by_step(net: Delivery) -> None:
    """What a late, double or uncalled-for answer changes: nothing."""
    store(net, _record(net))
    moments = [m for m in net.moments if m.role is Role.COORDINATOR]
    acks = next(m for m in moments if isinstance(m.before, AwaitingAcks))
    ctx, phase = acks.ctx, acks.before
    stranger = liars.OTHER_POINT
    for event in (
        Received(NodeId.of(stranger), StoreAck(Signature(bytes(65)))),
        Received(NodeId.of(stranger), Refuse(Refusal.BAD)),
        Received(ctx.me, StoreCommit(Signature(bytes(65)))),
        PeerLost(NodeId.of(stranger)),
        Authorised(Verdict.ALLOWED),
        TimerFired("grace"),
    ):
        assert STORING.step(ctx, phase, event) == Step(phase)
    commits = next(m for m in moments if isinstance(m.before, AwaitingCommits))
    late = Received(NodeId.of(stranger), StoreCommit(Signature(bytes(65))))
    for event in (late, TimerFired("grace")):
        assert STORING.step(ctx, commits.before, event) == Step(commits.before)
    lost = STORING.step(ctx, phase, TimerFired("round"))
    assert isinstance(lost.phase, Failed)
    nobody = STORING.step(ctx, commits.before, TimerFired("round"))
    assert isinstance(nobody.phase, Failed)
    assert nobody.phase.error.code == "NodeDisconnected"


def test_the_grace_period_begins_once() -> None:
    net = Delivery(7)
    record = generate(net, 1)
    store(net, record)
    at_quorum = next(
        m for m in net.moments if any(getattr(e, "name", "") == "grace" for e in m.effects)
    )
    ctx, phase = at_quorum.ctx, at_quorum.after
    assert isinstance(phase, AwaitingAcks)
    waiting = sorted(phase.round.waiting)
    after = STORING.step(ctx, phase, PeerLost(waiting[0]))
    assert after.effects == (), "the loss of a node does not begin it again"
    over = STORING.step(ctx, phase, TimerFired("grace"))
    assert isinstance(over.phase, AwaitingCommits)
    assert over.phase.round.expected == phase.round.answers.keys()


def test_a_participant_ignores_what_is_out_of_turn(net: Delivery) -> None:
    store(net, _record(net))
    waiting = next(m for m in net.moments if isinstance(m.before, AwaitingCert))
    for event in (TimerFired("other"), Authorised(Verdict.ALLOWED)):
        assert STORING.step(waiting.ctx, waiting.before, event) == Step(waiting.before)


def test_only_what_names_a_contract_is_asked_of_the_chain() -> None:
    net = Delivery(4)
    generation = legacy(net, GenerateServerKey(KEY_ID, 1), REQUESTER)
    assert isinstance(try_generate(net, 1, credential=generation), Completed)
    operation = StoreDocumentKey(KEY_ID, document_for(_record(net).record.public))
    credential = legacy(net, operation, REQUESTER)
    outcome = try_store(net, _record(net), operation.document, credential=credential)
    assert isinstance(outcome, Completed)
    ctx, sender, message = net.openings[-1]
    assert isinstance(STORING.join(ctx, sender, message).phase, AwaitingCert)
    author = NodeId.of(REQUESTER.public()).address
    on_chain = replace(ctx, request=Request.of(operation, OnChainAddress(CONTRACT, author)))
    opening = STORING.join(on_chain, sender, message)
    assert [type(effect) for effect in opening.effects] == [SetTimer, Authorise]
