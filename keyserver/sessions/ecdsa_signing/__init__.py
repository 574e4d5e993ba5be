"""ECDSA sessions: the signers of a presignature sign a message (engine design, section 12.3)."""

from typing import assert_never

from keyserver.sessions.core import Context, Event, SessionKind, SessionType, Step
from keyserver.sessions.ecdsa_signing import coordinator, participant
from keyserver.sessions.ecdsa_signing.coordinator import AloneTarget, Target
from keyserver.sessions.ecdsa_signing.messages import MESSAGES
from keyserver.sessions.ecdsa_signing.phases import CoordinatorPhase, ParticipantPhase, Phase

__all__ = ["ECDSA_SIGNING", "AloneTarget", "Target"]


def _step(ctx: Context, phase: Phase, event: Event) -> Step[Phase]:
    if isinstance(phase, CoordinatorPhase):
        return coordinator.step(ctx, phase, event)
    if isinstance(phase, ParticipantPhase):
        return participant.step(ctx, phase, event)
    assert_never(phase)


ECDSA_SIGNING: SessionType[Phase] = SessionType(
    name="ecdsa_signing",
    kind=SessionKind.ECDSA,
    messages=MESSAGES,
    start=coordinator.start,
    join=participant.join,
    step=_step,
)
