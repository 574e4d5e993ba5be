"""Redistribution of a key's shares: who takes part, what moves, what stays, what is refused."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pytest

from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.identifiers import ZERO_HASH
from keyserver.model.keys import (
    CertifiedRecord,
    Decision,
    NodeSignature,
)
from keyserver.model.quorums import Quorums
from keyserver.model.requests import AddShare, NodeCredential, Reshare
from keyserver.sessions.certificates import check_certificate, record_subject, vote_digest
from keyserver.sessions.core import (
    DeniedError,
    Failed,
    SessionKind,
    UnavailableError,
)
from keyserver.sessions.evidence import Rule, decode_evidence, judge
from keyserver.sessions.runner import Role
from keyserver.sessions.sharing import REDISTRIBUTION, Succession
from keyserver.sessions.sharing.messages import (
    Accept,
    Certified,
    Commit,
    Handover,
    Prepare,
    Redistribute,
)
from keyserver.sessions.writes import (
    PutActive,
    PutDocument,
    PutDocumentCandidate,
    PutNothing,
    PutPromise,
    VoteKind,
)
from keyserver.simulation.adversary import dealing
from keyserver.simulation.liars import at, unsigned
from tests.support.delivery import Delivery, received
from tests.support.key_life import (
    DOCUMENT_KEY,
    KEY_ID,
    document_for,
    opened,
    retrieve,
    store,
    try_store,
)
from tests.support.lying_delivery import over_delivery
from tests.support.successions import (
    CHANGE,
    a_set,
    redistribute,
    shares_of,
    successor,
    with_another_share,
    with_key,
)


def check_installed(net: Delivery, before: CertifiedRecord, after: CertifiedRecord) -> None:
    """Everybody concerned has the successor, its committee the shares, and nobody else."""
    record, old = after.record, before.record
    assert (record.version, record.previous) == (old.version + 1 + len(after.skipped), old.hash)
    assert (record.public, record.author, record.threshold) == (
        old.public,
        old.author,
        old.threshold,
    )
    quorums, of_holders = Quorums.of(len(old.committee)), Quorums.of(len(record.committee))
    check_certificate(after, old.nodes, quorums, of_holders=of_holders)
    for member in net.members:
        if member.id in {*record.nodes, *old.nodes}:
            assert member.key.active == after
            assert member.key.promise is None
            assert member.key.prepared is None
    shares = shares_of(net)
    assert shares.keys() == set(record.nodes)
    for chosen in combinations(shares.values(), record.required_nodes):
        secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
        assert secret.public() == record.public


CHANGES = {
    "add two": (5, [0, 1, 2], 1, [0, 1, 2, 3, 4]),
    "remove one": (4, [0, 1, 2, 3], 1, [0, 2, 3]),
    "replace one": (5, [0, 1, 2, 3], 2, [0, 1, 2, 4]),
    "refresh": (4, [0, 1, 2, 3], 1, [0, 1, 2, 3]),
    "refresh of three": (3, [0, 1, 2], 2, [0, 1, 2]),
    "disjoint": (7, [0, 1, 2, 3], 2, [4, 5, 6]),
    "to one": (4, [1, 2, 3], 0, [0]),
    "no threshold": (4, [0, 1, 2], 0, [1, 2, 3]),
    "shrink to all": (5, [0, 1, 2, 3, 4], 2, [0, 1, 4]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_shares_move_and_the_key_stays(name: str) -> None:
    nodes, old, threshold, new = CHANGES[name]
    net, before = with_key(nodes, old, threshold)
    old_shares = shares_of(net)
    after = successor(redistribute(net, before, new, coordinator=old[-1]))
    check_installed(net, before, after)
    if threshold:
        assert not {s.value.expose() for s in old_shares.values()} & {
            s.value.expose() for s in shares_of(net).values()
        }
    assert not net.reports


@pytest.mark.parametrize("name", ["add two", "disjoint", "refresh"])
def test_the_document_key_moves_along(name: str) -> None:
    nodes, old, threshold, new = CHANGES[name]
    net, before = with_key(nodes, old, threshold)
    document = store(net, before, old[0])
    after = successor(redistribute(net, before, new, coordinator=old[0], document=document))
    check_installed(net, before, after)
    assert after.record.document == document.document.hash
    assert all(net.members[i].key.document == document for i in new)
    net.node_set = a_set(net, new)
    assert opened(retrieve(net, after, document, new[-1])) == DOCUMENT_KEY
    third = successor(redistribute(net, after, new, coordinator=new[0], document=document))
    check_installed(net, after, third)
    assert opened(retrieve(net, third, document, new[0])) == DOCUMENT_KEY


def test_a_key_moves_on_and_on() -> None:
    """Those who join later know nothing of the earlier versions."""
    net, before = with_key(7, range(3), 1)
    document = store(net, before)
    for new in ([0, 1, 2, 3, 4], [1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6]):
        by = net.members.index(net.by_id[before.record.nodes[-1]])
        after = successor(redistribute(net, before, new, coordinator=by, document=document))
        net.node_set = a_set(net, new)
        assert shares_of(net).keys() == set(after.record.nodes)
        assert opened(retrieve(net, after, document, new[-1])) == DOCUMENT_KEY
        before = after
    assert before.record.version == 5


def test_a_document_key_can_be_stored_afterwards() -> None:
    nodes, old, threshold, new = CHANGES["replace one"]
    net, before = with_key(nodes, old, threshold)
    after = successor(redistribute(net, before, new))
    net.node_set = a_set(net, new)
    document = store(net, after)
    assert document.attempt == 2**16 + 1
    assert opened(retrieve(net, after, document, new[-1])) == DOCUMENT_KEY


def test_a_refresh_is_decided_by_the_holders_themselves() -> None:
    net, before = with_key(4, range(4), 1)
    redistribute(net, before, range(4))
    assert not received(net, Certified)
    assert not received(net, Prepare)


def test_the_old_committee_decides_in_any_other_case() -> None:
    net, before = with_key(7, range(4), 2)
    after = successor(redistribute(net, before, [4, 5, 6]))
    voters = {entry.node for entry in after.certificate.decision.signatures}
    assert voters <= set(before.record.nodes)
    assert {entry.node for entry in after.certificate.holding.signatures} == {
        net.members[i].id for i in (4, 5, 6)
    }


def test_whoever_is_away_is_absent() -> None:
    """One of the old committee and one of the new; a quorum of both is enough."""
    net, before = with_key(7, [0, 1, 2, 3], 1)
    net.connected -= {net.members[3].id, net.members[6].id}
    after = successor(redistribute(net, before, [1, 2, 4, 5, 6]))
    assert shares_of(net).keys() == {net.members[i].id for i in (1, 2, 3, 4, 5)}
    assert net.members[3].key.active == before
    assert net.members[1].key.active == after


def test_caught_nodes_get_no_share_while_there_are_others() -> None:
    net, before = with_key(5, [0, 1, 2, 3], 1)
    net.avoided = frozenset({net.members[4].id})
    after = successor(redistribute(net, before, range(5)))
    holders = {entry.node for entry in after.certificate.holding.signatures}
    assert holders == {net.members[i].id for i in range(4)}


# --- too few -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("away", "why"),
    [
        ([0], "deals of .* are missing"),
        ([2, 3], "too few nodes of the old committee"),
        ([5, 6], "too few nodes of the new committee"),
    ],
)
@pytest.mark.parametrize("silent", [False, True])
def test_too_few_nodes(away: list[int], why: str, silent: bool) -> None:
    """Not connected, or without an answer: nothing is changed, and missing dealers are named."""
    net, before = with_key(7, range(4), 1)
    gone = {net.members[i].id for i in away}
    if silent:
        net.tamper = lambda sender, _to, message: None if sender in gone else message
    else:
        net.connected -= gone
    outcome = redistribute(net, before, [3, 4, 5, 6], dealers=[0, 1], coordinator=1)
    assert isinstance(outcome, Failed)
    with pytest.raises(UnavailableError, match=why):
        raise outcome.error
    failed = outcome.error.failed  # type: ignore[attr-defined]
    assert failed == (gone if away == [0] else frozenset())
    assert all(m.key.active == before for m in net.members[:4])
    assert len(shares_of(net)) == 4


def test_a_dealer_that_refuses_is_named() -> None:
    net, before = with_key(4, range(4), 1)
    net.members[1].stored = replace(net.members[1].stored, shares={})
    outcome = redistribute(net, before, range(4), dealers=[0, 1])
    assert isinstance(outcome, Failed)
    assert outcome.error.failed == {net.members[1].id}  # type: ignore[attr-defined]


def test_the_new_set_must_be_able_to_use_the_key() -> None:
    net, before = with_key(4, range(4), 2)
    outcome = redistribute(net, before, [0, 1])
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, DeniedError)
    assert outcome.error.code == "NotEnoughNodesForThreshold"


def test_a_change_that_this_node_has_not_accepted() -> None:
    net, before = with_key(4, range(4), 1)
    succession = Succession(before, (), None, before.record.nodes[:2])
    operation = Reshare(KEY_ID, CHANGE, ZERO_HASH)
    outcome = net.run(REDISTRIBUTION, operation, NodeCredential(), succession)
    assert isinstance(outcome, Failed)
    assert "not accepted" in str(outcome.error)


# --- promises ----------------------------------------------------------------------------------


def _promised(net: Delivery, before: CertifiedRecord) -> None:
    """Leave the old committee with promises of a session that came to nothing."""
    net.tamper = lambda _s, _t, message: None if isinstance(message, Handover) else message
    assert isinstance(redistribute(net, before, [0, 1, 2, 4]), Failed)
    net.tamper = lambda _s, _t, message: message


def test_a_promise_excludes_other_sessions_until_the_version_is_decided() -> None:
    net, before = with_key(5, range(4), 1)
    _promised(net, before)
    promises = [m.key.promise for m in net.members]
    assert all(promise is not None and promise.version == 2 for promise in promises[:4])
    assert promises[4] is None
    outcome = redistribute(net, before, [0, 1, 2, 4])
    assert isinstance(outcome, Failed)
    assert not net.members[4].key.prepared


def test_no_document_key_is_stored_while_a_version_is_promised() -> None:
    net, before = with_key(5, range(4), 1)
    _promised(net, before)
    outcome = try_store(net, before)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, UnavailableError)
    assert outcome.error.code == "DuplicateSessionId"
    assert all(member.key.document_candidate is None for member in net.members)


def nothing(net: Delivery, version: int, voters: Sequence[int]) -> Decision:
    """The decision of these members to give a version up."""
    signatures = []
    for member in sorted((net.members[i] for i in voters), key=lambda member: member.id):
        subject = record_subject(KEY_ID, version)
        signed = vote_digest(VoteKind.COMMIT, subject, 1, ZERO_HASH, member.id)
        signatures.append(NodeSignature(member.id, member.signer.sign(signed)))
    return Decision(1, ZERO_HASH, tuple(signatures))


def test_after_a_decision_of_nothing_the_next_version_is_made() -> None:
    """Also at a node that hears of the decision by the proposal only."""
    net, before = with_key(5, range(4), 1)
    _promised(net, before)
    decision = nothing(net, 2, range(4))
    for member in net.members[:3]:
        member.persist([PutNothing(KEY_ID, 2, decision)])
    after = successor(redistribute(net, before, [0, 1, 2, 4]))
    assert after.record.version == 3
    assert after.skipped == (decision,)
    check_installed(net, before, after)


def test_a_promise_is_written_before_it_leaves() -> None:
    net, before = with_key(5, range(4), 1)
    redistribute(net, before, [0, 1, 4])
    for ctx, sender, opening in net.openings:
        if isinstance(opening, Redistribute) and ctx.me in before.record.nodes:
            _, persist, accept = REDISTRIBUTION.join(ctx, sender, opening).effects
            (promise,) = persist.writes  # type: ignore[union-attr]
            assert isinstance(promise, PutPromise)
            assert (promise.version, promise.document) == (2, ZERO_HASH)
            assert isinstance(accept.message, Accept)  # type: ignore[union-attr]


# --- lies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("coordinator", [0, 1, 3])
def test_a_dealer_of_another_secret_is_convicted(coordinator: int) -> None:
    """By the coordinator, or, where it deals wrongly itself, by whoever gets a share."""
    net, before = with_key(5, range(4), 1)
    liar = with_another_share(net, 1)
    outcome = redistribute(net, before, [0, 1, 2, 4], dealers=[0, 1], coordinator=coordinator)
    assert isinstance(outcome, Failed)
    if coordinator != 1:
        assert outcome.error.failed == {liar}  # type: ignore[attr-defined]
    assert net.reports
    for report in net.reports:
        conviction = judge(decode_evidence(report.evidence))
        assert (conviction.culprit, conviction.rule) == (liar, Rule.WRONG_CONSTANT)
    assert all(m.key.active == before for m in net.members[:4])


def test_a_share_that_is_not_signed_convicts_nobody_but_takes_another_session() -> None:
    net, before = with_key(4, range(4), 1)
    liar = net.members[1].id
    net.tamper = over_delivery(net, {liar: at("Deal", dealing.badly_signed_share_for_one)})
    outcome = redistribute(net, before, range(4), dealers=[0, 1])
    assert isinstance(outcome, Failed)
    assert outcome.error.failed == {liar}  # type: ignore[attr-defined]
    assert not net.reports


def test_a_wrong_share_convicts_its_dealer() -> None:
    net, before = with_key(5, range(4), 1)
    liar = net.members[1].id
    net.tamper = over_delivery(net, {liar: at("Deal", dealing.false_share_for_one)})
    outcome = redistribute(net, before, [0, 1, 2, 4], dealers=[0, 1])
    assert isinstance(outcome, Failed)
    assert outcome.error.failed == {liar}  # type: ignore[attr-defined]
    (report,) = net.reports
    conviction = judge(decode_evidence(report.evidence))
    assert (conviction.culprit, conviction.rule) == (liar, Rule.WRONG_SHARE)


@pytest.mark.parametrize("kind", [Prepare, Commit])
def test_without_votes_of_a_quorum_nothing_is_installed(kind: type) -> None:
    net, before = with_key(5, range(4), 1)
    dumb = {net.members[i].id for i in (0, 1)}
    net.tamper = lambda s, _, m: None if s in dumb and isinstance(m, kind) else m
    outcome = redistribute(net, before, [1, 2, 3, 4], coordinator=2)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, UnavailableError)
    for member in net.members[:4]:
        assert member.key.active == before
        assert member.key.share is not None
        assert member.key.prepared is not None


def test_votes_of_a_quorum_are_enough() -> None:
    """Also where one is unsigned, and another one comes too late."""
    net, before = with_key(5, range(4), 1)
    liar = net.members[0].id
    net.tamper = over_delivery(net, {liar: at("Prepare", unsigned)})
    after = successor(redistribute(net, before, [1, 2, 3, 4], coordinator=2))
    assert liar not in {entry.node for entry in after.certificate.decision.signatures}


def test_an_answer_that_comes_twice_counts_once() -> None:
    net, before = with_key(5, range(4), 1)
    after = successor(redistribute(net, before, [1, 2, 3, 4], coordinator=2))
    handled = [
        moment
        for moment in net.moments
        if moment.ctx.kind is SessionKind.REDISTRIBUTION
        and moment.role is Role.COORDINATOR
        and isinstance(getattr(moment.event, "message", None), Accept | Prepare)
        and type(moment.after) is type(moment.before)
    ]
    assert {type(moment.event.message) for moment in handled} == {Accept, Prepare}  # type: ignore[union-attr]
    for moment in handled:
        again = REDISTRIBUTION.step(moment.ctx, moment.after, moment.event)
        assert again.phase is moment.after
    assert after.record.version == 2


def test_a_redistribution_needs_its_own_request() -> None:
    net, before = with_key(4, range(4), 1)
    net.target = a_set(net, range(4))
    succession = Succession(before, (), None, before.record.nodes[:2])
    outcome = net.run(REDISTRIBUTION, AddShare(KEY_ID), NodeCredential(), succession)
    assert isinstance(outcome, Failed)
    assert "not one to redistribute" in str(outcome.error)


def test_who_votes_for_a_document_key_promises_nothing() -> None:
    net, before = with_key(4, range(4), 1)
    voted = PutDocumentCandidate(KEY_ID, 1, before.record.hash, document_for(before.record.public))
    for member in net.members[2:]:
        member.persist([voted])
    outcome = redistribute(net, before, range(4), dealers=[0, 1])
    assert isinstance(outcome, Failed)
    assert "old committee" in str(outcome.error)


def test_who_joins_may_know_the_document_key_already() -> None:
    net, before = with_key(5, range(4), 1)
    document = store(net, before)
    joining = net.members[4]
    joining.persist([PutDocument(KEY_ID, document)])
    after = successor(redistribute(net, before, [1, 2, 3, 4], document=document))
    check_installed(net, before, after)


def test_who_joins_may_know_the_record_and_not_the_document_key() -> None:
    """It has pulled the record of a key before the document key was stored with the others."""
    net, before = with_key(5, range(4), 1)
    document = store(net, before)
    joining = net.members[4]
    joining.persist([PutActive(before)])
    after = successor(redistribute(net, before, [1, 2, 3, 4], document=document))
    check_installed(net, before, after)
    assert joining.key.document == document
