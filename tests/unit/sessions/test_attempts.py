"""A version or an attempt after one that was decided as *nothing*."""

from keyserver.model.identifiers import ZERO_HASH, Hash32
from keyserver.model.keys import Decision, NodeSignature
from keyserver.sessions.certificates import document_subject, record_subject, vote_digest
from keyserver.sessions.core import Completed, DeniedError, Failed, UnavailableError
from keyserver.sessions.sharing.messages import Installed
from keyserver.sessions.storing.messages import StoreCert
from keyserver.sessions.writes import CastVote, PutDocumentNothing, PutNothing, VoteKind
from tests.support.delivery import Delivery, received
from tests.support.key_life import (
    KEY_ID,
    document_for,
    generate,
    store,
    try_generate,
    try_store,
)


def nothing(net: Delivery, subject: Hash32, round_: int = 1) -> Decision:
    """The committee's decision to give an attempt up."""
    signatures = []
    for member in net.members:
        signed = vote_digest(VoteKind.COMMIT, subject, round_, ZERO_HASH, member.id)
        signatures.append(NodeSignature(member.id, member.signer.sign(signed)))
    return Decision(round_, ZERO_HASH, tuple(signatures))


def _stuck_generation(net: Delivery) -> None:
    """All nodes are READY, and then nobody hears of it."""
    net.tamper = lambda _s, _t, message: None if type(message).__name__ == "Cert" else message
    outcome = try_generate(net, 1)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, UnavailableError)
    net.tamper = lambda _s, _t, message: message


def test_a_prepared_version_excludes_another_generation() -> None:
    net = Delivery(4)
    _stuck_generation(net)
    outcome = try_generate(net, 1)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "NodeDisconnected"
    assert "TEMPORARY" in str(outcome.error)


def test_the_next_version_begins_where_the_proposal_brings_the_decision() -> None:
    net = Delivery(4)
    _stuck_generation(net)
    given_up = nothing(net, record_subject(KEY_ID, 1))
    net.members[0].persist((PutNothing(KEY_ID, 1, given_up),))
    record = generate(net, 1)
    assert record.record.version == 2
    assert record.skipped == (given_up,)
    for member in net.members:
        assert member.key.active == record
        assert member.key.share is not None


def test_a_version_is_not_proposed_again_once_it_was_decided() -> None:
    net = Delivery(4)
    given_up = nothing(net, record_subject(KEY_ID, 1))
    for member in net.members[1:]:
        member.persist((PutNothing(KEY_ID, 1, given_up),))
    outcome = try_generate(net, 1)
    assert isinstance(outcome, Failed)
    assert "STALE" in str(outcome.error)


def test_a_decision_for_something_does_not_skip_a_version() -> None:
    net = Delivery(4)
    generate(net, 1)
    decided = received(net, Installed)[0].decision
    fresh = Delivery(4)
    fresh.members[0].persist((PutNothing(KEY_ID, 1, decided),))
    outcome = try_generate(fresh, 1)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, DeniedError)


def _stuck_storing(net: Delivery) -> None:
    record = net.members[0].key.active
    assert record is not None
    net.tamper = lambda _s, _t, message: None if isinstance(message, StoreCert) else message
    assert isinstance(try_store(net, record), Failed)
    net.tamper = lambda _s, _t, message: message


def test_another_document_key_waits_for_the_first_attempt() -> None:
    net = Delivery(4)
    record = generate(net, 1)
    _stuck_storing(net)
    outcome = try_store(net, record, document_for(record.record.public, 1))
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "DuplicateSessionId"
    again = try_store(net, record)
    assert isinstance(again, Completed), "the same value may be stored"


def test_the_next_attempt_begins_where_the_proposal_brings_the_decision() -> None:
    net = Delivery(4)
    record = generate(net, 1)
    _stuck_storing(net)
    given_up = nothing(net, document_subject(KEY_ID, 1))
    net.members[0].persist((PutDocumentNothing(KEY_ID, 1, given_up),))
    other = document_for(record.record.public, 1)
    outcome = try_store(net, record, other)
    assert isinstance(outcome, Completed), outcome
    for member in net.members:
        assert member.key.document == outcome.result
        assert member.key.document_skipped == (given_up,)
    assert outcome.result.attempt == 2


def test_an_attempt_is_not_proposed_again_once_it_was_decided() -> None:
    net = Delivery(4)
    record = generate(net, 1)
    given_up = nothing(net, document_subject(KEY_ID, 1))
    for member in net.members[1:]:
        member.persist((PutDocumentNothing(KEY_ID, 1, given_up),))
    assert isinstance(try_store(net, record), Failed)


def test_a_decision_for_something_does_not_skip_an_attempt() -> None:
    net = Delivery(4)
    record = generate(net, 1)
    document = store(net, record)
    for member in net.members:
        member.stored = type(member.stored)(active=record, shares=member.stored.shares)
        member.votes.clear()
    wrong = PutDocumentNothing(KEY_ID, 1, document.decision)
    net.members[0].persist((wrong,))
    assert isinstance(try_store(net, record), Failed)


def test_votes_are_cast_with_what_justifies_them() -> None:
    net = Delivery(4)
    record = generate(net, 1)
    store(net, record)
    for member in net.members:
        votes: list[CastVote] = [v for cast in member.votes.values() for v in cast.values()]
        assert [vote.kind for vote in votes] == [VoteKind.PREPARE, VoteKind.COMMIT] * 2
        assert all(vote.evidence for vote in votes if vote.kind is VoteKind.COMMIT)
