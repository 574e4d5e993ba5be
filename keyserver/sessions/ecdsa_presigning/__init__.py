"""Presigning sessions: 2t + 1 holders prepare an ECDSA signature (engine design, section 12.2)."""

from typing import assert_never

from keyserver.sessions.core import Context, Event, SessionKind, SessionType, Step
from keyserver.sessions.ecdsa_presigning import coordinator, participant
from keyserver.sessions.ecdsa_presigning.coordinator import OwnPresignature, Target
from keyserver.sessions.ecdsa_presigning.messages import MESSAGES
from keyserver.sessions.ecdsa_presigning.phases import CoordinatorPhase, ParticipantPhase, Phase

__all__ = ["ECDSA_PRESIGNING", "OwnPresignature", "Target"]


def _step(ctx: Context, phase: Phase, event: Event) -> Step[Phase]:
    if isinstance(phase, CoordinatorPhase):
        return coordinator.step(ctx, phase, event)
    if isinstance(phase, ParticipantPhase):
        return participant.step(ctx, phase, event)
    assert_never(phase)


ECDSA_PRESIGNING: SessionType[Phase] = SessionType(
    name="ecdsa_presigning",
    kind=SessionKind.PRESIGNING,
    messages=MESSAGES,
    start=coordinator.start,
    join=participant.join,
    step=_step,
)
