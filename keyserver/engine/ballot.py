"""One node's part in deciding a subject that its session left undecided (engine design, 7.6).

Sans-IO: messages go in, effects come out, in order. The rules of voting are `sessions.agreement`;
here they meet signatures, certificates and what stands behind a value. The topology of a round is a
star around its proposer; everybody enters it by STATUS:

    Status → proposer, Entered → everybody else
    Proposal → PrepareVote → PreparedValue → CommitVote → Decided

Everything may be sent again: votes are the same bytes, and a STATUS that comes again makes the
proposer repeat what the sender has missed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import assert_never

from keyserver.engine.links import (
    Backed,
    Backing,
    CommitVote,
    Entered,
    HeldDocument,
    HeldRecord,
    PreparedValue,
    PrepareVote,
    Proposal,
    Status,
    StatusVote,
    Subject,
    SubjectKind,
    Vote,
    certificate_hash,
)
from keyserver.engine.ports import StoredVote
from keyserver.model.codec import decode, encode
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId, Signature
from keyserver.model.keys import Decision, NodeSignature, PreparedCertificate
from keyserver.model.quorums import Quorums
from keyserver.sessions import agreement
from keyserver.sessions.agreement import Prepared, Voter, VoteRefusedError
from keyserver.sessions.certificates import check_holding, check_prepared, vote_digest
from keyserver.sessions.core import (
    CastVote,
    KeyState,
    Persist,
    PutHolding,
    Refusal,
    Refused,
    Send,
    Signer,
    VoteKind,
    Write,
)
from keyserver.sessions.identity import check_signature

NO_BACKING = Backing()


@dataclass(frozen=True, slots=True)
class Terms:
    """What is fixed about a ballot."""

    subject: Subject
    voters: tuple[NodeId, ...]
    """The deciding committee in canonical order; this node is one of them."""
    max_faulty: int | None
    previous: Hash32
    """Hash of the active record, which the undecided one or the document key belongs to."""
    me: NodeId
    signer: Signer

    def quorums_of(self, nodes: int) -> Quorums:
        """The quorums of a committee of this size."""
        return Quorums.of(nodes, self.max_faulty)

    @property
    def quorums(self) -> Quorums:
        """The quorums of the voters."""
        return self.quorums_of(len(self.voters))


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


@dataclass(frozen=True, slots=True)
class Enter:
    """This node should enter a round: others have."""

    round: int


@dataclass(frozen=True, slots=True)
class Decided:
    """The subject is decided."""

    decision: Decision
    backing: Backing


Effect = Persist | Send | Enter | Decided


def remembered(state: KeyState, subject: Subject, votes: Iterable[StoredVote]) -> Memory:
    """What the store says about a subject.

    A certificate of round 0 comes from a session; what stands behind its value is in the state.
    """
    prepares: dict[int, Hash32] = {}
    commits: dict[int, Hash32] = {}
    round_, status = 0, None
    highest = _holding_here(state, subject)
    for vote in votes:
        backed = _evidence(vote, _candidate_here(state, subject))
        match VoteKind(vote.kind):
            case VoteKind.PREPARE:
                prepares[vote.round] = vote.value
            case VoteKind.COMMIT:
                commits[vote.round] = vote.value
            case VoteKind.STATUS if vote.round > round_:
                round_, status = vote.round, backed
            case VoteKind.STATUS:
                pass
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
            return NO_BACKING
        return Backing(record=HeldRecord(record.record, record.holding))
    if document is None or document.attempt != subject.count:
        return NO_BACKING
    return Backing(document=HeldDocument(document.record_hash, document.document))


def _holding_here(state: KeyState, subject: Subject) -> Backed | None:
    """A holding certificate is a prepared certificate, also for a node that has not committed."""
    held = _candidate_here(state, subject).record
    if held is None:
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


class _Lead:
    """What the proposer of a round has collected since it proposed."""

    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal
        self.prepares: dict[NodeId, Signature] = {}
        self.prepared: PreparedValue | None = None
        self.commits: dict[NodeId, Signature] = {}


class Ballot:
    """A subject under decision. Every method raises `Refused` for what does not verify."""

    def __init__(self, terms: Terms, memory: Memory) -> None:
        self._terms = terms
        self._memory = memory
        self._entered: dict[NodeId, int] = {}
        """The highest round that each voter is known to have entered."""
        self._statuses: dict[NodeId, Status] = {}
        """The last STATUS of each voter for a round in which this node proposes."""
        self._accepted: Backing | None = None
        """What stands behind the proposal of this round, once this node has prepared it."""
        self._lead: _Lead | None = None

    @property
    def round(self) -> int:
        """The round this node is in; 0: its session's."""
        return self._memory.voter.round

    @property
    def voters(self) -> tuple[NodeId, ...]:
        """Who votes."""
        return self._terms.voters

    @property
    def quorum(self) -> int:
        """How many of them decide."""
        return self._terms.quorums.agreement

    def _proposer(self, round_: int) -> NodeId:
        return agreement.proposer(self._terms.subject.key_id, self._terms.voters, round_)

    def _leads(self, round_: int) -> bool:
        return round_ == self.round and self._proposer(round_) == self._terms.me

    def _sign(self, kind: VoteKind, round_: int, value: Hash32) -> Signature:
        terms = self._terms
        return terms.signer.sign(vote_digest(kind, terms.subject.hash, round_, value, terms.me))

    # --- entering a round -----------------------------------------------------------------------

    def status_vote(self, round_: int) -> CastVote:
        """The vote to write down before `enter`."""
        highest = self._memory.highest
        named = certificate_hash(highest.certificate if highest is not None else None)
        evidence = encode(highest) if highest is not None else b""
        return CastVote(self._terms.subject.hash, round_, VoteKind.STATUS, named, evidence)

    def enter(self, memory: Memory) -> tuple[Effect, ...]:
        """Go on in the round of a STATUS that is on disk, `memory` having been read after it."""
        self._memory = memory
        self._accepted, self._lead = None, None
        return self.announce(self._terms.voters)

    def announce(self, peers: Iterable[NodeId]) -> tuple[Effect, ...]:
        """Tell these voters, for the first time or again, which round this node is in."""
        round_, status = self.round, self._memory.status
        if round_ == 0:
            return ()
        named = certificate_hash(status.certificate if status is not None else None)
        signature = self._sign(VoteKind.STATUS, round_, named)
        subject = self._terms.subject
        full = Status(0, subject, round_, status, signature)
        short = Entered(0, subject, round_, named, signature)
        first = self._proposer(round_)
        # To itself last: what follows from a quorum of STATUS comes after them.
        ordered = sorted(peers, key=lambda peer: peer == self._terms.me)
        return tuple(
            Send(peer, full if peer == first else short)
            for peer in ordered
            if peer in self._terms.voters
        )

    # --- messages -------------------------------------------------------------------------------

    def handle(self, sender: NodeId, message: Vote) -> tuple[Effect, ...]:
        """Take a message of a voter; what is late or not asked for changes nothing."""
        if sender not in self._terms.voters:
            raise Refused(Refusal.BAD, "the sender is not one of the voters")
        match message:
            case Status():
                return self._on_status(sender, message)
            case Entered():
                return self._on_entered(sender, message)
            case Proposal():
                return self._on_proposal(sender, message)
            case PrepareVote():
                return self._on_prepare(sender, message)
            case PreparedValue():
                return self._on_prepared(message)
            case CommitVote():
                return self._on_commit(sender, message)
        assert_never(message)

    def _check_vote(
        self, kind: VoteKind, round_: int, value: Hash32, voter: NodeId, signature: Signature
    ) -> None:
        signed = vote_digest(kind, self._terms.subject.hash, round_, value, voter)
        check_signature(signed, signature, voter)

    def _on_entered(self, sender: NodeId, entered: Entered) -> tuple[Effect, ...]:
        if entered.round > self._entered.get(sender, 0):
            self._check_vote(
                VoteKind.STATUS, entered.round, entered.certificate, sender, entered.signature
            )
            self._entered[sender] = entered.round
        return self._join()

    def _join(self) -> tuple[Effect, ...]:
        """Enter the highest round that f + 1 voters have entered: one of them is honest."""
        faulty = self._terms.quorums.faulty
        rounds = sorted(self._entered.values(), reverse=True)
        if len(rounds) > faulty and rounds[faulty] > self.round:
            return (Enter(rounds[faulty]),)
        return ()

    def _on_status(self, sender: NodeId, status: Status) -> tuple[Effect, ...]:
        if self._proposer(status.round) != self._terms.me:
            raise Refused(Refusal.BAD, "this node does not propose in that round")
        known = self._statuses.get(sender)
        if known is None or status.round > known.round:
            self._check_status(sender, status)
            self._statuses[sender] = status
            self._entered[sender] = max(status.round, self._entered.get(sender, 0))
        joined = self._join()
        return joined or self._lead_on(sender, status)

    def _check_status(self, sender: NodeId, status: Status) -> None:
        highest = status.highest
        named = certificate_hash(highest.certificate if highest is not None else None)
        self._check_vote(VoteKind.STATUS, status.round, named, sender, status.signature)
        if highest is not None:
            self._check_backed(highest, status.round)

    def _lead_on(self, sender: NodeId, status: Status) -> tuple[Effect, ...]:
        """Propose once a quorum has entered; repeat what a voter has missed."""
        if not self._leads(status.round):
            return ()
        if self._lead is None:
            return self._propose()
        repeated: list[Effect] = [Send(sender, self._lead.proposal)]
        if self._lead.prepared is not None:
            repeated.append(Send(sender, self._lead.prepared))
        return tuple(repeated)

    def _propose(self) -> tuple[Effect, ...]:
        here = {node: s for node, s in self._statuses.items() if s.round == self.round}
        if len(here) < self.quorum:
            return ()
        known = [status.highest for status in here.values() if status.highest is not None]
        highest = max(known, key=lambda backed: backed.certificate.round, default=None)
        certificates = {certificate_hash(b.certificate): b.certificate for b in known}
        statuses = tuple(
            StatusVote(
                node,
                certificate_hash(status.highest.certificate if status.highest else None),
                status.signature,
            )
            for node, status in sorted(here.items())
        )
        proposal = Proposal(
            0,
            self._terms.subject,
            self.round,
            statuses,
            tuple(certificates.values()),
            highest.backing if highest is not None else NO_BACKING,
        )
        self._lead = _Lead(proposal)
        return self._to_all(proposal)

    def _to_all(self, message: Vote) -> tuple[Effect, ...]:
        return tuple(Send(node, message) for node in self._terms.voters)

    def _on_proposal(self, sender: NodeId, proposal: Proposal) -> tuple[Effect, ...]:
        round_, value = proposal.round, proposal.backing.value
        if sender != self._proposer(round_):
            raise Refused(Refusal.BAD, "another node proposes in this round")
        if round_ < self.round:
            return ()
        if round_ > self.round or self._accepted is None:
            self._check_proposal(proposal)
        elif self._accepted != proposal.backing:
            raise Refused(Refusal.BAD, "another value was proposed in this round")
        if round_ > self.round:
            return (Enter(round_),)
        self._vote(lambda voter: voter.prepare(round_, value))
        self._accepted = proposal.backing
        subject = self._terms.subject
        writes: list[Write] = [CastVote(subject.hash, round_, VoteKind.PREPARE, value)]
        held = proposal.backing.record
        if held is not None:
            writes.append(PutHolding(held.record, held.holding))
        signature = self._sign(VoteKind.PREPARE, round_, value)
        vote = PrepareVote(0, subject, round_, value, signature)
        return Persist(tuple(writes)), Send(sender, vote)

    def _vote(self, cast: Callable[[Voter], Voter]) -> None:
        try:
            voter = cast(self._memory.voter)
        except VoteRefusedError as refused:
            raise Refused(Refusal.BAD, str(refused)) from refused
        self._memory = replace(self._memory, voter=voter)

    def _on_prepare(self, sender: NodeId, vote: PrepareVote) -> tuple[Effect, ...]:
        lead = self._lead
        if lead is None or not self._leads(vote.round):
            return ()
        if vote.value != lead.proposal.backing.value:
            raise Refused(Refusal.BAD, "PREPARE for a value that was not proposed")
        if sender not in lead.prepares:
            self._check_vote(VoteKind.PREPARE, vote.round, vote.value, sender, vote.signature)
            lead.prepares[sender] = vote.signature
        if lead.prepared is not None:
            return (Send(sender, lead.prepared),)
        if len(lead.prepares) < self.quorum:
            return ()
        signatures = _signatures(lead.prepares)
        certificate = PreparedCertificate(vote.round, vote.value, None, signatures)
        lead.prepared = PreparedValue(0, self._terms.subject, certificate)
        return self._to_all(lead.prepared)

    def _on_prepared(self, prepared: PreparedValue) -> tuple[Effect, ...]:
        certificate, subject = prepared.certificate, self._terms.subject
        round_, value = certificate.round, certificate.value
        if round_ != self.round or self._accepted is None or self._accepted.value != value:
            return ()
        check_prepared(subject.hash, certificate, self._terms.voters, self._terms.quorums)
        commit = CommitVote(0, subject, round_, value, self._sign(VoteKind.COMMIT, round_, value))
        backed = Backed(certificate, self._accepted)
        if round_ in self._memory.voter.commits:
            return (Send(self._proposer(round_), commit),)
        self._vote(lambda voter: voter.commit(Prepared(round_, value)))
        self._memory = replace(self._memory, highest=backed)
        cast = CastVote(subject.hash, round_, VoteKind.COMMIT, value, encode(backed))
        return Persist((cast,)), Send(self._proposer(round_), commit)

    def _on_commit(self, sender: NodeId, vote: CommitVote) -> tuple[Effect, ...]:
        lead = self._lead
        if lead is None or not self._leads(vote.round):
            return ()
        if vote.value != lead.proposal.backing.value:
            raise Refused(Refusal.BAD, "COMMIT for a value that was not proposed")
        if sender not in lead.commits:
            self._check_vote(VoteKind.COMMIT, vote.round, vote.value, sender, vote.signature)
            lead.commits[sender] = vote.signature
        if len(lead.commits) < self.quorum:
            return ()
        decision = Decision(vote.round, vote.value, _signatures(lead.commits))
        return (Decided(decision, lead.proposal.backing),)

    # --- checks ---------------------------------------------------------------------------------

    def _check_proposal(self, proposal: Proposal) -> None:
        """The STATUS of a quorum, and the outcome that follows from them."""
        nodes = [status.node for status in proposal.statuses]
        if len(set(nodes)) != len(nodes) or not set(nodes) <= set(self._terms.voters):
            raise Refused(Refusal.BAD, "a proposal lists a node twice, or a stranger")
        if len(nodes) < self.quorum:
            raise Refused(Refusal.BAD, "a proposal lists too few voters")
        by_hash = {certificate_hash(one): one for one in proposal.certificates}
        named: dict[Hash32, PreparedCertificate] = {}
        for status in proposal.statuses:
            self._check_vote(
                VoteKind.STATUS, proposal.round, status.certificate, status.node, status.signature
            )
            if status.certificate == ZERO_HASH:
                continue
            if status.certificate not in by_hash:
                raise Refused(Refusal.BAD, "a proposal lacks a certificate that a STATUS names")
            named[status.certificate] = by_hash[status.certificate]
        self._check_outcome(proposal, tuple(named.values()))

    def _check_outcome(
        self, proposal: Proposal, certificates: tuple[PreparedCertificate, ...]
    ) -> None:
        outcome = agreement.outcome(Prepared(one.round, one.value) for one in certificates)
        if outcome != proposal.backing.value:
            raise Refused(Refusal.BAD, "the proposal does not follow from the STATUS votes")
        highest = max((one.round for one in certificates), default=0)
        for certificate in certificates:
            if certificate.round == highest:
                self._check_backed(Backed(certificate, proposal.backing), proposal.round)
            else:
                self._check_certificate(certificate)

    def _check_backed(self, backed: Backed, below: int) -> None:
        """A certificate of an earlier round, together with what stands behind its value."""
        certificate, backing = backed.certificate, backed.backing
        if certificate.round >= below:
            raise Refused(Refusal.BAD, "a certificate of a later round than its STATUS")
        if certificate.value != backing.value:
            raise Refused(Refusal.BAD, "what stands behind the value is something else")
        self._check_backing(backing)
        held = backing.record
        if held is not None and certificate.round == 0:
            if certificate != held.holding.prepares(held.record):
                raise Refused(Refusal.BAD, "a record is prepared by its holding certificate only")
            return
        self._check_certificate(certificate)

    def _check_certificate(self, certificate: PreparedCertificate) -> None:
        terms = self._terms
        if terms.subject.kind == SubjectKind.DOCUMENT and certificate.transcript is not None:
            raise Refused(Refusal.BAD, "READY signatures are no votes for a document key")
        check_prepared(terms.subject.hash, certificate, terms.voters, terms.quorums)

    def _check_backing(self, backing: Backing) -> None:
        record, document = backing.record, backing.document
        subject = self._terms.subject
        if record is not None and document is not None:
            raise Refused(Refusal.BAD, "a value is a record or a document key, not both")
        if record is not None:
            self._check_record(record)
        if document is not None and (
            subject.kind != SubjectKind.DOCUMENT or document.record_hash != self._terms.previous
        ):
            raise Refused(Refusal.BAD, "the document key does not belong to the subject")

    def _check_record(self, held: HeldRecord) -> None:
        terms, record = self._terms, held.record
        named = Subject(SubjectKind.RECORD, record.key_id, record.version)
        if named != terms.subject or record.previous != terms.previous:
            raise Refused(Refusal.BAD, "the record does not belong to the subject")
        if terms.previous == ZERO_HASH and record.nodes != terms.voters:
            raise Refused(Refusal.BAD, "the record is one of another committee")
        check_holding(record, held.holding, terms.quorums_of(len(record.committee)))


def _signatures(votes: Mapping[NodeId, Signature]) -> tuple[NodeSignature, ...]:
    return tuple(NodeSignature(node, signature) for node, signature in sorted(votes.items()))
