"""Generation: who may, the coordinator's lies, and answers out of turn."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.curve import Point, add, negate
from keyserver.model.identifiers import Address, Hash32, NodeId, Signature
from keyserver.model.keys import CertifiedRecord
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import Credential, GenerateServerKey, Request, StoreDocumentKey
from keyserver.sessions.core import (
    Authorised,
    Completed,
    DeniedError,
    Failed,
    PeerLost,
    Policy,
    Received,
    Refusal,
    Refused,
    Send,
    SessionKind,
    SetTimer,
    Step,
    TimerFired,
    UnavailableError,
    Verdict,
)
from keyserver.sessions.messages import Refuse
from keyserver.sessions.sharing import GENERATION, coordinator
from keyserver.sessions.sharing.messages import (
    Accept,
    AllCommitments,
    Cert,
    Commit,
    Complaint,
    Deal,
    Investigate,
    Ok,
    Ready,
    Shares,
)
from keyserver.sessions.sharing.phases import (
    AwaitingAccepts,
    AwaitingCommitments,
    AwaitingCommits,
    AwaitingDeals,
    AwaitingFewerShares,
    AwaitingFinalize,
    AwaitingInstalled,
    AwaitingOks,
    AwaitingReadies,
    AwaitingShares,
    AwaitingStart,
)
from keyserver.simulation import liars
from keyserver.simulation.adversary import dealing
from keyserver.simulation.adversary.generation_coordinators import ROWS
from keyserver.simulation.adversary.rows import Behaviour, Must, lies_of
from keyserver.simulation.liars import at, with_field
from tests.support.credentials import bound, legacy
from tests.support.delivery import CONTRACT, Delivery, Moment, received
from tests.support.key_life import (
    AUTHOR,
    KEY_ID,
    ON_CHAIN,
    REQUESTER,
    document_for,
    generate,
    try_generate,
)
from tests.support.lying_delivery import over_delivery

OTHER = Hash32(b"\x0f" * 32)


def _moment(net: Delivery, phase: type, message: type | None = None) -> Moment:
    return next(
        m
        for m in net.moments
        if isinstance(m.before, phase)
        and (message is None or isinstance(getattr(m.event, "message", None), message))
    )


@pytest.mark.parametrize(("nodes", "threshold"), [(1, 0), (2, 1), (3, 0), (4, 3), (5, 2)])
def test_every_node_holds_the_same_key(nodes: int, threshold: int) -> None:
    net = Delivery(nodes)
    certified = generate(net, threshold, coordinator=nodes - 1)
    record = certified.record
    assert (record.key_id, record.author, record.threshold) == (KEY_ID, AUTHOR, threshold)
    for member in net.members:
        assert member.key.active == certified
        share = member.key.share
        assert share is not None
        assert share.value.public() == record.verification_share(member.id)
        assert member.key.prepared is None


@pytest.mark.parametrize("kind", ["legacy", "bound"])
def test_the_author_is_who_asks(kind: str) -> None:
    net = Delivery(3)
    operation = GenerateServerKey(KEY_ID, 1)
    credential: Credential = legacy(net, operation, REQUESTER)
    if kind == "bound":
        credential = bound(net, operation, REQUESTER)
    outcome = try_generate(net, 1, credential=credential)
    assert isinstance(outcome, Completed)
    assert outcome.result.record.author == NodeId.of(REQUESTER.public()).address


# --- what the coordinator finds out by itself ----------------------------------------------------


def _error_of(outcome: Completed | Failed) -> DeniedError | UnavailableError:
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, DeniedError | UnavailableError)
    return outcome.error


def test_errors_before_anything_is_sent() -> None:
    net = Delivery(4)
    too_many = _error_of(try_generate(net, 4))
    assert (too_many.code, too_many.retriable) == ("NotEnoughNodesForThreshold", False)
    net.connected -= {net.members[3].id}
    missing = _error_of(try_generate(net, 1))
    assert (missing.code, missing.retriable) == ("NodeDisconnected", True)
    net.connected |= {net.members[3].id}
    generate(net, 1)
    exists = _error_of(try_generate(net, 1))
    assert (exists.code, exists.retriable) == ("ServerKeyAlreadyGenerated", False)
    operation = StoreDocumentKey(KEY_ID, document_for(REQUESTER.public()))
    wrong = _error_of(net.run(GENERATION, operation, ON_CHAIN, None))
    assert wrong.code == "InvalidMessage"
    assert net.reports == []


def test_a_node_that_knows_the_key_is_asked_about_it() -> None:
    net = Delivery(4)
    generate(net, 1)
    net.members[0].stored = type(net.members[0].stored)()
    error = _error_of(try_generate(net, 1))
    assert (error.code, error.retriable) == ("ServerKeyAlreadyGenerated", True)


@pytest.mark.parametrize(
    ("verdict", "code", "retriable"),
    [
        (Verdict.DENIED, "AccessDenied", False),
        (Verdict.UNAVAILABLE, "NodeDisconnected", True),
    ],
)
def test_own_refusal(verdict: Verdict, code: str, retriable: bool) -> None:
    net = Delivery(4)
    net.members[0].verdict = verdict
    error = _error_of(try_generate(net, 1))
    assert (error.code, error.retriable) == (code, retriable)


def test_own_record_found_late() -> None:
    """Between the opening and the own participant's check the key was installed."""
    error = coordinator.refusal_error(_any_context(), 0, {_any_context().me: Refusal.EXISTS})
    assert isinstance(error, DeniedError)
    assert error.code == "ServerKeyAlreadyGenerated"


