"""Votes, decisions and certificates: what is signed, and when it counts.

Engine design, sections 4 and 7.6. Everything here is a check that raises `Refused`.
"""

import struct

from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId
from keyserver.model.keys import (
    CertifiedDocumentKey,
    CertifiedRecord,
    Decision,
    HoldingCertificate,
    KeyRecord,
    NodeSignature,
    PreparedCertificate,
)
from keyserver.model.quorums import Quorums
from keyserver.sessions.core import Refusal, Refused
from keyserver.sessions.identity import check_signature, digest, distinct_signers, node_bytes
from keyserver.sessions.writes import VoteKind

_TAG_OF_VOTE = {
    VoteKind.PREPARE: "tks/1/prepare",
    VoteKind.COMMIT: "tks/1/commit",
    VoteKind.STATUS: "tks/1/status",
}


def record_subject(key_id: KeyId, version: int) -> Hash32:
    """What the nodes decide about: the record of one version of a key."""
    return digest("tks/1/subject", b"\x01", key_id, struct.pack(">I", version))


def document_subject(key_id: KeyId, attempt: int) -> Hash32:
    """What the nodes decide about: the document key of one attempt to store."""
    return digest("tks/1/subject", b"\x02", key_id, struct.pack(">I", attempt))


def vote_digest(
    kind: VoteKind, subject: Hash32, round_: int, value: Hash32, node: NodeId
) -> Hash32:
    """What a vote signs: the value, or for STATUS the hash of the prepared certificate."""
    return digest(_TAG_OF_VOTE[kind], subject, struct.pack(">I", round_), value, node_bytes(node))


def ready_digest(record_hash: Hash32, transcript: Hash32, node: NodeId) -> Hash32:
    """What READY signs; it is also its signer's PREPARE of round 0."""
    return digest("tks/1/ready", record_hash, transcript, node_bytes(node))


def check_holding(
    record: KeyRecord,
    holding: HoldingCertificate,
    quorums: Quorums,
    *,
    own: NodeSignature | None = None,
) -> None:
    """Check that at least g members of the committee verified and stored their shares.

    `own` is the signature this node made itself: the very same one needs no check.
    """
    signers = distinct_signers(holding.signatures, record.nodes)
    if len(signers) < quorums.holders(record.threshold):
        raise Refused(Refusal.BAD, "too few holders signed the record")
    for entry in holding.signatures:
        if entry != own:
            signed = ready_digest(record.hash, holding.transcript, entry.node)
            check_signature(signed, entry.signature, entry.node)


def check_prepared(
    subject: Hash32, prepared: PreparedCertificate, voters: tuple[NodeId, ...], quorums: Quorums
) -> None:
    """Check that a quorum of the deciding committee prepared the certificate's value."""
    if len(distinct_signers(prepared.signatures, voters)) < quorums.agreement:
        raise Refused(Refusal.BAD, "too few nodes prepared the value")
    if prepared.transcript is not None and prepared.round != 0:
        raise Refused(Refusal.BAD, "READY signatures are votes of round 0 only")
    for entry in prepared.signatures:
        signed = (
            vote_digest(VoteKind.PREPARE, subject, prepared.round, prepared.value, entry.node)
            if prepared.transcript is None
            else ready_digest(prepared.value, prepared.transcript, entry.node)
        )
        check_signature(signed, entry.signature, entry.node)


def check_decision(
    subject: Hash32,
    decision: Decision,
    voters: tuple[NodeId, ...],
    quorums: Quorums,
    *,
    own: NodeSignature | None = None,
) -> None:
    """Check that a quorum of the deciding committee committed to the decision's value.

    `own` is this node's own COMMIT on this value in round 0: the very same one needs no check.
    """
    if len(distinct_signers(decision.signatures, voters)) < quorums.agreement:
        raise Refused(Refusal.BAD, "too few nodes committed to the decision")
    for entry in decision.signatures:
        if decision.round != 0 or entry != own:
            round_, value = decision.round, decision.value
            signed = vote_digest(VoteKind.COMMIT, subject, round_, value, entry.node)
            check_signature(signed, entry.signature, entry.node)


def check_skipped(
    key_id: KeyId,
    first_version: int,
    skipped: tuple[Decision, ...],
    voters: tuple[NodeId, ...],
    quorums: Quorums,
) -> None:
    """Check that each of the versions from `first_version` on was decided as *nothing*."""
    for version, decision in enumerate(skipped, first_version):
        if not decision.is_nothing:
            raise Refused(Refusal.BAD, f"version {version} was not decided as nothing")
        check_decision(record_subject(key_id, version), decision, voters, quorums)


def check_first_record(certified: CertifiedRecord, quorums: Quorums) -> None:
    """Check a record without a predecessor; its own committee decides.

    Whether that committee is one to believe is the caller's question (engine design, section 4,
    Acceptance).
    """
    record = certified.record
    if record.previous != ZERO_HASH or record.version != len(certified.skipped) + 1:
        raise Refused(Refusal.BAD, "the versions before the record are not accounted for")
    check_skipped(record.key_id, 1, certified.skipped, record.nodes, quorums)
    check_certificate(certified, record.nodes, quorums)


def check_certificate(
    certified: CertifiedRecord,
    voters: tuple[NodeId, ...],
    quorums: Quorums,
    *,
    of_holders: Quorums | None = None,
) -> None:
    """Check both parts of a record's certificate against the deciding committee.

    `of_holders` are the quorums of the record's own committee, if that is another one.
    """
    record, certificate = certified.record, certified.certificate
    if certificate.decision.value != record.hash:
        raise Refused(Refusal.BAD, "the decision is for another record")
    check_holding(record, certificate.holding, of_holders or quorums)
    subject = record_subject(record.key_id, record.version)
    check_decision(subject, certificate.decision, voters, quorums)


def check_document(
    key_id: KeyId, certified: CertifiedDocumentKey, record: KeyRecord, quorums: Quorums
) -> None:
    """Check that the committee of `record`, or an earlier one, decided on this document key.

    A record names the document key that was stored before it: then nothing else is needed.
    """
    if certified.document.hash == record.document:
        return
    if certified.record_hash != record.hash:
        raise Refused(Refusal.BAD, "the document key was stored under another record")
    value = certified.document.hash_under(record.hash)
    if certified.decision.value != value:
        raise Refused(Refusal.BAD, "the decision is for another document key")
    subject = document_subject(key_id, certified.attempt)
    check_decision(subject, certified.decision, record.nodes, quorums)
