"""The coordinator's part of a retrieval: ask holders, select t + 1, combine."""

from dataclasses import dataclass, replace
from types import MappingProxyType

from keyserver.crypto.elgamal import result_common_point
from keyserver.crypto.errors import CryptoError
from keyserver.model.identifiers import NodeId, Signature
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord, KeyRecord
from keyserver.model.requests import RetrieveDocumentKey
from keyserver.sessions.authentication import authenticate
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
    StaleError,
    Step,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.identity import check_signature
from keyserver.sessions.messages import Refuse
from keyserver.sessions.outcomes import PlainResult, ShadowResult
from keyserver.sessions.refusals import FOR_NOW, consensus_refused, may_become_final
from keyserver.sessions.retrieval.messages import (
    DecRequest,
    Done,
    Mode,
    Partial,
    Select,
    SelectedPartial,
    Shadow,
)
from keyserver.sessions.retrieval.parts import (
    MAX_SELECTS,
    check_partial,
    commitments_of,
    decrypted_secret,
    mode_of,
    pick_order,
    selected,
    shadow_digest,
)
from keyserver.sessions.retrieval.phases import (
    AwaitingPartials,
    AwaitingShadows,
    CoordinatorPhase,
    Phase,
    Subject,
)
from keyserver.sessions.retrieval.proofs import select_hash
from keyserver.sessions.rounds import Round

ROUND_S = 5.0
"""How long a round may take (engine design, section 16)."""

ASK_MORE_S = 2.0
"""When holders that were not asked at first are asked as well."""

CHAIN_WAIT_S = 25.0
"""Added to the first round where holders may wait for their own view of the chain."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be decrypted, and who is known to hold shares."""

    record: CertifiedRecord
    document: CertifiedDocumentKey
    holders: tuple[NodeId, ...]
    """In the order in which they are to be asked."""
    excluded: frozenset[NodeId] = frozenset()
    """Holders that are not asked at all: the requester does not want them."""


def start(ctx: Context, target: Target) -> Step[Phase]:
    """Ask t + 1 + f of the connected holders."""
    authentic = authenticate(ctx)
    if not isinstance(authentic.operation, RetrieveDocumentKey) or authentic.recipient is None:
        raise Refused(Refusal.BAD, "the request is not one for a document key")
    record = target.record.record
    mode = mode_of(ctx.request)
    subject = Subject(mode, record, target.document.document, authentic.recipient)
    wanted = [node for node in target.holders if node not in target.excluded]
    reachable = [node for node in wanted if node in ctx.connected]
    if len(reachable) < record.required_nodes:
        raise UnavailableError("too few holders are connected", "ConsensusUnreachable")
    asked, more = _first_asked(ctx, record, reachable)
    wait = ROUND_S + (CHAIN_WAIT_S if authentic.chain_check else 0)
    timers = (SetTimer("more", ASK_MORE_S), SetTimer("round", wait))
    phase = AwaitingPartials(
        subject,
        target.document,
        Round.among(asked),
        more,
        holders=len(target.holders),
        refusals=MappingProxyType({}),
        late=frozenset(),
        selects=0,
    )
    return Step(phase, (*timers, *_asking(ctx, phase, asked)))


def _first_asked(
    ctx: Context, record: KeyRecord, reachable: list[NodeId]
) -> tuple[tuple[NodeId, ...], tuple[NodeId, ...]]:
    """Whom to ask at once and whom later: t + 1 + f, and nobody who was caught unless needed."""
    first = record.required_nodes + ctx.quorums(len(record.committee)).faulty
    trusted = [node for node in reachable if node not in ctx.avoided]
    if len(trusted) < record.required_nodes:
        trusted += [node for node in reachable if node in ctx.avoided]
    asked = tuple(trusted[:first])
    others = [node for node in reachable if node not in asked]
    return asked, tuple(sorted(others, key=lambda node: node in ctx.avoided))


