"""The coordinator's part of storing a document key (engine design, section 8)."""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import assert_never

from keyserver.model.identifiers import NodeId, Signature
from keyserver.model.keys import (
    CertifiedDocumentKey,
    CertifiedRecord,
    Decision,
    DocumentKey,
    NodeSignature,
)
from keyserver.model.requests import AnyOperation, GenerateServerKey, StoreDocumentKey
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.certificates import document_subject, vote_digest
from keyserver.sessions.core import (
    Completed,
    Context,
    DeniedError,
    Event,
    Failed,
    PeerLost,
    Received,
    Refusal,
    Refused,
    Send,
    SetTimer,
    Step,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.identity import check_signature
from keyserver.sessions.messages import Refuse
from keyserver.sessions.refusals import consensus_refused
from keyserver.sessions.rounds import Round
from keyserver.sessions.storing.messages import (
    StoreAck,
    StoreCert,
    StoreCommit,
    Stored,
    StorePropose,
)
from keyserver.sessions.storing.phases import (
    AwaitingAcks,
    AwaitingCommits,
    CoordinatorPhase,
    Phase,
    Proposal,
)
from keyserver.sessions.writes import VoteKind

CHAIN_WAIT_S = 25.0
"""Added to the first round where nodes may wait for their own view of the chain."""

GRACE_S = 3.0
"""How long to wait for the rest of the nodes once a quorum has voted."""


@dataclass(frozen=True, slots=True)
class Target:
    """The key under which to store, and the attempts that were given up before."""

    record: CertifiedRecord
    skipped: tuple[Decision, ...]
    made_here: DocumentKey | None = None
    """The points, where this node made the document key itself (op 3)."""

    @property
    def attempt(self) -> int:
        """The number of this attempt."""
        return self.record.record.first_attempt + len(self.skipped)


def start(ctx: Context, target: Target) -> Step[Phase]:
    """Propose to the connected members of the record's committee."""
    authentic = authenticate(ctx)
    record, document = target.record.record, _document(authentic.operation, target)
    if ctx.key.document is not None:
        raise DeniedError("a document key is stored already", "DocumentKeyAlreadyStored")
    if authentic.requester != record.author:
        raise DeniedError("the requester is not the author of the key", "AccessDenied")
    asked = [node for node in record.nodes if node in ctx.connected]
    if len(asked) < _start_quorum(ctx, len(record.committee)):
        raise UnavailableError("not all nodes of the set are connected", "NodeDisconnected")
    proposal = Proposal(record, document, target.attempt, target.skipped)
    propose = StorePropose(
        ctx.counter,
        ctx.request,
        record.hash,
        proposal.attempt,
        proposal.skipped,
        proposal.document,
    )
    wait = _round_s(len(asked)) + (CHAIN_WAIT_S if authentic.chain_check else 0)
    sends = [Send(node, propose) for node in asked]
    phase = AwaitingAcks(proposal, Round.among(asked), MappingProxyType({}))
    return Step(phase, (SetTimer("round", wait), *sends))


def step(ctx: Context, phase: CoordinatorPhase, event: Event) -> Step[Phase]:
    """What follows from an event; an answer that is late or not asked for changes nothing."""
    match phase, event:
        case AwaitingAcks(), Received(sender, StoreAck() as ack):
            return _on_ack(ctx, phase, sender, ack)
        case AwaitingAcks(), Received(sender, Refuse() as refuse):
            return _on_refuse(ctx, phase, sender, refuse.refusal)
        case AwaitingCommits(), Received(sender, StoreCommit() as commit):
            return _on_commit(ctx, phase, sender, commit)
        case AwaitingAcks(), TimerFired("grace"):
            return _acks_done(ctx, phase, grace_over=True)
        case _, Received(sender, Refuse()) | PeerLost(sender):
            return _without(ctx, phase, frozenset({sender}))
        case _, TimerFired("round"):
            return _without(ctx, phase, phase.round.waiting)
        case _:
            return Step(phase)


def _document(operation: AnyOperation, target: Target) -> DocumentKey:
    match operation, target.made_here:
        case StoreDocumentKey(document=document), None:
            return document
        case GenerateServerKey(with_document_key=True), DocumentKey() as made_here:
            return made_here
        case _:
            raise Refused(Refusal.BAD, "the request is not one to store this document key")


def _round_s(nodes: int) -> float:
    return 10 + 0.04 * nodes


def _start_quorum(ctx: Context, committee: int) -> int:
    wanted = ctx.policy.generation_quorum
    agreement = ctx.quorums(committee).agreement
    return committee if wanted is None else max(agreement, min(wanted, committee))


def _on_ack(ctx: Context, phase: AwaitingAcks, sender: NodeId, ack: StoreAck) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    _check_vote(VoteKind.PREPARE, phase.proposal, sender, ack)
    added = replace(phase, round=phase.round.add(sender, ack.signature))
    done = _acks_done(ctx, added)
    if len(added.round.answers) == _agreement(ctx, phase) and isinstance(done.phase, AwaitingAcks):
        return Step(done.phase, (SetTimer("grace", GRACE_S),))
    return done


def _check_vote(
    kind: VoteKind, proposal: Proposal, sender: NodeId, vote: StoreAck | StoreCommit
) -> None:
    subject = document_subject(proposal.record.key_id, proposal.attempt)
    signed = vote_digest(kind, subject, 0, proposal.value, sender)
    check_signature(signed, vote.signature, sender)


def _on_refuse(ctx: Context, phase: AwaitingAcks, sender: NodeId, refusal: Refusal) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    refusals = MappingProxyType({**phase.refusals, sender: refusal})
    refused = replace(phase, round=phase.round.drop(frozenset({sender})), refusals=refusals)
    return _acks_done(ctx, refused)


_OWN_FINAL = {
    Refusal.DENIED: "AccessDenied",
    Refusal.POLICY: "AccessDenied",
    Refusal.BAD: "InvalidMessage",
    Refusal.EXISTS: "DocumentKeyAlreadyStored",
}


def _acks_done(ctx: Context, phase: AwaitingAcks, *, grace_over: bool = False) -> Step[Phase]:
    needed = _agreement(ctx, phase)
    if phase.round.possible < needed:
        return Step(Failed(_too_few(ctx, phase)))
    if len(phase.round.answers) < needed or not (phase.round.is_complete or grace_over):
        return Step(phase)
    prepared = _signatures(phase.round)
    members = [entry.node for entry in prepared]
    sends = [Send(node, StoreCert(prepared)) for node in members]
    told = phase.round.expected - phase.round.gone
    waiting = AwaitingCommits(phase.proposal, prepared, Round.among(members), told)
    return Step(waiting, (SetTimer("round", _round_s(len(members))), *sends))


def _agreement(ctx: Context, phase: AwaitingAcks | AwaitingCommits) -> int:
    return ctx.quorums(len(phase.proposal.record.committee)).agreement


def _too_few(ctx: Context, phase: AwaitingAcks) -> DeniedError | UnavailableError:
    """Final only for what this node itself found, or more others than may lie."""
    own = _OWN_FINAL.get(phase.refusals.get(ctx.me, Refusal.TEMPORARY))
    if own is not None:
        return DeniedError("this node refuses to store the document key", own)
    nodes, needed = len(phase.proposal.record.committee), _agreement(ctx, phase)
    faulty = ctx.quorums(nodes).faulty
    refused = consensus_refused(phase.refusals, nodes=nodes, needed=needed, faulty=faulty)
    if refused is not None:
        return refused
    if {Refusal.EXCLUSIVE, Refusal.STALE} & set(phase.refusals.values()):
        return UnavailableError("another session is about this key", "DuplicateSessionId")
    return UnavailableError("too few nodes store the document key", "NodeDisconnected")


def _signatures(round_: Round[Signature]) -> tuple[NodeSignature, ...]:
    return tuple(NodeSignature(node, signature) for node, signature in round_.in_order())


def _on_commit(
    ctx: Context, phase: AwaitingCommits, sender: NodeId, commit: StoreCommit
) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    _check_vote(VoteKind.COMMIT, phase.proposal, sender, commit)
    return _commits_done(ctx, replace(phase, round=phase.round.add(sender, commit.signature)))


def _commits_done(ctx: Context, phase: AwaitingCommits) -> Step[Phase]:
    proposal = phase.proposal
    needed = _agreement(ctx, phase)
    if len(phase.round.answers) < needed:
        if phase.round.possible >= needed:
            return Step(phase)
        return Step(Failed(UnavailableError("too few nodes committed", "NodeDisconnected")))
    decision = Decision(0, proposal.value, _signatures(phase.round))
    certified = CertifiedDocumentKey(
        proposal.document, proposal.record.hash, proposal.attempt, decision
    )
    sends = tuple(Send(node, Stored(decision)) for node in sorted(phase.told))
    return Step(Completed(certified), sends)


def _without(ctx: Context, phase: CoordinatorPhase, nodes: frozenset[NodeId]) -> Step[Phase]:
    match phase:
        case AwaitingAcks():
            return _acks_done(ctx, replace(phase, round=phase.round.drop(nodes)))
        case AwaitingCommits():
            return _commits_done(ctx, replace(phase, round=phase.round.drop(nodes)))
    assert_never(phase)
