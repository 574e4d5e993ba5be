"""Evidence: who cheated, in a form that anybody can check, anywhere, at any time.

    judge(decode_evidence(data))   # → Conviction, or InvalidEvidenceError

One encoding serves the wire, the database and files: `TKSE || u8 format || u8 kind || fields`.
A new kind is a class beside its protocol (`keyserver.sessions.conviction.Evidence`), with a `KIND`
that was never used before, and a place in the list here.
"""

from collections.abc import Mapping

from keyserver.model.codec import CodecError, decode
from keyserver.sessions.conviction import (
    FORMAT,
    HEADER_SIZE,
    MAGIC,
    MAX_EVIDENCE_BYTES,
    RULE_TEXTS,
    Conviction,
    Evidence,
    InvalidEvidenceError,
    Rule,
    UnknownEvidenceError,
    encode_evidence,
    evidence_hash,
    judge,
    report_of,
    reports_of,
)
from keyserver.sessions.ecdsa_presigning.evidence import WrongPresigningDeal, WrongProduct
from keyserver.sessions.ecdsa_signing.evidence import WrongEcdsaShare
from keyserver.sessions.frost_signing.evidence import WrongSignatureShare
from keyserver.sessions.retrieval.evidence import WrongPartial, WrongSelection
from keyserver.sessions.share_addition.evidence import (
    WrongBlinded,
    WrongMask,
    WrongMaskValue,
)
from keyserver.sessions.sharing.evidence import (
    JudgedComplaint,
    WrongConstant,
    WrongDegree,
    WrongPossession,
)
from keyserver.sessions.vote_evidence import TwoVotes

_ALL: tuple[type[Evidence], ...] = (
    JudgedComplaint,
    WrongPossession,
    WrongDegree,
    WrongConstant,
    WrongPartial,
    WrongSelection,
    WrongMask,
    WrongMaskValue,
    WrongBlinded,
    WrongSignatureShare,
    WrongPresigningDeal,
    WrongProduct,
    WrongEcdsaShare,
    TwoVotes,
)

EVIDENCE_CLASSES: Mapping[int, type[Evidence]] = {kind.KIND: kind for kind in _ALL}


def decode_evidence(data: bytes) -> Evidence:
    """Parse a record; raises `InvalidEvidenceError`, whatever the bytes are."""
    if len(data) > MAX_EVIDENCE_BYTES:
        raise InvalidEvidenceError(f"longer than {MAX_EVIDENCE_BYTES} bytes")
    if len(data) < HEADER_SIZE or not data.startswith(MAGIC):
        raise InvalidEvidenceError("this is no evidence: it does not begin with TKSE")
    form, number = data[len(MAGIC) : HEADER_SIZE]
    if form != FORMAT:
        raise UnknownEvidenceError(f"format {form} is not known; this program knows {FORMAT}")
    kind = EVIDENCE_CLASSES.get(number)
    if kind is None:
        raise UnknownEvidenceError(f"kind {number} is not known")
    try:
        return decode(kind, data[HEADER_SIZE:])
    except CodecError as problem:
        raise InvalidEvidenceError(f"damaged: {problem}") from problem


__all__ = [
    "EVIDENCE_CLASSES",
    "MAX_EVIDENCE_BYTES",
    "RULE_TEXTS",
    "Conviction",
    "Evidence",
    "InvalidEvidenceError",
    "Rule",
    "UnknownEvidenceError",
    "decode_evidence",
    "encode_evidence",
    "evidence_hash",
    "judge",
    "report_of",
    "reports_of",
]
