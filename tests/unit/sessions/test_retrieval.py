"""Retrieval: both forms, who may, who lies, and what a member answers."""

from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.curve import Scalar, SecretScalar, mul_base, mul_public, mul_secret, negate
from keyserver.crypto.elgamal import shadow_factors
from keyserver.crypto.errors import DecryptionError, InvalidPointError
from keyserver.crypto.proofs import prove
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord, DocumentKey
from keyserver.model.requests import (
    GenerateServerKey,
    OnChainAddress,
    OnChainPublic,
    Proof,
    Request,
    RetrieveDocumentKey,
)
from keyserver.sessions.core import (
    Authorised,
    Completed,
    DeniedError,
    Failed,
    KeyState,
    PeerLost,
    Persist,
    Received,
    Refusal,
    Refused,
    Send,
    SessionError,
    SetTimer,
    Step,
    TimerFired,
    UnavailableError,
    Verdict,
)
from keyserver.sessions.messages import Refuse
from keyserver.sessions.outcomes import PlainResult, ShadowReady
from keyserver.sessions.retrieval import RETRIEVAL, Target
from keyserver.sessions.retrieval.messages import (
    NO_MASK,
    DecRequest,
    Done,
    MaskPoint,
    Partial,
    Select,
    SelectedPartial,
    Shadow,
)
from keyserver.sessions.retrieval.parts import (
    MAX_SELECTS,
    mode_of,
    partial_digest,
    partial_statement,
    select_hash,
)
from keyserver.sessions.retrieval.phases import (
    AwaitingDone,
    AwaitingPartials,
    AwaitingSelect,
    AwaitingShadows,
    AwaitingVerdict,
)
from keyserver.sessions.rounds import Round
from keyserver.sessions.runner import Role
from keyserver.sessions.writes import PutDocument
from keyserver.simulation import liars
from keyserver.simulation.adversary import retrieval_holders
from keyserver.simulation.adversary.retrieval_coordinators import ROWS as COORDINATORS
from keyserver.simulation.adversary.retrieval_holders import ROWS as HOLDERS
from keyserver.simulation.adversary.rows import Behaviour, Must, Protocol, lies_of
from keyserver.simulation.liars import Place, at
from tests.support.credentials import legacy
from tests.support.delivery import CONTRACT, Delivery, Moment, received
from tests.support.key_life import (
    DOCUMENT_KEY,
    KEY_ID,
    ON_CHAIN,
    REQUESTER,
    SHADOW_ON_CHAIN,
    generate,
    opened,
    retrieve,
    store,
    try_retrieve,
    try_store,
)
from tests.support.lying_delivery import over_delivery

Stored = tuple[Delivery, CertifiedRecord, CertifiedDocumentKey]


def _stored(nodes: int, threshold: int) -> Stored:
    net = Delivery(nodes)
    record = generate(net, threshold)
    return net, record, store(net, record)


@pytest.fixture
def four() -> Stored:
    return _stored(4, 1)


@pytest.fixture
def seven() -> Stored:
    return _stored(7, 2)


@pytest.mark.parametrize(("nodes", "threshold"), [(1, 0), (2, 1), (3, 1), (4, 3), (5, 2), (7, 2)])
def test_the_requester_opens_what_the_nodes_send(nodes: int, threshold: int) -> None:
    net, record, document = _stored(nodes, threshold)
    result = retrieve(net, record, document, coordinator=nodes - 1)
    assert opened(result) == DOCUMENT_KEY
    assert len(result.nodes) == len(result.shadows) == threshold + 1
    assert list(result.nodes) == sorted(result.nodes)


