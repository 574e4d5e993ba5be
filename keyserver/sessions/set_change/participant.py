"""A participant's part of a set change: its session is the node's change lock (section 14.4).

It ends with the change, with the coordinator's connection, after 60 s without a word of the
coordinator, and when for 5 minutes no key has arrived. What was moved by then stays moved.
"""

from dataclasses import replace
from typing import Any

from keyserver.model.identifiers import NodeId
from keyserver.model.requests import ChangeSet
from keyserver.model.set_change import MigrationOrder, decode_order
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.core import (
    Completed,
    Context,
    Event,
    Failed,
    Perform,
    Performed,
    Received,
    Refusal,
    Refused,
    Send,
    SetTimer,
    Step,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.messages import Refuse
from keyserver.sessions.set_change.history import check_done, history_digest, next_epoch
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
    AwaitingJudgement,
    Concluding,
    Frozen,
    Locked,
    ParticipantPhase,
    Phase,
    Settling,
)
from keyserver.sessions.set_change.works import (
    Accepted,
    Conclude,
    Concluded,
    Counted,
    CountMoved,
    Declined,
    Judge,
    Settle,
    Settled,
)

IDLE_S = 60.0
"""A coordinator that is silent for so long has lost the lock."""

STALLED_S = 300.0
"""So long after the last key has arrived the lock ends in any case."""

_IDLE = SetTimer("idle", IDLE_S)
_STALLED = SetTimer("stalled", STALLED_S)


def join(ctx: Context, sender: NodeId, _: ChangePropose) -> Step[Phase]:
    """Judge the order; raises `Refused` for a request that is none of this kind."""
    operation = authenticate(ctx).operation
    if not isinstance(operation, ChangeSet):
        raise Refused(Refusal.BAD, "the request is not one for a change of the node set")
    judge = Judge(operation.order, operation.change_id, sender)
    return Step(AwaitingJudgement(), (_IDLE, Perform(judge)))


def step(ctx: Context, phase: ParticipantPhase, event: Event) -> Step[Phase]:
    """What follows from an event; a message out of turn changes nothing."""
    match phase, event:
        case _, Received(_, ChangeKeepAlive()):
            return Step(phase, (_IDLE,))
        case Locked(change), Received(_, ChangeFreeze()):
            return Step(Settling(change, phase.moved), (_IDLE, Perform(Settle(change))))
        case Frozen(), Received(_, ChangeDone() as done):
            return _on_done(ctx, phase, done)
        case Locked(change) | Settling(change) | Frozen(change), TimerFired("stalled"):
            return Step(phase, (Perform(CountMoved(change)),))
        case Locked() | Settling() | Frozen(), Performed(Counted(keys)):
            return _on_counted(ctx, phase, keys)
        case _, Performed(Declined(code, why)):
            raise Refused(code, why)
        case _, Performed(result):
            return _on_result(ctx, phase, result)
        case _:
            return Step(phase)


def _on_result(ctx: Context, phase: ParticipantPhase, result: Any) -> Step[Phase]:
    match phase, result:
        case AwaitingJudgement(), Accepted(change, may_lose_keys):
            accept = ChangeAccept(int(may_lose_keys))
            return Step(Locked(change), (_STALLED, Send(ctx.coordinator, accept)))
        case Settling(change, moved), Settled(past):
            signature = ctx.signer.sign(history_digest(change.id, past, ctx.me))
            frozen = ChangeFrozen(past, signature)
            return Step(Frozen(change, moved, past), (Send(ctx.coordinator, frozen),))
        case Concluding(change), Concluded():
            return Step(Completed(change), (Send(ctx.coordinator, ChangeExecuted()),))
        case Concluding(), Counted():
            return Step(phase)
    raise TypeError(f"{type(result).__name__} answers nothing in {type(phase).__name__}")


def _on_counted(ctx: Context, phase: Locked | Settling | Frozen, keys: int) -> Step[Phase]:
    """Hold the lock as long as keys arrive."""
    if keys > phase.moved:
        return Step(replace(phase, moved=keys), (_STALLED,))
    stalled = UnavailableError("no key has arrived for minutes")
    return Step(Failed(stalled), (Send(ctx.coordinator, Refuse(Refusal.TEMPORARY)),))


def _on_done(ctx: Context, phase: Frozen, done: ChangeDone) -> Step[Phase]:
    past = done.past
    if _is_migration(ctx) and next_epoch(past) <= next_epoch(phase.past):
        past = phase.past  # the contract says what may run: no order is judged by the history
    else:
        check_done(ctx, phase.change, phase.past, done)
    work = Conclude(phase.change, past, done.left, ctx.coordinator)
    return Step(Concluding(phase.change), (_IDLE, Perform(work)))


def _is_migration(ctx: Context) -> bool:
    operation = authenticate(ctx).operation
    assert isinstance(operation, ChangeSet)  # as it was when this part began
    return isinstance(decode_order(operation.order), MigrationOrder)
