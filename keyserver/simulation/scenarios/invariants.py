"""What must hold when the faults are over, whatever they were.

Nothing here relies on the checks of the product: quorums are counted anew, signatures verified
anew, shares put together. A node that lies is nobody's witness.
"""

import asyncio
from collections.abc import Sequence
from itertools import combinations, islice

from keyserver.crypto.curve import verify_digest
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.crypto.polynomial import interpolate_secret
from keyserver.crypto.vss import evaluate_commitments
from keyserver.model.identifiers import Hash32, KeyId, NodeId, Signature
from keyserver.model.keys import (
    CertifiedDocumentKey,
    CertifiedRecord,
    Decision,
    HoldingCertificate,
    KeyRecord,
    KeyShare,
    PreparedCertificate,
)
from keyserver.sessions.certificates import (
    document_subject,
    ready_digest,
    record_subject,
    vote_digest,
)
from keyserver.sessions.core import KeyState
from keyserver.sessions.writes import VoteKind
from keyserver.simulation.cluster import SimulatedNode
from keyserver.simulation.scenarios.story import Story
from keyserver.simulation.scenarios.violation import Violation, require

SETTLED_S = 4 * 3600.0
"""By then everything is decided: rounds that took long under faults double before they end."""

SESSIONS_END_S = 300.0
"""By then every session has ended, its caller or coordinator gone or not."""

STEP_S = 30.0

MAX_COMBINATIONS = 12
"""So many sets of t + 1 shares are put together."""


async def check_everything(story: Story) -> None:
    """All of the below for one key; waits until the nodes have settled."""
    for node in story.honest:
        require(node.is_sound, "a part of a node has ended", await story.standing())
    await until_settled(story.honest)
    await check_agreement(story)
    check_blame(story)
    await until_idle(story.honest)


async def until_settled(nodes: list[SimulatedNode]) -> None:
    """Wait until nothing is left undecided at nodes that run; never: `Violation`."""
    waited = 0.0
    while waited < SETTLED_S:
        open_keys = [await node.store.undecided() for node in nodes if node.is_up]
        if not any(open_keys):
            return
        await asyncio.sleep(STEP_S)
        waited += STEP_S
    raise Violation("a key is never decided", ", ".join(k.hex()[:8] for o in open_keys for k in o))


async def until_idle(nodes: list[SimulatedNode]) -> None:
    """Wait until no session lives any more; never: `Violation`."""
    waited = 0.0
    while waited < SESSIONS_END_S:
        if not any(node.open_sessions for node in nodes):
            return
        await asyncio.sleep(STEP_S)
        waited += STEP_S
    raise Violation("a session never ends", str([node.open_sessions for node in nodes]))


async def check_agreement(story: Story) -> None:
    """Honest nodes have the same record and document, well certified, and shares that open it."""
    states = [await node.store.load(story.key_id) for node in story.honest]
    faulty = len(story.liars)
    nodes = len(story.cluster.nodes)
    records: dict[Hash32, CertifiedRecord] = {}
    for state in states:
        if state.active is not None:
            records[state.active.record.hash] = state.active
            check_record(state.active, nodes)
        if state.document is not None and state.active is not None:
            check_document(story.key_id, state.document, state.active, nodes)
    require(len(records) == 1, "nodes disagree about a record", await story.standing())
    (certified,) = records.values()
    documents = {state.document.document for state in states if state.document is not None}
    require(len(documents) <= 1, "nodes disagree about a document key")
    check_shares(certified, states, faulty)


def check_shares(certified: CertifiedRecord, states: list[KeyState], faulty: int) -> None:
    """Every share fits the record, and any t + 1 of them are its secret."""
    record = certified.record
    shares = [state.share for state in states if state.share is not None]
    check_shares_of(record, shares)
    promised = _holders_needed(len(record.committee), record.threshold)
    require(len(shares) >= promised - faulty, "too few nodes hold a share", f"{len(shares)}")
    for chosen in islice(combinations(shares, record.threshold + 1), MAX_COMBINATIONS):
        secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
        require(secret.public() == record.public, "shares do not open the key")


def check_shares_of(record: KeyRecord, shares: Sequence[KeyShare]) -> None:
    """Every share is on the polynomial of its record."""
    for share in shares:
        fits = share.value.public() == evaluate_commitments(record.commitments, share.x)
        require(fits, "a share does not fit its record")


