"""Four voters with keys, and records, certificates and decisions that they really signed."""

from dataclasses import replace

from keyserver.crypto.curve import Point, SecretScalar, sign_digest
from keyserver.engine.links import Subject, SubjectKind
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, KeyId, NodeId, Signature
from keyserver.model.keys import (
    Certificate,
    CertifiedDocumentKey,
    CertifiedRecord,
    Decision,
    DocumentKey,
    HoldingCertificate,
    KeyRecord,
    KeyShare,
    NodeSignature,
    PreparedCertificate,
)
from keyserver.model.node_set import NodeSet
from keyserver.sessions.certificates import ready_digest, vote_digest
from keyserver.sessions.writes import VoteKind

KEY = KeyId(b"\x00" * 31 + b"\x07")
OTHER_KEY = KeyId(b"\x00" * 31 + b"\x08")
TRANSCRIPT = Hash32(b"t" * 32)
CONTRACT = Address(b"\xc0" * 20)


class Signing:
    def __init__(self, secret: SecretScalar) -> None:
        self._secret = secret

    def sign(self, digest: Hash32) -> Signature:
        return Signature(sign_digest(self._secret, digest))


def _signers(first: int, count: int) -> dict[NodeId, Signing]:
    secrets = [SecretScalar.from_int(n) for n in range(first, first + count)]
    return dict(sorted((NodeId.of(s.public()), Signing(s)) for s in secrets))


SIGNERS = _signers(1, 5)
NODES = tuple(SIGNERS)[:4]
"""The current set: n = 4, f = 1, a quorum is 3."""
STRANGER = tuple(SIGNERS)[4]
SET = NodeSet(1, CONTRACT, NODES)
OTHER_SET = NodeSet(1, CONTRACT, tuple(SIGNERS))

RECORD_1 = Subject(SubjectKind.RECORD, KEY, 1)
DOCUMENT_1 = Subject(SubjectKind.DOCUMENT, KEY, 1)


def point(n: int) -> Point:
    return SecretScalar.from_int(n).public()


def record(
    flavour: int = 0,
    *,
    key_id: KeyId = KEY,
    version: int = 1,
    previous: Hash32 = ZERO_HASH,
    threshold: int = 1,
    nodes: NodeSet = SET,
) -> KeyRecord:
    return KeyRecord(
        record_format=1,
        key_id=key_id,
        author=Address(b"\xa1" * 20),
        threshold=threshold,
        public=point(1000),
        version=version,
        previous=previous,
        set_id=nodes.id,
        document=ZERO_HASH,
        committee=nodes.committee,
        commitments=(point(1000), *(point(2000 + flavour + i) for i in range(threshold))),
    )


def share() -> KeyShare:
    return KeyShare(SET.committee[0].x, SecretScalar.from_int(77))


def holding(of: KeyRecord, by: tuple[NodeId, ...] = NODES[:3]) -> HoldingCertificate:
    signatures = tuple(
        NodeSignature(node, SIGNERS[node].sign(ready_digest(of.hash, TRANSCRIPT, node)))
        for node in by
    )
    return HoldingCertificate(TRANSCRIPT, signatures)


def vote(kind: VoteKind, subject: Subject, round_: int, value: Hash32, by: NodeId) -> Signature:
    return SIGNERS[by].sign(vote_digest(kind, subject.hash, round_, value, by))


def votes(
    kind: VoteKind, subject: Subject, round_: int, value: Hash32, by: tuple[NodeId, ...]
) -> tuple[NodeSignature, ...]:
    return tuple(NodeSignature(node, vote(kind, subject, round_, value, node)) for node in by)


def prepared(
    subject: Subject, round_: int, value: Hash32, by: tuple[NodeId, ...] = NODES[:3]
) -> PreparedCertificate:
    signatures = votes(VoteKind.PREPARE, subject, round_, value, by)
    return PreparedCertificate(round_, value, None, signatures)


def decision(
    subject: Subject,
    value: Hash32 = ZERO_HASH,
    round_: int = 0,
    by: tuple[NodeId, ...] = NODES[:3],
) -> Decision:
    return Decision(round_, value, votes(VoteKind.COMMIT, subject, round_, value, by))


def certified(
    of: KeyRecord, skipped: tuple[Decision, ...] = (), by: tuple[NodeId, ...] = NODES[:3]
) -> CertifiedRecord:
    subject = Subject(SubjectKind.RECORD, of.key_id, of.version)
    certificate = Certificate(holding(of, by), decision(subject, of.hash, by=by))
    return CertifiedRecord(of, certificate, skipped)


def version(number: int) -> Subject:
    return replace(RECORD_1, count=number)


def attempt(number: int) -> Subject:
    return replace(DOCUMENT_1, count=number)


def document(n: int = 0) -> DocumentKey:
    return DocumentKey(point(3000 + n), point(4000 + n))


def certified_document(
    under: KeyRecord, n: int = 0, number: int = 1, by: tuple[NodeId, ...] = NODES[:3]
) -> CertifiedDocumentKey:
    value = document(n).hash_under(under.hash)
    return CertifiedDocumentKey(
        document(n), under.hash, number, decision(attempt(number), value, by=by)
    )
