"""Nodes, records and shares with valid defaults."""

from collections.abc import Sequence

from keyserver.crypto.curve import Scalar, SecretScalar
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, KeyId, NodeId
from keyserver.model.keys import RECORD_FORMAT, CommitteeMember, KeyRecord
from keyserver.model.node_set import NodeSet


def node_secrets(count: int) -> list[SecretScalar]:
    """Node keys, in canonical order of their nodes."""
    secrets = [SecretScalar.from_int(1000 + i) for i in range(count)]
    return sorted(secrets, key=lambda secret: NodeId.of(secret.public()))


def nodes_of(count: int) -> tuple[NodeId, ...]:
    """The nodes of `node_secrets`."""
    return tuple(NodeId.of(secret.public()) for secret in node_secrets(count))


def node_set_of(count: int) -> NodeSet:
    """A set of these nodes on chain 1."""
    return NodeSet(1, Address(bytes(20)), nodes_of(count))


def record_of(
    nodes: Sequence[NodeId],
    *,
    threshold: int,
    key_id: KeyId | None = None,
    author: Address | None = None,
    version: int = 1,
) -> KeyRecord:
    """A record whose committee is `nodes`."""
    polynomial = SecretPolynomial.random(threshold, SeededRandom(b"record"))
    commitments = polynomial.commit()
    return KeyRecord(
        RECORD_FORMAT,
        key_id or KeyId(b"\x4b" * 32),
        author or Address(b"\xa1" * 20),
        threshold,
        commitments[0],
        version,
        ZERO_HASH,
        NodeSet(1, Address(bytes(20)), tuple(nodes)).id,
        Hash32(bytes(32)),
        tuple(CommitteeMember(node, Scalar(i)) for i, node in enumerate(nodes, 1)),
        commitments,
    )
