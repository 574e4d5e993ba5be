"""Every kind of evidence convicts exactly the culprit, and nothing less than all of it does."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from keyserver.crypto.curve import SecretScalar, mul_base
from keyserver.crypto.transcripts import deal_hash, share_digest, tail_hash
from keyserver.model.codec import MAX_ITEMS
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId, Signature
from keyserver.sessions.conviction import HEADER_SIZE, MAGIC, reports_of
from keyserver.sessions.core import Received, SessionKind
from keyserver.sessions.evidence import (
    EVIDENCE_CLASSES,
    MAX_EVIDENCE_BYTES,
    RULE_TEXTS,
    Evidence,
    InvalidEvidenceError,
    Rule,
    UnknownEvidenceError,
    decode_evidence,
    encode_evidence,
    evidence_hash,
    judge,
    report_of,
)
from keyserver.sessions.retrieval.evidence import WrongPartial, WrongSelection
from keyserver.sessions.retrieval.messages import Select
from keyserver.sessions.retrieval.parts import decryption_of
from keyserver.sessions.retrieval.phases import AwaitingSelect
from keyserver.sessions.retrieval.proofs import select_hash
from keyserver.sessions.sharing.evidence import (
    JudgedComplaint,
    WrongDegree,
    WrongPossession,
    signed_complaint,
)
from keyserver.sessions.vote_evidence import Place, TwoVotes
from keyserver.sessions.writes import VoteKind
from tests.support.delivery import Delivery
from tests.support.evidence import NODES, reported, samples, two_votes
from tests.support.key_life import KEY_ID, generate, store, try_retrieve

NAMES = [
    "wrong share",
    "false complaint",
    "unproven complaint",
    "wrong possession",
    "too short",
    "too long",
    "wrong partial",
    "wrong plain partial",
    "wrong selection",
    "two readies",
    "two prepares",
    "two commits",
    "two statuses",
]
UNSIGNED = Signature(bytes(65))
STRANGER = NodeId.of(mul_base(SecretScalar.from_int(123)))


def acquitted(evidence: Evidence, why: str) -> None:
    with pytest.raises(InvalidEvidenceError, match=why):
        judge(evidence)


def test_there_is_a_sample_of_every_kind() -> None:
    assert list(samples()) == NAMES
    tried = {type(sample.evidence).KIND for sample in samples().values()}
    assert tried == {1, 2, 3, 4, 5, 6}, "those of share additions have tests of their own"


def test_kinds_and_rules_keep_their_numbers_and_names() -> None:
    known = {number: kind.__name__ for number, kind in EVIDENCE_CLASSES.items() if number < 7}
    assert known == {
        1: "JudgedComplaint",
        2: "WrongPossession",
        3: "WrongDegree",
        4: "WrongPartial",
        5: "WrongSelection",
        6: "TwoVotes",
    }
    assert set(RULE_TEXTS) == set(Rule)


@pytest.mark.parametrize("name", NAMES)
def test_the_culprit_is_convicted_by_the_bytes_alone(name: str) -> None:
    sample = samples()[name]
    data = encode_evidence(sample.evidence)
    assert data[: len(MAGIC)] == b"TKSE"
    conviction = judge(decode_evidence(data))
    assert (conviction.culprit, conviction.rule) == (sample.culprit, sample.rule)
    assert conviction.key_id == KEY_ID
    report = report_of(sample.evidence)
    assert (report.culprits, report.evidence) == (frozenset({sample.culprit}), data)
    assert reports_of(sample.evidence) == (report,)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_or_additional_byte_convicts_nobody(name: str) -> None:
    data = encode_evidence(samples()[name].evidence)
    for wrong in (b"", data[:3], data[:-1], data + b"\0", b"x" + data, data[1:]):
        with pytest.raises(InvalidEvidenceError):
            decode_evidence(wrong)
    assert len({evidence_hash(wrong) for wrong in (data, data[:-1], data + b"\0")}) == 3


def test_what_is_not_known_is_told_from_what_is_wrong() -> None:
    data = encode_evidence(samples()["two commits"].evidence)
    for at, value in ((len(MAGIC), 2), (HEADER_SIZE - 1, 0), (HEADER_SIZE - 1, 255)):
        with pytest.raises(UnknownEvidenceError):
            decode_evidence(data[:at] + bytes([value]) + data[at + 1 :])
    with pytest.raises(InvalidEvidenceError, match="longer"):
        decode_evidence(data + bytes(MAX_EVIDENCE_BYTES))


def test_the_same_deed_is_one_offence() -> None:
    kinds = {name: judge(sample.evidence) for name, sample in samples().items()}
    assert kinds["false complaint"].offence == kinds["unproven complaint"].offence
    assert kinds["wrong share"].offence != kinds["false complaint"].offence
    statuses = judge(two_votes(VoteKind.STATUS, round_=2).evidence)
    assert statuses.offence != judge(two_votes(VoteKind.STATUS, round_=3).evidence).offence


# --- deals -------------------------------------------------------------------------------------


def _other_params(**changes: Any) -> Callable[[Any], Any]:
    def change(evidence: Any) -> Any:
        params = replace(evidence.sitting.params, **changes)
        return replace(evidence, sitting=replace(evidence.sitting, params=params))

    return change


def _without_first(evidence: Any) -> Any:
    sitting = replace(evidence.sitting, participants=evidence.sitting.participants[1:])
    return replace(evidence, sitting=sitting)


def _disordered(evidence: Any) -> Any:
    sitting = replace(evidence.sitting, participants=evidence.sitting.participants[::-1])
    return replace(evidence, sitting=sitting)


SITTINGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another threshold": (_other_params(threshold=2), "not signed|is right"),
    "another session": (_other_params(sid=ZERO_HASH), "not signed"),
    "another kind": (_other_params(kind=SessionKind.STORING), "not those of a sharing|only deals"),
    "redistribution": (_other_params(kind=SessionKind.REDISTRIBUTION), "not signed|only deals"),
    "nobody in the committee": (_other_params(committee=()), "takes no part"),
    "fewer participants": (_without_first, "not signed|takes no part"),
    "another order": (_disordered, "canonical"),
}


@pytest.mark.parametrize("name", ["wrong share", "false complaint", "wrong possession", "too long"])
@pytest.mark.parametrize("change", SITTINGS)
def test_a_deal_of_another_sitting_convicts_nobody(name: str, change: str) -> None:
    altered, why = SITTINGS[change]
    acquitted(altered(samples()[name].evidence), why)


@pytest.mark.parametrize("name", ["wrong share", "false complaint"])
def test_a_complaint_needs_both_signatures(name: str) -> None:
    evidence = samples()[name].evidence
    assert isinstance(evidence, JudgedComplaint)
    complaint = evidence.complaint
    forged = replace(complaint, accuser_signature=UNSIGNED)
    acquitted(replace(evidence, complaint=forged), "the complaint is not signed")
    acquitted(replace(evidence, accuser=complaint.dealer), "about itself")
    acquitted(replace(evidence, accuser=STRANGER), "takes no part")
    acquitted(replace(evidence, complaint=replace(complaint, dealer=STRANGER)), "takes no part")
    acquitted(replace(evidence, complaint=replace(complaint, commitments=())), "no commitments")
    others = [p.node for p in evidence.sitting.participants]
    others = [node for node in others if node not in (evidence.accuser, complaint.dealer)]
    for other in others:
        acquitted(replace(evidence, accuser=other), "not signed")


def test_a_complaint_about_what_the_dealer_has_not_signed_convicts_nobody() -> None:
    """The accuser signs whatever it likes; without the dealer's signature it says nothing."""
    evidence = samples()["false complaint"].evidence
    assert isinstance(evidence, JudgedComplaint)
    invented = replace(evidence.complaint, signature=UNSIGNED)
    signer = Delivery(NODES).by_id[evidence.accuser].signer
    signed = signed_complaint(evidence.sitting.hash(), evidence.accuser, invented)
    invented = replace(invented, accuser_signature=signer.sign(signed))
    acquitted(replace(evidence, complaint=invented), "has not signed")


