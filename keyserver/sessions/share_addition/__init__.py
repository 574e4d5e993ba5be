"""Share addition: holders give a late member of a key's committee its share (engine design, 14.1).

`messages` says what travels, `phases` what is known when, `terms` what both sides compute alike,
`coordinator` (the late node) and `participant` (a donor) what follows from each event, `evidence`
what convicts a donor.
"""

from typing import assert_never

from keyserver.sessions.core import Context, Event, SessionKind, SessionType, Step
from keyserver.sessions.share_addition import coordinator, participant
from keyserver.sessions.share_addition.coordinator import Target
from keyserver.sessions.share_addition.messages import MESSAGES
from keyserver.sessions.share_addition.phases import CoordinatorPhase, ParticipantPhase, Phase

__all__ = ["SHARE_ADDITION", "Target"]


def _step(ctx: Context, phase: Phase, event: Event) -> Step[Phase]:
    if isinstance(phase, CoordinatorPhase):
        return coordinator.step(ctx, phase, event)
    if isinstance(phase, ParticipantPhase):
        return participant.step(ctx, phase, event)
    assert_never(phase)


SHARE_ADDITION: SessionType[Phase] = SessionType(
    name="share_addition",
    kind=SessionKind.SHARE_ADDITION,
    messages=MESSAGES,
    start=coordinator.start,
    join=participant.join,
    step=_step,
)
