"""What a participant of a redistribution does not accept, whoever says it."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest

from keyserver.crypto.curve import Scalar, SecretScalar
from keyserver.model.identifiers import ZERO_HASH, NodeId, Signature
from keyserver.model.keys import LAST_VERSION, CertifiedRecord, CommitteeMember, Decision
from keyserver.model.node_set import NodeSet
from keyserver.sessions.core import (
    Completed,
    Context,
    Persist,
    PreparedRecord,
    Received,
    Refusal,
    Refused,
    SessionKind,
)
from keyserver.sessions.runner import Role
from keyserver.sessions.sharing import REDISTRIBUTION
from keyserver.sessions.sharing.messages import (
    Cert,
    Certified,
    Handover,
    Inheritance,
    Installed,
    Prepared,
    Redistribute,
    Shares,
)
from keyserver.sessions.sharing.phases import (
    AwaitingCert,
    AwaitingCertified,
    AwaitingHandover,
    AwaitingInstalled,
    AwaitingPrepared,
    AwaitingShares,
)
from keyserver.sessions.writes import (
    PutActive,
    PutDocument,
)
from keyserver.simulation.liars import OTHER_POINT
from tests.support.delivery import Delivery, Moment
from tests.support.key_life import store
from tests.support.successions import a_set, redistribute, successor, with_key

LEAVING, STAYING, JOINING = 0, 1, 4
STRANGER = NodeId(bytes(63) + b"\x01")


@lru_cache
def moved(document: bool = False) -> tuple[Delivery, CertifiedRecord]:
    """A change in which one node leaves and one joins, everything written down."""
    net, before = with_key(5, range(4), 1)
    stored = store(net, before) if document else None
    successor(redistribute(net, before, [1, 2, 3, 4], dealers=[0, 1], document=stored))
    return net, before


def opening(place: int, *, document: bool = False) -> tuple[Context, NodeId, Redistribute]:
    net, _ = moved(document)
    me = net.members[place].id
    return next(o for o in net.openings if o[0].me == me and isinstance(o[2], Redistribute))


def moment(place: int, phase: type, message: type, *, document: bool = False) -> Moment:
    """When this node was given such a message in such a phase."""
    net, _ = moved(document)
    return next(
        moment
        for moment in net.moments
        if moment.role is Role.PARTICIPANT
        and moment.ctx.kind is SessionKind.REDISTRIBUTION
        and moment.ctx.me == net.members[place].id
        and isinstance(moment.before, phase)
        and isinstance(getattr(moment.event, "message", None), message)
    )


def refused(what: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        what()
    return caught.value


# --- the proposal ------------------------------------------------------------------------------


def in_params(**changes: Any) -> Callable[[Redistribute], Redistribute]:
    return lambda message: replace(message, params=replace(message.params, **changes))


def _with_dealers(change: Callable[[tuple[NodeId, ...]], tuple[NodeId, ...]]) -> Any:
    return lambda m: replace(m, params=replace(m.params, dealers=change(m.params.dealers)))


PROPOSALS: dict[str, tuple[Callable[[Redistribute], Redistribute], str]] = {
    "another set": (in_params(set_id=ZERO_HASH), "not accepted"),
    "another threshold": (in_params(threshold=2), "not those of the record"),
    "another version": (in_params(version=3), "not those of the record"),
    "another author": (in_params(author=bytes(20)), "not those of the record"),
    "another committee": (in_params(committee=()), "not those of the record"),
    "another kind": (lambda m: replace(m, kind=1), "not those of the record"),
    "a dealer fewer": (_with_dealers(lambda d: d[1:]), "number of dealers"),
    "a dealer twice": (_with_dealers(lambda d: d[:1] * 2), "not members of the old"),
    "a foreign dealer": (_with_dealers(lambda d: (STRANGER, *d[1:])), "not members of the old"),
}


@pytest.mark.parametrize("name", PROPOSALS)
@pytest.mark.parametrize("place", [LEAVING, STAYING, JOINING])
def test_a_proposal_of_anything_else_is_refused(place: int, name: str) -> None:
    change, why = PROPOSALS[name]
    ctx, sender, message = opening(place)
    problem = refused(lambda: REDISTRIBUTION.join(ctx, sender, change(message)))
    assert why in problem.why


def test_a_change_that_was_not_accepted_here() -> None:
    ctx, sender, message = opening(STAYING)
    problem = refused(lambda: REDISTRIBUTION.join(replace(ctx, target=None), sender, message))
    assert problem.code is Refusal.TEMPORARY


def test_a_set_that_could_not_use_the_key() -> None:
    net, _ = moved()
    ctx, sender, message = opening(STAYING)
    target = a_set(net, [1])
    small = replace(message, params=replace(message.params, set_id=target.id))
    problem = refused(lambda: REDISTRIBUTION.join(replace(ctx, target=target), sender, small))
    assert "threshold" in problem.why


def test_a_node_of_neither_set_takes_no_part() -> None:
    ctx, sender, message = opening(JOINING)
    aside = replace(ctx, me=STRANGER)
    problem = refused(lambda: REDISTRIBUTION.join(aside, sender, message))
    assert "neither" in problem.why


def test_another_request() -> None:
    net, _ = moved()
    generation = next(o for o in net.openings if not isinstance(o[2], Redistribute))
    ctx, sender, message = opening(STAYING)
    other = replace(ctx, request=generation[0].request, kind=generation[0].kind)
    assert (
        "not one to redistribute"
        in refused(lambda: REDISTRIBUTION.join(other, sender, message)).why
    )


@pytest.mark.parametrize("inheritance", [None, "another", "of a member"])
def test_what_is_in_force_must_be_known_or_shown(inheritance: str | None) -> None:
    net, before = moved()
    ctx, sender, message = opening(JOINING)
    shown = None
    if inheritance == "another":
        shown = Inheritance(replace(before, record=replace(before.record, version=9)), None)
    elif inheritance == "of a member":
        shown = Inheritance(before, None)
        ctx = replace(ctx, me=net.members[STAYING].id)
    told = replace(message, inheritance=shown)
    problem = refused(lambda: REDISTRIBUTION.join(ctx, sender, told))
    assert problem.code is Refusal.TEMPORARY


def test_a_version_that_is_decided_already() -> None:
    net, _ = moved()
    ctx, sender, message = opening(STAYING)
    later = replace(ctx, key=net.members[STAYING].key)
    assert refused(lambda: REDISTRIBUTION.join(later, sender, message)).code is Refusal.STALE


def test_a_version_of_which_this_node_knows_that_it_was_given_up() -> None:
    ctx, sender, message = opening(STAYING)
    later = replace(ctx, key=replace(ctx.key, skipped=(Decision(0, ZERO_HASH, ()),)))
    assert refused(lambda: REDISTRIBUTION.join(later, sender, message)).code is Refusal.STALE


def test_a_version_that_this_node_has_prepared_otherwise() -> None:
    net, _ = moved()
    ctx, sender, message = opening(STAYING)
    active = net.members[STAYING].key.active
    assert active is not None
    prepared = PreparedRecord(active.record, None, ZERO_HASH, None)
    undecided = replace(ctx, key=replace(ctx.key, prepared=prepared))
    problem = refused(lambda: REDISTRIBUTION.join(undecided, sender, message))
    assert problem.code is Refusal.TEMPORARY


def test_versions_come_to_an_end() -> None:
    ctx, sender, message = opening(STAYING)
    assert ctx.key.active is not None
    old = replace(ctx.key.active.record, version=LAST_VERSION)
    active = replace(ctx.key.active, record=old)
    params = replace(message.params, previous=old.hash, version=LAST_VERSION + 1)
    last = replace(ctx, key=replace(ctx.key, active=active))
    problem = refused(lambda: REDISTRIBUTION.join(last, sender, replace(message, params=params)))
    assert "as many versions" in problem.why


def test_who_has_no_share_does_not_deal() -> None:
    ctx, sender, message = opening(STAYING)
    without = replace(ctx, key=replace(ctx.key, share=None))
    problem = refused(lambda: REDISTRIBUTION.join(without, sender, message))
    assert "no share" in problem.why


def test_a_document_key_that_the_request_does_not_name() -> None:
    net, _ = moved(document=True)
    known = net.members[STAYING].key.document
    ctx, sender, message = opening(STAYING)
    with_document = replace(ctx, key=replace(ctx.key, document=known))
    assert (
        "another document key"
        in refused(lambda: REDISTRIBUTION.join(with_document, sender, message)).why
    )
    ctx, sender, message = opening(STAYING, document=True)
    without = replace(ctx, key=replace(ctx.key, document=None))
    assert (
        "another document key" in refused(lambda: REDISTRIBUTION.join(without, sender, message)).why
    )


# --- who takes part ------------------------------------------------------------------------------


def _unsigned(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    return (replace(entries[0], signature=Signature(bytes(65))), *entries[1:])


HANDOVERS: dict[str, Callable[[Handover], Handover]] = {
    "out of order": lambda m: replace(m, accepted=m.accepted[::-1]),
    "no dealer": lambda m: replace(m, accepted=m.accepted[:0]),
    "too few receivers": lambda m: replace(m, accepted=m.accepted[:3]),
    "an unsigned member": lambda m: replace(
        m, accepted=(*m.accepted[:2], *_unsigned(m.accepted[2:]))
    ),
    "a member that promised only": lambda m: replace(m, promised=m.accepted[:1]),
    "a stranger": lambda m: replace(m, promised=(replace(m.accepted[0], node=STRANGER),)),
}


@pytest.mark.parametrize("name", HANDOVERS)
@pytest.mark.parametrize("place", [LEAVING, STAYING])
def test_a_handover_that_is_not_what_was_agreed(place: int, name: str) -> None:
    found = moment(place, AwaitingHandover, Handover)
    assert isinstance(found.event, Received)
    event = Received(found.event.sender, HANDOVERS[name](found.event.message))
    refused(lambda: REDISTRIBUTION.step(found.ctx, found.before, event))


def test_a_handover_without_this_node_or_with_another_key_of_it() -> None:
    found = moment(JOINING, AwaitingHandover, Handover)
    assert isinstance(found.event, Received)
    message = found.event.message
    without = replace(
        message, accepted=tuple(a for a in message.accepted if a.node != found.ctx.me)
    )
    other = replace(
        message,
        accepted=tuple(
            replace(a, one_time=OTHER_POINT) if a.node == found.ctx.me else a
            for a in message.accepted
        ),
    )
    for told in (without, other):
        refused(
            lambda told=told: REDISTRIBUTION.step(  # type: ignore[misc]
                found.ctx, found.before, Received(found.ctx.coordinator, told)
            )
        )


def test_too_few_promises() -> None:
    """The same HANDOVER, if the old committee were larger."""
    found = moment(STAYING, AwaitingHandover, Handover)
    before = found.before.terms.before
    assert before is not None
    larger = sorted((*before.committee, *_made_up(6)), key=lambda member: member.node)
    terms = replace(found.before.terms, before=replace(before, committee=tuple(larger)))
    phase = replace(found.before, terms=terms)
    problem = refused(lambda: REDISTRIBUTION.step(found.ctx, phase, found.event))
    assert "too few promises" in problem.why


def _made_up(count: int) -> list[CommitteeMember]:
    return [
        CommitteeMember(NodeId.of(SecretScalar.from_int(9000 + i).public()), Scalar(100 + i))
        for i in range(count)
    ]


def _inheriting(change: Callable[[Any], Any], *, document: bool = False) -> Refused:
    found = moment(JOINING, AwaitingHandover, Handover, document=document)
    phase = replace(found.before, inheritance=change(found.before.inheritance))
    return refused(lambda: REDISTRIBUTION.step(found.ctx, phase, found.event))


def test_a_joining_node_takes_over_record_and_document_key() -> None:
    found = moment(JOINING, AwaitingHandover, Handover, document=True)
    writes = next(e for e in found.effects if isinstance(e, Persist)).writes
    assert [type(write) for write in writes] == [PutActive, PutDocument]


def test_what_a_joining_node_takes_over_must_be_proven() -> None:
    def holding(of: Any) -> Any:
        certificate = of.record.certificate
        few = replace(certificate.holding, signatures=certificate.holding.signatures[:1])
        return replace(of, record=replace(of.record, certificate=replace(certificate, holding=few)))

    def decision(**changes: Any) -> Callable[[Any], Any]:
        def change(of: Any) -> Any:
            certificate = of.record.certificate
            other = replace(certificate, decision=replace(certificate.decision, **changes))
            return replace(of, record=replace(of.record, certificate=other))

        return change

    def document(of: Any) -> Any:
        return replace(of, document=replace(of.document, decision=of.record.certificate.decision))

    assert "too few holders" in _inheriting(holding).why
    assert "another record" in _inheriting(decision(value=ZERO_HASH)).why
    assert "too few nodes committed" in _inheriting(decision(signatures=())).why
    assert "another document" in _inheriting(document, document=True).why


def test_a_record_that_nobody_of_the_current_set_vouches_for() -> None:
    net, _ = moved()
    found = moment(JOINING, AwaitingHandover, Handover)
    elsewhere = replace(found.ctx, node_set=NodeSet(1, net.node_set.contract, (found.ctx.me,)))
    problem = refused(lambda: REDISTRIBUTION.step(elsewhere, found.before, found.event))
    assert "too few nodes of the current set" in problem.why


# --- deals and the end ---------------------------------------------------------------------------


def test_shares_must_be_of_all_dealers() -> None:
    found = moment(STAYING, AwaitingShares, Shares)
    assert isinstance(found.event, Received)
    told = replace(found.event.message, deals=found.event.message.deals[:1])
    event = Received(found.event.sender, told)
    problem = refused(lambda: REDISTRIBUTION.step(found.ctx, found.before, event))
    assert "too few deals" in problem.why


CERTIFIED: dict[str, Callable[[Certified], Certified]] = {
    "another key": lambda m: replace(
        m,
        record=replace(
            m.record, public=OTHER_POINT, commitments=(OTHER_POINT, *m.record.commitments[1:])
        ),
    ),
    "another threshold": lambda m: replace(
        m, record=replace(m.record, threshold=0, commitments=m.record.commitments[:1])
    ),
    "a document key": lambda m: replace(m, record=replace(m.record, document=m.transcript)),
    "too few holders": lambda m: replace(m, signatures=m.signatures[:2]),
    "another transcript": lambda m: replace(m, transcript=ZERO_HASH),
}


@pytest.mark.parametrize("name", CERTIFIED)
@pytest.mark.parametrize(
    ("place", "phase"), [(LEAVING, AwaitingCertified), (STAYING, AwaitingCert)]
)
def test_what_the_old_committee_does_not_prepare(place: int, phase: type, name: str) -> None:
    found = moment(place, phase, Certified)
    assert isinstance(found.event, Received)
    event = Received(found.event.sender, CERTIFIED[name](found.event.message))
    refused(lambda: REDISTRIBUTION.step(found.ctx, found.before, event))


def test_holders_do_not_decide_for_the_old_committee() -> None:
    found = moment(STAYING, AwaitingCert, Certified)
    assert isinstance(found.event, Received)
    event = Received(found.event.sender, Cert(found.event.message.signatures))
    problem = refused(lambda: REDISTRIBUTION.step(found.ctx, found.before, event))
    assert "another committee decides" in problem.why


def test_nobody_commits_to_what_too_few_prepared() -> None:
    found = moment(LEAVING, AwaitingPrepared, Prepared)
    assert isinstance(found.event, Received)
    event = Received(found.event.sender, Prepared(found.event.message.signatures[:2]))
    refused(lambda: REDISTRIBUTION.step(found.ctx, found.before, event))


def test_the_decision_is_about_this_record() -> None:
    found = moment(JOINING, AwaitingInstalled, Installed)
    assert isinstance(found.event, Received)
    decision = found.event.message.decision
    for told in (replace(decision, value=ZERO_HASH), replace(decision, signatures=())):
        event = Received(found.event.sender, Installed(told))
        refused(lambda event=event: REDISTRIBUTION.step(found.ctx, found.before, event))  # type: ignore[misc]


def test_who_has_prepared_takes_the_decision_also_without_the_certificate() -> None:
    """It may have been lost on the way; the decision stands for itself."""
    prepared = moment(LEAVING, AwaitingPrepared, Prepared)
    installed = moment(LEAVING, AwaitingInstalled, Installed)
    after = REDISTRIBUTION.step(prepared.ctx, prepared.before, installed.event)
    assert isinstance(after.phase, Completed)


def test_a_message_out_of_turn_changes_nothing() -> None:
    found = moment(LEAVING, AwaitingCertified, Certified)
    late = moment(STAYING, AwaitingHandover, Handover)
    after = REDISTRIBUTION.step(found.ctx, found.before, late.event)
    assert after.phase is found.before
    assert after.effects == ()


def test_promises_and_records_are_written_in_this_order() -> None:
    net, _ = moved()
    me = net.members[STAYING].id
    ctx, sender, message = opening(STAYING)
    writes = [
        type(w)
        for e in REDISTRIBUTION.join(ctx, sender, message).effects
        for w in getattr(e, "writes", ())
    ]
    writes += [
        type(write)
        for m in net.moments
        if m.ctx.me == me and m.ctx.kind is ctx.kind
        for effect in m.effects
        for write in getattr(effect, "writes", ())
    ]
    names = [kind.__name__ for kind in writes]
    assert names == [
        "PutPromise",
        "CastVote",
        "PutPrepared",
        "PutHolding",
        "CastVote",
        "CastVote",
        "PutActive",
    ]