def test_a_proof_that_holds_convicts_nobody() -> None:
    complaint = samples()["wrong share"].evidence
    assert isinstance(complaint, JudgedComplaint)
    deal = complaint.complaint
    right = WrongPossession(
        complaint.sitting,
        deal.dealer,
        complaint.accuser,
        deal.commitments[0],
        deal.possession,
        Hash32(tail_hash(deal.commitments)),
        deal.ciphertext,
        deal.signature,
    )
    acquitted(right, "the proof of possession holds")
    acquitted(replace(right, signature=UNSIGNED), "not signed")
    degree = WrongDegree(
        complaint.sitting,
        deal.dealer,
        complaint.accuser,
        deal.commitments,
        deal.possession,
        deal.ciphertext,
        deal.signature,
    )
    acquitted(degree, "is right")
    acquitted(replace(degree, commitments=()), "no commitments")
    acquitted(replace(degree, commitments=deal.commitments[:1]), "not signed")


@pytest.mark.parametrize(
    ("coefficients", "proof_size", "why"),
    [(MAX_ITEMS + 1, 64, "no encoding"), (3, MAX_EVIDENCE_BYTES, "too long")],
)
def test_a_record_that_nobody_would_take_is_not_reported(
    coefficients: int, proof_size: int, why: str
) -> None:
    """A polynomial of thousands of coefficients is refused like any other of a wrong degree."""
    deal = samples()["too long"].evidence
    assert isinstance(deal, WrongDegree)
    commitments = deal.commitments[:1] * coefficients
    session, tail = deal.sitting.hash(), tail_hash(commitments)
    possession = bytes(proof_size)
    named = deal_hash(session, deal.dealer.point, commitments[0], possession, tail)
    receiver = deal.receiver.point
    signed = share_digest(session, deal.dealer.point, receiver, named, deal.ciphertext)
    signature = Delivery(NODES).by_id[deal.dealer].signer.sign(Hash32(signed))
    longest = replace(deal, commitments=commitments, possession=possession, signature=signature)
    assert judge(longest).culprit == deal.dealer
    with pytest.raises(InvalidEvidenceError, match=why):
        report_of(longest)
    assert reports_of(longest) == ()


