"""What of another node's facts about a key is new, and proven (engine design, sections 4 and 7.6).

Pure: facts, own state and whom to believe go in, writes come out. A peer can withhold, not invent.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from keyserver.engine.links import Backing, KeyFacts, Subject, SubjectKind
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId
from keyserver.model.keys import (
    Certificate,
    CertifiedDocumentKey,
    CertifiedRecord,
    CommitteeMember,
    Decision,
    KeyRecord,
)
from keyserver.model.node_set import NodeSet
from keyserver.model.quorums import Quorums
from keyserver.sessions.certificates import (
    check_certificate,
    check_decision,
    check_document,
    check_first_record,
    check_holding,
    check_skipped,
    document_subject,
)
from keyserver.sessions.core import KeyState, Refusal, Refused
from keyserver.sessions.writes import PutActive, PutDocument, PutDocumentNothing, PutNothing, Write

Committee = tuple[CommitteeMember, ...]


@dataclass(frozen=True, slots=True)
class Trust:
    """Which committees this node believes."""

    current: NodeSet
    """It verified this one itself."""
    max_faulty: int | None = None
    committees: Collection[Committee] = frozenset()
    """Of records that it holds."""
    vouched: Collection[Hash32] = frozenset()
    """Hashes of records that f + 1 members of the current set report."""

    def quorums(self, nodes: int) -> Quorums:
        """The quorums of a committee of this size."""
        return Quorums.of(nodes, self.max_faulty)

    def believes(self, record: KeyRecord, state: KeyState) -> bool:
        """Whether the committee of a first record is one this node may rely on."""
        current = self.current
        if record.set_id == current.id and record.committee == current.committee:
            return True
        own = state.prepared
        if own is not None and own.share is not None and own.record.committee == record.committee:
            return True
        return record.committee in self.committees or record.hash in self.vouched


def facts_of(key_id: KeyId, state: KeyState) -> KeyFacts:
    """What this node can prove about a key."""
    return KeyFacts(key_id, state.active, state.skipped, state.document, state.document_skipped)


def is_empty(facts: KeyFacts) -> bool:
    """Whether nothing was ever decided about the key."""
    return facts == KeyFacts(facts.key_id, None, (), None, ())


def voters(subject: Subject, state: KeyState, current: NodeSet) -> tuple[NodeId, ...]:
    """The deciding committee of a subject; empty if this node cannot know it."""
    if subject.kind == SubjectKind.DOCUMENT:
        return state.active.record.nodes if state.active is not None else ()
    return _record_voters(state, current)


def _record_voters(state: KeyState, current: NodeSet) -> tuple[NodeId, ...]:
    if state.active is not None:
        return state.active.record.nodes
    if state.prepared is not None:
        return state.prepared.record.nodes
    return current.nodes


def next_count(kind: SubjectKind, state: KeyState) -> int:
    """The first version, or attempt, that this node does not know to be decided."""
    return state.next_version if kind is SubjectKind.RECORD else state.next_document_attempt


def is_decided(subject: Subject, state: KeyState) -> bool:
    """Whether this node knows what became of a subject."""
    if subject.kind == SubjectKind.DOCUMENT and state.document is not None:
        return True
    return subject.count < next_count(SubjectKind(subject.kind), state)


def with_decision(
    subject: Subject, state: KeyState, decision: Decision, backing: Backing
) -> KeyFacts:
    """This node's facts and a decision about the first undecided version or attempt."""
    known = facts_of(subject.key_id, state)
    if subject.kind == SubjectKind.RECORD:
        if backing.record is None:
            return replace(known, skipped=(*known.skipped, decision))
        certificate = Certificate(backing.record.holding, decision)
        record = CertifiedRecord(backing.record.record, certificate, known.skipped)
        return replace(known, record=record, skipped=())
    if backing.document is None:
        return replace(known, document_skipped=(*known.document_skipped, decision))
    held = backing.document
    document = CertifiedDocumentKey(held.document, held.record_hash, subject.count, decision)
    return replace(known, document=document)


def accept(facts: KeyFacts, state: KeyState, trust: Trust) -> tuple[Write, ...]:
    """The writes that make a peer's facts this node's own; none if they say nothing new.

    Raises `Refused` if something is not what it claims to be. A record of a committee that this
    node has no reason to believe is passed over, and what hangs on it: that is no lie.
    """
    writes: list[Write] = []
    record = _newer_record(facts, state, trust)
    if record is not None:
        writes.append(PutActive(record))
        state = replace(state, active=record, skipped=())
    writes += _skipped_versions(facts, state, trust)
    if state.active is not None and state.document is None:
        writes += _document(facts, state, state.active.record, trust)
    return tuple(writes)


