"""A peer can withhold, not invent: what is taken over of its facts, and what is refused."""

from dataclasses import replace

import pytest

from keyserver.engine.acceptance import (
    Trust,
    accept,
    facts_of,
    is_decided,
    is_empty,
    next_count,
    voters,
    with_decision,
)
from keyserver.engine.links import Backing, HeldDocument, HeldRecord, KeyFacts, SubjectKind
from keyserver.model.keys import Certificate, CertifiedRecord
from keyserver.sessions.core import DocumentCandidate, KeyState, PreparedRecord, Refused
from keyserver.sessions.writes import PutActive, PutDocument, PutDocumentNothing, PutNothing
from tests.unit.engine.signed_values import (
    DOCUMENT_1,
    KEY,
    NODES,
    OTHER_KEY,
    OTHER_SET,
    RECORD_1,
    SET,
    SIGNERS,
    TRANSCRIPT,
    attempt,
    certified,
    certified_document,
    decision,
    document,
    holding,
    record,
    share,
    version,
)

TRUST = Trust(SET)
FIRST = certified(record())
EMPTY = KeyFacts(KEY, None, (), None, ())
NEW = KeyState()
ACTIVE = KeyState(active=FIRST)
SKIPPED_1 = decision(RECORD_1)


def facts(
    of: object = None, skipped: tuple[object, ...] = (), doc: object = None, *doc_skipped: object
) -> KeyFacts:
    return KeyFacts(KEY, of, skipped, doc, doc_skipped)  # type: ignore[arg-type]


# --- records ----------------------------------------------------------------------------------


def test_a_certified_record_of_the_current_set_is_taken_over() -> None:
    assert accept(facts(FIRST), NEW, TRUST) == (PutActive(FIRST),)


def test_what_is_known_already_is_no_news() -> None:
    assert accept(facts(FIRST), ACTIVE, TRUST) == ()
    assert accept(EMPTY, ACTIVE, TRUST) == ()
    assert accept(EMPTY, NEW, TRUST) == ()


def test_a_record_of_another_key_is_refused() -> None:
    with pytest.raises(Refused, match="another key"):
        accept(facts(certified(record(key_id=OTHER_KEY))), NEW, TRUST)


@pytest.mark.parametrize(
    "lie",
    [
        certified(record(), by=NODES[:2]),
        replace(FIRST, certificate=certified(record(1)).certificate),
        replace(FIRST, record=record(1)),
        certified(record(), (SKIPPED_1,)),
        certified(record(version=2)),
        certified(record(previous=TRANSCRIPT)),
        certified(record(version=2), (decision(RECORD_1, by=NODES[:2]),)),
    ],
    ids=["few", "other certificate", "other record", "skips too much", "gap", "previous", "skip"],
)
def test_a_record_that_does_not_prove_itself_is_refused(lie: object) -> None:
    with pytest.raises(Refused):
        accept(facts(lie), NEW, TRUST)


def test_a_record_after_failed_attempts_brings_their_decisions() -> None:
    later = certified(record(version=2), (SKIPPED_1,))
    assert accept(facts(later), NEW, TRUST) == (PutActive(later),)


def test_an_unknown_committee_is_passed_over_with_all_that_hangs_on_it() -> None:
    foreign = certified(record(nodes=OTHER_SET), by=tuple(SIGNERS)[:4])
    everything = facts(foreign, (), certified_document(foreign.record, by=tuple(SIGNERS)[:4]))
    assert accept(everything, NEW, TRUST) == ()


def test_an_unknown_committee_is_believed_for_a_reason() -> None:
    foreign = certified(record(nodes=OTHER_SET), by=tuple(SIGNERS)[:4])
    held = Trust(SET, committees={foreign.record.committee})
    vouched = Trust(SET, vouched={foreign.record.hash})
    own = PreparedRecord(foreign.record, share(), TRANSCRIPT, None)
    assert accept(facts(foreign), NEW, held) == (PutActive(foreign),)
    assert accept(facts(foreign), NEW, vouched) == (PutActive(foreign),)
    assert accept(facts(foreign), KeyState(prepared=own), TRUST) == (PutActive(foreign),)


def test_a_record_without_an_own_share_is_no_reason_to_believe_its_committee() -> None:
    foreign = certified(record(nodes=OTHER_SET), by=tuple(SIGNERS)[:4])
    told = PreparedRecord(foreign.record, None, TRANSCRIPT, holding(foreign.record, NODES))
    assert accept(facts(foreign), KeyState(prepared=told), TRUST) == ()


def test_coordinates_that_nobody_prescribed_are_not_believed() -> None:
    odd = replace(record(), set_id=OTHER_SET.id)
    assert accept(facts(certified(odd)), NEW, TRUST) == ()


def test_a_successor_continues_the_record_this_node_holds() -> None:
    later = certified(record(version=2, previous=FIRST.record.hash))
    assert accept(facts(later), ACTIVE, TRUST) == (PutActive(later),)
    skipping = certified(record(version=3, previous=FIRST.record.hash), (decision(version(2)),))
    assert accept(facts(skipping), ACTIVE, TRUST) == (PutActive(skipping),)


