"""Records about share additions convict exactly who has signed what is wrong."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.curve import Point
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.proofs import prove
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.transcripts import complaint_statement
from keyserver.model.identifiers import NodeId, SessionId
from keyserver.model.requests import Proof
from keyserver.sessions.conviction import InvalidEvidenceError, Rule
from keyserver.sessions.core import Completed, Failed, Received
from keyserver.sessions.evidence import decode_evidence, encode_evidence, judge
from keyserver.sessions.share_addition.evidence import (
    Addition,
    WrongBlinded,
    WrongMask,
    WrongMaskValue,
)
from keyserver.sessions.share_addition.messages import AddBlinded
from keyserver.sessions.share_addition.phases import AwaitingBlinded, AwaitingMasked, Group
from keyserver.simulation.adversary import share_additions as lies
from keyserver.simulation.liars import OTHER_POINT, UNSIGNED, Lie, at
from tests.support.delivery import Delivery
from tests.support.key_life import try_add_share
from tests.support.late_nodes import DONORS, LATE, quarrel

LIES: dict[type, tuple[Lie, Rule]] = {
    WrongMask: (at("AddMask", lies.mask_that_is_not_zero), Rule.WRONG_MASK),
    WrongMaskValue: (at("AddMask", lies.false_values), Rule.WRONG_MASK),
    WrongBlinded: (at("AddBlinded", lies.false_share), Rule.WRONG_BLINDED_SHARE),
}
KINDS = pytest.mark.parametrize("kind", LIES, ids=lambda kind: kind.__name__)


def convicted(kind: type) -> tuple[Delivery, Any]:
    """A session with a liar, and the record that convicts it."""
    net, record = quarrel(LIES[kind][0])
    assert isinstance(try_add_share(net, record, LATE, DONORS), Failed)
    (report,) = net.reports
    evidence = decode_evidence(report.evidence)
    assert type(evidence) is kind
    return net, evidence


def convicts_nobody(evidence: Any) -> bool:
    try:
        judge(evidence)
    except InvalidEvidenceError:
        return True
    return False


@KINDS
def test_it_convicts_the_liar_wherever_it_is_read(kind: type) -> None:
    net, evidence = convicted(kind)
    again = decode_evidence(encode_evidence(evidence))
    conviction = judge(again)
    assert conviction.culprit == net.members[DONORS[1]].id
    assert conviction.rule is LIES[kind][1]
    assert conviction.session == evidence.addition.sid


@KINDS
def test_it_names_nobody_else_under_another_name(kind: type) -> None:
    """Whoever shows it can neither put another node in the culprit's place nor change the rest."""
    net, evidence = convicted(kind)
    culprit_field = "donor" if kind is WrongBlinded else "dealer"
    for other in (*(member.id for member in net.members), NodeId.of(OTHER_POINT)):
        if other != net.members[DONORS[1]].id:
            assert convicts_nobody(replace(evidence, **{culprit_field: other}))
            if kind is not WrongBlinded:
                assert convicts_nobody(replace(evidence, receiver=other)) or (
                    other == evidence.receiver
                )


CHANGES: dict[str, Callable[[Addition], Addition]] = {
    "another session": lambda a: replace(a, sid=SessionId(bytes(32))),
    "another record": lambda a: replace(a, record=replace(a.record, version=7)),
    "another late node": lambda a: replace(a, late=a.participants[-1].node),
    "a late node that is not there": lambda a: replace(a, late=NodeId.of(OTHER_POINT)),
    "fewer donors": lambda a: replace(
        a, participants=tuple(p for p in a.participants if p.node == a.late)
    ),
    "another order": lambda a: replace(a, participants=a.participants[::-1]),
    "other keys": lambda a: replace(
        a, participants=tuple(replace(p, one_time=OTHER_POINT) for p in a.participants)
    ),
}


@KINDS
@pytest.mark.parametrize("change", CHANGES)
def test_it_holds_for_one_session(kind: type, change: str) -> None:
    _, evidence = convicted(kind)
    assert convicts_nobody(replace(evidence, addition=CHANGES[change](evidence.addition)))


def test_a_mask_is_wrong_only_as_it_was_signed() -> None:
    _, evidence = convicted(WrongMask)
    unsigned = replace(evidence.value, signature=UNSIGNED)
    assert convicts_nobody(replace(evidence, value=unsigned))
    assert convicts_nobody(replace(evidence, commitments=evidence.commitments[:-1]))
    assert convicts_nobody(replace(evidence, commitments=()))


def test_what_is_laid_open_needs_its_proof() -> None:
    for kind in (WrongMaskValue, WrongBlinded):
        _, evidence = convicted(kind)
        assert convicts_nobody(replace(evidence, common=OTHER_POINT))
        assert convicts_nobody(replace(evidence, proof=Proof(bytes(64))))


def test_a_share_is_wrong_only_for_the_masks_that_were_signed_with_it() -> None:
    _, evidence = convicted(WrongBlinded)
    assert convicts_nobody(replace(evidence, sums=evidence.sums[1:]))
    assert convicts_nobody(replace(evidence, sums=()))
    assert convicts_nobody(replace(evidence, signature=UNSIGNED))


def accusations(net: Delivery) -> list[Any]:
    """Records about donors that did right, made by nodes that open everything they can."""
    late = next(m for m in net.moments if isinstance(m.before, AwaitingBlinded))
    group, masks = late.before.group, late.before.masks
    addition = Addition.of(late.ctx.sid, group)
    keys = {
        m.ctx.me: m.before.one_time for m in net.moments if isinstance(m.before, AwaitingMasked)
    }
    made: list[Any] = []
    for dealer, mask in masks.items():
        for place, receiver in enumerate(group.terms.donors):
            value = mask.values[place]
            common, proof = opening(group, keys[receiver], receiver, dealer)
            made += [
                WrongMask(addition, dealer, receiver, mask.commitments, value),
                WrongMaskValue(addition, dealer, receiver, mask.commitments, value, common, proof),
            ]
    for moment in net.moments:
        event = moment.event
        if isinstance(event, Received) and isinstance(event.message, AddBlinded):
            donor, blinded = event.sender, event.message
            common, proof = opening(group, late.before.one_time, group.terms.late, donor)
            made.append(
                WrongBlinded(
                    addition,
                    donor,
                    late.before.sums,
                    blinded.ciphertext,
                    blinded.signature,
                    common,
                    proof,
                )
            )
    return made


def opening(
    group: Group, one_time: OneTimeKey, accuser: NodeId, culprit: NodeId
) -> tuple[Point, Proof]:
    common = one_time.reveal(group.members[culprit].one_time)
    statement = complaint_statement(
        group.session_hash,
        dealer=culprit.point,
        dealer_one_time=group.members[culprit].one_time,
        accuser=accuser.point,
        accuser_one_time=one_time.public,
        common=common,
    )
    return common, Proof(prove(statement, [one_time.secret], SeededRandom(1)))


def test_what_honest_donors_sign_convicts_nobody() -> None:
    net, record = quarrel()
    assert isinstance(try_add_share(net, record, LATE, DONORS), Completed)
    made = accusations(net)
    assert len(made) == 3 * 3 * 2 + 3
    for evidence in made:
        assert convicts_nobody(evidence)
        assert convicts_nobody(decode_evidence(encode_evidence(evidence)))