# --- partial decryptions -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wrong partial", "wrong plain partial"])
def test_a_part_convicts_only_for_what_it_was_signed_for(name: str) -> None:
    evidence = samples()[name].evidence
    assert isinstance(evidence, WrongPartial)
    decryption, part = evidence.decryption, evidence.part
    other_record = replace(decryption.record, version=decryption.record.version + 1)
    for other in (
        replace(decryption, record=other_record),
        replace(decryption, mode=decryption.mode % 3 + 1),
        replace(decryption, common=STRANGER.point),
        replace(decryption, sid=type(decryption.sid)(ZERO_HASH)),
    ):
        acquitted(replace(evidence, decryption=other), "not signed")
    acquitted(replace(evidence, decryption=replace(decryption, mode=9)), "mode")
    acquitted(replace(evidence, part=replace(part, node=STRANGER)), "committee")
    acquitted(replace(evidence, part=replace(part, signature=UNSIGNED)), "not signed")


def test_honest_parts_and_selections_convict_nobody() -> None:
    net = Delivery(NODES)
    record = generate(net, 1)
    document = store(net, record)
    try_retrieve(net, record, document)
    selection = _honest_selection(net)
    acquitted(selection, "the selection is right")
    for part in selection.parts:
        acquitted(WrongPartial(selection.decryption, part), "the proof of the part holds")
    later = replace(selection.decryption.record, version=2)
    other = replace(selection.decryption, record=later)
    acquitted(replace(selection, decryption=other), "no part shows")
    acquitted(replace(selection, coordinator=STRANGER), "not signed")
    acquitted(replace(selection, parts=selection.parts[:1]), "not signed")
    acquitted(replace(selection, decryption=replace(other, mode=0)), "mode")
    assert reported(net) == []


