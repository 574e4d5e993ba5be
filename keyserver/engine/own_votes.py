"""What this node's own votes on a subject come to, as its store remembers them.

A `Memory` is read again after every STATUS: what is on disk is what this node has said, whatever a
session wrote meanwhile.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from keyserver.engine.links import Backed, Backing, HeldDocument, HeldRecord, Subject, SubjectKind
from keyserver.engine.ports import StoredVote
from keyserver.model.codec import decode
from keyserver.model.identifiers import Hash32
from keyserver.model.keys import PreparedCertificate
from keyserver.sessions.agreement import Prepared, Voter
from keyserver.sessions.core import KeyState
from keyserver.sessions.writes import VoteKind


@dataclass(frozen=True, slots=True)
class Memory:
    """What this node knows of its votes: read from its store, kept up by the ballot."""

    voter: Voter
    highest: Backed | None
    """The highest prepared certificate."""
    status: Backed | None
    """What its STATUS of the round it is in carries."""

    @property
    def status_covers(self) -> bool:
        """Whether the STATUS names the highest certificate committed to in a lower round.

        A session may commit while the STATUS is on its way to the disk. Such a STATUS must never
        leave the node; it enters one more round instead.
        """
        below = [round_ for round_ in self.voter.commits if round_ < self.voter.round]
        named = self.status.certificate.round if self.status is not None else -1
        return named >= max(below, default=-1)


def remembered(state: KeyState, subject: Subject, votes: Iterable[StoredVote]) -> Memory:
    """What the store says about a subject, its votes in the order of their rounds.

    A certificate of round 0 comes from a session; what stands behind its value is in the state.
    """
    prepares: dict[int, Hash32] = {}
    commits: dict[int, Hash32] = {}
    round_, status = 0, None
    highest = _holding_here(state, subject)
    for vote in votes:
        backed = _evidence(vote, _candidate_here(state, subject))
        if vote.kind == VoteKind.PREPARE:
            prepares[vote.round] = vote.value
        elif vote.kind == VoteKind.COMMIT:
            commits[vote.round] = vote.value
        else:
            round_, status = vote.round, backed
        highest = _higher(highest, backed)
    voter = Voter(round_, MappingProxyType(prepares), MappingProxyType(commits))
    if highest is not None:
        voter = voter.see(Prepared(highest.certificate.round, highest.certificate.value))
    return Memory(voter, highest, status)


def _candidate_here(state: KeyState, subject: Subject) -> Backing:
    """What stands behind this node's votes of round 0."""
    record, document = state.prepared, state.document_candidate
    if subject.kind == SubjectKind.RECORD:
        if record is None or record.holding is None or record.record.version != subject.count:
            return Backing()
        return Backing(record=HeldRecord(record.record, record.holding))
    if document is None or document.attempt != subject.count:
        return Backing()
    return Backing(document=HeldDocument(document.record_hash, document.document))


def _holding_here(state: KeyState, subject: Subject) -> Backed | None:
    """A holding certificate is a prepared certificate, also for a node that has not committed.

    Not where the holders are others than those who decide (engine design, section 13).
    """
    held = _candidate_here(state, subject).record
    if held is None:
        return None
    if state.active is not None and state.active.record.nodes != held.record.nodes:
        return None
    return Backed(held.holding.prepares(held.record), Backing(record=held))


def _evidence(vote: StoredVote, candidate: Backing) -> Backed | None:
    if not vote.evidence:
        return None
    if vote.round > 0:
        return decode(Backed, vote.evidence)
    return Backed(decode(PreparedCertificate, vote.evidence), candidate)


def _higher(a: Backed | None, b: Backed | None) -> Backed | None:
    if a is None or b is None:
        return a or b
    return b if b.certificate.round > a.certificate.round else a
