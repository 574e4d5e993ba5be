"""Names of sessions, and signatures over tagged hashes (engine design, sections 2 and 5.5)."""

import itertools
import struct
from collections.abc import Iterable, Sequence

from keyserver.crypto.curve import verify_digest
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.crypto.hashing import tagged_hash
from keyserver.model.identifiers import Hash32, NodeId, Nonce32, SessionId, Signature
from keyserver.model.keys import NodeSignature
from keyserver.sessions.core import Refusal, Refused, SessionKind


def session_id(
    kind: SessionKind, coordinator: NodeId, boot_nonce: Nonce32, counter: int, request_hash: Hash32
) -> SessionId:
    """The id of the `counter`-th session of a coordinator's process."""
    text = bytes([kind]) + node_bytes(coordinator) + boot_nonce
    text += struct.pack(">Q", counter) + request_hash
    return SessionId(tagged_hash("tks/1/sid", text))


def node_bytes(node: NodeId) -> bytes:
    """The 33-byte encoding of a node in hashes."""
    return bytes([2 | (node[63] & 1)]) + node[:32]


def digest(tag: str, *parts: bytes) -> Hash32:
    """`H(tag, parts joined)`: what nodes sign and prove about."""
    return Hash32(tagged_hash(tag, b"".join(parts)))


def is_canonical(nodes: Sequence[NodeId]) -> bool:
    """Whether a list of nodes is ascending and without duplicates."""
    return all(a < b for a, b in itertools.pairwise(nodes))


def check_signature(signed: Hash32, signature: Signature, node: NodeId) -> None:
    """Raise `Refused` unless `node` signed the digest."""
    try:
        verify_digest(signed, signature, node.point)
    except InvalidSignatureError as problem:
        raise Refused(Refusal.BAD, f"signature of {node.short}: {problem}") from problem


def distinct_signers(signatures: Iterable[NodeSignature], members: Iterable[NodeId]) -> set[NodeId]:
    """The signers of a list; raises `Refused` for one twice or not among `members`."""
    nodes = [entry.node for entry in signatures]
    if len(set(nodes)) != len(nodes) or not set(nodes) <= set(members):
        raise Refused(Refusal.BAD, "a certificate is signed twice by one node, or by a stranger")
    return set(nodes)