def _any_context() -> Any:
    net = Delivery(1)
    generate(net, 0)
    return net.openings[0][0]


@pytest.mark.parametrize(("denying", "final"), [(1, False), (2, True), (3, True)])
def test_others_refusals_are_final_only_if_they_are_more_than_may_lie(
    denying: int, final: bool
) -> None:
    net = Delivery(4)
    for member in net.members[4 - denying :]:
        member.verdict = Verdict.DENIED
    error = _error_of(try_generate(net, 1))
    assert (error.code, error.retriable) == ("ConsensusUnreachable", not final)
    assert isinstance(error, DeniedError) == final


def test_the_first_refusal_for_good_is_not_the_last_word() -> None:
    """More of them make it final, so all are heard; other refusals end it at once."""
    net = Delivery(4)
    for member in net.members[2:]:
        member.verdict = Verdict.DENIED
    try_generate(net, 1)
    first = next(m for m in net.moments if _refused_by(m) == net.members[2].id)
    assert isinstance(first.after, AwaitingAccepts)
    net = Delivery(4)
    for member in net.members[2:]:
        member.verdict = Verdict.UNAVAILABLE
    error = _error_of(try_generate(net, 1))
    assert (error.code, error.retriable) == ("NodeDisconnected", True)
    assert "TEMPORARY" in str(error)
    first = next(m for m in net.moments if _refused_by(m) == net.members[2].id)
    assert isinstance(first.after, Failed)


def _refused_by(moment: Moment) -> NodeId | None:
    event = moment.event
    refused = isinstance(event, Received) and isinstance(event.message, Refuse)
    return event.sender if isinstance(event, Received) and refused else None


def test_somebody_else_generates_the_key() -> None:
    net = Delivery(4)
    other = net.members[2].id
    net.tamper = lambda sender, _to, message: (
        Refuse(Refusal.EXCLUSIVE) if sender == other and isinstance(message, Accept) else message
    )
    error = _error_of(try_generate(net, 1))
    assert (error.code, error.retriable) == ("DuplicateSessionId", True)


def test_generators_are_a_matter_of_each_node() -> None:
    net = Delivery(4)
    services = net.members[0].policy.service_contracts
    for member in net.members:
        member.policy = Policy(generators=frozenset({AUTHOR}), service_contracts=services)
    assert isinstance(try_generate(net, 1), Completed)
    fresh = Delivery(4)
    for member in fresh.members:
        member.policy = Policy(
            generators=frozenset({Address(bytes(20))}), service_contracts=services
        )
    error = _error_of(try_generate(fresh, 1))
    assert error.code == "AccessDenied"


def test_a_generation_quorum_goes_without_the_others() -> None:
    net = Delivery(4)
    services = net.members[0].policy.service_contracts
    for member in net.members:
        member.policy = Policy(generation_quorum=1, service_contracts=services)
    absent = net.members[3].id
    net.connected -= {absent}
    certified = generate(net, 1)
    assert absent in certified.record.nodes
    signers = {entry.node for entry in certified.certificate.holding.signatures}
    assert signers == {member.id for member in net.members[:3]}
    assert net.by_id[absent].key.active is None


# --- a coordinator that lies ---------------------------------------------------------------------


# A liar lies to its own member here, too: then a certificate that is wrong comes to nothing.
COORDINATOR_LIES = lies_of(
    ROWS,
    lambda row: (
        row.behaviour not in (Behaviour.BAD_POINT, Behaviour.OVERSIZED, Behaviour.SILENT)
        and (row.must is Must.REFUSED or row.message == "Cert")
        and row.behaviour is not Behaviour.EQUIVOCATION
    ),
)


