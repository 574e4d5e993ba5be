"""A late node gets its share: what both sides check, and who is named when somebody lies."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from keyserver.crypto.curve import (
    ORDER,
    Point,
    Scalar,
    SecretScalar,
    mul_base,
    mul_public,
    negate,
)
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.proofs import prove
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.transcripts import complaint_statement
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.keys import CertifiedRecord, KeyShare
from keyserver.model.requests import AddShare, GenerateServerKey, NodeCredential, Proof
from keyserver.sessions.conviction import Conviction, Rule
from keyserver.sessions.core import (
    Completed,
    Failed,
    PeerLost,
    Received,
    Refusal,
    Report,
    Send,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.evidence import decode_evidence, judge
from keyserver.sessions.messages import Refuse
from keyserver.sessions.runner import Role, Runner
from keyserver.sessions.share_addition import SHARE_ADDITION, Target
from keyserver.sessions.share_addition.messages import (
    AddAccept,
    AddBlinded,
    AddCommitments,
    AddComplaint,
    AddInvestigate,
    AddMask,
    AddMasks,
    AddPropose,
)
from keyserver.sessions.share_addition.phases import (
    AwaitingAccepts,
    AwaitingBlinded,
    AwaitingMasked,
    AwaitingMasks,
    AwaitingStart,
)
from keyserver.sessions.sharing.messages import SealedShare
from keyserver.simulation.adversary import share_additions as lies
from keyserver.simulation.liars import OTHER_POINT, Lie, Place, at, silent, unsigned
from tests.support.delivery import Delivery, Moment, received
from tests.support.key_life import KEY_ID, ON_CHAIN, generate, lose_share, try_add_share
from tests.support.late_nodes import DONORS, LATE, quarrel, telling

SIZES = [(2, 0), (3, 0), (3, 1), (4, 1), (4, 2), (5, 2), (7, 2), (10, 3)]


def outcome_of(net: Delivery, record: CertifiedRecord) -> Completed | Failed:
    return try_add_share(net, record, LATE, DONORS)


def failed_nodes(outcome: Completed | Failed) -> frozenset[NodeId]:
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, UnavailableError), outcome.error
    return outcome.error.failed


def convictions(net: Delivery) -> list[Conviction]:
    """What anybody makes of the evidence."""
    return [judge(decode_evidence(report.evidence)) for report in net.reports]


# --- without a quarrel ---------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "threshold"), SIZES)
def test_the_late_node_gets_the_share_it_would_have_had(nodes: int, threshold: int) -> None:
    net = Delivery(nodes)
    record = generate(net, threshold)
    for late in range(nodes):
        before = net.members[late].key
        lose_share(net, late)
        outcome = try_add_share(net, record, late)
        assert isinstance(outcome, Completed)
        assert net.members[late].key == before
        assert outcome.result == before.share
    assert net.reports == []


def test_donors_keep_what_they_have_and_give_once() -> None:
    net, record = quarrel()
    before = [member.stored for member in net.members]
    assert isinstance(outcome_of(net, record), Completed)
    assert [m.stored for m in net.members[1:]] == before[1:]
    assert len(received(net, AddBlinded)) == len(DONORS)
    for donor in DONORS:
        assert isinstance(net.runners[net.members[donor].id, Role.PARTICIPANT].outcome, Completed)


def test_the_masks_of_two_sessions_are_fresh() -> None:
    net, record = quarrel()
    outcome_of(net, record)
    lose_share(net, LATE)
    outcome_of(net, record)
    masks = [mask.commitments for mask in received(net, AddMask)]
    assert len(masks) == len(set(masks)) == 2 * len(DONORS)
    values = [blinded.ciphertext for blinded in received(net, AddBlinded)]
    assert len(set(values)) == 2 * len(DONORS)


def test_a_key_of_threshold_0_has_no_masks() -> None:
    net = Delivery(3)
    record = generate(net, 0)
    lose_share(net, 2)
    net.moments.clear()
    assert isinstance(try_add_share(net, record, 2), Completed)
    assert received(net, AddMask) == []
    assert len(received(net, AddBlinded)) == 1


def test_a_key_with_no_share_at_the_late_nodes_place() -> None:
    """The donors have all done right: nobody is excluded, nobody is blamed, nothing is kept."""
    net, record = quarrel()
    x = record.record.coordinates[net.members[LATE].id]
    polynomial = SecretPolynomial(
        [SecretScalar.from_int(2 * int(x)), SecretScalar.from_int(2).negate()]
    )
    fake = replace(
        record.record,
        threshold=1,
        commitments=polynomial.commit(),
        public=mul_base(polynomial.constant),
    )
    certified = replace(record, record=fake)
    for member in net.members:
        place = fake.coordinates[member.id]
        shares = {}
        if member is not net.members[LATE]:
            own = next(iter(member.stored.shares.values()))
            value = SecretScalar.from_int((2 * int(x) - 2 * int(place)) % ORDER)
            shares = {1: replace(own, record_hash=fake.hash, share=KeyShare(place, value))}
        member.stored = replace(member.stored, active=certified, shares=shares)
    outcome = try_add_share(net, certified, LATE, (1, 2))
    assert failed_nodes(outcome) == frozenset()
    assert net.members[LATE].key.share is None
    assert net.reports == []


# --- what the late node begins with --------------------------------------------------------------


def start_with(change: Callable[[Target], Target], *, keep_share: bool = False) -> Failed:
    net, record = quarrel()
    if keep_share:
        net.members[LATE].stored = replace(
            net.members[LATE].stored, shares=net.members[1].stored.shares
        )
    target = Target(record.record.hash, tuple(net.members[i].id for i in DONORS))
    operation = AddShare(KEY_ID)
    outcome = net.run(SHARE_ADDITION, operation, NodeCredential(), change(target), coordinator=LATE)
    assert isinstance(outcome, Failed)
    assert received(net, AddPropose) == []
    return outcome


def test_nothing_begins_without_need() -> None:
    assert failed_nodes(start_with(lambda target: target, keep_share=True)) == frozenset()


def test_nothing_begins_for_another_record() -> None:
    other = start_with(lambda target: replace(target, record_hash=Hash32(bytes(32))))
    assert failed_nodes(other) == frozenset()


@pytest.mark.parametrize(
    "change",
    [
        lambda donors: donors[:2],
        lambda donors: donors[::-1],
        lambda donors: (*donors[:2], NodeId.of(OTHER_POINT)),
    ],
    ids=["too few", "not in order", "a stranger"],
)
def test_nothing_begins_with_other_donors(
    change: Callable[[tuple[NodeId, ...]], tuple[NodeId, ...]],
) -> None:
    start_with(lambda target: replace(target, donors=change(target.donors)))


def test_a_node_outside_the_committee_is_given_nothing() -> None:
    net, record = quarrel()
    outsider = net.members[LATE].id
    smaller = replace(
        record.record,
        committee=tuple(m for m in record.record.committee if m.node != outsider),
    )
    certified = replace(record, record=smaller)
    for member in net.members:
        member.stored = replace(member.stored, active=certified)
    outcome = outcome_of(net, certified)
    assert isinstance(outcome, Failed)
    assert "not in the committee" in str(outcome.error)


# --- what a donor refuses ------------------------------------------------------------------------


def refusals(net: Delivery) -> list[Refusal]:
    return [refuse.refusal for refuse in received(net, Refuse)]


def test_a_donor_without_the_key_refuses() -> None:
    net, record = quarrel()
    donor = net.members[DONORS[0]]
    donor.stored = type(donor.stored)()
    assert failed_nodes(outcome_of(net, record)) == {donor.id}
    assert refusals(net) == [Refusal.NOT_FOUND]


def test_a_donor_that_is_absent_itself_refuses() -> None:
    net, record = quarrel()
    lose_share(net, DONORS[0])
    assert failed_nodes(outcome_of(net, record)) == {net.members[DONORS[0]].id}
    assert refusals(net) == [Refusal.TEMPORARY]


def test_a_donor_with_another_record_refuses() -> None:
    net, record = quarrel()
    donor = net.members[DONORS[0]]
    other = replace(record, record=replace(record.record, version=2))
    donor.stored = replace(donor.stored, active=other)
    assert failed_nodes(outcome_of(net, record)) == {donor.id}
    assert refusals(net) == [Refusal.STALE]


def test_a_node_outside_the_current_set_is_refused() -> None:
    """Its share of a key that has stayed behind was taken from it on purpose."""
    net, record = quarrel()
    late = net.members[LATE].id
    others = tuple(node for node in net.node_set.nodes if node != late)
    net.node_set = replace(net.node_set, nodes=others)
    assert isinstance(outcome_of(net, record), Failed)
    assert set(refusals(net)) == {Refusal.TEMPORARY}
    assert received(net, AddAccept) == []


def test_a_node_that_is_no_donor_refuses() -> None:
    def without_the_receiver(place: Place, message: AddPropose) -> AddPropose:
        others = set(place.phase.terms.record.nodes) - {place.to, place.ctx.me}
        return replace(message, donors=tuple(sorted(others)))

    net, record = quarrel(at("AddPropose", without_the_receiver), LATE)
    assert isinstance(outcome_of(net, record), Failed)
    assert refusals(net)[0] == Refusal.BAD
    assert received(net, AddAccept) == []


def test_another_operation_is_no_share_addition() -> None:
    net, record = quarrel()
    target = Target(record.record.hash, tuple(net.members[i].id for i in DONORS))
    operation = GenerateServerKey(KEY_ID, 2)
    outcome = net.run(SHARE_ADDITION, operation, ON_CHAIN, target, coordinator=LATE)
    assert isinstance(outcome, Failed)
    assert "not one for a share" in str(outcome.error)


# --- donors that lie -----------------------------------------------------------------------------

MASKS, SHARES = Rule.WRONG_MASK, Rule.WRONG_BLINDED_SHARE

PROVEN: dict[str, tuple[Lie, Rule]] = {
    "a mask that is not zero where it must be": (
        at("AddMask", lies.mask_that_is_not_zero), MASKS
    ),
    "a mask too short": (at("AddMask", lies.mask_of_degree(-1)), MASKS),
    "a mask too long": (at("AddMask", lies.mask_of_degree(1)), MASKS),
    "values that are not on the mask": (at("AddMask", lies.false_values), MASKS),
    "zeros and values above the order": (at("AddMask", lies.no_scalars), MASKS),
    "a share that is not its own": (at("AddBlinded", lies.false_share), SHARES),
    "a share that does not open": (at("AddBlinded", lies.share_that_does_not_open), SHARES),
}  # fmt: skip

UNPROVEN: dict[str, Lie] = {
    "no ACCEPT": at("AddAccept", silent),
    "an unsigned ACCEPT": at("AddAccept", unsigned),
    "a one-time key of somebody": at("AddAccept", lies.foreign_key),
    "a doubt instead of an ACCEPT": at("AddAccept", lambda place, _: AddInvestigate()),
    "no mask": at("AddMask", silent),
    "a mask without signatures": at("AddMask", lies.unsigned_values),
    "a wrong mask without signatures": at("AddMask", lies.unsigned_mask_that_is_not_zero),
    "a mask with too few values": at("AddMask", lies.too_few_values),
    "no share": at("AddBlinded", silent),
    "an unsigned share": at("AddBlinded", unsigned),
    "a false share for other masks": at("AddBlinded", lies.false_share_for_other_masks),
    "doubts without end": at("AddBlinded", lies.endless_doubt),
}


@pytest.mark.parametrize("name", PROVEN)
def test_a_lying_donor_is_named_and_left_out(name: str) -> None:
    lie, rule = PROVEN[name]
    net, record = quarrel(lie)
    liar = net.members[DONORS[1]].id
    assert failed_nodes(outcome_of(net, record)) == {liar}
    assert [(each.culprit, each.rule) for each in convictions(net)] == [(liar, rule)]
    assert all(each.key_id == KEY_ID for each in convictions(net))
    assert net.members[LATE].key.share is None


@pytest.mark.parametrize("name", UNPROVEN)
def test_a_failing_donor_is_left_out_and_not_named(name: str) -> None:
    net, record = quarrel(UNPROVEN[name])
    assert failed_nodes(outcome_of(net, record)) == {net.members[DONORS[1]].id}
    assert net.reports == []
    assert net.members[LATE].key.share is None


def test_the_next_attempt_without_the_liar_succeeds() -> None:
    net, record = quarrel(PROVEN["values that are not on the mask"][0])
    outcome_of(net, record)
    outcome = try_add_share(net, record, LATE, (1, 3, 4))
    assert isinstance(outcome, Completed)


def test_a_donor_that_is_lost_is_left_out() -> None:
    net, record = quarrel()
    gone = net.members[DONORS[2]].id
    net.connected -= {gone}
    assert failed_nodes(outcome_of(net, record)) == {gone}


# --- complaints without cause --------------------------------------------------------------------


def waiting_for_shares() -> tuple[Runner, dict[NodeId, OneTimeKey]]:
    """The late node before any donor has given anything, and the donors' one-time keys."""
    net, record = quarrel()
    outcome_of(net, record)
    keys = {
        m.ctx.me: m.before.one_time for m in net.moments if isinstance(m.before, AwaitingMasked)
    }
    moment = next(m for m in net.moments if isinstance(m.before, AwaitingBlinded))
    runner = Runner(SHARE_ADDITION, moment.ctx, Role.COORDINATOR)
    runner.phase = moment.before
    return runner, keys


