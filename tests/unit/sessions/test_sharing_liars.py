"""One liar among the participants of a generation: it completes, and only a liar is blamed."""

import pytest

from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.keys import CertifiedRecord
from keyserver.sessions.core import Completed, Report
from keyserver.sessions.evidence import Rule, decode_evidence, judge
from tests.support import liars
from tests.support.delivery import Delivery
from tests.support.key_life import try_generate
from tests.support.liars import Lie, at

NODES, THRESHOLD, LIAR = 7, 2, 5

PROVEN: dict[str, Lie] = {
    "a false share for one": at("Deal", liars.false_shares(frozenset({0}))),
    "a false share for three": at("Deal", liars.false_shares(frozenset({0, 1, 2}))),
    "false shares for all": at("Deal", liars.false_shares(frozenset(range(NODES)))),
    "zeros and values above the order": at("Deal", liars.zero_share),
    "an accusation without cause": at("Ok", liars.false_complaint),
    "an accusation without proof": at("Ok", liars.unproven_complaint),
    "a constant without proof": at("Deal", liars.false_possession),
    "a polynomial too short": at("Deal", liars.other_degree(-1)),
    "a polynomial too long": at("Deal", liars.other_degree(1)),
}

UNPROVEN: dict[str, Lie] = {
    "a deal signed wrongly for one": at("Deal", liars.badly_signed_shares(frozenset({2}))),
    "a deal signed wrongly for two": at("Deal", liars.badly_signed_shares(frozenset({0, 3}))),
    "a deal signed wrongly for all": at("Deal", liars.badly_signed_shares(frozenset(range(NODES)))),
    "a constant that is not its own": at("Deal", liars.stolen_constant),
    "too few shares": at("Deal", liars.with_field("shares", lambda shares: shares[1:])),
    "no proof of possession": at("Deal", liars.with_field("possession", lambda _: b"")),
    "an unsigned ACCEPT": at("Accept", liars.unsigned),
    "an OK for something else": at(
        "Ok", liars.with_field("transcript", lambda told: type(told)(bytes(32)))
    ),
    "an unsigned READY": at("Ready", liars.unsigned),
    "an unsigned COMMIT": at("Commit", liars.unsigned),
    "no ACCEPT": at("Accept", liars.silent),
    "no deal": at("Deal", liars.silent),
    "no OK": at("Ok", liars.silent),
    "no READY": at("Ready", liars.silent),
    "no COMMIT": at("Commit", liars.silent),
}


def _generate_with(lie: Lie, quorum: int | None = 5) -> tuple[Delivery, list[Report]]:
    net = Delivery(NODES)
    for member in net.members:
        member.policy = type(member.policy)(
            generation_quorum=quorum, service_contracts=member.policy.service_contracts
        )
    liar = net.members[LIAR].id
    net.tamper = liars.over_delivery(net, {liar: lie})
    outcome = try_generate(net, THRESHOLD)
    assert isinstance(outcome, Completed), outcome
    assert isinstance(outcome.result, CertifiedRecord)
    honest = [member for member in net.members if member.id != liar]
    records = {m.key.active.record.hash for m in honest if m.key.active is not None}
    assert records == {outcome.result.record.hash}
    shares = [m.key.share for m in honest if m.key.share is not None]
    assert len(shares) == len(honest), "an honest node was left out"
    assert (
        interpolate_secret([s.x for s in shares[-3:]], [s.value for s in shares[-3:]]).public()
        == outcome.result.record.public
    )
    return net, net.reports


@pytest.mark.parametrize("name", PROVEN)
def test_the_liar_is_named(name: str) -> None:
    net, reports = _generate_with(PROVEN[name])
    assert {culprit for r in reports for culprit in r.culprits} == {net.members[LIAR].id}


def test_a_coordinator_that_deals_without_proof_is_named_by_the_receivers() -> None:
    """It checks the deals of others, not its own: whoever gets a share sees it."""
    net = Delivery(4)
    liar = net.members[0].id
    net.tamper = liars.over_delivery(net, {liar: at("Deal", liars.false_possession)})
    try_generate(net, 1)
    assert len(net.reports) >= 3
    assert {culprit for report in net.reports for culprit in report.culprits} == {liar}
    assert {judge(decode_evidence(report.evidence)).rule for report in net.reports} == {
        Rule.WRONG_POSSESSION_PROOF
    }


@pytest.mark.parametrize("name", UNPROVEN)
def test_the_generation_goes_on_and_nobody_is_named(name: str) -> None:
    _, reports = _generate_with(UNPROVEN[name])
    assert reports == []