def _newer_record(facts: KeyFacts, state: KeyState, trust: Trust) -> CertifiedRecord | None:
    certified = facts.record
    if certified is None:
        return None
    record, active = certified.record, state.active
    if record.key_id != facts.key_id:
        raise Refused(Refusal.BAD, "the record is one of another key")
    if active is not None and record.version <= active.record.version:
        return None
    if active is not None and record.previous == active.record.hash:
        _check_successor(certified, active.record, trust)
        return certified
    if active is not None:
        _check_continues(certified, active.record)
    if active is not None or record.previous != ZERO_HASH:
        return _unlinked(certified, trust)
    if not trust.believes(record, state):
        return None
    check_first_record(certified, trust.quorums(len(record.committee)))
    return certified


def _check_successor(certified: CertifiedRecord, before: KeyRecord, trust: Trust) -> None:
    record = certified.record
    _check_same_key(record, before)
    if record.version != before.version + len(certified.skipped) + 1:
        raise Refused(Refusal.BAD, "the versions before the record are not accounted for")
    quorums = trust.quorums(len(before.committee))
    first = before.version + 1
    check_skipped(record.key_id, first, certified.skipped, before.nodes, quorums)
    of_holders = trust.quorums(len(record.committee))
    check_certificate(certified, before.nodes, quorums, of_holders=of_holders)


def _check_same_key(record: KeyRecord, before: KeyRecord) -> None:
    same = (record.author, record.threshold, record.public)
    if same != (before.author, before.threshold, before.public):
        raise Refused(Refusal.BAD, "the record does not continue the one this node holds")


def _check_continues(certified: CertifiedRecord, before: KeyRecord) -> None:
    """The record replaces one that this node has missed, or it replaces nothing."""
    record = certified.record
    _check_same_key(record, before)
    if record.version - len(certified.skipped) - 1 <= before.version:
        raise Refused(Refusal.BAD, "the record does not continue the one this node holds")


def _unlinked(certified: CertifiedRecord, trust: Trust) -> CertifiedRecord | None:
    """A record whose deciding committee this node cannot know: only if f + 1 nodes vouch for it."""
    record, certificate = certified.record, certified.certificate
    if record.version <= len(certified.skipped) + 1:
        raise Refused(Refusal.BAD, "the record replaces another, but there was none before it")
    if record.hash not in trust.vouched:
        return None
    if certificate.decision.value != record.hash:
        raise Refused(Refusal.BAD, "the decision is for another record")
    check_holding(record, certificate.holding, trust.quorums(len(record.committee)))
    return certified


def _skipped_versions(facts: KeyFacts, state: KeyState, trust: Trust) -> list[PutNothing]:
    theirs = facts.record.record.version if facts.record is not None else 0
    ours = state.active.record.version if state.active is not None else 0
    if theirs != ours:
        return []
    known = len(state.skipped)
    news = facts.skipped[known:]
    committee = _record_voters(state, trust.current)
    first = state.next_version
    check_skipped(facts.key_id, first, news, committee, trust.quorums(len(committee)))
    return [
        PutNothing(facts.key_id, version, decision) for version, decision in enumerate(news, first)
    ]


def _belongs_to(document: CertifiedDocumentKey, record: KeyRecord) -> bool:
    return document.record_hash == record.hash or document.document.hash == record.document


def _document(facts: KeyFacts, state: KeyState, record: KeyRecord, trust: Trust) -> list[Write]:
    quorums = trust.quorums(len(record.committee))
    if facts.document is not None and _belongs_to(facts.document, record):
        check_document(facts.key_id, facts.document, record, quorums)
        return [PutDocument(facts.key_id, facts.document)]
    if facts.record is None or facts.record.record != record:
        return []  # attempts under another version
    first = state.next_document_attempt
    writes: list[Write] = []
    known = len(state.document_skipped)
    for attempt, decision in enumerate(facts.document_skipped[known:], first):
        if decision.value != ZERO_HASH:
            raise Refused(Refusal.BAD, f"attempt {attempt} was not decided as nothing")
        subject = document_subject(facts.key_id, attempt)
        check_decision(subject, decision, record.nodes, quorums)
        writes.append(PutDocumentNothing(facts.key_id, attempt, decision))
    return writes
