"""Set change: all keys move from one node set to another (engine design, section 14.4).

`messages` says what travels, `phases` what is known when, `works` what the engine is asked to do
meanwhile, `history` what nodes tell each other of earlier changes, `fates` what becomes of a key,
`coordinator` and `participant` what follows from each event. The session of a participant is the
node's change lock: it holds as long as the session lives.
"""

from typing import assert_never

from keyserver.sessions.core import Context, Event, SessionKind, SessionType, Step
from keyserver.sessions.set_change import coordinator, participant
from keyserver.sessions.set_change.coordinator import Target
from keyserver.sessions.set_change.messages import MESSAGES
from keyserver.sessions.set_change.phases import CoordinatorPhase, ParticipantPhase, Phase

__all__ = ["SET_CHANGE", "Target"]


def _step(ctx: Context, phase: Phase, event: Event) -> Step[Phase]:
    if isinstance(phase, CoordinatorPhase):
        return coordinator.step(ctx, phase, event)
    if isinstance(phase, ParticipantPhase):
        return participant.step(ctx, phase, event)
    assert_never(phase)


SET_CHANGE: SessionType[Phase] = SessionType(
    name="set_change",
    kind=SessionKind.SET_CHANGE,
    messages=MESSAGES,
    start=coordinator.start,
    join=participant.join,
    step=_step,
)
