"""Keys made beforehand, as if nodes had generated them, and written into the nodes' databases.

One process that has all node keys deals every key, signs for everybody and writes what each node
would have: record, certificate, share, document key. Generating as many over the network would take
ten times as long.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.static_network import NodeFiles
from keyserver.app.clock import SystemClock
from keyserver.app.config import load
from keyserver.app.store import opened_store
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point, SecretScalar, sign_digest
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.crypto.randomness import SystemRandom
from keyserver.crypto.vss import deal
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, Signature
from keyserver.model.keys import (
    RECORD_FORMAT,
    Certificate,
    CertifiedDocumentKey,
    CertifiedRecord,
    Decision,
    DocumentKey,
    HoldingCertificate,
    KeyRecord,
    KeyShare,
    NodeSignature,
)
from keyserver.model.node_set import NodeSet, static_set_contract
from keyserver.model.quorums import Quorums
from keyserver.sessions.certificates import (
    document_subject,
    ready_digest,
    record_subject,
    vote_digest,
)
from keyserver.sessions.writes import PutActive, PutDocument, PutPrepared, VoteKind, Write

TOGETHER = 500
"""Keys that are written in one transaction."""

_RNG = SystemRandom()


@dataclass(frozen=True)
class SeededKey:
    """A key, and what its owner knows."""

    key_id: KeyId
    requester: SecretScalar
    document_key: Point
    record: CertifiedRecord
    shares: tuple[KeyShare, ...]
    """In the order of the committee."""
    document: CertifiedDocumentKey


def node_set(nodes: Sequence[NodeFiles]) -> NodeSet:
    """These nodes as the set of a network without a chain and without a name."""
    return NodeSet.of(0, static_set_contract(""), {node.id for node in nodes})


def make_key(nodes: Sequence[NodeFiles], threshold: int) -> SeededKey:
    """Deal a key to these nodes, with a document key, and certify both."""
    holders = sorted(nodes, key=lambda node: node.id)
    requester = SecretScalar.random(_RNG)
    key_id = Wallet(requester).new_key_id(_RNG)
    committee = node_set(nodes).committee
    places = [member.x for member in committee]
    commitments, shares = deal(threshold, places, _RNG)
    record = KeyRecord(
        RECORD_FORMAT,
        key_id,
        Wallet(requester).address,
        threshold,
        commitments[0],
        1,
        ZERO_HASH,
        node_set(nodes).id,
        ZERO_HASH,
        committee,
        commitments,
    )
    document_key = SecretScalar.random(_RNG).public()
    sealed = encrypt_document_key(record.public, document_key, _RNG)
    document = DocumentKey(sealed.common, sealed.encrypted)
    value = document.hash_under(record.hash)
    return SeededKey(
        key_id,
        requester,
        document_key,
        CertifiedRecord(record, Certificate(_held(record, holders), _decided(record, holders))),
        tuple(KeyShare(x, share) for x, share in zip(places, shares, strict=True)),
        CertifiedDocumentKey(
            document, record.hash, 1, _voted(document_subject(key_id, 1), value, holders)
        ),
    )


def _held(record: KeyRecord, holders: Sequence[NodeFiles]) -> HoldingCertificate:
    transcript = Hash32(_RNG.bytes(32))
    return HoldingCertificate(
        transcript,
        tuple(_signed(node, ready_digest(record.hash, transcript, node.id)) for node in holders),
    )


def _decided(record: KeyRecord, holders: Sequence[NodeFiles]) -> Decision:
    return _voted(record_subject(record.key_id, record.version), record.hash, holders)


def _voted(subject: Hash32, value: Hash32, voters: Sequence[NodeFiles]) -> Decision:
    quorum = Quorums.of(len(voters)).agreement
    votes = [
        _signed(node, vote_digest(VoteKind.COMMIT, subject, 0, value, node.id))
        for node in voters[:quorum]
    ]
    return Decision(0, value, tuple(votes))


def _signed(node: NodeFiles, digest: Hash32) -> NodeSignature:
    return NodeSignature(node.id, Signature(sign_digest(node.secret, digest)))


async def write_keys(keys: Sequence[SeededKey], nodes: Sequence[NodeFiles]) -> None:
    """Write keys into the databases of their holders, which must not run."""
    for node in nodes:
        clock = SystemClock()
        async with opened_store(load(node.config), node.id, random=_RNG, clock=clock) as store:
            for first in range(0, len(keys), TOGETHER):
                some = keys[first : first + TOGETHER]
                await asyncio.gather(*(store.records.commit(_rows(key, node)) for key in some))


def _rows(key: SeededKey, node: NodeFiles) -> list[Write]:
    certified = key.record
    place = certified.record.nodes.index(node.id)
    transcript = certified.certificate.holding.transcript
    return [
        PutPrepared(certified.record, key.shares[place], transcript),
        PutActive(certified),
        PutDocument(key.key_id, key.document),
    ]
