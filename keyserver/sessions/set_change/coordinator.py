"""The coordinator's part of a set change (engine design, section 14.4).

With an administrator's order everybody is needed from the beginning to the end. With a migration
on chain the change goes on without those that are lost, as long as a quorum of the new set is
there: they are brought up by a later run of the same order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from keyserver.model.identifiers import NodeId
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import SetChange
from keyserver.sessions.core import (
    Completed,
    Context,
    DeniedError,
    Effect,
    Event,
    Failed,
    PeerLost,
    Perform,
    Performed,
    Received,
    Refusal,
    Send,
    SessionError,
    SetTimer,
    Step,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.messages import Cancel, Refuse
from keyserver.sessions.rounds import Round
from keyserver.sessions.set_change.history import agreed_past, check_frozen, check_nobody_ahead
from keyserver.sessions.set_change.messages import (
    ChangeAccept,
    ChangeDone,
    ChangeExecuted,
    ChangeFreeze,
    ChangeFrozen,
    ChangeKeepAlive,
    ChangePropose,
)
from keyserver.sessions.set_change.phases import (
    AwaitingAccepts,
    AwaitingExecuted,
    AwaitingFrozen,
    CoordinatorPhase,
    Moving,
    MovingRest,
    Phase,
    Report,
    Surveying,
    Terms,
)
from keyserver.sessions.set_change.works import Declined, Moved, MoveKeys, Survey, Surveyed

KEEP_ALIVE_S = 15.0
"""How often the participants hear that the change goes on."""

ACCEPT_S = 40.0
"""How long judging may take: with an exclusive change 5 s for sessions to end, with one on chain
20 s until every node's own view shows the migration."""

FREEZE_S = 300.0
"""How long nodes may wait for votes to be decided; a round of an agreement takes a minute."""

LATE_S = 10.0
"""How much longer a migration waits when a quorum of both sets has frozen: clients wait, too."""

EXECUTE_S = 60.0
"""How long nodes may take at the end, besides looking through their keys."""

LOOKED_AT_PER_S = 500
"""Keys that the slowest node looks at in a second; it may have to look twice."""

_KEEP_ALIVE = SetTimer("keep_alive", KEEP_ALIVE_S)

_ERRORS = {
    Refusal.BUSY: "HasActiveSessions",
    Refusal.EXCLUSIVE: "ExclusiveSessionActive",
    Refusal.TEMPORARY: "ConsensusTemporaryUnreachable",
}
"""What it means that a node that is needed refuses; any other code is final."""


@dataclass(frozen=True, slots=True)
class Target:
    """A change that this node found in order, and whom it asks."""

    change: SetChange
    nodes: tuple[NodeId, ...]
    """In canonical order, this node among them."""
    needs_all: bool


def start(ctx: Context, target: Target) -> Step[Phase]:
    """Propose the order to everybody; raises `UnavailableError` if somebody needed is not there."""
    asked = [node for node in target.nodes if node in ctx.connected]
    missing = frozenset(target.nodes) - frozenset(asked)
    if missing and (target.needs_all or not _is_quorum(ctx, target.change, asked)):
        raise _disconnected(missing)
    terms = Terms(target.change, target.needs_all, frozenset(asked))
    propose = ChangePropose(ctx.counter, ctx.request)
    effects = [Send(node, propose) for node in asked]
    waiting = AwaitingAccepts(terms, Round.among(asked), MappingProxyType({}))
    return Step(waiting, (SetTimer("round", ACCEPT_S), _KEEP_ALIVE, *effects))