def test_on_chain_every_member_of_the_selection_publishes(four: Stored) -> None:
    net, record, document = four
    result = retrieve(net, record, document)
    ready = {
        node: runner.outcome.result
        for (node, role), runner in net.runners.items()
        if role is Role.PARTICIPANT and isinstance(runner.outcome, Completed)
    }
    published = {node: out for node, out in ready.items() if out is not None}
    assert sorted(published) == list(result.nodes)
    for out in published.values():
        assert isinstance(out, ShadowReady)
        assert out.decrypted_secret == result.decrypted_secret
        assert out.participants == result.nodes
        assert out.shadow in result.shadows
        assert (out.contract, out.requester) == (CONTRACT, REQUESTER.public())


def test_over_http_nobody_publishes(four: Stored) -> None:
    net, record, document = four
    credential = legacy(net, RetrieveDocumentKey(KEY_ID), REQUESTER)
    outcome = try_retrieve(net, record, document, credential=credential)
    assert isinstance(outcome, Completed)
    assert opened(outcome.result) == DOCUMENT_KEY
    results = [r.outcome for (_, role), r in net.runners.items() if role is Role.PARTICIPANT]
    assert all(out == Completed(None) for out in results)


def test_plain_form(four: Stored) -> None:
    net, record, document = four
    credential = legacy(net, RetrieveDocumentKey(KEY_ID, shadow=False), REQUESTER)
    outcome = try_retrieve(net, record, document, credential=credential, shadow=False)
    assert outcome == Completed(PlainResult(DOCUMENT_KEY, REQUESTER.public()))


def test_a_document_key_of_infinity_cannot_be_told() -> None:
    """An author may store `E = k*Y`, which closes nothing."""
    net = Delivery(4)
    record = generate(net, 1)
    encrypted = mul_public(record.record.public, Scalar(3))
    assert encrypted is not None
    stored = try_store(net, record, DocumentKey(mul_base(Scalar(3)), encrypted))
    assert isinstance(stored, Completed)
    credential = legacy(net, RetrieveDocumentKey(KEY_ID, shadow=False), REQUESTER)
    outcome = try_retrieve(net, record, stored.result, credential=credential, shadow=False)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, DeniedError)
    assert outcome.error.code == "Internal"


# --- who is asked ------------------------------------------------------------------------------


def test_nodes_that_refuse_or_vanish_are_replaced(seven: Stored) -> None:
    net, record, document = seven
    net.members[1].verdict = Verdict.UNAVAILABLE
    net.members[2].verdict = Verdict.DENIED
    net.connected -= {net.members[3].id}
    result = retrieve(net, record, document)
    assert opened(result) == DOCUMENT_KEY
    assert not {net.members[i].id for i in (1, 2, 3)} & set(result.nodes)


def test_too_many_denials_are_final(seven: Stored) -> None:
    net, record, document = seven
    for member in net.members[:5]:
        member.verdict = Verdict.DENIED
    outcome = try_retrieve(net, record, document)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, DeniedError)
    assert outcome.error.code == "ConsensusUnreachable"


def _error(stored: Stored) -> SessionError:
    outcome = try_retrieve(*stored)
    assert isinstance(outcome, Failed)
    return outcome.error


def test_too_few_answers_are_not_final(seven: Stored) -> None:
    net, _, _ = seven
    for member in net.members[:4]:
        member.verdict = Verdict.DENIED
    net.members[5].verdict = Verdict.UNAVAILABLE
    error = _error(seven)
    assert (error.code, error.retriable) == ("ConsensusTemporaryUnreachable", True)


@pytest.mark.parametrize(
    ("in_doubt", "code"), [(0, "ConsensusUnreachable"), (1, "ConsensusTemporaryUnreachable")]
)
def test_it_is_a_matter_of_time_only_if_those_in_doubt_would_do(
    seven: Stored, in_doubt: int, code: str
) -> None:
    """Three holders are needed; two are fine, the others say BAD: they have lost their heads."""
    net, _, _ = seven
    for member in net.members[2 : 2 + in_doubt]:
        member.verdict = Verdict.UNAVAILABLE
    mad = {member.id for member in net.members[2 + in_doubt :]}
    net.tamper = lambda sender, _to, message: (
        Refuse(Refusal.BAD) if sender in mad and isinstance(message, Partial) else message
    )
    error = _error(seven)
    assert (error.code, error.retriable) == (code, True)


