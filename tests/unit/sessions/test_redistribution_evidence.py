"""The record that convicts a dealer of redistributing something else than its own share."""

from dataclasses import replace

import pytest

from keyserver.model.identifiers import NodeId, Signature
from keyserver.sessions.conviction import InvalidEvidenceError, Rule
from keyserver.sessions.core import SessionKind
from keyserver.sessions.evidence import decode_evidence, encode_evidence, judge
from keyserver.sessions.sharing.evidence import (
    Sitting,
    WrongConstant,
    WrongPossession,
    constant_of,
)
from keyserver.sessions.sharing.messages import Shares
from keyserver.sessions.sharing.phases import AwaitingShares, Terms
from tests.support.delivery import Delivery
from tests.support.successions import (
    redistribute,
    successor,
    with_another_share,
    with_key,
)


def _caught() -> tuple[Delivery, WrongConstant]:
    net, before = with_key(5, range(4), 1)
    with_another_share(net, 1)
    redistribute(net, before, [0, 2, 3, 4], dealers=[0, 1])
    (report,) = net.reports
    evidence = decode_evidence(report.evidence)
    assert isinstance(evidence, WrongConstant)
    return net, evidence


def _acquitted(evidence: WrongConstant | WrongPossession, why: str) -> None:
    with pytest.raises(InvalidEvidenceError, match=why):
        judge(evidence)


def test_a_leaving_dealer_is_convicted_by_the_bytes_alone() -> None:
    net, evidence = _caught()
    conviction = judge(decode_evidence(encode_evidence(evidence)))
    assert (conviction.culprit, conviction.rule) == (net.members[1].id, Rule.WRONG_CONSTANT)
    assert conviction.session == evidence.sitting.params.sid


def test_nothing_else_convicts() -> None:
    net, evidence = _caught()
    sitting, stranger = evidence.sitting, NodeId(bytes(63) + b"\x01")
    params = sitting.params
    generation = replace(sitting, params=replace(params, kind=int(SessionKind.GENERATION)))
    other = replace(evidence.before, version=7)
    _acquitted(replace(evidence, sitting=generation), "does not redistribute")
    _acquitted(replace(evidence, before=other), "does not redistribute")
    _acquitted(replace(evidence, signature=Signature(bytes(65))), "not signed")
    _acquitted(replace(evidence, dealer=net.members[0].id), "not signed")
    _acquitted(replace(evidence, receiver=net.members[2].id), "not signed|takes no part")
    _acquitted(replace(evidence, receiver=stranger), "takes no part")
    _acquitted(replace(evidence, possession=b"x"), "not signed")


def test_the_deal_of_the_own_share_convicts_nobody() -> None:
    """Nor does it that such a deal has no proof of possession."""
    net, before = with_key(5, range(4), 1)
    successor(redistribute(net, before, [0, 1, 2, 4]))
    moment = next(
        moment
        for moment in net.moments
        if moment.ctx.kind is SessionKind.REDISTRIBUTION
        and isinstance(moment.before, AwaitingShares)
        and isinstance(getattr(moment.event, "message", None), Shares)
    )
    group, shares = moment.before.group, moment.event.message  # type: ignore[union-attr]
    dealt = next(entry for entry in shares.deals if entry.dealer != moment.ctx.me)
    fields = (
        dealt.dealer,
        moment.ctx.me,
        dealt.constant,
        dealt.possession,
        dealt.tail_hash,
        dealt.ciphertext,
        dealt.signature,
    )
    sitting = Sitting.of(group)
    _acquitted(WrongConstant(sitting, before.record, *fields), "of the dealer's own share")
    _acquitted(WrongPossession(sitting, *fields), "only deals of a generation")


def test_constants_are_known_of_dealers_only() -> None:
    net, before = with_key(4, range(4), 1)
    params = _caught()[1].sitting.params
    terms = Terms(params, before.record.hash, (), before.record)
    for wrong in (
        replace(terms, before=None),
        replace(terms, params=replace(params, dealers=(NodeId(bytes(63) + b"\x01"),))),
    ):
        with pytest.raises(InvalidEvidenceError, match="not members"):
            constant_of(wrong, params.dealers[0])
    with pytest.raises(InvalidEvidenceError, match="not members"):
        constant_of(terms, net.members[3].id)
