"""Storing sessions: the committee agrees on one document key (engine design, section 8)."""

from typing import assert_never

from keyserver.sessions.core import Context, Event, SessionKind, SessionType, Step
from keyserver.sessions.storing import coordinator, participant
from keyserver.sessions.storing.coordinator import Target
from keyserver.sessions.storing.messages import MESSAGES
from keyserver.sessions.storing.phases import CoordinatorPhase, ParticipantPhase, Phase

__all__ = ["STORING", "Target"]


def _step(ctx: Context, phase: Phase, event: Event) -> Step[Phase]:
    if isinstance(phase, CoordinatorPhase):
        return coordinator.step(ctx, phase, event)
    if isinstance(phase, ParticipantPhase):
        return participant.step(ctx, phase, event)
    assert_never(phase)


STORING: SessionType[Phase] = SessionType(
    name="storing",
    kind=SessionKind.STORING,
    messages=MESSAGES,
    start=coordinator.start,
    join=participant.join,
    step=_step,
)