@pytest.mark.parametrize(
    ("lost", "code"), [(4, "ConsensusTemporaryUnreachable"), (5, "ConsensusUnreachable")]
)
def test_holders_that_vanish_are_not_a_matter_of_time(seven: Stored, lost: int, code: str) -> None:
    """They were asked and their connections broke; one of the others is slow."""
    net, record, document = seven
    retrieve(net, record, document)
    moment = _moments(net, AwaitingPartials)[0]
    assert isinstance(moment.before, AwaitingPartials)
    everybody = Round[Partial].among(record.record.nodes)
    phase: Any = replace(moment.before, round=everybody, more=())
    for node in record.record.nodes[:lost]:
        phase = RETRIEVAL.step(moment.ctx, phase, PeerLost(node)).phase
    if isinstance(phase, AwaitingPartials):
        phase = RETRIEVAL.step(moment.ctx, phase, TimerFired("round")).phase
    assert isinstance(phase, Failed)
    assert phase.error.code == code


def test_too_few_connected_holders(seven: Stored) -> None:
    net, record, document = seven
    net.connected = frozenset({net.members[0].id, net.members[1].id})
    outcome = try_retrieve(net, record, document)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "ConsensusUnreachable"
    assert outcome.error.retriable


def test_silent_holders_run_the_round_out(seven: Stored) -> None:
    net, _, _ = seven
    quiet = {member.id for member in net.members[:5]}
    net.tamper = lambda sender, _to, message: (
        None if sender in quiet and isinstance(message, Partial) else message
    )
    error = _error(seven)
    assert (error.code, error.retriable) == ("ConsensusTemporaryUnreachable", True)


def test_a_coordinator_without_record_or_share_serves_as_well(four: Stored) -> None:
    net, record, document = four
    net.members[0].stored = type(net.members[0].stored)()
    result = retrieve(net, record, document)
    assert opened(result) == DOCUMENT_KEY


def test_a_holder_that_missed_the_document_key_takes_it_along(four: Stored) -> None:
    net, record, document = four
    for member in net.members:
        member.stored = replace(member.stored, document=None)
    assert opened(retrieve(net, record, document)) == DOCUMENT_KEY
    assert any(member.key.document == document for member in net.members)


# --- holders that lie --------------------------------------------------------------------------

_HOLDERS = [row for row in HOLDERS if row.protocol is Protocol.SHADOW_CONTRACT and row.left_out]
BLAMED = lies_of(_HOLDERS, lambda row: row.provable)
TOLERATED = lies_of(
    _HOLDERS,
    lambda row: (
        not row.provable and row.behaviour not in (Behaviour.BAD_POINT, Behaviour.OVERSIZED)
    ),
)


@pytest.mark.parametrize("name", BLAMED)
def test_a_wrong_part_names_its_maker(seven: Stored, name: str) -> None:
    net, record, document = seven
    cheats = {net.members[i].id for i in (3, 5)}
    net.tamper = over_delivery(net, dict.fromkeys(cheats, BLAMED[name]))
    for coordinator in range(7):
        result = retrieve(net, record, document, coordinator=coordinator)
        assert opened(result) == DOCUMENT_KEY
        assert not cheats & set(result.nodes)
    assert {culprit for report in net.reports for culprit in report.culprits} <= cheats
    assert net.reports


@pytest.mark.parametrize("name", TOLERATED)
def test_what_is_not_provable_is_only_gone_without(seven: Stored, name: str) -> None:
    net, record, document = seven
    cheats = {net.members[i].id for i in (3, 5)}
    net.tamper = over_delivery(net, dict.fromkeys(cheats, TOLERATED[name]))
    for coordinator in range(7):
        result = retrieve(net, record, document, coordinator=coordinator)
        assert opened(result) == DOCUMENT_KEY
    assert net.reports == []


