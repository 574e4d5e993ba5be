"""A voter with two faces is caught by whoever sees both."""

from dataclasses import replace

import pytest

from keyserver.engine.links import (
    Backed,
    Backing,
    CommitVote,
    Entered,
    HeldRecord,
    PreparedValue,
    PrepareVote,
    Proposal,
    Status,
    StatusVote,
    Vote,
    certificate_hash,
)
from keyserver.engine.vote_book import MAX_PLACES, VoteBook
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId, Signature
from keyserver.model.keys import KeyRecord
from keyserver.sessions.core import Report
from keyserver.sessions.evidence import Rule, decode_evidence, judge
from keyserver.sessions.writes import VoteKind
from tests.unit.engine.signed_values import (
    DOCUMENT_1,
    NODES,
    RECORD_1,
    holding,
    prepared,
    record,
    vote,
)

LIAR = NODES[3]
HONEST = NODES[:2]
ONE, OTHER = record(0), record(1)
VALUE = Hash32(b"\x01" * 32)
CERTIFICATE = prepared(RECORD_1, 1, ZERO_HASH)


def backed(of: KeyRecord, by: tuple[NodeId, ...]) -> Backed:
    held = holding(of, by)
    return Backed(held.prepares(of), Backing(record=HeldRecord(of, held)))


def status(round_: int, highest: Backed | None) -> Status:
    named = certificate_hash(highest.certificate if highest else None)
    signature = vote(VoteKind.STATUS, RECORD_1, round_, named, LIAR)
    return Status(0, RECORD_1, round_, highest, signature)


def entered(round_: int, named: Hash32) -> Entered:
    signature = vote(VoteKind.STATUS, RECORD_1, round_, named, LIAR)
    return Entered(0, RECORD_1, round_, named, signature)


def prepare(value: Hash32) -> PrepareVote:
    return PrepareVote(0, RECORD_1, 1, value, vote(VoteKind.PREPARE, RECORD_1, 1, value, LIAR))


def commit(value: Hash32) -> CommitVote:
    return CommitVote(0, RECORD_1, 1, value, vote(VoteKind.COMMIT, RECORD_1, 1, value, LIAR))


def proposal(named: Hash32) -> Proposal:
    signature = vote(VoteKind.STATUS, RECORD_1, 2, named, LIAR)
    statuses = (StatusVote(LIAR, named, signature),)
    return Proposal(0, RECORD_1, 2, statuses, (CERTIFICATE,), Backing())


def by_liar(value: Hash32) -> PreparedValue:
    return PreparedValue(0, RECORD_1, prepared(RECORD_1, 1, value, (LIAR,)))


TWO_FACES: dict[str, tuple[Vote, Vote]] = {
    "READY for two records": (
        status(1, backed(ONE, (*HONEST, LIAR))),
        status(2, backed(OTHER, (NODES[2], LIAR))),
    ),
    "two PREPAREs": (prepare(ZERO_HASH), prepare(VALUE)),
    "PREPARE and a certificate": (prepare(VALUE), by_liar(ZERO_HASH)),
    "two COMMITs": (commit(ZERO_HASH), commit(VALUE)),
    "two STATUS": (entered(2, ZERO_HASH), entered(2, VALUE)),
    "STATUS and a proposal": (entered(2, VALUE), proposal(ZERO_HASH)),
}


def culprits(reports: tuple[Report, ...]) -> set[tuple[NodeId, Rule]]:
    convictions = [judge(decode_evidence(report.evidence)) for report in reports]
    return {(conviction.culprit, conviction.rule) for conviction in convictions}


@pytest.mark.parametrize("name", TWO_FACES)
def test_two_faces_are_seen(name: str) -> None:
    for first, second in (TWO_FACES[name], TWO_FACES[name][::-1]):
        book = VoteBook(RECORD_1)
        assert book.note(LIAR, first) == ()
        assert book.note(LIAR, first) == ()
        assert culprits(book.note(LIAR, second)) == {(LIAR, Rule.TWO_VOTES)}


def test_what_is_not_signed_is_not_remembered() -> None:
    """Nobody puts a vote into another's mouth, nor hides the real one behind it."""
    book = VoteBook(RECORD_1)
    forged = replace(commit(VALUE), signature=Signature(bytes(65)))
    assert book.note(LIAR, forged) == ()
    assert book.note(LIAR, commit(ZERO_HASH)) == ()
    assert book.note(LIAR, forged) == ()
    assert len(book.note(LIAR, commit(VALUE))) == 1


def test_a_certificate_without_its_record_says_nothing() -> None:
    book = VoteBook(RECORD_1)
    good = backed(ONE, NODES)
    assert book.note_certificate(good) == ()
    other = backed(OTHER, NODES)
    assert book.note_certificate(replace(other, backing=Backing())) == ()
    assert book.note_certificate(replace(other, backing=good.backing)) == ()
    assert len(book.note_certificate(other)) == len(NODES)


def test_votes_on_other_subjects_are_other_votes() -> None:
    book = VoteBook(DOCUMENT_1)
    assert book.note(LIAR, commit(VALUE)) == ()
    assert book.note(LIAR, commit(ZERO_HASH)) == ()
    assert book.note_certificate(backed(ONE, NODES)) == ()
    assert book.note_certificate(backed(OTHER, NODES)) == ()


def test_a_voter_in_many_rounds_costs_little() -> None:
    book = VoteBook(RECORD_1)
    for round_ in range(1, MAX_PLACES + 10):
        assert book.note(LIAR, entered(round_, ZERO_HASH)) == ()
    assert len(book._votes) == MAX_PLACES
    assert book.note(LIAR, entered(MAX_PLACES + 5, VALUE)) == ()
    assert len(book.note(LIAR, entered(MAX_PLACES, VALUE))) == 1
