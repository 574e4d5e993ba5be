"""One node's part in deciding a subject that its session left undecided (engine design, 7.6).

Sans-IO: messages go in, effects come out, in order. The rules of voting are `sessions.agreement`,
what counts as a vote or a certificate is `ballot_terms`; here they become messages. The topology of
a round is a star around its proposer; everybody enters it by STATUS:

    Status → proposer, Entered → everybody else
    Proposal → PrepareVote → PreparedValue → CommitVote → Decided

Everything may be sent again: votes are the same bytes, and a STATUS that comes again makes the
proposer repeat what the sender has missed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from keyserver.engine.ballot_terms import Terms
from keyserver.engine.links import (
    Backed,
    Backing,
    CommitVote,
    Entered,
    PreparedValue,
    PrepareVote,
    Proposal,
    Status,
    StatusVote,
    Vote,
    certificate_hash,
)
from keyserver.engine.own_votes import Memory
from keyserver.engine.vote_book import VoteBook
from keyserver.model.codec import encode
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.keys import Decision, NodeSignature, PreparedCertificate
from keyserver.sessions import agreement
from keyserver.sessions.agreement import Prepared, Voter, VoteRefusedError
from keyserver.sessions.certificates import check_prepared, vote_digest
from keyserver.sessions.core import Persist, Refusal, Refused, Report, Send
from keyserver.sessions.writes import CastVote, PutHolding, VoteKind, Write


@dataclass(frozen=True, slots=True)
class Enter:
    """This node should enter a round: others have."""

    round: int


@dataclass(frozen=True, slots=True)
class Decided:
    """The subject is decided."""

    decision: Decision
    backing: Backing


Effect = Persist | Send | Report | Enter | Decided


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
        self._book = VoteBook(terms.subject)

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

    @property
    def is_silent(self) -> bool:
        """Whether the STATUS of this round must not be sent: only the next round will do."""
        return not self._memory.status_covers

    def recall(self, memory: Memory) -> None:
        """Take what the store says now; a session may have voted since."""
        self._memory = memory

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
        if round_ == 0 or self.is_silent:
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
        reports = self._known_votes() + self._book.note(sender, message)
        try:
            return (*reports, *self._follow(sender, message))
        except Refused as refused:
            reports += refused.reports
            raise Refused(refused.code, refused.why, refused.error, reports) from refused

    def _known_votes(self) -> tuple[Report, ...]:
        """A session may have brought a certificate since the last message."""
        highest = self._memory.highest
        return () if highest is None else self._book.note_certificate(highest)

    def _follow(self, sender: NodeId, message: Vote) -> tuple[Effect, ...]:
        if _round_of(message) > agreement.LAST_ROUND:
            raise Refused(Refusal.BAD, "no honest voter comes to such a round")
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
        return self._on_commit(sender, message)

    def _on_entered(self, sender: NodeId, entered: Entered) -> tuple[Effect, ...]:
        if entered.round > self._entered.get(sender, 0):
            self._terms.check_vote(
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
            self._terms.check_status(sender, status)
            self._statuses[sender] = status
            self._entered[sender] = max(status.round, self._entered.get(sender, 0))
        joined = self._join()
        return joined or self._lead_on(sender, status)

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
            highest.backing if highest is not None else Backing(),
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
            self._terms.check_proposal(proposal)
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
            self._terms.check_vote(VoteKind.PREPARE, vote.round, vote.value, sender, vote.signature)
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
            self._terms.check_vote(VoteKind.COMMIT, vote.round, vote.value, sender, vote.signature)
            lead.commits[sender] = vote.signature
        if len(lead.commits) < self.quorum:
            return ()
        decision = Decision(vote.round, vote.value, _signatures(lead.commits))
        return (Decided(decision, lead.proposal.backing),)


def _round_of(message: Vote) -> int:
    return message.certificate.round if isinstance(message, PreparedValue) else message.round


def _signatures(votes: Mapping[NodeId, Signature]) -> tuple[NodeSignature, ...]:
    return tuple(NodeSignature(node, signature) for node, signature in sorted(votes.items()))