def test_a_wrong_part_is_noticed_late_too(seven: Stored) -> None:
    """Parts that arrive after the selection are spares; a wrong one is reported all the same."""
    net, record, document = seven
    retrieve(net, record, document)
    ctx, phase = _selected(net)
    node = sorted(phase.before.round.waiting)[0]
    opening = next(opening for opening in reversed(net.openings) if opening[0].me == node)
    late = RETRIEVAL.step(opening[0], _verdict_phase(net, node), Authorised(Verdict.ALLOWED))
    partial = _sent(late, Partial)[0].message
    kept = RETRIEVAL.step(ctx, phase, Received(node, partial))
    assert isinstance(kept.phase, AwaitingShadows)
    assert node in kept.phase.before.round.answers
    place = Place(_ctx_of(net, node), late.phase, ctx.me, phase)
    wrong = retrieval_holders.signed_with("proof", Proof(b"\x01" * 64))(place, partial)
    with pytest.raises(Refused) as told:
        RETRIEVAL.step(ctx, phase, Received(node, wrong))
    assert [report.culprits for report in told.value.reports] == [frozenset({node})]
    dropped = RETRIEVAL.step(ctx, phase, PeerLost(node))
    assert isinstance(dropped.phase, AwaitingShadows)
    assert node not in dropped.phase.before.round.waiting
    twice = RETRIEVAL.step(ctx, kept.phase, Received(node, partial))
    assert twice == Step(kept.phase)


def _selected(net: Delivery) -> tuple[Any, AwaitingShadows]:
    moment = next(m for m in net.moments if isinstance(m.before, AwaitingShadows))
    return moment.ctx, moment.before


def _moments(net: Delivery, phase: type) -> list[Moment]:
    return [moment for moment in net.moments if isinstance(moment.before, phase)]


def _verdict_phase(net: Delivery, node: NodeId) -> AwaitingVerdict:
    moments = reversed(_moments(net, AwaitingVerdict))
    phase = next(m.before for m in moments if m.ctx.me == node)
    assert isinstance(phase, AwaitingVerdict)
    return phase


def _sent(step: Step[Any], kind: type) -> list[Send]:
    sends = [effect for effect in step.effects if isinstance(effect, Send)]
    return [send for send in sends if isinstance(send.message, kind)]


def _ctx_of(net: Delivery, node: NodeId) -> Any:
    return net.runners[node, Role.PARTICIPANT].ctx


def test_selected_nodes_that_fail_one_by_one_end_it(seven: Stored) -> None:
    """At most three selections: a member answers no more, and the coordinator makes no more."""
    net, _, _ = seven
    net.tamper = lambda _s, _to, message: None if isinstance(message, Shadow) else message
    error = _error(seven)
    assert (error.code, error.retriable) == ("ConsensusTemporaryUnreachable", True)
    assert len(received(net, Select)) == 2 * 3, "two selections of three could be made of seven"


def test_after_the_last_selection_it_is_said_who_failed(seven: Stored) -> None:
    net, record, document = seven
    retrieve(net, record, document)
    ctx, phase = _selected(net)
    others = {m.id for m in net.members} - phase.round.expected
    partial = next(iter(phase.before.round.answers.values()))
    answers = {**phase.before.round.answers, **dict.fromkeys(others, partial)}
    everybody = frozenset(m.id for m in net.members)
    asked = replace(phase.before.round, expected=everybody, answers=answers)
    last = replace(phase, before=replace(phase.before, round=asked, selects=MAX_SELECTS))
    failed = next(iter(phase.round.expected))
    over = RETRIEVAL.step(ctx, last, PeerLost(failed)).phase
    assert isinstance(over, Failed)
    assert isinstance(over.error, UnavailableError)
    assert over.error.failed == {failed}