@pytest.mark.parametrize(
    "lie",
    [
        certified(record(version=2)),
        certified(record(version=2, previous=FIRST.record.hash, threshold=2)),
        certified(record(version=3, previous=FIRST.record.hash)),
        certified(record(version=3, previous=FIRST.record.hash), (SKIPPED_1,)),
        certified(record(version=2, previous=FIRST.record.hash), by=NODES[:2]),
    ],
    ids=["previous", "threshold", "gap", "wrong skip", "few"],
)
def test_a_successor_that_does_not_continue_is_refused(lie: object) -> None:
    with pytest.raises(Refused):
        accept(facts(lie), ACTIVE, TRUST)


def test_a_successor_of_another_committee() -> None:
    """The old one decides, the new one holds; each has its own quorum."""
    new = tuple(SIGNERS)
    later = record(version=2, previous=FIRST.record.hash, nodes=OTHER_SET)
    certificate = Certificate(holding(later, new[:4]), decision(version(2), later.hash))
    moved = CertifiedRecord(later, certificate)
    assert accept(facts(moved), ACTIVE, TRUST) == (PutActive(moved),)
    too_few = replace(certificate, holding=holding(later, new[:3]))
    by_others = replace(certificate, decision=decision(version(2), later.hash, by=new[2:]))
    for wrong in (too_few, by_others):
        with pytest.raises(Refused):
            accept(facts(replace(moved, certificate=wrong)), ACTIVE, TRUST)


MISSED = record(1, version=2, previous=FIRST.record.hash)
"""A version between the one that is held here and the one that comes."""
LAST = certified(record(2, version=3, previous=MISSED.hash))


@pytest.mark.parametrize("state", [NEW, ACTIVE], ids=["new", "behind"])
def test_a_record_after_versions_unknown_here_is_believed_if_vouched_for(state: KeyState) -> None:
    assert accept(facts(LAST), state, TRUST) == ()
    vouched = Trust(SET, vouched={LAST.record.hash})
    assert accept(facts(LAST), state, vouched) == (PutActive(LAST),)
    few = replace(LAST.certificate, holding=holding(LAST.record, NODES[:2]))
    for wrong in (few, FIRST.certificate):
        with pytest.raises(Refused):
            accept(facts(replace(LAST, certificate=wrong)), state, vouched)


def test_an_unknown_predecessor_does_not_change_the_key() -> None:
    other = certified(record(version=3, previous=MISSED.hash, threshold=2))
    with pytest.raises(Refused):
        accept(facts(other), ACTIVE, Trust(SET, vouched={other.record.hash}))


# --- versions given up ------------------------------------------------------------------------


def test_versions_given_up_are_taken_over_from_the_first_unknown_one() -> None:
    both = (SKIPPED_1, decision(version(2)))
    assert accept(facts(None, both), NEW, TRUST) == (
        PutNothing(KEY, 1, both[0]),
        PutNothing(KEY, 2, both[1]),
    )
    known = KeyState(skipped=both[:1])
    assert accept(facts(None, both), known, TRUST) == (PutNothing(KEY, 2, both[1]),)
    assert accept(facts(None, both[:1]), known, TRUST) == ()


def test_versions_given_up_after_a_record_come_with_it() -> None:
    after = (decision(version(2)),)
    assert accept(facts(FIRST, after), NEW, TRUST) == (
        PutActive(FIRST),
        PutNothing(KEY, 2, after[0]),
    )
    assert accept(facts(None, after), ACTIVE, TRUST) == ()


@pytest.mark.parametrize(
    "lie", [decision(RECORD_1, by=NODES[:2]), decision(version(2)), decision(RECORD_1, TRANSCRIPT)]
)
def test_a_version_that_was_not_given_up_is_refused(lie: object) -> None:
    with pytest.raises(Refused):
        accept(facts(None, (lie,)), NEW, TRUST)


def test_who_prepared_a_record_knows_its_voters() -> None:
    foreign = record(nodes=OTHER_SET)
    own = KeyState(prepared=PreparedRecord(foreign, share(), TRANSCRIPT, None))
    given_up = decision(RECORD_1, by=tuple(SIGNERS)[1:])
    assert accept(facts(None, (given_up,)), own, TRUST) == (PutNothing(KEY, 1, given_up),)


# --- document keys ----------------------------------------------------------------------------


def test_a_document_key_is_taken_over_with_its_record_or_after_it() -> None:
    stored = certified_document(FIRST.record)
    assert accept(facts(FIRST, (), stored), NEW, TRUST) == (
        PutActive(FIRST),
        PutDocument(KEY, stored),
    )
    assert accept(facts(FIRST, (), stored), ACTIVE, TRUST) == (PutDocument(KEY, stored),)
    assert accept(facts(FIRST, (), stored), replace(ACTIVE, document=stored), TRUST) == ()


