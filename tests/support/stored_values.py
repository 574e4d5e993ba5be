"""Valid values to store: records with their certificates, shares, document keys, requests."""

from keyserver.crypto.curve import Point, Scalar, SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.randomness import SystemRandom
from keyserver.model.identifiers import (
    ZERO_HASH,
    Address,
    Hash32,
    KeyId,
    NodeId,
    Signature,
)
from keyserver.model.keys import (
    Certificate,
    CertifiedDocumentKey,
    CertifiedRecord,
    CommitteeMember,
    Decision,
    DocumentKey,
    HoldingCertificate,
    KeyRecord,
    KeyShare,
    NodeSignature,
)
from keyserver.sealing.keyring import Keyring
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.secret_key import SecretKey
from keyserver.tasks.model import SeenRequest, Sighting, TaskKey, TaskKind

NODES = sorted(NodeId.of(SecretScalar.from_int(n).public()) for n in (1, 2, 3))


def key_id(n: int) -> KeyId:
    return KeyId(n.to_bytes(32, "big"))


def digest(label: str) -> Hash32:
    return Hash32(keccak256(label.encode()))


def point(n: int) -> Point:
    return SecretScalar.from_int(n).public()


def record(key: int = 1, version: int = 1, flavour: int = 0) -> KeyRecord:
    """A record of a key; another flavour is another record of the same version."""
    return KeyRecord(
        record_format=1,
        key_id=key_id(key),
        author=Address(bytes(19) + b"\x01"),
        threshold=1,
        public=point(1000 + key),
        version=version,
        previous=ZERO_HASH,
        set_id=digest("set"),
        document=ZERO_HASH,
        committee=tuple(CommitteeMember(node, Scalar(x)) for x, node in enumerate(NODES, 1)),
        commitments=(point(1000 + key), point(2000 + flavour)),
    )


def share(n: int) -> KeyShare:
    """A share whose 32 bytes are easy to find in a file."""
    return KeyShare(Scalar(1), SecretScalar(share_bytes(n)))


def share_bytes(n: int) -> bytes:
    return b"\x11" + keccak256(b"share" + n.to_bytes(4, "big"))[1:]


def signatures(label: str) -> tuple[NodeSignature, ...]:
    mark = keccak256(label.encode())
    return tuple(NodeSignature(node, Signature(mark + mark + b"\x00")) for node in NODES)


def holding(label: str = "holding") -> HoldingCertificate:
    return HoldingCertificate(digest("transcript"), signatures(label))


def decision(value: Hash32 = ZERO_HASH, label: str = "decision") -> Decision:
    return Decision(0, value, signatures(label))


def certified(decided: KeyRecord, skipped: tuple[Decision, ...] = ()) -> CertifiedRecord:
    certificate = Certificate(holding(), decision(decided.hash))
    return CertifiedRecord(decided, certificate, skipped)


def document(n: int = 1) -> DocumentKey:
    return DocumentKey(point(3000 + n), point(4000 + n))


def certified_document(n: int = 1, attempt: int = 1) -> CertifiedDocumentKey:
    record_hash = record().hash
    value = document(n).hash_under(record_hash)
    return CertifiedDocumentKey(document(n), record_hash, attempt, decision(value))


def keyring() -> Keyring:
    return Keyring.first(bytes(range(16)), SecretKey(keccak256(b"term")), 1_700_000_000_000)


def boxes() -> SecretBoxes:
    return SecretBoxes(keyring(), SystemRandom())


CHAIN = 31337


def task_key(key: int = 1, kind: TaskKind = TaskKind.GENERATE_SERVER_KEY) -> TaskKey:
    return TaskKey(CHAIN, Address(b"\xc0" * 20), kind, key_id(key))


def request(
    key: int = 1, block: int = 10, payload: bytes = b"p", log_index: int | None = 0
) -> SeenRequest:
    seen = Sighting(block, digest(f"block {block}"), log_index)
    return SeenRequest(task_key(key), payload, seen)
