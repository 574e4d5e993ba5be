"""What is fixed about a ballot, and what follows from it: which votes and certificates count.

Engine design, section 7.6. Every check raises `Refused`.
"""

from dataclasses import dataclass

from keyserver.engine.links import (
    Backed,
    Backing,
    HeldRecord,
    Proposal,
    Status,
    Subject,
    SubjectKind,
    certificate_hash,
)
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId, Signature
from keyserver.model.keys import HoldingCertificate, KeyRecord, PreparedCertificate
from keyserver.model.quorums import Quorums
from keyserver.sessions import agreement
from keyserver.sessions.agreement import Prepared
from keyserver.sessions.certificates import check_holding, check_prepared, vote_digest
from keyserver.sessions.core import Refusal, Refused, Signer
from keyserver.sessions.identity import check_signature
from keyserver.sessions.writes import VoteKind


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

    def check_vote(
        self, kind: VoteKind, round_: int, value: Hash32, voter: NodeId, signature: Signature
    ) -> None:
        """A voter's signature under a vote."""
        signed = vote_digest(kind, self.subject.hash, round_, value, voter)
        check_signature(signed, signature, voter)

    def check_status(self, sender: NodeId, status: Status) -> None:
        """A STATUS for the proposer, with the certificate it names."""
        highest = status.highest
        named = certificate_hash(highest.certificate if highest is not None else None)
        self.check_vote(VoteKind.STATUS, status.round, named, sender, status.signature)
        if highest is not None:
            self._check_backed(highest, status.round)

    def check_proposal(self, proposal: Proposal) -> None:
        """The STATUS of a quorum, and the outcome that follows from them."""
        nodes = [status.node for status in proposal.statuses]
        if len(set(nodes)) != len(nodes) or not set(nodes) <= set(self.voters):
            raise Refused(Refusal.BAD, "a proposal lists a node twice, or a stranger")
        if len(nodes) < self.quorums.agreement:
            raise Refused(Refusal.BAD, "a proposal lists too few voters")
        by_hash = {certificate_hash(one): one for one in proposal.certificates}
        named: dict[Hash32, PreparedCertificate] = {}
        for status in proposal.statuses:
            self.check_vote(
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
        if held is not None and certificate.round == 0 and held.record.nodes == self.voters:
            self._check_ready(held.record, certificate)
        elif held is not None and certificate.transcript is not None:
            raise Refused(Refusal.BAD, "READY signatures are no votes of the old committee")
        else:
            self._check_certificate(certificate)

    def _check_ready(self, record: KeyRecord, certificate: PreparedCertificate) -> None:
        """Round 0 prepares a record by a holding certificate; there may be several of one record.

        More signatures are needed than a quorum where the threshold is high.
        """
        if certificate.transcript is None:
            raise Refused(Refusal.BAD, "a record is prepared by READY signatures only")
        holding = HoldingCertificate(certificate.transcript, certificate.signatures)
        check_holding(record, holding, self.quorums_of(len(record.committee)))

    def _check_certificate(self, certificate: PreparedCertificate) -> None:
        if self.subject.kind == SubjectKind.DOCUMENT and certificate.transcript is not None:
            raise Refused(Refusal.BAD, "READY signatures are no votes for a document key")
        check_prepared(self.subject.hash, certificate, self.voters, self.quorums)

    def _check_backing(self, backing: Backing) -> None:
        record, document = backing.record, backing.document
        subject = self.subject
        if record is not None and document is not None:
            raise Refused(Refusal.BAD, "a value is a record or a document key, not both")
        if record is not None:
            self._check_record(record)
        if document is not None and (
            subject.kind != SubjectKind.DOCUMENT or document.record_hash != self.previous
        ):
            raise Refused(Refusal.BAD, "the document key does not belong to the subject")

    def _check_record(self, held: HeldRecord) -> None:
        record = held.record
        named = Subject(SubjectKind.RECORD, record.key_id, record.version)
        if named != self.subject or record.previous != self.previous:
            raise Refused(Refusal.BAD, "the record does not belong to the subject")
        if self.previous == ZERO_HASH and record.nodes != self.voters:
            raise Refused(Refusal.BAD, "the record is one of another committee")
        check_holding(record, held.holding, self.quorums_of(len(record.committee)))
