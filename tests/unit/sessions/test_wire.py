from dataclasses import replace
from typing import Any

import pytest

from keyserver.model.codec import CodecError
from keyserver.model.identifiers import SessionId
from keyserver.sessions.core import SessionType
from keyserver.sessions.messages import Cancel, Refuse
from keyserver.sessions.registry import MESSAGE_TABLE, SESSION_TYPES
from keyserver.sessions.sharing import GENERATION
from keyserver.sessions.wire import LINK_TYPES, MessageTable, message_type, pack

SID = SessionId(b"\x51" * 32)


def test_a_message_is_its_type_its_session_and_its_fields() -> None:
    data = pack(SID, Refuse(5))
    assert data == b"\xff\x01" + SID + b"\x00\x05"
    assert message_type(data) == 0xFF01
    assert MESSAGE_TABLE.unpack(data) == (SID, Refuse(5))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "shorter than its header"),
        (b"\xff\x01" + bytes(31), "shorter than its header"),
        (b"\xee\x01" + bytes(40), "0xee01 is not known"),
        (b"\xff\x01" + SID, "missing"),
        (b"\xff\x01" + SID + bytes(3), "too many"),
    ],
)
def test_other_bytes_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        MESSAGE_TABLE.unpack(data)


def test_a_number_means_one_message() -> None:
    class Impostor(Cancel):
        TYPE = Refuse.TYPE

    with pytest.raises(ValueError, match="0xff01 is used twice"):
        MessageTable([replace(GENERATION, messages=(Impostor,))])


NUMBERS = {
    "generation": [*range(0x0101, 0x010F)],
    "redistribution": [
        *(0x0201, 0x0102, 0x0202),
        *range(0x0104, 0x010D),
        *(0x0203, 0x0204, 0x0205, 0x010D, 0x010E),
    ],
    "storing": [*range(0x0301, 0x0306)],
    "retrieval": [*range(0x0401, 0x0406)],
    "frost_signing": [*range(0x0501, 0x0507)],
    "ecdsa_presigning": [*range(0x0601, 0x060E)],
    "ecdsa_signing": [*range(0x0701, 0x0705)],
    "set_change": [*range(0x0A01, 0x0A08)],
    "share_addition": [*range(0x0801, 0x080A)],
}
NAMES = {
    "generation": (
        "Propose Accept Start Deal Shares Ok Investigate AllCommitments Complaint Finalize Ready "
        "Cert Commit Installed"
    ),
    "redistribution": (
        "Redistribute Accept Handover Deal Shares Ok Investigate AllCommitments Complaint Finalize "
        "Ready Cert Certified Prepare Prepared Commit Installed"
    ),
    "storing": "StorePropose StoreAck StoreCert StoreCommit Stored",
    "retrieval": "DecRequest Partial Select Shadow Done",
    "ecdsa_presigning": (
        "PresignPropose PresignAccept PresignStart PresignDeal PresignDeals PresignAgreed "
        "AllAgreed ProductPart Presigned PresignatureKept PresignInvestigate PresignLists "
        "PresignComplaint"
    ),
    "ecdsa_signing": "EcdsaRequest EcdsaPart EcdsaWhole EcdsaSigned",
    "frost_signing": ("SignRequest NonceCommitments Package SignatureShare Signed Unneeded"),
    "set_change": (
        "ChangePropose ChangeAccept ChangeKeepAlive ChangeFreeze ChangeFrozen ChangeDone "
        "ChangeExecuted"
    ),
    "share_addition": (
        "AddPropose AddAccept AddStart AddMask AddMasks AddBlinded AddInvestigate AddCommitments "
        "AddComplaint"
    ),
}


@pytest.mark.parametrize("session_type", SESSION_TYPES, ids=lambda t: t.name)
def test_numbers_are_never_reused(session_type: SessionType[Any]) -> None:
    """They are part of the protocol: a change here is a change of what nodes understand."""
    name, messages = session_type.name, session_type.messages
    assert [message.TYPE for message in messages] == NUMBERS[name]
    assert [message.__name__ for message in messages] == NAMES[name].split()
    shared = {0x01} if name == "redistribution" else set()  # with generation
    assert {message.TYPE >> 8 for message in messages} == {session_type.kind, *shared}
    assert not messages[0].TO_COORDINATOR
    assert not {message.TYPE for message in messages} & set(LINK_TYPES)


def test_all_messages_of_all_sessions_are_known() -> None:
    known = {kind.TYPE for kind in (Refuse, Cancel)} | {
        n for numbers in NUMBERS.values() for n in numbers
    }
    assert set(MESSAGE_TABLE.classes) == known