def complaint_about(
    runner: Runner, keys: dict[NodeId, OneTimeKey], accuser: NodeId, dealer: NodeId
) -> AddComplaint:
    """Everything in order but the fault."""
    group = runner.phase.group
    first, second = group.members[dealer], group.members[accuser]
    common = keys[accuser].reveal(first.one_time)
    statement = complaint_statement(
        group.session_hash,
        dealer=first.node,
        dealer_one_time=first.one_time,
        accuser=second.node,
        accuser_one_time=second.one_time,
        common=common,
    )
    proof = prove(statement, [keys[accuser].secret], SeededRandom(1))
    return AddComplaint(dealer, common, Proof(proof))


def test_whoever_doubts_sees_all_commitments_once() -> None:
    runner, keys = waiting_for_shares()
    accuser, dealer, _ = sorted(keys)
    early = runner.handle(Received(accuser, complaint_about(runner, keys, accuser, dealer)))
    assert early == ()
    (_, send) = runner.handle(Received(accuser, AddInvestigate()))
    assert isinstance(send, Send)
    assert isinstance(send.message, AddCommitments)
    assert [entry.dealer for entry in send.message.dealt] == sorted(keys)
    assert runner.handle(Received(accuser, AddInvestigate())) == ()
    assert runner.outcome is None