def test_a_document_key_needs_its_record_here() -> None:
    stored = certified_document(record(1))
    assert accept(facts(None, (), stored), NEW, TRUST) == ()
    assert accept(facts(FIRST, (), stored), ACTIVE, TRUST) == ()


def test_a_document_key_that_was_not_decided_is_refused() -> None:
    with pytest.raises(Refused):
        accept(facts(FIRST, (), certified_document(FIRST.record, by=NODES[:2])), ACTIVE, TRUST)


def test_a_record_proves_the_document_key_that_it_names() -> None:
    stored = certified_document(FIRST.record, by=NODES[:1])
    later = replace(record(version=2, previous=FIRST.record.hash), document=stored.document.hash)
    moved = certified(later)
    assert accept(facts(moved, (), stored), ACTIVE, TRUST) == (
        PutActive(moved),
        PutDocument(KEY, stored),
    )
    other = certified_document(FIRST.record, 1)
    assert accept(facts(moved, (), other), ACTIVE, TRUST) == (PutActive(moved),)


def test_attempts_given_up_under_another_version_are_no_news() -> None:
    first = decision(DOCUMENT_1)
    moved = certified(record(version=2, previous=FIRST.record.hash))
    assert accept(facts(FIRST, (), None, first), KeyState(active=moved), TRUST) == ()
    count = moved.record.first_attempt
    given_up = decision(attempt(count))
    writes = (PutActive(moved), PutDocumentNothing(KEY, count, given_up))
    assert accept(facts(moved, (), None, given_up), ACTIVE, TRUST) == writes


def test_attempts_given_up_are_taken_over() -> None:
    first, second = decision(DOCUMENT_1), decision(attempt(2))
    writes = (PutDocumentNothing(KEY, 1, first), PutDocumentNothing(KEY, 2, second))
    assert accept(facts(FIRST, (), None, first, second), ACTIVE, TRUST) == writes
    known = replace(ACTIVE, document_skipped=(first,))
    assert accept(facts(FIRST, (), None, first, second), known, TRUST) == writes[1:]


@pytest.mark.parametrize("lie", [decision(DOCUMENT_1, TRANSCRIPT), decision(attempt(2))])
def test_an_attempt_that_was_not_given_up_is_refused(lie: object) -> None:
    with pytest.raises(Refused):
        accept(facts(FIRST, (), None, lie), ACTIVE, TRUST)


# --- what a node says, and knows --------------------------------------------------------------


def test_facts_are_what_was_decided() -> None:
    state = KeyState(active=FIRST, share=share(), skipped=(decision(version(2)),))
    assert facts_of(KEY, state) == facts(FIRST, state.skipped)
    assert not is_empty(facts_of(KEY, state))
    assert is_empty(facts_of(KEY, KeyState(prepared=None)))


def test_a_decision_joins_the_facts() -> None:
    given_up = KeyState(skipped=(SKIPPED_1,))
    second, nothing = record(version=2), decision(version(2))
    after = with_decision(version(2), given_up, nothing, Backing())
    assert after == facts(None, (SKIPPED_1, nothing))

    whole = certified(second, (SKIPPED_1,))
    backing = Backing(record=HeldRecord(second, whole.certificate.holding))
    after = with_decision(version(2), given_up, whole.certificate.decision, backing)
    assert after == facts(whole)

    stored = certified_document(FIRST.record)
    backing = Backing(document=HeldDocument(FIRST.record.hash, document()))
    assert with_decision(DOCUMENT_1, ACTIVE, stored.decision, backing) == facts(FIRST, (), stored)
    after = with_decision(DOCUMENT_1, ACTIVE, decision(DOCUMENT_1), Backing())
    assert after == facts(FIRST, (), None, decision(DOCUMENT_1))


def test_voters_are_the_committee_that_decides() -> None:
    foreign = record(nodes=OTHER_SET)
    held = KeyState(prepared=PreparedRecord(foreign, None, TRANSCRIPT, None))
    assert voters(RECORD_1, NEW, SET) == NODES
    assert voters(RECORD_1, held, SET) == OTHER_SET.nodes
    assert voters(version(2), KeyState(active=FIRST), OTHER_SET) == NODES
    assert voters(DOCUMENT_1, NEW, SET) == ()
    assert voters(DOCUMENT_1, ACTIVE, OTHER_SET) == NODES


def test_what_is_decided_here() -> None:
    state = KeyState(active=FIRST, skipped=(decision(version(2)),))
    assert [is_decided(version(n), state) for n in (1, 2, 3)] == [True, True, False]
    assert next_count(SubjectKind.RECORD, state) == 3
    candidate = DocumentCandidate(1, FIRST.record.hash, document())
    assert not is_decided(DOCUMENT_1, replace(state, document_candidate=candidate))
    assert is_decided(attempt(9), replace(state, document=certified_document(FIRST.record)))
    assert next_count(SubjectKind.DOCUMENT, state) == 1
