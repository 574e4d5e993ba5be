"""A committee member's part of storing a document key (engine design, section 8)."""

from keyserver.model.codec import encode
from keyserver.model.identifiers import NodeId
from keyserver.model.keys import CertifiedDocumentKey, PreparedCertificate
from keyserver.model.requests import AnyOperation, GenerateServerKey, StoreDocumentKey
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.certificates import (
    check_decision,
    check_prepared,
    document_subject,
    vote_digest,
)
from keyserver.sessions.core import (
    Authorised,
    Completed,
    Context,
    Event,
    Persist,
    Received,
    Refusal,
    Refused,
    Send,
    SetTimer,
    Step,
    Verdict,
)
from keyserver.sessions.key_in_force import record_in_force
from keyserver.sessions.storing.messages import (
    StoreAck,
    StoreCert,
    StoreCommit,
    Stored,
    StorePropose,
)
from keyserver.sessions.storing.phases import (
    AwaitingCert,
    AwaitingDecision,
    AwaitingVerdict,
    ParticipantPhase,
    Phase,
    Proposal,
)
from keyserver.sessions.waiting import verdict_refusal
from keyserver.sessions.writes import (
    CastVote,
    PutDocument,
    PutDocumentCandidate,
    PutDocumentNothing,
    VoteKind,
)

_IDLE = SetTimer("idle", 60)


def join(ctx: Context, sender: NodeId, message: StorePropose) -> Step[Phase]:
    """Check request, author, record and that nothing else was stored or voted for."""
    authentic = authenticate(ctx)
    _check_points(ctx, authentic.operation, message)
    record = record_in_force(ctx, message.record_hash)
    if ctx.me not in record.coordinates:
        raise Refused(Refusal.BAD, "this node is not in the key's committee")
    if ctx.key.document is not None:
        raise Refused(Refusal.EXISTS, "a document key is stored already")
    if authentic.requester != record.author:
        raise Refused(Refusal.DENIED, "the requester is not the author of the key")
    if ctx.key.promise is not None:
        raise Refused(Refusal.EXCLUSIVE, "the shares of the key are being redistributed")
    proposal = Proposal(record, message.document, message.attempt, message.skipped)
    _check_attempt(ctx, proposal)
    if authentic.chain_check is None:
        return _acknowledge(ctx, proposal)
    return Step(AwaitingVerdict(proposal), (SetTimer("idle", 85), authentic.chain_check))


def step(ctx: Context, phase: ParticipantPhase, event: Event) -> Step[Phase]:
    """What follows from an event; a message out of turn changes nothing."""
    match phase, event:
        case AwaitingVerdict(), Authorised(verdict):
            return _on_verdict(ctx, phase, verdict)
        case AwaitingCert(), Received(_, StoreCert() as cert):
            return _on_cert(ctx, phase, cert)
        case AwaitingVerdict() | AwaitingCert() | AwaitingDecision(), Received(
            _, Stored() as stored
        ):
            return _on_stored(ctx, phase.proposal, stored)
        case _:
            return Step(phase)


def _check_points(ctx: Context, operation: AnyOperation, message: StorePropose) -> None:
    """The points are the client's own; or those made by whom it asked for both keys (op 3)."""
    match operation:
        case StoreDocumentKey(document=document):
            if message.document != document:
                raise Refused(Refusal.BAD, "the points are not those of the request")
        case GenerateServerKey(with_document_key=True):
            if ctx.generated_by != ctx.coordinator:
                raise Refused(Refusal.BAD, "the key was not generated under this request")
        case _:
            raise Refused(Refusal.BAD, "the request is not one to store a document key")


def _check_attempt(ctx: Context, proposal: Proposal) -> None:
    """One undecided attempt at a time, and in it one value."""
    record, quorums = proposal.record, ctx.quorums(len(proposal.record.committee))
    if proposal.attempt != record.first_attempt + len(proposal.skipped):
        raise Refused(Refusal.BAD, "the earlier attempts are not accounted for")
    if proposal.attempt < ctx.key.next_document_attempt:
        raise Refused(Refusal.STALE, "the attempt was decided already")
    for attempt, decision in enumerate(proposal.skipped, record.first_attempt):
        if not decision.is_nothing:
            raise Refused(Refusal.BAD, "an earlier attempt was not decided as nothing")
        subject = document_subject(record.key_id, attempt)
        check_decision(subject, decision, record.nodes, quorums)
    candidate = ctx.key.document_candidate
    undecided = candidate is not None and candidate.attempt >= proposal.attempt
    if undecided and candidate is not None and candidate.document != proposal.document:
        raise Refused(Refusal.EXCLUSIVE, "another value is being stored")


def _on_verdict(ctx: Context, phase: AwaitingVerdict, verdict: Verdict) -> Step[Phase]:
    refusal = verdict_refusal(verdict)
    if refusal is not None:
        raise refusal
    return _acknowledge(ctx, phase.proposal)


def _acknowledge(ctx: Context, proposal: Proposal) -> Step[Phase]:
    key_id, value = proposal.record.key_id, proposal.value
    subject = document_subject(key_id, proposal.attempt)
    given_up = [
        PutDocumentNothing(key_id, attempt, decision)
        for attempt, decision in enumerate(proposal.skipped, proposal.record.first_attempt)
        if attempt >= ctx.key.next_document_attempt
    ]
    vote = Persist(
        (
            *given_up,
            CastVote(subject, 0, VoteKind.PREPARE, value),
            PutDocumentCandidate(key_id, proposal.attempt, proposal.record.hash, proposal.document),
        )
    )
    ack = StoreAck(ctx.signer.sign(vote_digest(VoteKind.PREPARE, subject, 0, value, ctx.me)))
    return Step(AwaitingCert(proposal), (_IDLE, vote, Send(ctx.coordinator, ack)))


def _on_cert(ctx: Context, phase: AwaitingCert, cert: StoreCert) -> Step[Phase]:
    proposal = phase.proposal
    record, value = proposal.record, proposal.value
    subject = document_subject(record.key_id, proposal.attempt)
    prepared = PreparedCertificate(0, value, None, cert.signatures)
    check_prepared(subject, prepared, record.nodes, ctx.quorums(len(record.committee)))
    vote = Persist((CastVote(subject, 0, VoteKind.COMMIT, value, encode(prepared)),))
    signed = vote_digest(VoteKind.COMMIT, subject, 0, value, ctx.me)
    commit = StoreCommit(ctx.signer.sign(signed))
    return Step(AwaitingDecision(proposal), (_IDLE, vote, Send(ctx.coordinator, commit)))


def _on_stored(ctx: Context, proposal: Proposal, stored: Stored) -> Step[Phase]:
    """The decision stands for itself; also a node that has not voted takes it."""
    decision = stored.decision
    record = proposal.record
    subject = document_subject(record.key_id, proposal.attempt)
    check_decision(subject, decision, record.nodes, ctx.quorums(len(record.committee)))
    if decision.value != proposal.value:
        raise Refused(Refusal.BAD, "the decision is for another document key")
    certified = CertifiedDocumentKey(proposal.document, record.hash, proposal.attempt, decision)
    return Step(Completed(certified), (Persist((PutDocument(record.key_id, certified),)),))