def test_a_complaint_without_cause_falls_back_on_the_accuser() -> None:
    runner, keys = waiting_for_shares()
    accuser, dealer, other = sorted(keys)
    runner.handle(Received(accuser, AddInvestigate()))
    asked = runner.phase
    for complaint in (
        complaint_about(runner, keys, accuser, dealer),
        replace(complaint_about(runner, keys, accuser, dealer), opened=OTHER_POINT),
        replace(complaint_about(runner, keys, accuser, dealer), proof=Proof(bytes(64))),
        replace(complaint_about(runner, keys, accuser, other), dealer=runner.ctx.me),
        replace(complaint_about(runner, keys, accuser, other), dealer=NodeId.of(OTHER_POINT)),
    ):
        runner.phase = asked
        effects = runner.handle(Received(accuser, complaint))
        assert runner.outcome is not None
        assert failed_nodes(runner.outcome) == {accuser}
        assert not [effect for effect in effects if isinstance(effect, Report)]


def test_what_is_late_or_not_asked_for_changes_nothing() -> None:
    runner, _ = waiting_for_shares()
    stranger = NodeId.of(OTHER_POINT)
    given = AddBlinded(SealedShare(bytes(48)), Signature(bytes(65)))
    for message in (given, AddInvestigate(), Refuse(Refusal.BAD)):
        assert runner.handle(Received(stranger, message)) == ()
    assert runner.handle(PeerLost(stranger)) == ()
    assert runner.outcome is None