@pytest.mark.parametrize("name", COORDINATOR_LIES)
def test_a_lying_coordinator_makes_no_key(name: str) -> None:
    """It lies to its own participant as well: nobody certifies anything."""
    net = Delivery(7)
    net.tamper = over_delivery(net, {net.members[0].id: COORDINATOR_LIES[name]})
    assert isinstance(try_generate(net, 2), Failed)
    assert all(member.key.active is None for member in net.members)
    assert net.reports == []


@pytest.mark.parametrize("field", ["value", "round", "signatures"])
def test_a_forged_decision_installs_nothing(field: str) -> None:
    changes: dict[str, Callable[[Any], Any]] = {
        "value": lambda _: OTHER,
        "round": lambda _: 1,
        "signatures": lambda s: s[:4],
    }
    net = Delivery(7)
    forge = with_field(
        "decision", lambda d: replace(d, **{field: changes[field](getattr(d, field))})
    )
    net.tamper = over_delivery(net, {net.members[0].id: at("Installed", forge)})
    try_generate(net, 2)
    assert all(member.key.active is None for member in net.members)
    assert all(member.key.prepared is not None for member in net.members)


def test_a_decision_for_another_record_is_refused() -> None:
    net = Delivery(4)
    certified = generate(net, 1)
    ctx, phase = _moment(net, AwaitingInstalled).ctx, _moment(net, AwaitingInstalled).before
    other = replace(certified.record, author=Address(bytes(20)))
    message = _moment(net, AwaitingInstalled).event
    with pytest.raises(Refused):
        GENERATION.step(ctx, replace(phase, record=other), message)


def test_two_publics_for_one_key_are_impossible() -> None:
    """A coordinator that ends its session and begins another finds all nodes bound by READY."""
    net = Delivery(4)
    net.tamper = lambda _s, _t, message: None if isinstance(message, Cert) else message
    assert isinstance(try_generate(net, 1), Failed)
    prepared = {m.key.prepared.record.hash for m in net.members if m.key.prepared}
    net.tamper = lambda _s, _t, message: message
    for who in range(4):
        assert isinstance(try_generate(net, 1, coordinator=who), Failed)
    assert {m.key.prepared.record.hash for m in net.members if m.key.prepared} == prepared
    assert len(prepared) == 1


# --- wrong shares, seen from the receiver --------------------------------------------------------


@pytest.fixture
def quarrel() -> Delivery:
    """A generation in which member 5 gave member 0 a false share."""
    net = Delivery(7)
    services = net.members[0].policy.service_contracts
    for member in net.members:
        member.policy = Policy(generation_quorum=5, service_contracts=services)
    lie = at("Deal", dealing.false_shares(frozenset({0}).__contains__))
    net.tamper = over_delivery(net, {net.members[5].id: lie})
    generate(net, 2)
    return net


def test_shares_count_again_only_without_a_dealer(quarrel: Delivery) -> None:
    first, second = (s for s in received(quarrel, Shares)[:8:7])
    assert len(second.deals) == len(first.deals) - 1
    for phase in (AwaitingFinalize, AwaitingFewerShares):
        moment = next(
            m
            for m in quarrel.moments
            if isinstance(m.before, phase)
            and isinstance(m.event, Received)
            and isinstance(m.event.message, Shares)
        )
        sender = moment.ctx.coordinator
        assert GENERATION.step(moment.ctx, moment.before, Received(sender, first)) == Step(
            moment.before
        )
        assert isinstance(moment.after, AwaitingFinalize)
        assert GENERATION.step(moment.ctx, moment.after, moment.event) == Step(moment.after)


def test_what_all_commitments_must_be(quarrel: Delivery) -> None:
    moment = _moment(quarrel, AwaitingCommitments, AllCommitments)
    assert isinstance(moment.before, AwaitingCommitments)
    assert isinstance(moment.after, AwaitingFewerShares)
    assert isinstance(moment.event, Received)
    lists: AllCommitments = moment.event.message
    right = next(entry for entry in lists.dealt if entry.dealer != quarrel.members[5].id)
    cases = {
        "not those of the dealers": replace(lists, dealt=lists.dealt[1:]),
        "differ from their hash": _changed(
            lists, right.dealer, (*right.commitments[:-1], liars.OTHER_POINT)
        ),
        "another constant": _changed(
            lists, right.dealer, (liars.OTHER_POINT, *right.commitments[1:])
        ),
    }
    for why, altered in cases.items():
        with pytest.raises(Refused, match=why):
            GENERATION.step(moment.ctx, moment.before, Received(moment.ctx.coordinator, altered))