def step(ctx: Context, phase: CoordinatorPhase, event: Event) -> Step[Phase]:
    """What follows from an event; an answer that is late or not asked for changes nothing."""
    match phase, event:
        case AwaitingPartials(), Received(sender, Partial() as partial):
            return _on_partial(ctx, phase, sender, partial)
        case AwaitingPartials(), Received(sender, Refuse() as refuse):
            return _on_refuse(ctx, phase, sender, refuse.refusal)
        case AwaitingPartials(), PeerLost(peer):
            return _without(ctx, phase, peer)
        case AwaitingPartials(), TimerFired("more"):
            return _ask_more(ctx, phase, len(phase.more))
        case AwaitingPartials(), TimerFired("round"):
            return Step(Failed(_unreachable(ctx, phase)))
        case AwaitingShadows(), Received(sender, Shadow() as shadow):
            return _on_shadow(ctx, phase, sender, shadow)
        case AwaitingShadows(), Received(sender, Partial() as partial):
            return _on_late_partial(ctx, phase, sender, partial)
        case AwaitingShadows(), Received(sender, Refuse()) | PeerLost(sender):
            return _select_again(ctx, phase, frozenset({sender}))
        case AwaitingShadows(), TimerFired("shadows"):
            return _select_again(ctx, _noting_late(phase), phase.round.waiting)
        case _:
            return Step(phase)


def _asking(ctx: Context, phase: AwaitingPartials, nodes: tuple[NodeId, ...]) -> tuple[Effect, ...]:
    subject = phase.subject
    message = DecRequest(
        ctx.counter,
        ctx.request,
        subject.record.hash,
        subject.mode,
        phase.document,
        ctx.permission_block,
    )
    return tuple(Send(node, message) for node in nodes)


# --- partial decryptions ---------------------------------------------------------------------


def _on_partial(
    ctx: Context, phase: AwaitingPartials, sender: NodeId, partial: Partial
) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    if sender != ctx.me:  # what this process made needs no check
        check_partial(ctx, phase.subject, sender, partial)
    return _partials_done(ctx, replace(phase, round=phase.round.add(sender, partial)))


def _partials_done(ctx: Context, phase: AwaitingPartials) -> Step[Phase]:
    required = phase.subject.record.required_nodes
    if len(phase.round.answers) < required:
        hopeless = phase.round.possible < required and not phase.more
        if hopeless and (phase.round.is_complete or not _may_become_final(ctx, phase)):
            return Step(Failed(_unreachable(ctx, phase)))
        return Step(phase)
    ranked = sorted(
        phase.round.answers, key=lambda node: (node in ctx.avoided, pick_order(ctx.sid, node))
    )
    partials = tuple(
        selected(node, phase.round.answers[node]) for node in sorted(ranked[:required])
    )
    if phase.subject.mode is Mode.PLAIN:
        return _finish_plain(ctx, phase, partials)
    return _select(ctx, phase, partials)


def _on_refuse(
    ctx: Context, phase: AwaitingPartials, sender: NodeId, refusal: Refusal
) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    refusals = MappingProxyType({**phase.refusals, sender: refusal})
    return _without(ctx, replace(phase, refusals=refusals), sender)


def _without(ctx: Context, phase: AwaitingPartials, node: NodeId) -> Step[Phase]:
    """Go on without a node, asking one more in its place."""
    if not phase.round.expects(node):
        return Step(phase)
    return _ask_more(ctx, replace(phase, round=phase.round.drop(frozenset({node}))), 1)


def _ask_more(ctx: Context, phase: AwaitingPartials, count: int) -> Step[Phase]:
    asked, more = phase.more[:count], phase.more[count:]
    wider = replace(phase.round, expected=phase.round.expected | frozenset(asked))
    phase = replace(phase, round=wider, more=more)
    done = _partials_done(ctx, phase)
    return Step(done.phase, (*_asking(ctx, phase, asked), *done.effects))


def _may_become_final(ctx: Context, phase: AwaitingPartials) -> bool:
    """Whether those who have not answered may still show that it is refused for good."""
    record = phase.subject.record
    return may_become_final(
        phase.refusals,
        phase.round.waiting,
        nodes=phase.holders,
        needed=record.required_nodes,
        faulty=ctx.quorums(len(record.committee)).faulty,
    )


def _unreachable(ctx: Context, phase: AwaitingPartials) -> DeniedError | UnavailableError:
    """Final only if so many holders refuse for good that no t + 1 are left (section 17).

    And only if an honest one is among them. Else it is a matter of time if those who may still
    answer, now or at a repeat, would be enough.
    """
    record = phase.subject.record
    faulty, required = ctx.quorums(len(record.committee)).faulty, record.required_nodes
    refused = consensus_refused(phase.refusals, nodes=phase.holders, needed=required, faulty=faulty)
    if refused is not None:
        return refused
    in_doubt = {node for node, refusal in phase.refusals.items() if refusal in FOR_NOW}
    hopeful = phase.round.answers.keys() | phase.round.waiting | in_doubt | phase.late
    if len(hopeful) < required:
        return UnavailableError("too few holders can be reached", "ConsensusUnreachable")
    if Refusal.STALE in phase.refusals.values():
        return StaleError("holders have another version", "ConsensusTemporaryUnreachable")
    return UnavailableError("too few holders answered", "ConsensusTemporaryUnreachable")