def _honest_selection(net: Delivery) -> WrongSelection:
    moment = next(
        m
        for m in net.moments
        if isinstance(m.before, AwaitingSelect)
        and isinstance(m.event, Received)
        and isinstance(m.event.message, Select)
    )
    assert isinstance(moment.event, Received)
    select = moment.event.message
    decryption = decryption_of(moment.ctx, moment.before.subject)
    return WrongSelection(decryption, moment.ctx.coordinator, select.partials, select.signature)


def test_a_selection_of_invented_parts_alone_convicts_nobody() -> None:
    """Nothing in it says which record it is about: it might be shown with another one."""
    evidence = samples()["wrong selection"].evidence
    assert isinstance(evidence, WrongSelection)
    parts = tuple(replace(part, signature=UNSIGNED) for part in evidence.parts)
    signer = Delivery(NODES).by_id[evidence.coordinator].signer
    signature = signer.sign(select_hash(evidence.decryption.sid, parts))
    acquitted(replace(evidence, parts=parts, signature=signature), "no part shows")


# --- votes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two readies", "two prepares", "two commits", "two statuses"])
def test_votes_convict_only_where_they_were_given(name: str) -> None:
    evidence = samples()[name].evidence
    assert isinstance(evidence, TwoVotes)
    place = evidence.place
    acquitted(replace(evidence, second=evidence.first), "same value")
    acquitted(replace(evidence, voter=STRANGER), "not signed")
    for other in (
        replace(place, count=place.count + 1),
        replace(place, round=place.round + 1),
        replace(place, subject_kind=3 - place.subject_kind),
        replace(place, vote=place.vote % 3 + 1),
    ):
        acquitted(replace(evidence, place=other), "not signed|another record or round")
    for side in ("first", "second"):
        vote = getattr(evidence, side)
        unsigned = replace(vote, signature=UNSIGNED)
        acquitted(replace(evidence, **{side: unsigned}), "not signed")


def test_a_ready_stands_for_its_own_record_only() -> None:
    evidence = samples()["two readies"].evidence
    assert isinstance(evidence, TwoVotes)
    other = replace(evidence.first, value=Hash32(b"\x07" * 32))
    acquitted(replace(evidence, first=other), "another record")
    bare = replace(evidence.first, readiness=None)
    acquitted(replace(evidence, first=bare), "not signed")
    swapped = replace(evidence.first, readiness=evidence.second.readiness)
    acquitted(replace(evidence, first=swapped), "another record")


def test_places_of_unknown_kinds_do_not_parse() -> None:
    for subject_kind, vote in ((1, 0), (1, 4), (3, 1)):
        with pytest.raises(ValueError, match=r"kind|valid"):
            Place(subject_kind, KEY_ID, 1, 1, vote)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_matters(name: str) -> None:
    """No field can be taken from another record of the same kind without acquitting."""
    sample = samples()[name]
    others = [s.evidence for s in samples().values() if type(s.evidence) is type(sample.evidence)]
    for other in others:
        for entry in fields(sample.evidence):  # type: ignore[arg-type]
            spliced = replace(sample.evidence, **{entry.name: getattr(other, entry.name)})  # type: ignore[type-var]
            if spliced == sample.evidence:
                continue
            try:
                conviction = judge(spliced)
            except InvalidEvidenceError:
                continue
            assert conviction.culprit in (sample.culprit, judge(other).culprit)