def test_a_donor_that_has_given_may_go() -> None:
    net, record = quarrel()
    outcome_of(net, record)
    moment = [m for m in net.moments if isinstance(m.before, AwaitingBlinded)][-1]
    runner = Runner(SHARE_ADDITION, moment.ctx, Role.COORDINATOR)
    runner.phase = moment.before
    (last,) = moment.before.round.waiting
    for node in moment.before.round.answers:
        assert runner.handle(PeerLost(node)) == ()
    runner.handle(PeerLost(last))
    assert runner.outcome is not None
    assert failed_nodes(runner.outcome) == {last}


@pytest.mark.parametrize("phase", [AwaitingAccepts, AwaitingMasks])
def test_a_donor_is_needed_until_it_has_given(phase: type) -> None:
    net, record = quarrel()
    outcome_of(net, record)
    moment = [m for m in net.moments if isinstance(m.before, phase)][-1]
    for node in (*moment.before.round.answers, *moment.before.round.waiting):
        runner = Runner(SHARE_ADDITION, moment.ctx, Role.COORDINATOR)
        runner.phase = moment.before
        runner.handle(PeerLost(node))
        assert runner.outcome is not None
        assert failed_nodes(runner.outcome) == {node}


def test_time_is_up_for_those_who_have_not_answered() -> None:
    runner, keys = waiting_for_shares()
    runner.handle(TimerFired("round"))
    assert runner.outcome is not None
    assert failed_nodes(runner.outcome) == set(keys)


