"""The rounds that decide what a session left open: how they end, and what a liar cannot do."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from keyserver.engine.ballot import Ballot, Decided, Effect, Enter
from keyserver.engine.ballot_terms import Terms
from keyserver.engine.links import (
    Backed,
    Backing,
    CommitVote,
    Entered,
    HeldDocument,
    HeldRecord,
    PreparedValue,
    PrepareVote,
    Proposal,
    Status,
    Subject,
    certificate_hash,
)
from keyserver.engine.own_votes import remembered
from keyserver.engine.ports import StoredVote
from keyserver.model.codec import encode
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId
from keyserver.model.keys import HoldingCertificate, PreparedCertificate
from keyserver.sessions.certificates import check_decision
from keyserver.sessions.core import (
    DocumentCandidate,
    KeyState,
    Persist,
    PreparedRecord,
    Refused,
    Report,
    Send,
)
from keyserver.sessions.writes import CastVote, PutHolding, VoteKind
from keyserver.storage.stored_key import check_vote
from tests.unit.engine.played_peers import proposal
from tests.unit.engine.signed_values import (
    DOCUMENT_1,
    NODES,
    OTHER_KEY,
    OTHER_SET,
    RECORD_1,
    SIGNERS,
    STRANGER,
    TRANSCRIPT,
    certified,
    document,
    holding,
    prepared,
    record,
    share,
    version,
    vote,
)

PROPOSER = NODES[1]
"""Of round 1: the key id lies in the range of the first voter."""
RECORD = record()
HELD = HeldRecord(RECORD, holding(RECORD))
READY = HELD.holding.prepares(RECORD)
BY_RECORD = Backed(READY, Backing(record=HELD))
NOTHING = Backing()
UNDER = certified(RECORD)
HELD_DOCUMENT = HeldDocument(RECORD.hash, document())
DOCUMENT_VALUE = document().hash_under(RECORD.hash)


@dataclass
class Node:
    """A voter with a disk: what is persisted is what it remembers."""

    me: NodeId
    subject: Subject
    state: KeyState = field(default_factory=KeyState)
    disk: dict[tuple[int, VoteKind], CastVote] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reboot()

    def reboot(self) -> None:
        previous = self.state.active.record.hash if self.state.active else ZERO_HASH
        terms = Terms(self.subject, NODES, None, previous, self.me, SIGNERS[self.me])
        self.ballot = Ballot(terms, self.memory())

    def memory(self) -> Any:
        stored = [
            StoredVote(cast.round, cast.kind, cast.value, cast.evidence)
            for _, cast in sorted(self.disk.items())
        ]
        return remembered(self.state, self.subject, stored)

    def persist(self, writes: Persist) -> None:
        for write in writes.writes:
            if isinstance(write, CastVote):
                check_vote(self.disk, write)
                self.disk[write.round, write.kind] = write
            elif isinstance(write, PutHolding):
                own = self.state.prepared
                kept = own.share if own is not None else None
                held = PreparedRecord(write.record, kept, TRANSCRIPT, write.holding)
                self.state = replace(self.state, prepared=held)

    def enter(self, round_: int) -> tuple[Effect, ...]:
        self.persist(Persist((self.ballot.status_vote(round_),)))
        return self.ballot.enter(self.memory())


@dataclass
class Bench:
    """Four voters on a network that loses what `lose` says."""

    nodes: dict[NodeId, Node]
    lose: Callable[[NodeId, NodeId, Any], bool] = lambda _sender, _to, _message: False
    decided: list[Decided] = field(default_factory=list)

    @classmethod
    def about(cls, subject: Subject, **states: KeyState) -> "Bench":
        return cls(
            {
                node: Node(node, subject, states.get(f"node{i}", states.get("rest", KeyState())))
                for i, node in enumerate(NODES)
            }
        )

    def run(self, sender: NodeId, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Persist():
                    self.nodes[sender].persist(effect)
                case Send(to, message):
                    self.deliver(sender, to, message)
                case Decided():
                    self.decided.append(effect)
                case Enter():
                    raise AssertionError("entered by `deliver`")

    def deliver(self, sender: NodeId, to: NodeId, message: Any) -> None:
        if self.lose(sender, to, message):
            return
        effects = self.nodes[to].ballot.handle(sender, message)
        if effects and isinstance(effects[0], Enter):
            self.run(to, self.nodes[to].enter(effects[0].round))
            effects = self.nodes[to].ballot.handle(sender, message)
        self.run(to, effects)

    def enter(self, round_: int, *who: NodeId) -> None:
        for node in who or NODES:
            if self.nodes[node].ballot.round < round_:
                self.run(node, self.nodes[node].enter(round_))

    def check(self, value: Hash32) -> None:
        assert self.decided
        for made in self.decided:
            assert made.decision.value == value == made.backing.value
            subject = self.nodes[NODES[0]].subject
            quorums = self.nodes[NODES[0]].ballot._terms.quorums
            check_decision(subject.hash, made.decision, NODES, quorums)


READY_STATE = KeyState(prepared=PreparedRecord(RECORD, share(), TRANSCRIPT, None))
HELD_STATE = KeyState(prepared=PreparedRecord(RECORD, share(), TRANSCRIPT, HELD.holding))
VOTED_STATE = KeyState(
    active=UNDER, document_candidate=DocumentCandidate(1, RECORD.hash, document())
)


def committed_in_round_0(node: Node, certificate: PreparedCertificate) -> None:
    cast = CastVote(node.subject.hash, 0, VoteKind.COMMIT, certificate.value, encode(certificate))
    node.disk[0, VoteKind.COMMIT] = cast
    node.reboot()


# --- how it ends ------------------------------------------------------------------------------


def test_an_attempt_that_nobody_has_prepared_is_given_up() -> None:
    bench = Bench.about(RECORD_1, rest=READY_STATE)
    bench.enter(1)
    bench.check(ZERO_HASH)


def test_a_record_that_one_voter_can_certify_is_decided() -> None:
    bench = Bench.about(RECORD_1, node0=HELD_STATE, rest=READY_STATE)
    bench.enter(1)
    bench.check(RECORD.hash)
    assert all(node.state.prepared == HELD_STATE.prepared for node in bench.nodes.values())


def test_voters_without_the_record_get_it_with_the_proposal() -> None:
    bench = Bench.about(RECORD_1, node0=HELD_STATE)
    bench.enter(1, NODES[0], NODES[1])
    bench.check(RECORD.hash)
    told = bench.nodes[NODES[2]].state.prepared
    assert told == PreparedRecord(RECORD, None, TRANSCRIPT, HELD.holding)


def test_a_document_key_that_one_voter_committed_to_is_decided() -> None:
    bench = Bench.about(DOCUMENT_1, node2=VOTED_STATE, rest=KeyState(active=UNDER))
    committed_in_round_0(bench.nodes[NODES[2]], prepared(DOCUMENT_1, 0, DOCUMENT_VALUE))
    bench.enter(1)
    bench.check(DOCUMENT_VALUE)


def test_without_the_proposer_the_next_round_decides() -> None:
    bench = Bench.about(RECORD_1, node0=HELD_STATE, rest=READY_STATE)
    bench.lose = lambda sender, to, _: PROPOSER in (sender, to)
    alive = [node for node in NODES if node != PROPOSER]
    bench.enter(1, *alive)
    assert not bench.decided
    bench.enter(2, *alive)
    bench.check(RECORD.hash)


def test_a_value_prepared_in_a_later_round_is_proposed_again() -> None:
    """Round 1 prepares *nothing* without deciding; round 2 must not fall back to round 0."""
    bench = Bench.about(RECORD_1, node3=HELD_STATE, rest=READY_STATE)
    bench.lose = lambda sender, to, message: (
        NODES[3] in (sender, to) or isinstance(message, CommitVote)
    )
    bench.enter(1, *NODES[:3])
    assert not bench.decided
    bench.lose = lambda *_: False
    bench.enter(2)
    bench.check(ZERO_HASH)


def test_a_round_goes_on_after_every_voter_has_restarted() -> None:
    for lost in (Proposal, PrepareVote, PreparedValue, CommitVote):
        bench = Bench.about(RECORD_1, node0=HELD_STATE, rest=READY_STATE)
        bench.lose = lambda _sender, _to, message, lost=lost: isinstance(message, lost)  # type: ignore[misc]
        bench.enter(1)
        assert not bench.decided
        bench.lose = lambda *_: False
        for node in bench.nodes.values():
            node.reboot()
        for me, node in bench.nodes.items():
            bench.run(me, node.ballot.announce(NODES))
        bench.check(RECORD.hash)


def test_what_was_lost_is_repeated_when_a_voter_announces_itself_again() -> None:
    for lost in (Status, Entered, Proposal, PrepareVote, PreparedValue, CommitVote):
        bench = Bench.about(RECORD_1, node0=HELD_STATE, rest=READY_STATE)
        bench.lose = lambda _sender, _to, message, lost=lost: isinstance(message, lost)  # type: ignore[misc]
        bench.enter(1)
        bench.lose = lambda *_: False
        for me, node in bench.nodes.items():
            bench.run(me, node.ballot.announce(NODES))
        bench.check(RECORD.hash)


def test_f_plus_1_voters_take_the_others_along() -> None:
    bench = Bench.about(RECORD_1)
    bench.enter(1, NODES[0])
    assert bench.nodes[NODES[2]].ballot.round == 0
    bench.enter(1, NODES[1])
    assert bench.nodes[NODES[2]].ballot.round == 1
    bench.check(ZERO_HASH)


def test_nothing_is_announced_before_the_first_round() -> None:
    node = Node(NODES[0], RECORD_1)
    assert node.ballot.announce(NODES) == ()
    assert node.ballot.voters == NODES


def test_only_voters_are_told() -> None:
    node = Node(NODES[0], RECORD_1)
    node.enter(1)
    assert node.ballot.announce([STRANGER]) == ()


# --- what a session writes meanwhile ----------------------------------------------------------


def test_a_status_that_misses_a_commit_never_leaves() -> None:
    node = Node(NODES[0], RECORD_1, READY_STATE)
    ordered = node.ballot.status_vote(1)
    node.state = HELD_STATE
    node.disk[0, VoteKind.COMMIT] = CastVote(
        RECORD_1.hash, 0, VoteKind.COMMIT, RECORD.hash, encode(READY)
    )
    node.persist(Persist((ordered,)))
    assert node.ballot.enter(node.memory()) == ()
    node.reboot()
    assert node.ballot.announce(NODES) == ()
    assert node.ballot.is_silent
    sent = [effect.message for effect in node.enter(2) if isinstance(effect, Send)]
    assert [m.highest for m in sent if isinstance(m, Status)] == [BY_RECORD]


def test_what_a_session_wrote_is_recalled() -> None:
    node = Node(NODES[0], RECORD_1, READY_STATE)
    assert node.ballot.status_vote(1).value == ZERO_HASH
    node.state = HELD_STATE
    node.ballot.recall(node.memory())
    assert node.ballot.status_vote(1).value == certificate_hash(READY)


def test_own_votes_of_another_version_or_attempt_are_no_certificate() -> None:
    assert remembered(HELD_STATE, version(2), []).highest is None
    later = replace(DOCUMENT_1, count=2)
    cast = StoredVote(0, VoteKind.COMMIT, DOCUMENT_VALUE, encode(prepared(later, 0, ZERO_HASH)))
    found = remembered(VOTED_STATE, later, [cast]).highest
    assert found is not None
    assert found.backing == NOTHING


# --- what a liar cannot do --------------------------------------------------------------------


def status(
    of: NodeId, round_: int = 1, highest: Backed | None = None, subject: Subject = RECORD_1
) -> Status:
    named = certificate_hash(highest.certificate if highest is not None else None)
    signature = vote(VoteKind.STATUS, subject, round_, named, of)
    return Status(0, subject, round_, highest, signature)


def entered(state: KeyState = READY_STATE, subject: Subject = RECORD_1, round_: int = 1) -> Node:
    node = Node(NODES[0], subject, state)
    node.enter(round_)
    return node


def leading(state: KeyState = READY_STATE, subject: Subject = RECORD_1) -> Node:
    node = Node(PROPOSER, subject, state)
    node.enter(1)
    return node


THREE = [(node, None) for node in NODES[:3]]


def refused(node: Node, sender: NodeId, message: Any, why: str = "BAD") -> None:
    disk = dict(node.disk)
    with pytest.raises(Refused, match=why):
        node.ballot.handle(sender, message)
    assert node.disk == disk


def test_a_stranger_is_not_heard() -> None:
    refused(entered(), STRANGER, status(STRANGER), "not one of the voters")


def test_votes_for_rounds_that_nobody_comes_to() -> None:
    """They could be followed to where no next round can be written any more."""
    refused(entered(), NODES[1], status(NODES[1], round_=2**32 - 1), "no honest voter comes")


@pytest.mark.parametrize("kind", [VoteKind.PREPARE, VoteKind.COMMIT])
def test_a_status_is_signed_as_what_it_is(kind: VoteKind) -> None:
    signature = vote(kind, RECORD_1, 1, ZERO_HASH, NODES[2])
    refused(leading(), NODES[2], Status(0, RECORD_1, 1, None, signature))
    refused(entered(), NODES[2], Entered(0, RECORD_1, 2, ZERO_HASH, signature))


def test_a_status_goes_to_the_proposer_of_its_round() -> None:
    refused(entered(), NODES[2], status(NODES[2]), "does not propose")


OTHER = record(1)
FEW = holding(RECORD, NODES[:2])
WIDE = record(threshold=2)


@pytest.mark.parametrize(
    ("highest", "why"),
    [
        (Backed(prepared(RECORD_1, 1, ZERO_HASH), NOTHING), "later round"),
        (Backed(READY, NOTHING), "something else"),
        (Backed(READY, Backing(record=HeldRecord(OTHER, holding(OTHER)))), "something else"),
        (
            Backed(READY, Backing(record=HELD, document=HELD_DOCUMENT)),
            "not both",
        ),
        (Backed(prepared(RECORD_1, 0, RECORD.hash), Backing(record=HELD)), "READY signatures"),
        (Backed(FEW.prepares(RECORD), Backing(record=HELD)), "too few holders"),
        (Backed(READY, Backing(record=HeldRecord(RECORD, FEW))), "too few holders"),
        (
            Backed(holding(WIDE).prepares(WIDE), Backing(record=HeldRecord(WIDE, holding(WIDE)))),
            "too few holders",
        ),
        (Backed(prepared(RECORD_1, 0, ZERO_HASH, NODES[:2]), NOTHING), "too few nodes"),
        (
            Backed(prepared(RECORD_1, 0, DOCUMENT_VALUE), Backing(document=HELD_DOCUMENT)),
            "does not belong",
        ),
    ],
)
def test_a_certificate_proves_itself_to_the_proposer(highest: Backed, why: str) -> None:
    node = leading()
    refused(node, NODES[2], status(NODES[2], 1, highest), why)
    assert not any(isinstance(e, Send) for e in node.ballot.handle(NODES[3], status(NODES[3])))


def about(of: Any) -> Backed:
    held = HeldRecord(of, holding(of))
    return Backed(held.holding.prepares(of), Backing(record=held))


@pytest.mark.parametrize(
    "of",
    [
        record(key_id=OTHER_KEY),
        record(version=2),
        record(previous=TRANSCRIPT),
    ],
    ids=["key", "version", "previous"],
)
def test_a_record_belongs_to_the_subject(of: Any) -> None:
    refused(leading(), NODES[2], status(NODES[2], 1, about(of)), "does not belong")


def test_a_first_record_is_one_of_its_voters() -> None:
    smaller = replace(RECORD, committee=RECORD.committee[:3])
    refused(leading(), NODES[2], status(NODES[2], 1, about(smaller)), "another committee")


def test_a_threshold_that_needs_more_holders_needs_more_signatures() -> None:
    held = HeldRecord(WIDE, holding(WIDE, NODES))
    backed = Backed(held.holding.prepares(WIDE), Backing(record=held))
    node = leading()
    node.ballot.handle(NODES[2], status(NODES[2], 1, backed))
    assert NODES[2] in node.ballot._statuses


def test_two_holding_certificates_of_one_record_are_as_good_as_one() -> None:
    """A coordinator may have shown different ones; that must not stop the round."""
    other = holding(RECORD, NODES[1:])
    backing = Backing(record=HELD)
    both = proposal(
        (NODES[0], READY),
        (NODES[1], other.prepares(RECORD)),
        (NODES[2], None),
        backing=backing,
    )
    assert entered().ballot.handle(PROPOSER, both)


def test_a_document_key_is_prepared_by_votes_and_stored_under_the_record_in_force() -> None:
    state = KeyState(active=UNDER)
    backing = Backing(document=HELD_DOCUMENT)
    good = prepared(DOCUMENT_1, 0, DOCUMENT_VALUE)
    foreign = HeldDocument(TRANSCRIPT, document())
    foreign_value = document().hash_under(TRANSCRIPT)
    for lie, why in [
        (Backed(replace(good, transcript=TRANSCRIPT), backing), "no votes for a document"),
        (
            Backed(prepared(DOCUMENT_1, 0, foreign_value), Backing(document=foreign)),
            "does not belong",
        ),
        (BY_RECORD, "does not belong"),
    ]:
        node = leading(state, DOCUMENT_1)
        refused(node, NODES[2], status(NODES[2], 1, lie, DOCUMENT_1), why)


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (proposal(*THREE[:2]), "too few"),
        (proposal(*THREE[:2], THREE[0]), "twice"),
        (proposal(*THREE[:2], (STRANGER, None)), "stranger"),
        (replace(proposal(*THREE[:2], (NODES[2], READY)), certificates=()), "lacks"),
        (proposal(*THREE, backing=BY_RECORD.backing), "does not follow"),
        (proposal(*THREE[:2], (NODES[2], READY)), "does not follow"),
        (
            proposal(
                *THREE[:2],
                (NODES[2], FEW.prepares(RECORD)),
                backing=Backing(record=HeldRecord(RECORD, FEW)),
            ),
            "too few holders",
        ),
        (
            proposal(
                THREE[0],
                (NODES[1], FEW.prepares(RECORD)),
                (NODES[2], prepared(RECORD_1, 1, ZERO_HASH)),
                round_=2,
            ),
            "too few nodes",
        ),
    ],
)
def test_a_proposal_follows_from_the_status_of_a_quorum(lie: Proposal, why: str) -> None:
    refused(entered(), NODES[lie.round], lie, why)


def test_a_proposal_with_a_status_that_was_not_signed_is_refused() -> None:
    good = proposal(*THREE)
    swapped = replace(good.statuses[0], signature=good.statuses[1].signature)
    lie = replace(good, statuses=(swapped, *good.statuses[1:]))
    refused(entered(), PROPOSER, lie)


def test_only_the_proposer_proposes() -> None:
    refused(entered(), NODES[2], proposal(*THREE), "another node proposes")


def test_a_second_proposal_in_a_round_finds_no_vote() -> None:
    node = entered()
    for effect in node.ballot.handle(PROPOSER, proposal(*THREE)):
        if isinstance(effect, Persist):
            node.persist(effect)
    second = proposal(*THREE[:2], (NODES[2], READY), backing=BY_RECORD.backing)
    refused(node, PROPOSER, second, "another value")
    node.reboot()
    refused(node, PROPOSER, second, "another value")
    assert node.ballot.handle(PROPOSER, proposal(*THREE))


def test_the_past_is_over() -> None:
    node = entered(round_=2)
    assert node.ballot.handle(PROPOSER, proposal(*THREE)) == ()
    certificate = prepared(RECORD_1, 1, ZERO_HASH)
    assert node.ballot.handle(PROPOSER, PreparedValue(0, RECORD_1, certificate)) == ()
    old = vote(VoteKind.STATUS, RECORD_1, 1, ZERO_HASH, NODES[3])
    assert node.ballot.handle(NODES[3], Entered(0, RECORD_1, 1, ZERO_HASH, old)) == ()


def test_a_proposal_of_a_later_round_takes_a_voter_along() -> None:
    node = Node(NODES[0], RECORD_1, READY_STATE)
    assert node.ballot.handle(PROPOSER, proposal(*THREE)) == (Enter(1),)


def test_a_prepared_value_needs_a_quorum_and_the_proposal() -> None:
    node = entered()
    few = PreparedValue(0, RECORD_1, prepared(RECORD_1, 1, ZERO_HASH, NODES[:2]))
    good = PreparedValue(0, RECORD_1, prepared(RECORD_1, 1, ZERO_HASH))
    assert node.ballot.handle(PROPOSER, good) == ()
    node.ballot.handle(PROPOSER, proposal(*THREE))
    refused(node, PROPOSER, few, "too few nodes")
    other = PreparedValue(0, RECORD_1, prepared(RECORD_1, 1, RECORD.hash))
    two_faced = node.ballot.handle(PROPOSER, other)
    assert all(isinstance(effect, Report) for effect in two_faced)
    assert len(two_faced) == 3, "these voters have prepared another value in the same round"
    first = node.ballot.handle(PROPOSER, good)
    assert isinstance(first[0], Persist)
    again = node.ballot.handle(PROPOSER, good)
    assert again == first[1:]


def proposed() -> Node:
    node = leading()
    for voter in NODES[:3]:
        node.ballot.handle(voter, status(voter))
    assert node.ballot._lead is not None
    return node


def test_votes_for_something_else_are_refused() -> None:
    node = proposed()
    for kind, sent in ((VoteKind.PREPARE, PrepareVote), (VoteKind.COMMIT, CommitVote)):
        signature = vote(kind, RECORD_1, 1, RECORD.hash, NODES[2])
        refused(node, NODES[2], sent(0, RECORD_1, 1, RECORD.hash, signature), "not proposed")
        forged = vote(kind, RECORD_1, 1, ZERO_HASH, NODES[3])
        refused(node, NODES[2], sent(0, RECORD_1, 1, ZERO_HASH, forged))


def test_votes_that_nobody_collects_change_nothing() -> None:
    for sent, kind in ((PrepareVote, VoteKind.PREPARE), (CommitVote, VoteKind.COMMIT)):
        message = sent(0, RECORD_1, 1, ZERO_HASH, vote(kind, RECORD_1, 1, ZERO_HASH, NODES[2]))
        assert entered().ballot.handle(NODES[2], message) == ()
        assert leading().ballot.handle(NODES[2], message) == ()
        late = replace(message, round=2)
        assert proposed().ballot.handle(NODES[2], late) == ()


def test_one_voter_counts_once() -> None:
    node = proposed()
    signature = vote(VoteKind.PREPARE, RECORD_1, 1, ZERO_HASH, NODES[2])
    for _ in range(5):
        assert node.ballot.handle(NODES[2], PrepareVote(0, RECORD_1, 1, ZERO_HASH, signature)) == ()
    signature = vote(VoteKind.COMMIT, RECORD_1, 1, ZERO_HASH, NODES[2])
    for _ in range(5):
        assert node.ballot.handle(NODES[2], CommitVote(0, RECORD_1, 1, ZERO_HASH, signature)) == ()


def test_a_liar_alone_moves_nobody() -> None:
    node = Node(NODES[0], RECORD_1)
    named = vote(VoteKind.STATUS, RECORD_1, 9, ZERO_HASH, NODES[3])
    assert node.ballot.handle(NODES[3], Entered(0, RECORD_1, 9, ZERO_HASH, named)) == ()


def test_a_holding_certificate_for_another_transcript_is_checked_for_it() -> None:
    forged = HoldingCertificate(ZERO_HASH, HELD.holding.signatures)
    lie = Backed(forged.prepares(RECORD), Backing(record=HELD))
    refused(leading(), NODES[2], status(NODES[2], 1, lie))


# --- a record of another committee ---------------------------------------------------------------

MOVED = record(version=2, previous=RECORD.hash, nodes=OTHER_SET)
"""The successor of the record that the voters hold: others are to hold it."""
MOVED_HELD = HeldRecord(MOVED, holding(MOVED, tuple(SIGNERS)[:4]))
SECOND = version(2)
IN_FORCE = KeyState(active=UNDER)


def _status(certificate: PreparedCertificate, round_: int = 1) -> Status:
    backed = Backed(certificate, Backing(record=MOVED_HELD))
    named = certificate_hash(certificate)
    signature = vote(VoteKind.STATUS, SECOND, round_, named, NODES[0])
    return Status(0, SECOND, round_, backed, signature)


def _terms() -> Terms:
    return Terms(SECOND, NODES, None, RECORD.hash, PROPOSER, SIGNERS[PROPOSER])


def test_votes_of_the_old_committee_prepare_a_record_of_the_new_one() -> None:
    _terms().check_status(NODES[0], _status(prepared(SECOND, 0, MOVED.hash)))
    with pytest.raises(Refused):
        _terms().check_status(NODES[0], _status(prepared(SECOND, 0, MOVED.hash, NODES[:2])))


def test_a_record_of_the_new_committee_is_not_prepared_by_its_holders() -> None:
    ready = HoldingCertificate(TRANSCRIPT, holding(MOVED, NODES[:3]).signatures)
    with pytest.raises(Refused, match="no votes of the old committee"):
        _terms().check_status(NODES[0], _status(ready.prepares(MOVED)))


def test_the_holding_certificate_of_another_committee_is_no_vote() -> None:
    held = PreparedRecord(MOVED, None, TRANSCRIPT, MOVED_HELD.holding)
    known = remembered(replace(IN_FORCE, prepared=held), SECOND, ())
    assert known.highest is None
    same = record(version=2, previous=RECORD.hash)
    refreshed = PreparedRecord(same, None, TRANSCRIPT, holding(same))
    known = remembered(replace(IN_FORCE, prepared=refreshed), SECOND, ())
    assert known.highest is not None
    assert known.highest.certificate.value == same.hash


def test_a_commit_to_a_record_of_another_committee_is_remembered_with_it() -> None:
    held = PreparedRecord(MOVED, None, TRANSCRIPT, MOVED_HELD.holding)
    certificate = prepared(SECOND, 0, MOVED.hash)
    cast = StoredVote(0, VoteKind.COMMIT, MOVED.hash, encode(certificate))
    known = remembered(replace(IN_FORCE, prepared=held), SECOND, (cast,))
    assert known.highest == Backed(certificate, Backing(record=MOVED_HELD))