def step(ctx: Context, phase: CoordinatorPhase, event: Event) -> Step[Phase]:
    """What follows from an event; an answer that is late or not asked for changes nothing."""
    match phase, event:
        case _, TimerFired("keep_alive"):
            return Step(phase, (_KEEP_ALIVE, *_to_all(phase.terms, ChangeKeepAlive())))
        case AwaitingAccepts(), Received(sender, ChangeAccept() as accept):
            return _on_accept(ctx, phase, sender, accept)
        case AwaitingFrozen(), Received(sender, ChangeFrozen() as frozen):
            return _on_frozen(ctx, phase, sender, frozen)
        case AwaitingExecuted(), Received(sender, ChangeExecuted() as executed):
            return _on_executed(ctx, phase, sender, executed)
        case Surveying() | Moving() | MovingRest(), Performed(result):
            return _on_result(ctx, phase, result)
        case _, Received(sender, Refuse() as refuse):
            return _without(ctx, phase, frozenset({sender}), refuse.refusal)
        case _, PeerLost(peer):
            return _without(ctx, phase, frozenset({peer}), None)
        case AwaitingAccepts() | AwaitingFrozen() | AwaitingExecuted(), TimerFired("round"):
            return _without(ctx, phase, phase.round.waiting, None)
        case _:
            return Step(phase)


def _to_all(terms: Terms, message: Any) -> tuple[Effect, ...]:
    return tuple(Send(node, message) for node in sorted(terms.taking_part))


# --- who is lost -----------------------------------------------------------------------------


def _without(
    ctx: Context, phase: CoordinatorPhase, lost: frozenset[NodeId], refusal: Refusal | None
) -> Step[Phase]:
    """Go on without these nodes, if that is possible."""
    lost &= phase.terms.taking_part
    if not lost:
        return Step(phase)
    if phase.terms.needs_all:
        return Step(Failed(_needed(lost, refusal)))
    terms = replace(phase.terms, taking_part=phase.terms.taking_part - lost)
    if ctx.me in lost or not _is_quorum(ctx, terms.change, terms.taking_part):
        return Step(Failed(_needed(lost, refusal)))
    match phase:
        case AwaitingAccepts():
            return _accepting(ctx, replace(phase, terms=terms, round=phase.round.drop(lost)))
        case AwaitingFrozen():
            step = _freezing(ctx, replace(phase, terms=terms, round=phase.round.drop(lost)))
            thaw = tuple(Send(node, Cancel(Refusal.TEMPORARY)) for node in sorted(lost))
            return replace(step, effects=(*thaw, *step.effects))
        case AwaitingExecuted():
            return _executing(ctx, replace(phase, terms=terms, round=phase.round.drop(lost)))
    return Step(replace(phase, terms=terms))


def _is_quorum(ctx: Context, change: SetChange, nodes: Iterable[NodeId]) -> bool:
    """Whether enough of the new set are there."""
    return _is_quorum_of(ctx, change.new, nodes)


def _is_quorum_of(ctx: Context, members: NodeSet, nodes: Iterable[NodeId]) -> bool:
    return sum(node in members for node in nodes) >= ctx.quorums(len(members)).agreement


def _needed(lost: frozenset[NodeId], refusal: Refusal | None) -> SessionError:
    if refusal is None:
        return _disconnected(lost)
    why = f"refused by {', '.join(node.short for node in sorted(lost))}: {refusal.name}"
    code = _ERRORS.get(refusal)
    if code is None:
        return DeniedError(f"{why} (the log there says why)", "ConsensusUnreachable")
    return UnavailableError(why, code, lost)


def _disconnected(nodes: frozenset[NodeId]) -> UnavailableError:
    names = ", ".join(node.short for node in sorted(nodes))
    return UnavailableError(f"not there: {names}", "NodeDisconnected", nodes)


# --- locking and looking ---------------------------------------------------------------------


def _on_accept(
    ctx: Context, phase: AwaitingAccepts, sender: NodeId, accept: ChangeAccept
) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    return _accepting(ctx, replace(phase, round=phase.round.add(sender, accept)))


