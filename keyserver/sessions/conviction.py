"""What evidence is: a record that convicts a node before anybody who reads it.

A record holds everything needed to judge it; whoever shows it is not trusted for anything. What
ties the culprit to the wrong thing is always the culprit's own signature, under a digest that names
the session or the subject: nothing else convicts (engine design, sections 7.4 and 17). The kinds of
records stand beside the protocols that produce them, their list in `keyserver.sessions.evidence`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from keyserver.crypto.curve import verify_digest
from keyserver.crypto.errors import CryptoError, InvalidSignatureError
from keyserver.errors import KeyServerError
from keyserver.model.codec import CodecError, encode
from keyserver.model.identifiers import Hash32, KeyId, NodeId, SessionId, Signature
from keyserver.sessions.core import Report
from keyserver.sessions.identity import digest, node_bytes

MAGIC = b"TKSE"
"""What an encoded record begins with, on the wire, in the database and in a file."""

FORMAT = 1
"""The version of the encoding, after the magic; then the kind of the record, then its fields."""

HEADER_SIZE = len(MAGIC) + 2

MAX_EVIDENCE_BYTES = 2**18
"""No record is longer: a committee of 256 nodes needs half of it."""


class Rule(StrEnum):
    """What a node must not do; the name is used in logs, metrics and the command line."""

    WRONG_SHARE = "wrong_share"
    FALSE_COMPLAINT = "false_complaint"
    WRONG_POSSESSION_PROOF = "wrong_possession_proof"
    WRONG_DEGREE = "wrong_degree"
    WRONG_CONSTANT = "wrong_constant"
    WRONG_PARTIAL = "wrong_partial"
    WRONG_SELECTION = "wrong_selection"
    WRONG_MASK = "wrong_mask"
    WRONG_BLINDED_SHARE = "wrong_blinded_share"
    WRONG_SIGNATURE_SHARE = "wrong_signature_share"
    WRONG_PRESIGNING_DEAL = "wrong_presigning_deal"
    WRONG_PRODUCT = "wrong_product"
    TWO_VOTES = "two_votes"


RULE_TEXTS = {
    Rule.WRONG_SHARE: "dealt a share that does not fit its own commitments",
    Rule.FALSE_COMPLAINT: "complained about a share that is right",
    Rule.WRONG_POSSESSION_PROOF: "dealt without knowing the constant of its polynomial",
    Rule.WRONG_DEGREE: "dealt a polynomial of another degree than the threshold",
    Rule.WRONG_CONSTANT: "redistributed something else than its own share",
    Rule.WRONG_PARTIAL: "signed a partial decryption that its share does not give",
    Rule.WRONG_SELECTION: "signed a selection of partial decryptions that does not verify",
    Rule.WRONG_MASK: "dealt a mask that is not zero where it must be, or does not fit",
    Rule.WRONG_BLINDED_SHARE: "gave a late node a value that its share does not give",
    Rule.WRONG_SIGNATURE_SHARE: "signed a part of a signature that its share does not give",
    Rule.WRONG_PRESIGNING_DEAL: "dealt numbers for a presignature that do not fit its commitments",
    Rule.WRONG_PRODUCT: "signed a part of a presignature's product that it was not dealt",
    Rule.TWO_VOTES: "voted for two values in one round",
}
"""Each rule as a sentence whose subject is the culprit."""


class InvalidEvidenceError(KeyServerError):
    """A record that convicts nobody; the message says why."""

    code = "InvalidEvidence"


class UnknownEvidenceError(InvalidEvidenceError):
    """A record of a format or kind that a newer program has written."""


@dataclass(frozen=True, slots=True)
class Conviction:
    """Who broke which rule, and in what."""

    culprit: NodeId
    rule: Rule
    key_id: KeyId
    session: SessionId | None
    """The session it happened in; `None` for what is not bound to one."""
    place: bytes
    """What tells apart offences against the same rule: the session or the subject and round."""

    @property
    def offence(self) -> Hash32:
        """The name of the offence: however often it is reported, and by whom, it is one."""
        return digest("tks/1/offence", self.rule.encode(), node_bytes(self.culprit), self.place)


class Evidence(Protocol):
    """A kind of record: a frozen dataclass of encodable fields."""

    KIND: ClassVar[int]
    """Never reused."""

    def judge(self) -> Conviction:
        """Name the culprit; raises `InvalidEvidenceError` or `CryptoError` if none."""
        ...


def encode_evidence(evidence: Evidence) -> bytes:
    """The record as it is sent, kept and saved to a file."""
    return MAGIC + bytes([FORMAT, evidence.KIND]) + encode(evidence)


def evidence_hash(data: bytes) -> Hash32:
    """The name of an encoded record."""
    return digest("tks/1/evidence", data)


def judge(evidence: Evidence) -> Conviction:
    """Who broke which rule; raises `InvalidEvidenceError` if the record convicts nobody."""
    try:
        return evidence.judge()
    except CryptoError as problem:
        raise InvalidEvidenceError(str(problem)) from problem


def report_of(evidence: Evidence) -> Report:
    """What a session reports about a culprit; raises `InvalidEvidenceError` as `judge` does."""
    conviction = judge(evidence)
    try:
        data = encode_evidence(evidence)
    except CodecError as problem:
        raise InvalidEvidenceError(f"the record has no encoding: {problem}") from problem
    if len(data) > MAX_EVIDENCE_BYTES:
        raise InvalidEvidenceError("the record is too long")
    return Report(frozenset({conviction.culprit}), RULE_TEXTS[conviction.rule], data)


def reports_of(*candidates: Evidence) -> tuple[Report, ...]:
    """A report for the first of these records that convicts; none if none does."""
    for candidate in candidates:
        try:
            return (report_of(candidate),)
        except InvalidEvidenceError:
            continue
    return ()


def check_signed(signed: bytes, signature: Signature, node: NodeId, what: str) -> None:
    """Raise `InvalidEvidenceError` unless `node` signed the digest."""
    if not is_signed(signed, signature, node):
        raise InvalidEvidenceError(f"{what} is not signed by {node.short}")


def is_signed(signed: bytes, signature: Signature, node: NodeId) -> bool:
    """Whether `node` signed the digest."""
    try:
        verify_digest(signed, signature, node.point)
    except InvalidSignatureError:
        return False
    return True
