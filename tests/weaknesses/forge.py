"""Records, votes and certificates as an attacker makes them: signed by whoever he can sign for."""

from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.engine.links import KeyFacts, Subject, SubjectKind
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, KeyId, NodeId, Signature
from keyserver.model.keys import (
    Certificate,
    CertifiedDocumentKey,
    CertifiedRecord,
    Decision,
    DocumentKey,
    HoldingCertificate,
    KeyRecord,
    NodeSignature,
    PreparedCertificate,
)
from keyserver.model.node_set import NodeSet
from keyserver.sessions.certificates import ready_digest, vote_digest
from keyserver.sessions.core import Signer
from keyserver.sessions.writes import VoteKind
from tests.weaknesses.by_hand import point

TRANSCRIPT = Hash32(b"t" * 32)

Signers = dict[NodeId, Signer]


class Own:
    """A key the attacker has made up."""

    def __init__(self, secret: SecretScalar) -> None:
        self._secret = secret

    def sign(self, digest: Hash32) -> Signature:
        return Signature(sign_digest(self._secret, digest))


def invented(count: int) -> Signers:
    """Nodes that exist only in the attacker's mind, in canonical order."""
    secrets = [SecretScalar.from_int(9000 + number) for number in range(count)]
    made: Signers = {NodeId.of(s.public()): Own(s) for s in secrets}
    return dict(sorted(made.items()))


def set_of(signers: Signers) -> NodeSet:
    return NodeSet(1, Address(bytes(20)), tuple(sorted(signers)))


def first_record(key_id: KeyId, nodes: NodeSet, *, threshold: int = 1) -> KeyRecord:
    """A record whose private key the attacker knows."""
    return KeyRecord(
        record_format=1,
        key_id=key_id,
        author=Address(b"\x66" * 20),
        threshold=threshold,
        public=point(1000),
        version=1,
        previous=ZERO_HASH,
        set_id=nodes.id,
        document=ZERO_HASH,
        committee=nodes.committee,
        commitments=tuple(point(1000 + k) for k in range(threshold + 1)),
    )


def successor(of: KeyRecord, nodes: NodeSet, **changes: Any) -> KeyRecord:
    """A record that continues another one on another committee."""
    commitments = (of.public, *(point(2000 + k) for k in range(of.threshold)))
    moved = replace(
        of,
        version=of.version + 1,
        previous=of.hash,
        set_id=nodes.id,
        committee=nodes.committee,
        commitments=commitments,
    )
    return replace(moved, **changes)


def subject_of(record: KeyRecord) -> Subject:
    return Subject(SubjectKind.RECORD, record.key_id, record.version)


def votes(
    kind: VoteKind, subject: Subject, round_: int, value: Hash32, by: Signers
) -> tuple[NodeSignature, ...]:
    return tuple(
        NodeSignature(node, signer.sign(vote_digest(kind, subject.hash, round_, value, node)))
        for node, signer in by.items()
    )


def holding(record: KeyRecord, by: Signers, transcript: Hash32 = TRANSCRIPT) -> HoldingCertificate:
    return HoldingCertificate(
        transcript,
        tuple(
            NodeSignature(node, signer.sign(ready_digest(record.hash, transcript, node)))
            for node, signer in by.items()
        ),
    )


def prepared(subject: Subject, round_: int, value: Hash32, by: Signers) -> PreparedCertificate:
    return PreparedCertificate(
        round_, value, None, votes(VoteKind.PREPARE, subject, round_, value, by)
    )


def decision(
    subject: Subject, value: Hash32, by: Signers, *, round_: int = 0, as_kind: Any = VoteKind.COMMIT
) -> Decision:
    return Decision(round_, value, votes(as_kind, subject, round_, value, by))


def certified(
    record: KeyRecord, holders: Signers, deciders: Signers, *skipped: Decision
) -> CertifiedRecord:
    certificate = Certificate(
        holding(record, holders), decision(subject_of(record), record.hash, deciders)
    )
    return CertifiedRecord(record, certificate, skipped)


def stored(record: KeyRecord, document: DocumentKey, by: Signers) -> CertifiedDocumentKey:
    subject = Subject(SubjectKind.DOCUMENT, record.key_id, 1)
    value = document.hash_under(record.hash)
    return CertifiedDocumentKey(document, record.hash, 1, decision(subject, value, by))


def facts(
    record: CertifiedRecord | None = None,
    *,
    key_id: KeyId | None = None,
    skipped: tuple[Decision, ...] = (),
    document: CertifiedDocumentKey | None = None,
    document_skipped: tuple[Decision, ...] = (),
) -> KeyFacts:
    name = key_id if key_id is not None else record.record.key_id if record is not None else None
    assert name is not None
    return KeyFacts(name, record, skipped, document, document_skipped)