def _changed(lists: AllCommitments, dealer: NodeId, points: tuple[Point, ...]) -> AllCommitments:
    return AllCommitments(
        tuple(
            replace(entry, commitments=points) if entry.dealer == dealer else entry
            for entry in lists.dealt
        )
    )


def test_wrong_sums_of_right_deals_are_the_coordinators_fault() -> None:
    net = Delivery(4)
    generate(net, 1)
    moment = _moment(net, AwaitingShares, Shares)
    assert isinstance(moment.event, Received)
    altered = replace(
        moment.event.message,
        commitments=(*moment.event.message.commitments[:-1], liars.OTHER_POINT),
    )
    sender = moment.ctx.coordinator
    asking = GENERATION.step(moment.ctx, moment.before, Received(sender, altered))
    assert isinstance(asking.phase, AwaitingCommitments)
    oks = _moment(net, AwaitingOks)
    node = sorted(oks.before.round.waiting)[0]
    listed = GENERATION.step(oks.ctx, oks.before, Received(node, Investigate()))
    lists = next(e.message for e in listed.effects if isinstance(e, Send))
    with pytest.raises(Refused, match="the sums are not"):
        GENERATION.step(moment.ctx, asking.phase, Received(sender, lists))


def test_an_investigation_is_answered_once(quarrel: Delivery) -> None:
    oks = _moment(quarrel, AwaitingOks)
    node = sorted(oks.before.round.waiting)[0]
    first = GENERATION.step(oks.ctx, oks.before, Received(node, Investigate()))
    assert len(first.effects) == 1
    assert GENERATION.step(oks.ctx, first.phase, Received(node, Investigate())) == Step(first.phase)  # type: ignore[arg-type]


def test_a_complaint_that_proves_nothing_costs_the_accuser_its_place(quarrel: Delivery) -> None:
    moment = _moment(quarrel, AwaitingOks, Complaint)
    assert isinstance(moment.event, Received)
    for name in ("signature", "accuser_signature"):
        unsigned = replace(moment.event.message, **{name: Signature(bytes(65))})
        with pytest.raises(Refused) as refused:
            GENERATION.step(moment.ctx, moment.before, Received(moment.event.sender, unsigned))
        assert refused.value.reports == ()
    after = GENERATION.step(moment.ctx, moment.before, PeerLost(moment.event.sender))
    assert isinstance(after.phase, AwaitingReadies), "it was the last one to be waited for"
    assert moment.event.sender not in after.phase.round.expected


def test_a_complaint_about_a_dealer_that_is_out_says_nothing_new(quarrel: Delivery) -> None:
    moment = _moment(quarrel, AwaitingOks, Complaint)
    assert isinstance(moment.after, AwaitingOks)
    again = GENERATION.step(moment.ctx, moment.after, moment.event)
    assert again == Step(moment.after)


def test_deals_that_cancel_each_other() -> None:
    net = Delivery(3)
    generate(net, 1)
    last = [m for m in net.moments if isinstance(m.before, AwaitingDeals)][-1]
    deals = [m.event.message for m in net.moments if isinstance(m.before, AwaitingDeals)]  # type: ignore[union-attr]
    two = add(deals[0].commitments[1], deals[1].commitments[1])
    assert two is not None
    phase: Any = last.before
    cancelling = replace(deals[2], commitments=(deals[2].commitments[0], negate(two)))
    after = GENERATION.step(last.ctx, phase, Received(last.event.sender, cancelling))  # type: ignore[union-attr]
    assert isinstance(after.phase, Failed)
    assert "cancel" in str(after.phase.error)


# --- answers out of turn -------------------------------------------------------------------------


def test_late_double_and_strange_answers_change_nothing() -> None:
    net = Delivery(7)
    generate(net, 2)
    stranger = NodeId.of(liars.OTHER_POINT)
    one_of = {kind: received(net, kind)[0] for kind in (Accept, Deal, Ok, Ready, Commit)}
    for phase, kind in (
        (AwaitingAccepts, Accept),
        (AwaitingDeals, Deal),
        (AwaitingOks, Ok),
        (AwaitingReadies, Ready),
        (AwaitingCommits, Commit),
    ):
        moment = _moment(net, phase)
        events: list[Any] = [Received(stranger, message) for message in one_of.values()]
        events += [Received(stranger, Investigate()), Authorised(Verdict.ALLOWED)]
        for event in events:
            assert GENERATION.step(moment.ctx, moment.before, event) == Step(moment.before)
        assert kind in one_of


