"""How a redistribution begins at its coordinator (engine design, section 13).

Proposed to the old and to the new committee; exactly t + 1 old holders deal, fixed beforehand. It
starts when all of them, a quorum of the old committee and a holder quorum of the new one have
accepted. From there on it is a sharing like any other (`coordinator`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord, Decision, KeyRecord
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import Reshare
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.core import (
    Context,
    DeniedError,
    Effect,
    Failed,
    Refusal,
    Refused,
    Send,
    SetTimer,
    Step,
    UnavailableError,
)
from keyserver.sessions.rounds import Round
from keyserver.sessions.sharing.messages import (
    Accept,
    Accepted,
    Handover,
    Inheritance,
    Redistribute,
    ShareParams,
)
from keyserver.sessions.sharing.phases import (
    AwaitingDeals,
    AwaitingPromises,
    Group,
    Phase,
    Terms,
)
from keyserver.sessions.sharing.terms import (
    ROUND,
    accept_timeout_s,
    check_accepted,
    group_of,
    holder_quorum,
    redistribution_params,
    round_timer,
    terms_of,
    voter_quorum,
)


@dataclass(frozen=True, slots=True)
class Succession:
    """What is redistributed, and by whom."""

    record: CertifiedRecord
    skipped: tuple[Decision, ...]
    """Decisions of *nothing* for the versions after the record."""
    document: CertifiedDocumentKey | None
    dealers: tuple[NodeId, ...]
    """t + 1 holders of the record, in canonical order."""


def start(ctx: Context, succession: Succession) -> Step[Phase]:
    """Propose to the connected nodes of both committees; raises a `SessionError` if too few are."""
    operation, target = authenticate(ctx).operation, ctx.target
    if not isinstance(operation, Reshare):
        raise Refused(Refusal.BAD, "the request is not one to redistribute a key")
    if target is None:
        raise UnavailableError("this node has not accepted such a change", "AccessDenied")
    before = succession.record.record
    terms = terms_for(
        ctx, before, target, succession.dealers, succession.skipped, operation.document
    )
    if terms.params.threshold >= len(target):
        raise DeniedError("too few nodes for the threshold", "NotEnoughNodesForThreshold")
    asked = [node for node in _both(terms) if node in ctx.connected]
    waiting = AwaitingPromises(terms, Round.among(asked))
    hopeless = _hopeless(ctx, waiting)
    if hopeless is not None:
        raise hopeless
    effects: list[Effect] = [SetTimer(ROUND, accept_timeout_s(len(asked)))]
    inheritance = Inheritance(succession.record, succession.document)
    for node in asked:
        proposal = Redistribute(
            ctx.kind,
            ctx.counter,
            ctx.request,
            terms.params,
            succession.skipped,
            None if node in before.coordinates else inheritance,
        )
        effects.append(Send(node, proposal))
    return Step(waiting, tuple(effects))


def terms_for(
    ctx: Context,
    before: KeyRecord,
    target: NodeSet,
    dealers: tuple[NodeId, ...],
    skipped: tuple[Decision, ...],
    document: Hash32,
) -> Terms:
    """The only terms that a redistribution by these dealers can have."""
    params: ShareParams = redistribution_params(ctx, before, target, dealers, skipped)
    return terms_of(params, skipped, before, document)


def _both(terms: Terms) -> list[NodeId]:
    """All nodes of the old and of the new committee, in canonical order."""
    return sorted({*terms.voters, *terms.committee})


def on_accept(ctx: Context, phase: AwaitingPromises, sender: NodeId, accept: Accept) -> Step[Phase]:
    """A node takes part."""
    if not phase.round.expects(sender):
        return Step(phase)
    if sender != ctx.me:
        check_accepted(phase.terms, _accepted(sender, accept))
    added = AwaitingPromises(phase.terms, phase.round.add(sender, accept))
    return promises_done(ctx, added)


def promises_done(ctx: Context, phase: AwaitingPromises) -> Step[Phase]:
    """Start when nobody is waited for any more; fail as soon as too few can be left."""
    hopeless = _hopeless(ctx, phase)
    if hopeless is not None:
        return Step(Failed(hopeless))
    if not phase.round.is_complete:
        return Step(phase)
    terms = phase.terms
    accepts = {node: _accepted(node, accept) for node, accept in phase.round.in_order()}
    chosen = _receivers(ctx, terms, accepts) | set(terms.params.dealers)
    accepted = tuple(entry for node, entry in accepts.items() if node in chosen)
    voters = set(terms.voters)
    promised = tuple(
        entry for node, entry in accepts.items() if node in voters and node not in chosen
    )
    plain = group_of(terms, accepted)
    watching = frozenset(entry.node for entry in promised)
    group = Group(terms, plain.session_hash, plain.members, watching)
    effects = [Send(node, Handover(accepted, promised)) for node in group.members]
    waiting = AwaitingDeals(group, Round.among(group.dealers))
    return Step(waiting, (round_timer(group), *effects))


def _receivers(ctx: Context, terms: Terms, accepted: Iterable[NodeId]) -> set[NodeId]:
    """Who is to hold a share: without those that were caught, if enough others accepted."""
    able = set(accepted) & set(terms.committee)
    sound = able - ctx.avoided
    return sound if len(sound) >= holder_quorum(ctx, terms) else able


def _hopeless(ctx: Context, phase: AwaitingPromises) -> UnavailableError | None:
    """Why it cannot start any more with those that have accepted or may still do so."""
    terms = phase.terms
    able = phase.round.answers.keys() | phase.round.waiting
    missing = frozenset(terms.params.dealers) - able
    if missing:
        return without_dealers(missing)
    if len(able & set(terms.voters)) < voter_quorum(ctx, terms):
        return UnavailableError("too few nodes of the old committee accept", "NodeDisconnected")
    if len(able & set(terms.committee)) < holder_quorum(ctx, terms):
        return UnavailableError("too few nodes of the new committee accept", "NodeDisconnected")
    return None


def without_dealers(dealers: frozenset[NodeId]) -> UnavailableError:
    """The error when dealers fail: with others another session may succeed."""
    names = ", ".join(node.short for node in sorted(dealers))
    return UnavailableError(f"the deals of {names} are missing", "NodeDisconnected", dealers)


def _accepted(node: NodeId, accept: Accept) -> Accepted:
    return Accepted(node, accept.one_time, accept.proof, accept.signature)
