"""Retrieval sessions: t + 1 holders decrypt a document key (engine design, sections 9 and 10)."""

from typing import assert_never

from keyserver.sessions.core import Context, Event, SessionKind, SessionType, Step
from keyserver.sessions.retrieval import coordinator, participant
from keyserver.sessions.retrieval.coordinator import Target
from keyserver.sessions.retrieval.messages import MESSAGES
from keyserver.sessions.retrieval.phases import CoordinatorPhase, ParticipantPhase, Phase

__all__ = ["RETRIEVAL", "Target"]


def _step(ctx: Context, phase: Phase, event: Event) -> Step[Phase]:
    if isinstance(phase, CoordinatorPhase):
        return coordinator.step(ctx, phase, event)
    if isinstance(phase, ParticipantPhase):
        return participant.step(ctx, phase, event)
    assert_never(phase)


RETRIEVAL: SessionType[Phase] = SessionType(
    name="retrieval",
    kind=SessionKind.RETRIEVAL,
    messages=MESSAGES,
    start=coordinator.start,
    join=participant.join,
    step=_step,
)