def _accepting(ctx: Context, phase: AwaitingAccepts) -> Step[Phase]:
    if not phase.round.is_complete:
        return Step(phase)
    answers = phase.round.answers
    allowed = all(answers[node].may_lose_keys == 1 for node in phase.terms.taking_part)
    terms = replace(phase.terms, may_lose_keys=allowed)
    survey = Survey(terms.change, terms.taking_part, terms.may_lose_keys)
    return Step(Surveying(terms), (Perform(survey),))


def _on_result(ctx: Context, phase: Surveying | Moving | MovingRest, result: Any) -> Step[Phase]:
    match phase, result:
        case _, Declined(code, why):
            return Step(Failed(UnavailableError(why, _ERRORS.get(code, "Internal"))))
        case Surveying(terms), Surveyed(_, losing, keys):
            terms = replace(terms, keys=keys)
            if losing and not terms.may_lose_keys:
                why = f"{losing} keys would be left with too few holders"
                return Step(Failed(DeniedError(why, "Internal")))
            return Step(Moving(terms), (_move(terms, frozen=False),))
        case Moving(terms), Moved(_, left):
            waiting = AwaitingFrozen(terms, left, Round.among(terms.taking_part))
            freeze = _to_all(terms, ChangeFreeze())
            return Step(waiting, (SetTimer("round", FREEZE_S), *freeze))
        case MovingRest(terms, frozen), Moved(_, left):
            return _concluding(ctx, terms, frozen, left)
    raise TypeError(f"{type(result).__name__} answers nothing in {type(phase).__name__}")


def _move(terms: Terms, *, frozen: bool) -> Perform:
    return Perform(MoveKeys(terms.change, terms.taking_part, terms.may_lose_keys, frozen))


# --- ending ----------------------------------------------------------------------------------


def _on_frozen(
    ctx: Context, phase: AwaitingFrozen, sender: NodeId, frozen: ChangeFrozen
) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    check_frozen(phase.terms.change, sender, frozen)
    return _freezing(ctx, replace(phase, round=phase.round.add(sender, frozen)))


def _freezing(ctx: Context, phase: AwaitingFrozen) -> Step[Phase]:
    if not phase.round.is_complete:
        if phase.is_enough or not _is_enough(ctx, phase):
            return Step(phase)
        return Step(replace(phase, is_enough=True), (SetTimer("round", LATE_S),))
    return Step(MovingRest(phase.terms, phase.round.answers), (_move(phase.terms, frozen=True),))


def _is_enough(ctx: Context, phase: AwaitingFrozen) -> bool:
    """Whether nothing can be decided in the old set any more, and a migration could go on.

    Whoever is late is brought up by a later run; else one silent node would keep all clients.
    """
    change, frozen = phase.terms.change, phase.round.answers
    quorums = all(_is_quorum_of(ctx, members, frozen) for members in (change.old, change.new))
    return not phase.terms.needs_all and ctx.me in frozen and quorums


def _concluding(
    ctx: Context, terms: Terms, frozen: Mapping[NodeId, ChangeFrozen], left: Any
) -> Step[Phase]:
    past, vouchers = agreed_past(ctx, terms.change, frozen) or ((), ())
    if terms.needs_all:
        check_nobody_ahead(past, frozen)  # who takes part in a migration keeps its own past
    waiting = AwaitingExecuted(terms, left, Round.among(terms.taking_part))
    done = _to_all(terms, ChangeDone(past, vouchers, left))
    look_s = terms.keys / LOOKED_AT_PER_S
    return Step(waiting, (SetTimer("round", EXECUTE_S + look_s), *done))


def _on_executed(
    ctx: Context, phase: AwaitingExecuted, sender: NodeId, executed: ChangeExecuted
) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    return _executing(ctx, replace(phase, round=phase.round.add(sender, executed)))


def _executing(ctx: Context, phase: AwaitingExecuted) -> Step[Phase]:
    if not phase.round.is_complete:
        return Step(phase)
    executed = frozenset(phase.round.answers)
    return Step(Completed(Report(phase.terms.change, phase.left, executed)))
