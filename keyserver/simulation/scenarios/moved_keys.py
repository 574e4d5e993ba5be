"""What must hold of a key that has gone from one node set to another.

It is on the last set, with shares there and nowhere else; its record was decided by a set before.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, islice

from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.keys import CertifiedRecord
from keyserver.sessions.core import KeyState
from keyserver.simulation.scenarios.invariants import (
    MAX_COMBINATIONS,
    check_document,
    check_holding_of,
    check_moved_record,
    check_record,
    check_shares_of,
)
from keyserver.simulation.scenarios.violation import require
from keyserver.storage.stored_key import StoredKey

Set = frozenset[NodeId]


def check_moved_key(key_id: KeyId, stored: Mapping[NodeId, StoredKey], sets: Sequence[Set]) -> None:
    """Raise `Violation` unless a key is with the last of these sets, which came one by one.

    `stored`: what is on the disk of every honest node.
    """
    states = {node: key.state for node, key in stored.items()}
    name, last = key_id.hex()[:8], sets[-1]
    records = {s.active.record.hash: s.active for n, s in states.items() if s.active and n in last}
    if not records:
        return
    require(len(records) == 1, "nodes disagree about a record", name)
    (certified,) = records.values()
    record = certified.record
    require(set(record.nodes) == last, "a key is on another set than the current one", name)
    _check_certificate(certified, sets)
    _check_documents(key_id, certified, states)
    shares = [s.share for node, s in states.items() if s.share is not None and node in last]
    strays = [n.short for n, s in states.items() if s.share is not None and n not in last]
    require(not strays, "who has left holds a share", f"{name}: {strays}")
    for node, key in stored.items():
        left = key.shares.keys() - ({record.version} if node in last else set())
        require(not left, "an old share was not erased", f"{name}: {node.short}")
    check_shares_of(record, shares)
    require(len(shares) >= record.required_nodes, "too few nodes hold a share", name)
    for chosen in islice(combinations(shares, record.required_nodes), MAX_COMBINATIONS):
        secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
        require(secret.public() == record.public, "shares do not open the key", name)


def _check_certificate(certified: CertifiedRecord, sets: Sequence[Set]) -> None:
    """A first record is its committee's own; a later one was decided by another set."""
    record = certified.record
    if record.version == 1:
        check_record(certified, len(sets[-1]))
        return
    check_holding_of(record, certified.certificate.holding, len(record.committee))
    check_moved_record(certified, sets)


def _check_documents(
    key_id: KeyId, certified: CertifiedRecord, states: Mapping[NodeId, KeyState]
) -> None:
    """What was stored before the key has moved is named in its record; the rest is decided."""
    record = certified.record
    held = [state.document for state in states.values() if state.document is not None]
    documents = {each.document for each in held}
    require(len(documents) <= 1, "nodes disagree about a document key", key_id.hex()[:8])
    for each in held:
        if record.document == each.document.hash:
            continue
        require(record.document == bytes(32), "a document key was exchanged", key_id.hex()[:8])
        check_document(key_id, each, certified, len(record.committee))