def test_when_a_member_fails_everybody_else_is_asked(seven: Stored) -> None:
    net, record, document = seven
    retrieve(net, record, document)
    ctx, phase = _selected(net)
    before = replace(phase.before, more=tuple(m.id for m in net.members[-2:]))
    few = {n: a for n, a in before.round.answers.items() if n in phase.round.expected}
    before = replace(before, round=replace(before.round, answers=few))
    failed = next(iter(phase.round.expected))
    again = RETRIEVAL.step(ctx, replace(phase, before=before), PeerLost(failed))
    assert {send.to for send in _sent(again, DecRequest)} == set(before.more)
    assert SetTimer("round", 5.0) in again.effects


# --- a coordinator that lies -------------------------------------------------------------------


_COORDINATORS = [row for row in COORDINATORS if row.protocol is Protocol.SHADOW_CONTRACT]
SIGNED_LIES = lies_of(_COORDINATORS, lambda row: row.provable and row.must is Must.REFUSED)
COORDINATOR_LIES = lies_of(
    _COORDINATORS,
    lambda row: (
        row.must is Must.REFUSED
        and row.behaviour not in (Behaviour.BAD_POINT, Behaviour.OVERSIZED, Behaviour.SILENT)
        and not row.name.startswith(("another operation", "another key", "for somebody"))
    ),
)


@pytest.mark.parametrize("name", COORDINATOR_LIES)
def test_a_lying_coordinator_gets_no_shadow(seven: Stored, name: str) -> None:
    net, record, document = seven
    net.tamper = over_delivery(net, {net.members[0].id: COORDINATOR_LIES[name]})
    net.moments.clear()
    assert isinstance(try_retrieve(net, record, document), Failed)
    assert received(net, Shadow) == []
    named = {culprit for report in net.reports for culprit in report.culprits}
    assert named == ({net.members[0].id} if name in SIGNED_LIES else set())


def test_a_selection_without_the_node_is_refused(four: Stored) -> None:
    net, record, document = four
    retrieve(net, record, document)
    select = received(net, Select)[0]
    spare = next(
        m
        for m in net.moments
        if isinstance(m.before, AwaitingSelect)
        and isinstance(m.event, Received)
        and isinstance(m.event.message, Done)
    )
    with pytest.raises(Refused, match="this node"):
        RETRIEVAL.step(spare.ctx, spare.before, Received(spare.ctx.coordinator, select))


def test_a_member_answers_three_selections_and_no_more(four: Stored) -> None:
    net, record, document = four
    retrieve(net, record, document)
    first = _first_select(net)
    phase: Any = first.before
    for _ in range(MAX_SELECTS):
        step = RETRIEVAL.step(first.ctx, phase, first.event)
        assert isinstance(step.phase, AwaitingDone)
        assert not any(isinstance(effect, SetTimer) for effect in step.effects), (
            "the mask lives no longer than 60 s, however often it is used"
        )
        phase = step.phase
    with pytest.raises(Refused, match="too many"):
        RETRIEVAL.step(first.ctx, phase, first.event)


def _first_select(net: Delivery) -> Moment:
    return next(
        m
        for m in net.moments
        if isinstance(m.before, AwaitingSelect)
        and isinstance(m.event, Received)
        and isinstance(m.event.message, Select)
    )


def test_done_counts_for_the_selection_it_names(four: Stored) -> None:
    net, record, document = four
    retrieve(net, record, document)
    first = _first_select(net)
    other = Received(first.ctx.coordinator, Done(Hash32(bytes(32))))
    assert RETRIEVAL.step(first.ctx, first.after, other) == Step(first.after)
    assert RETRIEVAL.step(first.ctx, first.before, other).phase == Completed(None)
    assert RETRIEVAL.step(first.ctx, first.before, TimerFired("x")) == Step(first.before)


# --- the opening -------------------------------------------------------------------------------


