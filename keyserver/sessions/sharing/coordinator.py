"""The coordinator's part of a generation (engine design, sections 7.1 to 7.5).

Trusted for nothing but progress: whatever it says is checked by every participant, this node's
own participant included. What that one says comes from this process and is not checked again.

Slightly over 500 lines, in one piece on purpose: five phases, read in order with their checks.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import assert_never

from keyserver.crypto.transcripts import tail_hash, transcript_hash
from keyserver.crypto.vss import sum_commitments
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import (
    Certificate,
    CertifiedRecord,
    Decision,
    HoldingCertificate,
    NodeSignature,
)
from keyserver.model.requests import GenerateServerKey
from keyserver.sessions.authentication import Authentic, authenticate
from keyserver.sessions.certificates import ready_digest, record_subject, vote_digest
from keyserver.sessions.conviction import InvalidEvidenceError, report_of
from keyserver.sessions.core import (
    Completed,
    Context,
    DeniedError,
    Effect,
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
from keyserver.sessions.messages import Cancel, Refuse
from keyserver.sessions.refusals import consensus_refused, refusing_for_good
from keyserver.sessions.rounds import Round
from keyserver.sessions.sharing.dealt import check_deal, named_deal, unsigned_deal
from keyserver.sessions.sharing.evidence import JudgedComplaint, Sitting
from keyserver.sessions.sharing.messages import (
    Accept,
    Accepted,
    AllCommitments,
    Cert,
    Commit,
    Complaint,
    Deal,
    DealtCommitments,
    DealtShare,
    Finalize,
    Installed,
    Investigate,
    Ok,
    Propose,
    Ready,
    Shares,
    Start,
)
from keyserver.sessions.sharing.phases import (
    AwaitingAccepts,
    AwaitingCommits,
    AwaitingDeals,
    AwaitingOks,
    AwaitingReadies,
    CoordinatorPhase,
    Group,
    Phase,
    Sharing,
)
from keyserver.sessions.sharing.terms import (
    CHAIN_WAIT_S,
    accept_timeout_s,
    check_accepted,
    generation_params,
    group_of,
    record_of,
    round_timeout_s,
    terms_of,
)
from keyserver.sessions.writes import VoteKind

_ROUND = "round"


def start(ctx: Context, _: None) -> Step[Phase]:
    """Propose to all connected nodes of the set; raises a `SessionError` if that is pointless."""
    authentic = authenticate(ctx)
    operation = authentic.operation
    if not isinstance(operation, GenerateServerKey):
        raise Refused(Refusal.BAD, "the request is not one for a generation")
    if operation.threshold >= len(ctx.node_set):
        raise DeniedError("too few nodes for the threshold", "NotEnoughNodesForThreshold")
    if ctx.key.active is not None:
        raise DeniedError("the key exists", "ServerKeyAlreadyGenerated")
    asked = [node for node in ctx.node_set.nodes if node in ctx.connected]
    if len(asked) < _start_quorum(ctx, operation.threshold):
        raise UnavailableError("not all nodes of the set are connected", "NodeDisconnected")
    return _propose(ctx, authentic, operation, asked)


def _propose(
    ctx: Context, authentic: Authentic, operation: GenerateServerKey, asked: list[NodeId]
) -> Step[Phase]:
    params = generation_params(ctx, authentic.requester, operation.threshold, ctx.key.skipped)
    terms = terms_of(params, ctx.key.skipped)
    propose = Propose(ctx.kind, ctx.counter, ctx.request, params, ctx.key.skipped)
    wait = accept_timeout_s(len(asked)) + (CHAIN_WAIT_S if authentic.chain_check else 0)
    effects: list[Effect] = [SetTimer(_ROUND, wait)]
    effects += [Send(node, propose) for node in asked]
    return Step(AwaitingAccepts(terms, Round.among(asked), MappingProxyType({})), tuple(effects))


def step(ctx: Context, phase: CoordinatorPhase, event: Event) -> Step[Phase]:
    """What follows from an event; an answer that is late or not asked for changes nothing."""
    match phase, event:
        case AwaitingAccepts(), Received(sender, Accept() as accept):
            return _on_accept(ctx, phase, sender, accept)
        case AwaitingAccepts(), Received(sender, Refuse() as refuse):
            return _on_refuse(ctx, phase, sender, refuse.refusal)
        case AwaitingDeals(), Received(sender, Deal() as deal):
            return _on_deal(ctx, phase, sender, deal)
        case AwaitingOks(), Received(sender, Ok() as ok):
            return _on_ok(ctx, phase, sender, ok)
        case AwaitingOks(), Received(sender, Investigate()):
            return _on_investigate(ctx, phase, sender)
        case AwaitingOks(), Received(sender, Complaint() as complaint):
            return _on_complaint(ctx, phase, sender, complaint)
        case AwaitingReadies(), Received(sender, Ready() as ready):
            return _on_ready(ctx, phase, sender, ready)
        case AwaitingCommits(), Received(sender, Commit() as commit):
            return _on_commit(ctx, phase, sender, commit)
        case _, Received(sender, Refuse()) | PeerLost(sender):
            return _drop(ctx, phase, sender)
        case _, TimerFired():
            return _give_up_waiting(ctx, phase)
        case _:
            return Step(phase)


# --- accepting -------------------------------------------------------------------------------


def _start_quorum(ctx: Context, threshold: int) -> int:
    """`g_start`: how many must accept; "all" unless the operator says otherwise."""
    holders, wanted = _holders(ctx, threshold), ctx.policy.generation_quorum
    return len(ctx.node_set) if wanted is None else max(holders, min(wanted, len(ctx.node_set)))


def _on_accept(ctx: Context, phase: AwaitingAccepts, sender: NodeId, accept: Accept) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    if sender != ctx.me:
        check_accepted(phase.terms, _accepted(sender, accept))
    added = replace(phase, round=phase.round.add(sender, accept))
    done, quorum = _accepts_done(ctx, added), _start_quorum(ctx, phase.terms.params.threshold)
    if len(added.round.answers) == quorum and isinstance(done.phase, AwaitingAccepts):
        # Whoever else takes part sees the request about now, also where the chain has to show it.
        return Step(done.phase, (SetTimer(_ROUND, accept_timeout_s(len(ctx.node_set))),))
    return done


def _accepted(node: NodeId, accept: Accept) -> Accepted:
    return Accepted(node, accept.one_time, accept.proof, accept.signature)


def _on_refuse(
    ctx: Context, phase: AwaitingAccepts, sender: NodeId, refusal: Refusal
) -> Step[Phase]:
    refusals = MappingProxyType({**phase.refusals, sender: refusal})
    refused = AwaitingAccepts(phase.terms, phase.round.drop(frozenset({sender})), refusals)
    return _accepts_done(ctx, refused)


def _accepts_done(ctx: Context, phase: AwaitingAccepts) -> Step[Phase]:
    needed = _start_quorum(ctx, phase.terms.params.threshold)
    hopeless = phase.round.possible < needed and not _may_become_final(ctx, phase)
    return _start_or_fail(ctx, phase) if phase.round.is_complete or hopeless else Step(phase)


def _may_become_final(ctx: Context, phase: AwaitingAccepts) -> bool:
    """Whether some refuse for good, but not yet so many that one of them must be honest."""
    refusing = len(refusing_for_good(phase.refusals))
    return 0 < refusing <= ctx.quorums(len(ctx.node_set)).faulty


def _start_or_fail(ctx: Context, phase: AwaitingAccepts) -> Step[Phase]:
    accepts = phase.round.in_order()
    if len(accepts) < _start_quorum(ctx, phase.terms.params.threshold):
        return Step(Failed(refusal_error(ctx, phase.terms.params.threshold, phase.refusals)))
    left_out = _left_out(ctx, phase)
    accepted = tuple(_accepted(node, accept) for node, accept in accepts if node not in left_out)
    group = group_of(phase.terms, accepted)
    effects = [Send(node, Start(accepted)) for node in group.members]
    effects += [Send(node, Cancel(Refusal.TEMPORARY)) for node in sorted(left_out)]
    waiting = AwaitingDeals(group, Round.among(group.members))
    return Step(waiting, (_round_timer(group), *effects))


def _left_out(ctx: Context, phase: AwaitingAccepts) -> frozenset[NodeId]:
    """Nodes that were caught, unless too few are left without them to hold the key.

    "All" have to accept; that all must deal, too, it does not say.
    """
    caught = ctx.avoided & phase.round.answers.keys()
    needed, wanted = _holders(ctx, phase.terms.params.threshold), ctx.policy.generation_quorum
    if wanted is not None:
        needed = _start_quorum(ctx, phase.terms.params.threshold)
    return caught if len(phase.round.answers) - len(caught) >= needed else frozenset()


def refusal_error(
    ctx: Context, threshold: int, refusals: Mapping[NodeId, Refusal]
) -> DeniedError | UnavailableError:
    """What a client is told when too few nodes accept.

    Final only for what this node itself concluded, or more others than may lie.
    """
    match refusals.get(ctx.me):
        case Refusal.EXISTS:
            return DeniedError("the key exists", "ServerKeyAlreadyGenerated")
        case Refusal.DENIED | Refusal.POLICY | Refusal.BAD as refusal:
            return DeniedError(f"this node refuses: {refusal.name}", "AccessDenied")
    if Refusal.EXISTS in refusals.values():
        return UnavailableError("a node has the key already", "ServerKeyAlreadyGenerated")
    nodes, needed = len(ctx.node_set), _start_quorum(ctx, threshold)
    faulty = ctx.quorums(nodes).faulty
    refused = consensus_refused(refusals, nodes=nodes, needed=needed, faulty=faulty)
    if refused is not None:
        return refused
    if Refusal.EXCLUSIVE in refusals.values():
        return UnavailableError("another node generates the key", "DuplicateSessionId")
    return UnavailableError(_reasons(refusals), "NodeDisconnected")


def _reasons(refusals: Mapping[NodeId, Refusal]) -> str:
    said = ", ".join(f"{node.short}: {why.name}" for node, why in sorted(refusals.items()))
    return f"too few nodes take part ({said or 'no answer'})"


def _round_timer(group: Group) -> SetTimer:
    return SetTimer(_ROUND, round_timeout_s(len(group.members)))


# --- dealing ---------------------------------------------------------------------------------


def _on_deal(ctx: Context, phase: AwaitingDeals, sender: NodeId, deal: Deal) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    if sender != ctx.me:
        check_deal(phase.group, sender, deal)
    return _deals_done(ctx, replace(phase, round=phase.round.add(sender, deal)))


def _deals_done(ctx: Context, phase: AwaitingDeals) -> Step[Phase]:
    needed = _holder_quorum(ctx, phase.group)
    if phase.round.possible < needed:
        return Step(Failed(UnavailableError("too few nodes dealt", "NodeDisconnected")))
    if not phase.round.is_complete:
        return Step(phase)
    return _share_out(ctx, phase.group, phase.round.answers, attempt=0)


def _holder_quorum(ctx: Context, group: Group) -> int:
    return _holders(ctx, group.terms.params.threshold)


def _holders(ctx: Context, threshold: int) -> int:
    return ctx.quorums(len(ctx.node_set)).holders(threshold)


def _share_out(
    ctx: Context, group: Group, deals: Mapping[NodeId, Deal], *, attempt: int
) -> Step[Phase]:
    """Send every remaining dealer its part of all remaining deals (7.4)."""
    quorums = ctx.quorums(len(ctx.node_set))
    if len(deals) < _holder_quorum(ctx, group) or attempt > quorums.faulty + 1:
        return Step(Failed(UnavailableError("too few deals are right", "NodeDisconnected")))
    dealers = sorted(deals)
    sums = sum_commitments([deals[dealer].commitments for dealer in dealers])
    commitments = tuple(point for point in sums if point is not None)
    if len(commitments) < len(sums):
        return Step(Failed(UnavailableError("the deals cancel each other", "NodeDisconnected")))
    place = {node: index for index, node in enumerate(group.members)}
    tails = {dealer: Hash32(tail_hash(deals[dealer].commitments)) for dealer in dealers}
    transcript = Hash32(
        transcript_hash(
            group.session_hash,
            [
                (dealer.point, named_deal(group, dealer, deals[dealer], tails[dealer]))
                for dealer in dealers
            ],
        )
    )
    sharing = Sharing(group, MappingProxyType(dict(deals)), commitments, transcript, attempt)
    effects: list[Effect] = [_round_timer(group)]
    for receiver in dealers:
        parts = tuple(
            DealtShare(
                dealer,
                deals[dealer].commitments[0],
                deals[dealer].possession,
                tails[dealer],
                deals[dealer].shares[place[receiver]].ciphertext,
                deals[dealer].shares[place[receiver]].signature,
            )
            for dealer in dealers
        )
        effects.append(Send(receiver, Shares(parts, commitments)))
    return Step(AwaitingOks(sharing, Round.among(dealers)), tuple(effects))


# --- checking --------------------------------------------------------------------------------


def _on_ok(ctx: Context, phase: AwaitingOks, sender: NodeId, ok: Ok) -> Step[Phase]:
    """An OK for shares that were replaced since has crossed them on the way."""
    if not phase.round.expects(sender) or ok.transcript != phase.sharing.transcript:
        return Step(phase)
    return _oks_done(ctx, replace(phase, round=phase.round.add(sender, ok)))


def _on_investigate(ctx: Context, phase: AwaitingOks, sender: NodeId) -> Step[Phase]:
    """A receiver finds something wrong: a signature, which convicts nobody, or a share."""
    if not phase.round.expects(sender) or sender in phase.investigating:
        return Step(phase)
    unsigned = unsigned_deal(phase.sharing, sender)
    if unsigned is not None:
        return _without_dealer(ctx, phase, unsigned)
    dealt = tuple(
        DealtCommitments(dealer, phase.sharing.deals[dealer].commitments)
        for dealer in sorted(phase.sharing.deals)
    )
    asked = replace(phase, investigating=phase.investigating | {sender})
    return Step(asked, (Send(sender, AllCommitments(dealt)),))


def _on_complaint(
    ctx: Context, phase: AwaitingOks, sender: NodeId, complaint: Complaint
) -> Step[Phase]:
    """Judge; a complaint about a dealer that is out already has nothing to add."""
    if not phase.round.expects(sender) or complaint.dealer not in phase.sharing.deals:
        return Step(phase)
    record = JudgedComplaint(Sitting.of(phase.sharing.group), sender, complaint)
    try:
        report = report_of(record)
    except InvalidEvidenceError as nothing:
        raise Refused(Refusal.BAD, f"complaint: {nothing}") from nothing
    (culprit,) = report.culprits
    return _without_dealer(ctx, phase, culprit, (report,))


def _without_dealer(
    ctx: Context, phase: AwaitingOks, culprit: NodeId, reports: tuple[Effect, ...] = ()
) -> Step[Phase]:
    """Go on with the remaining deals; no new polynomials are needed."""
    sharing = phase.sharing
    deals = {node: deal for node, deal in sharing.deals.items() if node != culprit}
    gone = phase.round.gone
    again = _share_out(
        ctx,
        sharing.group,
        {node: deal for node, deal in deals.items() if node not in gone},
        attempt=sharing.attempt + 1,
    )
    return Step(again.phase, (*reports, *again.effects))


def _oks_done(ctx: Context, phase: AwaitingOks) -> Step[Phase]:
    sharing = phase.sharing
    if phase.round.possible < _holder_quorum(ctx, sharing.group):
        return Step(Failed(UnavailableError("too few shares are right", "NodeDisconnected")))
    if not phase.round.is_complete:
        return Step(phase)
    record = record_of(sharing.group.terms.params, sharing.commitments)
    finalize = Finalize(record, sharing.transcript)
    receivers = [node for node, _ in phase.round.in_order()]
    effects = [Send(node, finalize) for node in receivers]
    waiting = AwaitingReadies(sharing, record, Round.among(receivers))
    return Step(waiting, (_round_timer(sharing.group), *effects))


# --- certifying ------------------------------------------------------------------------------


def _on_ready(ctx: Context, phase: AwaitingReadies, sender: NodeId, ready: Ready) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    if sender != ctx.me:
        signed = ready_digest(phase.record.hash, phase.sharing.transcript, sender)
        check_signature(signed, ready.signature, sender)
    return _readies_done(ctx, replace(phase, round=phase.round.add(sender, ready.signature)))


def _readies_done(ctx: Context, phase: AwaitingReadies) -> Step[Phase]:
    sharing = phase.sharing
    if phase.round.possible < _holder_quorum(ctx, sharing.group):
        return Step(Failed(UnavailableError("too few nodes stored the key", "NodeDisconnected")))
    if not phase.round.is_complete:
        return Step(phase)
    signatures = tuple(NodeSignature(node, sig) for node, sig in phase.round.in_order())
    holding = HoldingCertificate(sharing.transcript, signatures)
    holders = [entry.node for entry in signatures]
    effects = [Send(node, Cert(signatures)) for node in holders]
    waiting = AwaitingCommits(sharing, phase.record, holding, Round.among(holders))
    return Step(waiting, (_round_timer(sharing.group), *effects))


def _on_commit(ctx: Context, phase: AwaitingCommits, sender: NodeId, commit: Commit) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    record = phase.record
    if sender != ctx.me:
        subject = record_subject(record.key_id, record.version)
        signed = vote_digest(VoteKind.COMMIT, subject, 0, record.hash, sender)
        check_signature(signed, commit.signature, sender)
    return _commits_done(ctx, replace(phase, round=phase.round.add(sender, commit.signature)))


def _commits_done(ctx: Context, phase: AwaitingCommits) -> Step[Phase]:
    needed = ctx.quorums(len(phase.record.committee)).agreement
    if len(phase.round.answers) < needed:
        if phase.round.possible >= needed:
            return Step(phase)
        return Step(Failed(UnavailableError("too few nodes committed", "NodeDisconnected")))
    signatures = tuple(NodeSignature(node, sig) for node, sig in phase.round.in_order())
    decision = Decision(0, phase.record.hash, signatures)
    certificate = Certificate(phase.holding, decision)
    skipped = phase.sharing.group.terms.skipped
    certified = CertifiedRecord(phase.record, certificate, skipped)
    holders = [entry.node for entry in phase.holding.signatures]
    effects = tuple(Send(node, Installed(decision)) for node in holders)
    return Step(Completed(certified), effects)


# --- nodes that vanish -----------------------------------------------------------------------


def _drop(ctx: Context, phase: CoordinatorPhase, node: NodeId) -> Step[Phase]:
    """Go on without a node that refuses, is lost, or sent what no check accepts."""
    return _without(ctx, phase, frozenset({node}))


def _give_up_waiting(ctx: Context, phase: CoordinatorPhase) -> Step[Phase]:
    """Time is up: whoever has not answered is absent from here on."""
    return _without(ctx, phase, phase.round.waiting)


def _without(ctx: Context, phase: CoordinatorPhase, nodes: frozenset[NodeId]) -> Step[Phase]:
    match phase:
        case AwaitingAccepts():
            return _accepts_done(ctx, replace(phase, round=phase.round.drop(nodes)))
        case AwaitingDeals():
            return _deals_done(ctx, replace(phase, round=phase.round.drop(nodes)))
        case AwaitingOks():
            return _oks_done(ctx, replace(phase, round=phase.round.drop(nodes)))
        case AwaitingReadies():
            return _readies_done(ctx, replace(phase, round=phase.round.drop(nodes)))
        case AwaitingCommits():
            return _commits_done(ctx, replace(phase, round=phase.round.drop(nodes)))
    assert_never(phase)
