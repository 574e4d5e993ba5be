"""Sharing sessions: the nodes make a key together (engine design, section 7).

`messages` says what travels, `phases` what is known when, `terms` what both sides compute alike,
`coordinator` and `participant` what follows from each event.
"""

from typing import assert_never

from keyserver.sessions.core import Context, Event, SessionKind, SessionType, Step
from keyserver.sessions.sharing import coordinator, participant
from keyserver.sessions.sharing.messages import MESSAGES
from keyserver.sessions.sharing.phases import CoordinatorPhase, ParticipantPhase, Phase


def _step(ctx: Context, phase: Phase, event: Event) -> Step[Phase]:
    if isinstance(phase, CoordinatorPhase):
        return coordinator.step(ctx, phase, event)
    if isinstance(phase, ParticipantPhase):
        return participant.step(ctx, phase, event)
    assert_never(phase)


GENERATION: SessionType[Phase] = SessionType(
    name="generation",
    kind=SessionKind.GENERATION,
    messages=MESSAGES,
    start=coordinator.start,
    join=participant.join,
    step=_step,
)
