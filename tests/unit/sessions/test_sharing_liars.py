"""One liar among the participants of a generation: it completes, and only a liar is blamed."""

import pytest

from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.keys import CertifiedRecord
from keyserver.sessions.core import Completed, Report
from keyserver.sessions.evidence import Rule, decode_evidence, judge
from keyserver.simulation.adversary import dealing
from keyserver.simulation.adversary.generation_members import ROWS
from keyserver.simulation.adversary.rows import Behaviour, Row, lies_of
from keyserver.simulation.liars import Lie, at
from tests.support.delivery import Delivery
from tests.support.key_life import try_generate
from tests.support.lying_delivery import over_delivery

NODES, THRESHOLD, LIAR = 7, 2, 5


def _parses(row: Row) -> bool:
    """Whether the lie is a message at all: what does not parse never comes to a session."""
    return row.behaviour not in (Behaviour.BAD_POINT, Behaviour.OVERSIZED)


PROVEN = lies_of(ROWS, lambda row: row.provable)
UNPROVEN = lies_of(ROWS, lambda row: not row.provable and _parses(row))


def _generate_with(lie: Lie, quorum: int | None = 5) -> tuple[Delivery, list[Report]]:
    net = Delivery(NODES)
    for member in net.members:
        member.policy = type(member.policy)(
            generation_quorum=quorum, service_contracts=member.policy.service_contracts
        )
    liar = net.members[LIAR].id
    net.tamper = over_delivery(net, {liar: lie})
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
    net.tamper = over_delivery(net, {liar: at("Deal", dealing.rogue_constant)})
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