def check_blame(story: Story) -> None:
    """Nobody but liars was named."""
    named: set[NodeId] = set()
    for node in story.honest:
        named |= node.recorder.culprits
    require(named <= story.liars, "an honest node was blamed")


# --- certificates, checked anew ------------------------------------------------------------------


def quorum_of(nodes: int) -> int:
    """How many of `nodes` have to vote, of whom a third, rounded down, may lie."""
    return (nodes + (nodes - 1) // 3) // 2 + 1


def _holders_needed(nodes: int, threshold: int) -> int:
    return max(quorum_of(nodes), min(nodes, threshold + 1 + (nodes - 1) // 3))


def check_record(certified: CertifiedRecord, nodes: int) -> None:
    """The certificate of a record is what it has to be."""
    record, certificate = certified.record, certified.certificate
    require(len(record.committee) == nodes, "a record of another committee was accepted")
    check_holding_of(record, certificate.holding, nodes)
    subject = record_subject(record.key_id, record.version)
    decision = certificate.decision
    require(decision.value == record.hash, "a record was accepted for another one's decision")
    _check_decision(subject, decision, frozenset(record.nodes), nodes, "record")


def check_moved_record(certified: CertifiedRecord, sets: Sequence[frozenset[NodeId]]) -> None:
    """A quorum of one of these sets has decided what is on another one now."""
    record, decision = certified.record, certified.certificate.decision
    require(decision.value == record.hash, "a record was accepted for another one's decision")
    subject = record_subject(record.key_id, record.version)
    signers = {entry.node for entry in decision.signatures}
    enough = [nodes for nodes in sets if len(signers) >= quorum_of(len(nodes))]
    deciding = [nodes for nodes in enough if signers <= nodes]
    require(bool(deciding), "a record was accepted that too few have decided", str(len(signers)))
    _check_decision(subject, decision, deciding[0], len(deciding[0]), "record")


def check_holding_of(record: KeyRecord, holding: HoldingCertificate, nodes: int) -> None:
    """Enough members have signed that they hold a share."""
    ready = {
        entry.node: (ready_digest(record.hash, holding.transcript, entry.node), entry.signature)
        for entry in holding.signatures
    }
    enough = len(ready) >= _holders_needed(nodes, record.threshold)
    require(enough, "a record with too few holders was accepted", str(len(ready)))
    _check_signatures(ready, frozenset(record.nodes), "a forged record was accepted")


def check_prepared_value(
    subject: Hash32, prepared: PreparedCertificate, committee: frozenset[NodeId], nodes: int
) -> None:
    """A quorum has prepared the value of a document key."""
    votes = {
        entry.node: (
            vote_digest(VoteKind.PREPARE, subject, prepared.round, prepared.value, entry.node),
            entry.signature,
        )
        for entry in prepared.signatures
    }
    enough = len(votes) >= quorum_of(nodes)
    require(enough, "a node commits to what too few have prepared", str(len(votes)))
    _check_signatures(votes, committee, "a node commits to what others have not prepared")


def check_document(
    key_id: KeyId, document: CertifiedDocumentKey, certified: CertifiedRecord, nodes: int
) -> None:
    """The certificate of a document key is what it has to be."""
    value = document.document.hash_under(certified.record.hash)
    require(document.decision.value == value, "a document key was accepted without its decision")
    subject = document_subject(key_id, document.attempt)
    committee = frozenset(certified.record.nodes)
    _check_decision(subject, document.decision, committee, nodes, "document key")


def _check_decision(
    subject: Hash32, decision: Decision, committee: frozenset[NodeId], nodes: int, what: str
) -> None:
    votes = {
        entry.node: (
            vote_digest(VoteKind.COMMIT, subject, decision.round, decision.value, entry.node),
            entry.signature,
        )
        for entry in decision.signatures
    }
    require(
        len(votes) >= quorum_of(nodes),
        f"a {what} was accepted that too few have decided",
        str(len(votes)),
    )
    _check_signatures(votes, committee, f"a {what} with a forged decision was accepted")


def _check_signatures(
    signed: dict[NodeId, tuple[Hash32, Signature]], committee: frozenset[NodeId], what: str
) -> None:
    require(signed.keys() <= committee, what, "a stranger has signed")
    for node, (digest, signature) in signed.items():
        try:
            verify_digest(digest, signature, node.point)
        except InvalidSignatureError:
            raise Violation(what, f"signature of {node.short}") from None
