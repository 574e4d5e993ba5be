"""Signing sessions: t + 1 holders make a Schnorr signature (engine design, section 11)."""

from typing import assert_never

from keyserver.sessions.core import Context, Event, SessionKind, SessionType, Step
from keyserver.sessions.frost_signing import coordinator, participant
from keyserver.sessions.frost_signing.coordinator import Target
from keyserver.sessions.frost_signing.messages import MESSAGES
from keyserver.sessions.frost_signing.phases import CoordinatorPhase, ParticipantPhase, Phase

__all__ = ["FROST_SIGNING", "Target"]


def _step(ctx: Context, phase: Phase, event: Event) -> Step[Phase]:
    if isinstance(phase, CoordinatorPhase):
        return coordinator.step(ctx, phase, event)
    if isinstance(phase, ParticipantPhase):
        return participant.step(ctx, phase, event)
    assert_never(phase)


FROST_SIGNING: SessionType[Phase] = SessionType(
    name="frost_signing",
    kind=SessionKind.SCHNORR,
    messages=MESSAGES,
    start=coordinator.start,
    join=participant.join,
    step=_step,
)