def test_what_a_holder_refuses_at_once(four: Stored) -> None:
    net, record, document = four
    retrieve(net, record, document)
    ctx, sender, message = net.openings[-1]
    own = ctx.key
    wrong = replace(document, record_hash=Hash32(bytes(32)))
    cases = [
        (KeyState(), message, Refusal.NOT_FOUND),
        (replace(own, share=None), message, Refusal.TEMPORARY),
        (replace(own, document=None), replace(message, document=None), Refusal.NO_DOCUMENT),
        (replace(own, document=None), replace(message, document=wrong), Refusal.BAD),
    ]
    for key, opening, refusal in cases:
        with pytest.raises(Refused) as refused:
            RETRIEVAL.join(replace(ctx, key=key), sender, opening)
        assert refused.value.code is refusal
    request = Request.of(GenerateServerKey(KEY_ID, 1), ON_CHAIN)
    with pytest.raises(Refused) as refused:
        RETRIEVAL.join(replace(ctx, request=request), sender, message)
    assert refused.value.code is Refusal.BAD
    takes = RETRIEVAL.join(replace(ctx, key=replace(own, document=None)), sender, message)
    assert Persist((PutDocument(KEY_ID, document),)) in takes.effects


def test_masks_that_cancel_each_other_are_not_used(four: Stored) -> None:
    """To bring this about one would have to know the other's mask."""
    net, record, document = four
    retrieve(net, record, document)
    moment = _first_select(net)
    altered = _cancelling(net, moment)
    with pytest.raises(Refused, match="masks add up to zero"):
        RETRIEVAL.step(moment.ctx, moment.before, Received(moment.ctx.coordinator, altered))
    shadows = _moments(net, AwaitingShadows)[-1]
    assert isinstance(shadows.before, AwaitingShadows)
    cancelled = replace(shadows.before, select=altered)
    after = RETRIEVAL.step(shadows.ctx, cancelled, shadows.event)
    assert isinstance(after.phase, Failed)
    assert after.phase.error.code == "Internal"


def test_a_selection_with_a_wrong_proof_is_refused(four: Stored) -> None:
    """Signed by its maker: the coordinator should have left it out."""
    net, record, document = four
    retrieve(net, record, document)
    moment = _first_select(net)
    assert isinstance(moment.event, Received)
    assert isinstance(moment.before, AwaitingSelect)
    select: Select = moment.event.message
    index, other = next(
        (i, part) for i, part in enumerate(select.partials) if part.node != moment.ctx.me
    )
    wrong = replace(other, proof=Proof(b"\1" * 64))
    signed = partial_digest(moment.ctx, moment.before.subject, other.node, wrong)
    wrong = replace(wrong, signature=net.by_id[other.node].signer.sign(signed))
    partials = (*select.partials[:index], wrong, *select.partials[index + 1 :])
    coordinator = net.by_id[moment.ctx.coordinator].signer
    altered = Select(partials, coordinator.sign(select_hash(moment.ctx.sid, partials)))
    with pytest.raises(Refused, match="proof"):
        RETRIEVAL.step(moment.ctx, moment.before, Received(moment.ctx.coordinator, altered))


def _cancelling(net: Delivery, moment: Moment) -> Select:
    """The selection, with another member's mask such that the sum of all is zero."""
    ctx, phase, event = moment.ctx, moment.before, moment.event
    assert isinstance(event, Received)
    assert isinstance(phase, AwaitingSelect)
    select: Select = event.message
    subject, nodes = phase.subject, [entry.node for entry in select.partials]
    factors = shadow_factors([subject.record.coordinates[node] for node in nodes])
    place = nodes.index(ctx.me)
    cheat = nodes[1 - place]
    mask = phase.mask.multiply(-factors[place]).multiply(factors[1 - place].inverse())
    share = net.by_id[cheat].key.share
    assert share is not None
    witness = share.value.add(mask)
    point = mul_secret(subject.document.common, witness)
    statement = partial_statement(ctx, subject, cheat, mask.public(), point)
    proof = Proof(prove(statement, [witness], SeededRandom(0)))
    made = Partial(point, MaskPoint(mask.public().compressed), proof, liars.UNSIGNED)
    signature = net.by_id[cheat].signer.sign(partial_digest(ctx, subject, cheat, made))
    entry = SelectedPartial(cheat, point, made.mask, proof, signature)
    partials = tuple(entry if part.node == cheat else part for part in select.partials)
    coordinator = net.by_id[ctx.coordinator].signer
    return Select(partials, coordinator.sign(select_hash(ctx.sid, partials)))


