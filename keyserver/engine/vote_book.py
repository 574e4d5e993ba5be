"""Which votes this node has seen in a ballot, so that a voter with two faces is caught.

A voter tells different nodes different things; whoever sees both has the evidence. Only what is
signed is remembered: nobody can put a vote into another's mouth here.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from keyserver.engine.links import (
    Backed,
    Backing,
    CommitVote,
    Entered,
    PreparedValue,
    PrepareVote,
    Proposal,
    Status,
    Subject,
    Vote,
    certificate_hash,
)
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.keys import PreparedCertificate
from keyserver.sessions.conviction import InvalidEvidenceError, is_signed, reports_of
from keyserver.sessions.core import Report
from keyserver.sessions.vote_evidence import (
    Place,
    Readiness,
    SignedVote,
    TwoVotes,
    signed_by_vote,
)
from keyserver.sessions.writes import VoteKind

MAX_PLACES: Final = 64
"""Votes remembered of each voter: a liar could vote in any number of rounds."""

Seen = tuple[NodeId, Place, SignedVote]


class VoteBook:
    """The votes on one subject, as far as this node has seen them."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._votes: dict[tuple[NodeId, Place], SignedVote] = {}
        self._kept: Counter[NodeId] = Counter()

    def note_certificate(self, backed: Backed) -> tuple[Report, ...]:
        """Take note of the votes in a certificate; reports for those that contradict others."""
        return self._note(self._of_certificate(backed.certificate, backed.backing))

    def note(self, sender: NodeId, message: Vote) -> tuple[Report, ...]:
        """Take note of all votes in a message; reports for those that contradict others."""
        return self._note(self._votes_in(sender, message))

    def _note(self, votes: Iterator[Seen]) -> tuple[Report, ...]:
        reports: tuple[Report, ...] = ()
        for voter, place, vote in votes:
            known = self._votes.get((voter, place))
            if known is None:
                self._keep(voter, place, vote)
            elif known.value != vote.value:
                reports += reports_of(TwoVotes(voter, place, known, vote))
        return reports

    def _keep(self, voter: NodeId, place: Place, vote: SignedVote) -> None:
        if self._kept[voter] < MAX_PLACES and _is_genuine(voter, place, vote):
            self._kept[voter] += 1
            self._votes[voter, place] = vote

    def _votes_in(self, sender: NodeId, message: Vote) -> Iterator[Seen]:
        match message:
            case Status(round=round_, highest=highest, signature=signature):
                named = certificate_hash(highest.certificate if highest is not None else None)
                yield self._seen(sender, VoteKind.STATUS, round_, named, signature)
                if highest is not None:
                    yield from self._of_certificate(highest.certificate, highest.backing)
            case Entered(round=round_, certificate=named, signature=signature):
                yield self._seen(sender, VoteKind.STATUS, round_, named, signature)
            case Proposal():
                for status in message.statuses:
                    yield self._seen(
                        status.node,
                        VoteKind.STATUS,
                        message.round,
                        status.certificate,
                        status.signature,
                    )
                for certificate in message.certificates:
                    yield from self._of_certificate(certificate, message.backing)
            case PrepareVote(round=round_, value=value, signature=signature):
                yield self._seen(sender, VoteKind.PREPARE, round_, value, signature)
            case PreparedValue(certificate=certificate):
                yield from self._of_certificate(certificate, Backing())
            case CommitVote(round=round_, value=value, signature=signature):
                yield self._seen(sender, VoteKind.COMMIT, round_, value, signature)

    def _of_certificate(self, certificate: PreparedCertificate, backing: Backing) -> Iterator[Seen]:
        """The PREPARE votes of a certificate; READY only together with the record it is for."""
        readiness = None
        if certificate.transcript is not None:
            if backing.record is None or backing.value != certificate.value:
                return
            readiness = Readiness(backing.record.record, certificate.transcript)
        place = self._place(VoteKind.PREPARE, certificate.round)
        for entry in certificate.signatures:
            yield entry.node, place, SignedVote(certificate.value, readiness, entry.signature)

    def _seen(
        self, voter: NodeId, kind: VoteKind, round_: int, value: Hash32, signature: Signature
    ) -> Seen:
        return voter, self._place(kind, round_), SignedVote(value, None, signature)

    def _place(self, kind: VoteKind, round_: int) -> Place:
        subject = self._subject
        return Place(subject.kind, subject.key_id, subject.count, round_, kind)


def _is_genuine(voter: NodeId, place: Place, vote: SignedVote) -> bool:
    try:
        signed = signed_by_vote(place, vote, voter)
    except InvalidEvidenceError:
        return False
    return is_signed(signed, vote.signature, voter)
