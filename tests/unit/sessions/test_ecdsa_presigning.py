"""Presigning sessions: who takes part, who lies, and that all agree or nothing is kept."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.curve import GENERATOR, Scalar
from keyserver.crypto.errors import InvalidDealError
from keyserver.crypto.presignatures import DealtNumbers
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.keys import CertifiedRecord
from keyserver.model.requests import GenerateServerKey, Proof, Request
from keyserver.sessions.conviction import InvalidEvidenceError, judge
from keyserver.sessions.core import (
    Failed,
    KeyState,
    PeerLost,
    Received,
    Refusal,
    Refused,
    SessionError,
    StaleError,
    Step,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.ecdsa_presigning import ECDSA_PRESIGNING
from keyserver.sessions.ecdsa_presigning.evidence import WrongPresigningDeal, WrongProduct
from keyserver.sessions.ecdsa_presigning.messages import (
    AllAgreed,
    PresignAgreed,
    PresignatureKept,
    PresignComplaint,
    PresignDeal,
    PresignDeals,
    Presigned,
    PresignInvestigate,
    PresignLists,
    PresignStart,
    ProductPart,
)
from keyserver.sessions.ecdsa_presigning.phases import (
    AwaitingAgreed,
    AwaitingAllAgreed,
    AwaitingDealt,
    AwaitingKept,
    AwaitingPresigned,
    AwaitingProducts,
)
from keyserver.sessions.ecdsa_presigning.terms import commitments_of, product_digest
from keyserver.sessions.evidence import decode_evidence, encode_evidence
from keyserver.sessions.messages import Refuse
from keyserver.sessions.presignature_pool import Owner, PresignaturePool
from keyserver.simulation.adversary.presigning_deals import junk, wrong_numbers
from keyserver.simulation.liars import Lie, Place, at, silent, to_some, unsigned
from tests.support.delivery import Delivery, Moment, received
from tests.support.key_life import KEY_ID, ON_CHAIN, generate, lose_share, presign, try_presign
from tests.support.lying_delivery import over_delivery

Keyed = tuple[Delivery, CertifiedRecord]


@pytest.fixture
def four() -> Keyed:
    net = Delivery(4)
    return net, generate(net, 1)


def kept(net: Delivery) -> list[int]:
    return [len(member.presignatures) for member in net.members]


def error_of(net: Delivery, record: CertifiedRecord, **how: Any) -> SessionError:
    outcome = try_presign(net, record, **how)
    assert isinstance(outcome, Failed)
    return outcome.error


def failed_with(error: SessionError) -> frozenset[NodeId]:
    assert isinstance(error, UnavailableError)
    return error.failed


def moment_in(net: Delivery, phase: type, kind: type | None = None) -> Moment:
    """The first time that something happened in a phase, or that a message came."""
    for moment in net.moments:
        message = moment.event.message if isinstance(moment.event, Received) else None
        if isinstance(moment.before, phase) and (kind is None or isinstance(message, kind)):
            return moment
    raise AssertionError(f"nothing happened in {phase.__name__}")


# --- presignatures ---------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "threshold"), [(3, 1), (4, 1), (5, 2)])
def test_2t_plus_1_nodes_have_a_presignature(nodes: int, threshold: int) -> None:
    net = Delivery(nodes)
    record = generate(net, threshold)
    made = presign(net, record, coordinator=nodes - 1)
    signers = 2 * threshold + 1
    assert kept(net) == [1] * signers + [0] * (nodes - signers)
    for member in net.members[:signers]:
        owner = Owner(net.members[nodes - 1].id, net.moments[-1].ctx.boot_nonce)
        share = member.presignatures.take(made.presig_id, owner, 0)
        assert share is not None
        assert share.presignature.public == made.public
    assert net.reports == []
    presign(net, record)
    assert len(received(net, PresignatureKept)) == 2 * signers


def test_nothing_about_it_is_stored(four: Keyed) -> None:
    net, record = four
    before = [member.stored for member in net.members]
    presign(net, record)
    assert [member.stored for member in net.members] == before


# --- deals that are wrong --------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("lie", [junk, wrong_numbers], ids=("junk", "numbers"))
def test_a_wrong_deal_convicts_its_dealer(
    four: Keyed, lie: Callable[[int], Lie], number: int
) -> None:
    net, record = four
    cheat = net.members[1].id
    net.tamper = over_delivery(net, {cheat: at("PresignDeal", lie(number))})
    assert failed_with(error_of(net, record)) == {cheat}
    assert [report.culprits for report in net.reports] == [frozenset({cheat})]
    evidence = decode_evidence(net.reports[0].evidence)
    assert isinstance(evidence, WrongPresigningDeal)
    assert judge(evidence).culprit == cheat
    assert kept(net) == [0] * 4


def test_two_who_cheat_are_found_one_after_the_other(four: Keyed) -> None:
    net, record = four
    lie = at("PresignDeal", wrong_numbers(1, victim=2))
    net.tamper = over_delivery(net, {net.members[i].id: lie for i in (0, 1)})
    first = failed_with(error_of(net, record))
    assert len(first) == 1
    assert first < {net.members[i].id for i in (0, 1)}


def _complaint() -> tuple[Keyed, WrongPresigningDeal, WrongPresigningDeal]:
    """What convicts a dealer in round one, and in round two."""
    found = []
    for number in (1, 2):
        net = Delivery(4)
        record = generate(net, 1)
        lie = at("PresignDeal", wrong_numbers(number))
        net.tamper = over_delivery(net, {net.members[1].id: lie})
        error_of(net, record)
        evidence = decode_evidence(net.reports[0].evidence)
        assert isinstance(evidence, WrongPresigningDeal)
        found.append(evidence)
    return (net, record), found[0], found[1]


def test_what_is_altered_in_a_complaint_convicts_nobody() -> None:
    (net, _), one, two = _complaint()
    stranger = net.members[3].id
    unsigned_value = replace(one.value, signature=Signature(bytes(65)))
    wrong = [
        replace(one, dealer=stranger),
        replace(one, receiver=stranger),
        replace(one, dealer=one.receiver),
        replace(one, commitments=one.commitments[:1]),
        replace(one, commitments=two.commitments),
        replace(one, value=unsigned_value),
        replace(one, proof=Proof(bytes(64))),
        replace(one, common=GENERATOR),
        replace(one, before=two.before),
        replace(one, assembly=replace(one.assembly, signers=one.assembly.signers[:2])),
        replace(two, before=()),
        replace(two, before=(replace(two.before[0], signature=Signature(bytes(65))),)),
    ]
    for sums in _wrong_sums(two):
        agreement = replace(two.before[0].agreement, sums=sums)
        wrong.append(replace(two, before=(replace(two.before[0], agreement=agreement),)))
    few = replace(two.before[0].agreement, deals=two.before[0].agreement.deals[:1])
    wrong.append(replace(two, before=(replace(two.before[0], agreement=few),)))
    for record in wrong:
        with pytest.raises(InvalidEvidenceError):
            judge(record)
    for right in (one, two):
        assert judge(right).culprit == right.dealer


def _wrong_sums(record: WrongPresigningDeal) -> list[Any]:
    sums = record.before[0].agreement.sums
    base = (GENERATOR, *sums[0][1:])
    return [sums[:2], (sums[0][:1], *sums[1:]), (base, *sums[1:])]


@pytest.mark.parametrize(
    "lie",
    [
        lambda place, m: replace(m, values=m.values[:2]),
        lambda place, m: replace(m, number=2),
        lambda place, m: replace(m, commitments=m.commitments[:3]),
        lambda place, m: replace(m, commitments=(m.commitments[0][:1], *m.commitments[1:])),
        silent,
        lambda place, m: Refuse(Refusal.BAD),
    ],
    ids=("values", "number", "lists", "points", "silent", "refusing"),
)
def test_a_deal_of_another_form_is_gone_without(four: Keyed, lie: Lie) -> None:
    net, record = four
    cheat = net.members[2].id
    net.tamper = over_delivery(net, {cheat: at("PresignDeal", lie)})
    assert failed_with(error_of(net, record)) == {cheat}
    assert net.reports == []


def test_who_says_that_the_record_is_old_is_named(four: Keyed) -> None:
    """It may be right, or lie: the next attempt looks for a newer record, and goes without it."""
    net, record = four
    cheat = net.members[2].id
    net.tamper = over_delivery(
        net, {cheat: at("PresignDeal", lambda place, m: Refuse(Refusal.STALE))}
    )
    error = error_of(net, record)
    assert isinstance(error, StaleError)
    assert failed_with(error) == {cheat}


def test_a_deal_that_is_not_signed_names_nobody_but_is_gone_without(four: Keyed) -> None:
    net, record = four
    cheat = net.members[2].id

    def lie(place: Place, deal: PresignDeal) -> PresignDeal:
        values = tuple(replace(one, signature=Signature(bytes(65))) for one in deal.values)
        return replace(deal, values=values)

    net.tamper = over_delivery(net, {cheat: at("PresignDeal", lie)})
    assert failed_with(error_of(net, record)) == {cheat}
    assert net.reports == []


def test_deals_that_cancel_each_other_end_it(four: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    def cancelling(_: Any) -> None:
        raise InvalidDealError("deals: commitments add up to infinity")

    name = "keyserver.sessions.ecdsa_presigning.coordinator.sum_first"
    monkeypatch.setattr(name, cancelling)
    assert failed_with(error_of(*four)) == frozenset()


def test_a_false_complaint_costs_its_maker_the_place(four: Keyed) -> None:
    net, record = four
    cheat, victim = net.members[2].id, net.members[0].id
    lie = at("PresignAgreed", lambda place, m: PresignInvestigate(m.number))
    net.tamper = over_delivery(net, {cheat: lie})
    error_of(net, record)
    moment = moment_in(net, AwaitingAgreed, PresignInvestigate)
    asked = moment.after
    assert isinstance(asked, AwaitingAgreed)
    assert asked.investigating == {cheat}
    again = ECDSA_PRESIGNING.step(moment.ctx, asked, moment.event)
    assert again == Step(asked), "the lists are sent once"
    for dealer in (victim, net.members[3].id):
        complaint = PresignComplaint(1, dealer, GENERATOR, Proof(bytes(64)))
        with pytest.raises(Refused):
            ECDSA_PRESIGNING.step(moment.ctx, asked, Received(cheat, complaint))
        before = ECDSA_PRESIGNING.step(moment.ctx, moment.before, Received(cheat, complaint))
        assert before == Step(moment.before), "who has not asked for lists cannot complain"


# --- a coordinator that lies -----------------------------------------------------------------


def _dropping_one(place: Place, m: Any) -> Any:
    return replace(m, deals=m.deals[:-1])


COORDINATOR_LIES: dict[str, Lie] = {
    "a start without one": at("PresignStart", lambda p, m: PresignStart(m.accepted[:-1])),
    "a start with another key of its own": at(
        "PresignStart",
        lambda p, m: PresignStart(tuple(replace(e, one_time=GENERATOR) for e in m.accepted)),
    ),
    "a start without signatures": at(
        "PresignStart",
        lambda p, m: PresignStart(
            tuple(
                e if e.node == p.to else replace(e, signature=Signature(bytes(65)))
                for e in m.accepted
            )
        ),
    ),
    "one deal less": at("PresignDeals", _dropping_one),
    "sums of another number": at("PresignDeals", lambda p, m: replace(m, sums=m.sums[:1] * 3)),
    "sums of another size": at(
        "PresignDeals", lambda p, m: replace(m, sums=(m.sums[0][:1], *m.sums[1:]))
    ),
    "other sums": at(
        "PresignDeals",
        lambda p, m: replace(m, sums=((GENERATOR, *m.sums[0][1:]), *m.sums[1:])),
    ),
    "deals of another round": at("PresignDeals", lambda p, m: replace(m, number=2)),
    "signatures of another round": at("AllAgreed", lambda p, m: replace(m, number=3)),
    "one signature less": at("AllAgreed", lambda p, m: replace(m, signatures=m.signatures[:-1])),
    "no signatures": at(
        "AllAgreed",
        lambda p, m: replace(m, signatures=(Signature(bytes(65)),) * len(m.signatures)),
    ),
    "another product": at("Presigned", lambda p, m: Presigned(m.product + Scalar(1))),
    "a product of zero": at("Presigned", lambda p, m: Presigned(Scalar(0))),
}


@pytest.mark.parametrize("name", COORDINATOR_LIES)
def test_a_lying_coordinator_has_nothing_kept(four: Keyed, name: str) -> None:
    net, record = four
    net.tamper = over_delivery(net, {net.members[3].id: COORDINATOR_LIES[name]})
    assert isinstance(error_of(net, record, coordinator=3), UnavailableError)
    assert kept(net) == [0] * 4
    assert net.reports == []


def test_different_sums_for_different_signers_are_noticed(four: Keyed) -> None:
    """Deals of which each signer gets another hash: all transcripts differ, nobody goes on."""
    net, record = four

    def other_hash(place: Place, m: PresignDeals) -> PresignDeals:
        first = replace(m.deals[0], deal_hash=Hash32(bytes(32)))
        return replace(m, deals=(first, *m.deals[1:]))

    victims = frozenset({net.members[1].id})
    lie = at("PresignDeals", to_some(lambda place: victims, other_hash))
    net.tamper = over_delivery(net, {net.members[3].id: lie})
    error_of(net, record, coordinator=3)
    assert received(net, ProductPart) == []


def _lists_lie(change: Callable[[PresignLists], PresignLists]) -> Lie:
    """It sends wrong sums, and when asked for the lists, something else."""

    def lie(place: Place, message: Any) -> Any:
        if isinstance(message, PresignDeals):
            return COORDINATOR_LIES["other sums"](place, message)
        return change(message) if isinstance(message, PresignLists) else message

    return lie


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m,
        lambda m: replace(m, number=2),
        lambda m: replace(m, lists=m.lists[:-1]),
        lambda m: replace(m, lists=m.lists[::-1]),
        lambda m: replace(m, lists=((m.lists[0][0],), *m.lists[1:])),
    ],
    ids=("right", "number", "one less", "mixed", "one list"),
)
def test_lists_that_convict_nobody_open_nothing(
    four: Keyed, change: Callable[[PresignLists], PresignLists]
) -> None:
    net, record = four
    net.tamper = over_delivery(net, {net.members[3].id: _lists_lie(change)})
    error_of(net, record, coordinator=3)
    assert received(net, PresignComplaint) == []
    assert received(net, PresignInvestigate) != []


# --- agreeing and multiplying ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PresignAccept", "PresignAgreed", "ProductPart"])
@pytest.mark.parametrize("lie", [unsigned, silent], ids=("unsigned", "silent"))
def test_who_does_not_answer_is_gone_without(four: Keyed, kind: str, lie: Lie) -> None:
    net, record = four
    cheat = net.members[1].id
    net.tamper = over_delivery(net, {cheat: at(kind, lie)})
    assert failed_with(error_of(net, record)) == {cheat}
    assert kept(net) == [0] * 4
    assert net.reports == []


def another_product(place: Place, part: ProductPart) -> ProductPart:
    """Another part, well signed."""
    value = part.value + Scalar(1)
    presig_id = place.phase.presigning.presig_id
    signed = product_digest(presig_id, place.ctx.me, value, part.proof)
    return ProductPart(value, part.proof, place.signer.sign(signed))


def test_a_wrong_part_of_the_product_convicts(four: Keyed) -> None:
    net, record = four
    cheats = {net.members[i].id for i in (0, 2)}
    net.tamper = over_delivery(net, dict.fromkeys(cheats, at("ProductPart", another_product)))
    assert failed_with(error_of(net, record)) == cheats
    assert {c for report in net.reports for c in report.culprits} == cheats
    evidence = decode_evidence(net.reports[0].evidence)
    assert isinstance(evidence, WrongProduct)
    assert decode_evidence(encode_evidence(evidence)) == evidence
    stranger = net.members[3].id
    for wrong in (
        replace(evidence, value=evidence.value + Scalar(1)),
        replace(evidence, signature=Signature(bytes(65))),
        replace(evidence, maker=stranger),
        replace(evidence, agreed=evidence.agreed[:1]),
        replace(evidence, agreed=evidence.agreed[::-1]),
    ):
        with pytest.raises(InvalidEvidenceError):
            judge(wrong)


def test_a_right_part_of_the_product_convicts_nobody(four: Keyed) -> None:
    net, record = four
    made = presign(net, record)
    moment = moment_in(net, AwaitingProducts, ProductPart)
    assert isinstance(moment.event, Received)
    part = moment.event.message
    evidence = WrongProduct(
        made.assembly, made.agreed, moment.event.sender, part.value, part.proof, part.signature
    )
    with pytest.raises(InvalidEvidenceError, match="holds"):
        judge(evidence)


def test_who_has_kept_its_share_may_go(four: Keyed) -> None:
    net, record = four
    presign(net, record)
    moment = moment_in(net, AwaitingKept)
    assert isinstance(moment.before, AwaitingKept)
    assert isinstance(moment.after, AwaitingKept)
    assert isinstance(moment.event, Received)
    gone = PeerLost(moment.event.sender)
    assert ECDSA_PRESIGNING.step(moment.ctx, moment.after, gone) == Step(moment.after)
    before = ECDSA_PRESIGNING.step(moment.ctx, moment.before, gone)
    assert isinstance(before.phase, Failed)


def test_no_presignature_is_made_twice_of_the_same_numbers(four: Keyed) -> None:
    net, record = four
    presign(net, record)
    moment = moment_in(net, AwaitingPresigned, Presigned)
    with pytest.raises(Refused, match="used already"):
        ECDSA_PRESIGNING.step(moment.ctx, moment.before, moment.event)


# --- the opening -----------------------------------------------------------------------------


def test_what_a_holder_refuses_at_once(four: Keyed) -> None:
    net, record = four
    presign(net, record)
    ctx, sender, message = net.openings[-1]
    generating = Request.of(GenerateServerKey(KEY_ID, 1), ON_CHAIN)
    nodes = [member.id for member in net.members]
    full = PresignaturePool(limit=0)
    cases = [
        (replace(ctx, key=KeyState()), message, Refusal.NOT_FOUND),
        (replace(ctx, key=replace(ctx.key, share=None)), message, Refusal.TEMPORARY),
        (ctx, replace(message, record_hash=Hash32(bytes(32))), Refusal.STALE),
        (replace(ctx, request=generating), message, Refusal.BAD),
        (ctx, replace(message, signers=()), Refusal.BAD),
        (ctx, replace(message, signers=tuple(nodes)), Refusal.BAD),
        (ctx, replace(message, signers=message.signers[::-1]), Refusal.BAD),
        (ctx, replace(message, signers=(NodeId.of(GENERATOR), *nodes[:2])), Refusal.BAD),
        (replace(ctx, me=nodes[3]), message, Refusal.BAD),
        (replace(ctx, presignatures=full), message, Refusal.BUSY),
    ]
    for context, opening, refusal in cases:
        with pytest.raises(Refused) as refused:
            ECDSA_PRESIGNING.join(context, sender, opening)
        assert refused.value.code is refusal
    with pytest.raises(Refused) as refused:
        ECDSA_PRESIGNING.join(ctx, NodeId.of(GENERATOR), message)
    assert refused.value.code is Refusal.TEMPORARY


def test_a_full_pool_keeps_nothing_more(four: Keyed) -> None:
    """It may have become full while the session ran."""
    net, record = four
    presign(net, record)
    moment = moment_in(net, AwaitingPresigned, Presigned)
    full = replace(moment.ctx, presignatures=PresignaturePool(limit=0))
    fresh = replace(moment.before, dealt=type(moment.before.dealt)(_numbers(net)))
    with pytest.raises(Refused, match="too many"):
        ECDSA_PRESIGNING.step(full, fresh, moment.event)


def _numbers(net: Delivery) -> Any:
    """What the signer of the first such moment was dealt."""
    moment = moment_in(net, AwaitingPresigned, Presigned)
    own = [
        m.after.progress.numbers
        for m in net.moments
        if m.ctx.me == moment.ctx.me and isinstance(m.after, AwaitingAllAgreed)
    ]
    return DealtNumbers.of(*own[-1])


def test_groups_that_cannot_be_are_not_coordinated(four: Keyed) -> None:
    net, record = four
    assert isinstance(error_of(net, record, signers=[0, 1]), SessionError)
    assert isinstance(error_of(net, record, signers=[0, 1, 2, 3]), SessionError)
    net.connected -= {net.members[2].id}
    assert failed_with(error_of(net, record)) == {net.members[2].id}


def test_a_holder_without_its_share_is_gone_without(four: Keyed) -> None:
    net, record = four
    lose_share(net, 1)
    assert failed_with(error_of(net, record)) == {net.members[1].id}


# --- late and strange ------------------------------------------------------------------------


def test_late_and_strange_answers_change_nothing(four: Keyed) -> None:
    net, record = four
    presign(net, record)
    stranger = NodeId.of(GENERATOR)
    agreed = received(net, PresignAgreed)[0]
    for phase in (AwaitingAgreed, AwaitingProducts, AwaitingKept):
        moment = moment_in(net, phase)
        for event in (
            Received(stranger, agreed),
            Received(stranger, Refuse(1)),
            PeerLost(stranger),
            TimerFired("other"),
            Received(moment.ctx.me, received(net, PresignDeal)[0]),
        ):
            assert ECDSA_PRESIGNING.step(moment.ctx, moment.before, event).effects == ()
    dealt = moment_in(net, AwaitingDealt)
    all_agreed = Received(dealt.ctx.coordinator, received(net, AllAgreed)[0])
    assert ECDSA_PRESIGNING.step(dealt.ctx, dealt.before, all_agreed) == Step(dealt.before)


def test_lists_have_as_many_parts_as_the_round() -> None:
    with pytest.raises(InvalidDealError):
        commitments_of(3, [], GENERATOR)