def test_a_share_of_zero_proves_nothing(four: Stored) -> None:
    net, record, document = four
    retrieve(net, record, document)
    moment = _first_select(net)
    assert isinstance(moment.before, AwaitingSelect)
    y, node = record.record.public, moment.ctx.me
    slope = mul_public(negate(y), record.record.coordinates[node].inverse())
    assert slope is not None
    through_zero = replace(record.record, commitments=(y, slope))
    subject = replace(moment.before.subject, record=through_zero)
    with pytest.raises(InvalidPointError, match="infinity"):
        partial_statement(moment.ctx, subject, node, None, y)


def test_only_some_credentials_have_a_mode(four: Stored) -> None:
    net, record, document = four
    plain_on_chain = Request.of(
        RetrieveDocumentKey(KEY_ID, shadow=False), OnChainAddress(CONTRACT, ON_CHAIN.requester)
    )
    with pytest.raises(Refused):
        mode_of(plain_on_chain)
    outcome = net.run(
        RETRIEVAL, GenerateServerKey(KEY_ID, 1), ON_CHAIN, Target(record, document, ())
    )
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "InvalidMessage"


def test_a_plain_part_has_no_mask(four: Stored) -> None:
    net, record, document = four
    credential = legacy(net, RetrieveDocumentKey(KEY_ID, shadow=False), REQUESTER)
    masked = MaskPoint(liars.OTHER_POINT.compressed)
    cheat = net.members[1].id
    lie = at("Partial", retrieval_holders.signed_with("mask", masked))
    net.tamper = over_delivery(net, {cheat: lie})
    outcome = try_retrieve(net, record, document, credential=credential, shadow=False)
    assert isinstance(outcome, Completed)
    assert {c for report in net.reports for c in report.culprits} == {cheat}
    assert masked != NO_MASK


def test_late_and_strange_answers_change_nothing(seven: Stored) -> None:
    net, record, document = seven
    retrieve(net, record, document)
    stranger = NodeId.of(liars.OTHER_POINT)
    partial = received(net, Partial)[0]
    shadow = received(net, Shadow)[0]
    moment = _moments(net, AwaitingPartials)[0]
    events: list[Any] = [
        Received(stranger, partial),
        Received(stranger, Refuse(1)),
        Received(stranger, shadow),
        PeerLost(stranger),
        Authorised(Verdict.ALLOWED),
        TimerFired("shadows"),
    ]
    for event in events:
        assert RETRIEVAL.step(moment.ctx, moment.before, event) == Step(moment.before)
    ctx, phase = _selected(net)
    for event in (Received(stranger, partial), Received(stranger, shadow), TimerFired("more")):
        assert RETRIEVAL.step(ctx, phase, event) == Step(phase)
    lost = RETRIEVAL.step(ctx, phase, PeerLost(sorted(phase.before.round.waiting)[0]))
    assert isinstance(lost.phase, AwaitingShadows)
    assert lost.effects == ()


def test_the_requester_is_the_one_the_credential_names(four: Stored) -> None:
    net, record, document = four
    other = SecretScalar.from_int(5)
    outcome = try_retrieve(
        net, record, document, credential=OnChainPublic(CONTRACT, other.public())
    )
    assert isinstance(outcome, Completed)
    with pytest.raises(DecryptionError):
        opened(outcome.result)
    assert SHADOW_ON_CHAIN.requester == REQUESTER.public()