def test_a_complaint_of_a_stranger_changes_nothing(quarrel: Delivery) -> None:
    moment = _moment(quarrel, AwaitingOks, Complaint)
    assert isinstance(moment.event, Received)
    stranger = Received(NodeId.of(liars.OTHER_POINT), moment.event.message)
    assert GENERATION.step(moment.ctx, moment.before, stranger) == Step(moment.before)


@pytest.mark.parametrize(
    ("phase", "why"),
    [
        (AwaitingAccepts, "too few nodes take part"),
        (AwaitingDeals, "too few nodes dealt"),
        (AwaitingOks, "too few shares are right"),
        (AwaitingReadies, "too few nodes stored the key"),
        (AwaitingCommits, "too few nodes committed"),
    ],
)
def test_time_runs_out(phase: type, why: str) -> None:
    net = Delivery(4)
    generate(net, 1)
    moment = _moment(net, phase)
    after = GENERATION.step(moment.ctx, moment.before, TimerFired("round"))
    assert isinstance(after.phase, Failed)
    assert isinstance(after.phase.error, UnavailableError)
    assert after.phase.error.code == "NodeDisconnected"
    assert why in str(after.phase.error)


@pytest.mark.parametrize(
    "phase", [AwaitingAccepts, AwaitingDeals, AwaitingOks, AwaitingReadies, AwaitingCommits]
)
def test_a_node_that_is_lost_is_gone_without(phase: type) -> None:
    net = Delivery(7)
    services = net.members[0].policy.service_contracts
    for member in net.members:
        member.policy = Policy(generation_quorum=5, service_contracts=services)
    generate(net, 2)
    moment = _moment(net, phase)
    node = sorted(moment.before.round.waiting)[0]
    for event in (PeerLost(node), Received(node, Refuse(Refusal.BUSY))):
        after = GENERATION.step(moment.ctx, moment.before, event)
        assert isinstance(after.phase, phase)
        assert node in after.phase.round.gone  # type: ignore[union-attr]


def test_a_participant_waits_longer_where_the_chain_is_asked() -> None:
    net = Delivery(4)
    generate(net, 1)
    ctx, sender, message = net.openings[1]
    step = GENERATION.join(ctx, sender, message)
    assert step.effects[0] == SetTimer("idle", 85.0)
    by_client = legacy(net, GenerateServerKey(KEY_ID, 1), REQUESTER)
    net2 = Delivery(4)
    credential = legacy(net2, GenerateServerKey(KEY_ID, 1), REQUESTER)
    assert isinstance(try_generate(net2, 1, credential=credential), Completed)
    assert by_client.requester == credential.requester
    start = next(m for m in net2.moments if isinstance(m.before, AwaitingStart))
    assert isinstance(start.after, AwaitingShares)


def test_what_a_participant_refuses_at_once() -> None:
    net = Delivery(4)
    certified = generate(net, 1)
    ctx, sender, message = net.openings[1]
    outside = replace(ctx, me=NodeId.of(liars.OTHER_POINT))
    elsewhere = NodeSet(1, Address(b"\x0c" * 20), ctx.node_set.nodes)
    known = replace(ctx, key=net.members[1].key)
    other_kind = replace(ctx, kind=SessionKind.REDISTRIBUTION)
    store = StoreDocumentKey(KEY_ID, document_for(certified.record.public))
    other_operation = replace(ctx, request=Request.of(store, ON_CHAIN))
    for changed, refusal in (
        (outside, Refusal.TEMPORARY),
        (replace(ctx, node_set=elsewhere), Refusal.TEMPORARY),
        (known, Refusal.EXISTS),
        (other_kind, Refusal.BAD),
        (other_operation, Refusal.BAD),
    ):
        with pytest.raises(Refused) as refused:
            GENERATION.join(changed, sender, message)
        assert refused.value.code is refusal


def test_a_threshold_of_all_nodes_is_refused() -> None:
    net = Delivery(4)
    generate(net, 3)
    ctx, sender, message = net.openings[1]
    request = Request.of(GenerateServerKey(KEY_ID, 4), ON_CHAIN)
    params = replace(message.params, threshold=4, request_hash=request.hash)
    with pytest.raises(Refused, match="threshold"):
        GENERATION.join(
            replace(ctx, request=request), sender, replace(message, params=params, request=request)
        )


def test_out_of_turn_is_ignored_by_participants() -> None:
    net = Delivery(4)
    certified = generate(net, 1)
    assert isinstance(certified, CertifiedRecord)
    moment = _moment(net, AwaitingStart)
    for event in (TimerFired("x"), Received(moment.ctx.coordinator, Cert(()))):
        assert GENERATION.step(moment.ctx, moment.before, event) == Step(moment.before)
    assert CONTRACT