def test_masks_that_cancel_each_other_are_nobodys_fault() -> None:
    """No donor has done wrong alone; with honest donors it does not happen."""
    net, record = quarrel()
    outcome_of(net, record)
    moment = [m for m in net.moments if isinstance(m.before, AwaitingMasks)][-1]
    (last,) = moment.before.round.waiting
    first, second = moment.before.round.answers
    masks = moment.before.round.answers
    opposite = tuple(negate(point) for point in masks[first].commitments)
    answers = {**masks, second: replace(masks[second], commitments=opposite)}
    answer = replace(moment.event.message, commitments=masks[first].commitments)  # type: ignore[union-attr]
    third = tuple(_twice(point) for point in masks[first].commitments)
    answers[first] = replace(masks[first], commitments=tuple(negate(point) for point in third))
    answers[second] = replace(masks[second], commitments=masks[first].commitments)
    runner = Runner(SHARE_ADDITION, moment.ctx, Role.COORDINATOR)
    runner.phase = replace(moment.before, round=replace(moment.before.round, answers=answers))
    runner.handle(Received(last, answer))
    assert runner.outcome is not None
    assert failed_nodes(runner.outcome) == frozenset()


def _twice(point: Point) -> Point:
    double = mul_public(point, Scalar(2))
    assert double is not None
    return double


# --- a late node that lies -----------------------------------------------------------------------


@pytest.mark.parametrize("name", lies.LATE)
def test_donors_give_a_lying_late_node_nothing(name: str) -> None:
    net, record = quarrel(lies.told_by_late(name), LATE)
    assert isinstance(outcome_of(net, record), Failed)
    assert received(net, AddBlinded) == []
    assert received(net, AddComplaint) == []
    assert net.reports == []


SHOWN: dict[str, Lie] = {
    "other commitments": at("AddCommitments", lies.then_other_commitments),
    "fewer commitments": at("AddCommitments", lies.fewer_commitments),
}


@pytest.mark.parametrize("name", SHOWN)
def test_nothing_is_laid_open_to_a_late_node_that_shows(name: str) -> None:
    lie = lies.of_both(at("AddMasks", lies.other_sums), SHOWN[name])
    net, record = quarrel(lie, LATE)
    assert isinstance(outcome_of(net, record), Failed)
    assert received(net, AddInvestigate)
    assert received(net, AddComplaint) == []
    assert received(net, AddBlinded) == []


def test_a_second_answer_changes_nothing() -> None:
    """Neither a second ACCEPT nor a second mask, while others are waited for."""
    net, record = quarrel()
    outcome_of(net, record)
    for kind, phase in ((AddAccept, AwaitingAccepts), (AddMask, AwaitingMasks)):
        moments = [m for m in net.moments if isinstance(m.before, phase)]
        first = moments[0].event
        assert isinstance(first, Received)
        assert isinstance(first.message, kind)
        runner = Runner(SHARE_ADDITION, moments[-1].ctx, Role.COORDINATOR)
        runner.phase = moments[-1].before
        assert runner.handle(first) == ()
        assert runner.phase is moments[-1].before


def test_a_donor_answers_once() -> None:
    """Masks, sums and commitments that come again find nobody there."""
    net, record = quarrel()
    outcome_of(net, record)
    for donor in DONORS:
        runner = net.runners[net.members[donor].id, Role.PARTICIPANT]
        masks = next(m.event for m in net.moments if _is_masks_for(m, runner.ctx.me))
        assert runner.handle(masks) == ()


def _is_masks_for(moment: Moment, node: NodeId) -> bool:
    event = moment.event
    is_masks = isinstance(event, Received) and isinstance(event.message, AddMasks)
    return is_masks and moment.ctx.me == node


def test_masks_of_another_session_are_worth_nothing() -> None:
    net, record = quarrel()
    outcome_of(net, record)
    old = {m.ctx.me: m.event for m in net.moments if _is_masks_for(m, m.ctx.me)}
    lose_share(net, LATE)
    net.moments.clear()

    def again(place: Place, message: AddMasks) -> AddMasks:
        event = old[place.to]
        assert isinstance(event, Received)
        told: AddMasks = event.message
        return told

    net.tamper = telling(net, {net.members[LATE].id: at("AddMasks", again)})
    assert isinstance(outcome_of(net, record), Failed)
    assert received(net, AddBlinded) == []


def test_messages_out_of_turn_change_nothing() -> None:
    net, record = quarrel()
    outcome_of(net, record)
    starts = [m for m in net.moments if isinstance(m.before, AwaitingStart)]
    for moment in starts:
        runner = Runner(SHARE_ADDITION, moment.ctx, Role.PARTICIPANT)
        runner.phase = moment.before
        masks = next(m.event for m in net.moments if _is_masks_for(m, runner.ctx.me))
        assert runner.handle(masks) == ()
        assert runner.phase is moment.before