def _finish_plain(
    ctx: Context, phase: AwaitingPartials, partials: tuple[SelectedPartial, ...]
) -> Step[Phase]:
    try:
        key = decrypted_secret(phase.subject, partials)
    except CryptoError as problem:
        return Step(Failed(DeniedError(str(problem), "Internal")))
    return Step(Completed(PlainResult(key, phase.subject.recipient)))


# --- shadows ---------------------------------------------------------------------------------


def _select(
    ctx: Context, phase: AwaitingPartials, partials: tuple[SelectedPartial, ...]
) -> Step[Phase]:
    if phase.selects >= MAX_SELECTS:
        gone = phase.round.gone
        error = UnavailableError("selected nodes failed again and again", failed=gone)
        return Step(Failed(error))
    named = select_hash(ctx.sid, partials)
    select = Select(partials, Signature(ctx.signer.sign(named)))
    members = [entry.node for entry in partials]
    effects = [Send(node, select) for node in members]
    before = replace(phase, selects=phase.selects + 1)
    waiting = AwaitingShadows(before, select, named, Round.among(members))
    return Step(waiting, (SetTimer("shadows", ROUND_S), *effects))


def _on_shadow(ctx: Context, phase: AwaitingShadows, sender: NodeId, shadow: Shadow) -> Step[Phase]:
    if not phase.round.expects(sender) or shadow.select_hash != phase.select_hash:
        return Step(phase)
    if sender != ctx.me:
        check_signature(shadow_digest(ctx.sid, sender, shadow), shadow.signature, sender)
    round_ = phase.round.add(sender, shadow)
    if not round_.is_complete:
        return Step(replace(phase, round=round_))
    return _finish(phase, round_)


def _finish(phase: AwaitingShadows, round_: Round[Shadow]) -> Step[Phase]:
    subject = phase.before.subject
    answers = round_.in_order()
    try:
        secret = decrypted_secret(subject, phase.select.partials)
        commitments = commitments_of(subject, phase.select)
    except CryptoError as problem:
        return Step(Failed(DeniedError(str(problem), "Internal")))
    result = ShadowResult(
        decrypted_secret=secret,
        common_point=result_common_point(subject.record.threshold, subject.document.common),
        shadows=tuple(bytes(shadow.sealed) for _, shadow in answers),
        nodes=tuple(node for node, _ in answers),
        shadow_commitments=commitments,
    )
    done = Done(phase.select_hash)
    asked = sorted(phase.before.round.expected - phase.before.round.gone)
    return Step(Completed(result), tuple(Send(node, done) for node in asked))


def _on_late_partial(
    ctx: Context, phase: AwaitingShadows, sender: NodeId, partial: Partial
) -> Step[Phase]:
    """A spare part, in case a selected node fails."""
    before = phase.before
    if not before.round.expects(sender):
        return Step(phase)
    check_partial(ctx, before.subject, sender, partial)
    kept = replace(before, round=before.round.add(sender, partial))
    return Step(replace(phase, before=kept))


def _select_again(ctx: Context, phase: AwaitingShadows, failed: frozenset[NodeId]) -> Step[Phase]:
    """Replace members that fail by others whose part is there; ask everybody who is left."""
    if not failed & phase.round.expected:
        return Step(replace(phase, before=_dropping(phase.before, failed)))
    before = phase.before
    answers = {node: part for node, part in before.round.answers.items() if node not in failed}
    round_ = replace(before.round, answers=answers, gone=before.round.gone | failed)
    again = _ask_more(ctx, replace(before, round=round_), len(before.more))
    if isinstance(again.phase, AwaitingPartials):
        return Step(again.phase, (SetTimer("round", ROUND_S), *again.effects))
    return again


def _noting_late(phase: AwaitingShadows) -> AwaitingShadows:
    late = phase.before.late | phase.round.waiting
    return replace(phase, before=replace(phase.before, late=late))


def _dropping(phase: AwaitingPartials, nodes: frozenset[NodeId]) -> AwaitingPartials:
    return replace(phase, round=phase.round.drop(nodes))
