"""Link messages as bytes: numbers that never change, and no other bytes than theirs."""

from dataclasses import replace

import pytest

from keyserver.engine.hints import Hints
from keyserver.engine.links import (
    LINK_CLASSES,
    Accusation,
    AnyLink,
    Backed,
    Backing,
    CataloguePage,
    CatalogueRequest,
    CommitVote,
    DecisionRequest,
    Digest,
    DigestRequest,
    Entered,
    Entry,
    Have,
    HeldDocument,
    HeldRecord,
    Holding,
    HoldingRequest,
    KeyFacts,
    Keys,
    KeysRequest,
    PreparedValue,
    PrepareVote,
    Proposal,
    Status,
    StatusVote,
    Subject,
    certificate_hash,
    pack_link,
    unpack_link,
)
from keyserver.model.codec import CodecError
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId
from keyserver.sessions.wire import LINK_TYPES
from keyserver.sessions.writes import VoteKind
from tests.unit.engine.signed_values import (
    DOCUMENT_1,
    KEY,
    NODES,
    OTHER_KEY,
    RECORD_1,
    TRANSCRIPT,
    certified,
    certified_document,
    decision,
    document,
    holding,
    prepared,
    record,
    vote,
)

RECORD = record()
HELD = HeldRecord(RECORD, holding(RECORD))
BACKED = Backed(prepared(RECORD_1, 0, ZERO_HASH), Backing())
SIGNED = vote(VoteKind.STATUS, RECORD_1, 1, ZERO_HASH, NODES[0])
FACTS = KeyFacts(
    KEY,
    certified(RECORD, (decision(RECORD_1),)),
    (decision(RECORD_1),),
    certified_document(RECORD),
    (decision(DOCUMENT_1),),
)

MESSAGES: list[AnyLink] = [
    DigestRequest(1),
    Digest(1, TRANSCRIPT, ZERO_HASH),
    CatalogueRequest(1, None, 4096),
    CatalogueRequest(1, KEY, 1),
    CataloguePage(1, (Entry(KEY, 1, RECORD.hash, 3),)),
    KeysRequest(1, (KEY, OTHER_KEY)),
    Keys(1, (FACTS, KeyFacts(OTHER_KEY, None, (), None, ()))),
    Have(1, KEY, RECORD.hash),
    HoldingRequest(1, KEY, 2),
    Holding(1, HELD),
    Holding(1, None),
    DecisionRequest(1, DOCUMENT_1),
    Status(0, RECORD_1, 1, BACKED, SIGNED),
    Entered(0, RECORD_1, 1, ZERO_HASH, SIGNED),
    Proposal(
        0,
        RECORD_1,
        1,
        (StatusVote(NODES[0], ZERO_HASH, SIGNED),),
        (BACKED.certificate,),
        Backing(record=HELD, document=HeldDocument(RECORD.hash, document())),
    ),
    PrepareVote(0, RECORD_1, 1, ZERO_HASH, SIGNED),
    PreparedValue(0, RECORD_1, BACKED.certificate),
    Accusation(0, b"TKSE" + bytes(90)),
    CommitVote(0, RECORD_1, 1, ZERO_HASH, SIGNED),
]


def test_the_numbers_stay() -> None:
    assert {number: kind.__name__ for number, kind in LINK_CLASSES.items()} == {
        0x0010: "DigestRequest",
        0x0011: "Digest",
        0x0012: "CatalogueRequest",
        0x0013: "CataloguePage",
        0x0014: "KeysRequest",
        0x0015: "Keys",
        0x0016: "Have",
        0x0020: "HoldingRequest",
        0x0021: "Holding",
        0x0022: "DecisionRequest",
        0x0023: "Status",
        0x0024: "Entered",
        0x0025: "Proposal",
        0x0026: "PrepareVote",
        0x0027: "PreparedValue",
        0x0028: "CommitVote",
        0x0030: "Accusation",
    }
    assert all(number in LINK_TYPES and number >= 0x10 for number in LINK_CLASSES)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: AnyLink) -> None:
    data = pack_link(message)
    assert data[:34] == message.TYPE.to_bytes(2, "big") + bytes(32)
    assert int.from_bytes(data[34:42], "big") == message.number
    assert unpack_link(data) == message
    for size in range(len(data)):
        if size < 200 or size % 37 == 0:
            with pytest.raises(CodecError):
                unpack_link(data[:size])
    with pytest.raises(CodecError):
        unpack_link(data + b"\x00")


def test_every_message_is_tried() -> None:
    assert {type(message) for message in MESSAGES} == set(LINK_CLASSES.values())


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\x00\x10" + bytes(31),
        b"\x00\x0f" + bytes(40),
        b"\x00\x10" + bytes(31) + b"\x01" + bytes(8),
        b"\x00\x22" + bytes(32) + bytes(8) + b"\x03" + bytes(36),
    ],
    ids=["empty", "short", "unknown type", "session id", "unknown subject"],
)
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(CodecError):
        unpack_link(junk)


def test_entries_say_what_a_node_has() -> None:
    flags = [
        (Entry(KEY, 1, ZERO_HASH, n).has_share, Entry(KEY, 1, ZERO_HASH, n).has_document)
        for n in range(4)
    ]
    assert flags == [(False, False), (True, False), (False, True), (True, True)]


def test_subjects_and_values_have_different_names() -> None:
    subjects = [
        RECORD_1,
        DOCUMENT_1,
        replace(RECORD_1, count=2),
        Subject(RECORD_1.kind, OTHER_KEY, 1),
    ]
    assert len({subject.hash for subject in subjects}) == len(subjects)
    held = HeldDocument(RECORD.hash, document())
    assert Backing().value == ZERO_HASH
    assert Backing(record=HELD).value == RECORD.hash
    assert Backing(document=held).value == document().hash_under(RECORD.hash)


def test_a_certificate_is_named_by_all_of_it() -> None:
    certificate = BACKED.certificate
    assert certificate_hash(None) == ZERO_HASH
    fewer = replace(certificate, signatures=certificate.signatures[1:])
    assert certificate_hash(certificate) != certificate_hash(fewer)


# --- what peers claim -------------------------------------------------------------------------


def test_claims_are_kept_by_key() -> None:
    hints = Hints()
    hints.add_holder(KEY, NODES[0])
    hints.add_holder(KEY, NODES[1])
    hints.report(KEY, NODES[0], TRANSCRIPT)
    hints.report(KEY, NODES[1], TRANSCRIPT)
    hints.report(KEY, NODES[1], ZERO_HASH)
    assert hints.holders(KEY) == {NODES[0], NODES[1]}
    assert hints.holders(OTHER_KEY) == frozenset()
    assert hints.reporters(KEY, TRANSCRIPT) == {NODES[0]}
    assert hints.reporters(OTHER_KEY, TRANSCRIPT) == frozenset()


def test_claims_are_bounded() -> None:
    hints = Hints(limit=2)
    for n in range(3):
        hints.add_holder(KeyId(bytes([n]) * 32), NODES[0])
        hints.report(KeyId(bytes([n]) * 32), NODES[0], Hash32(bytes(32)))
    assert [len(hints.holders(KeyId(bytes([n]) * 32))) for n in range(3)] == [0, 1, 1]
    assert [len(hints.reporters(KeyId(bytes([n]) * 32), ZERO_HASH)) for n in range(3)] == [0, 1, 1]
