"""Sharing sessions: generation and redistribution of a key (engine design, sections 7 and 13).

In both every receiver adds up what dealers have dealt. `messages` says what travels, `phases` what
is known when, `terms` what both sides compute alike, `coordinator` and `participant` what follows
from each event; `redistribution` and `succession` how a redistribution begins at either, `dealing`
and `dealt` how deals are made and checked, `certifying` and `deciding` how a sharing ends.
"""

from typing import assert_never

from keyserver.sessions.core import Context, Event, SessionKind, SessionType, Step
from keyserver.sessions.sharing import coordinator, participant, redistribution, succession
from keyserver.sessions.sharing.messages import GENERATION_MESSAGES, REDISTRIBUTION_MESSAGES
from keyserver.sessions.sharing.phases import CoordinatorPhase, ParticipantPhase, Phase
from keyserver.sessions.sharing.redistribution import Succession

__all__ = ["GENERATION", "REDISTRIBUTION", "Succession"]


def _step(ctx: Context, phase: Phase, event: Event) -> Step[Phase]:
    if isinstance(phase, CoordinatorPhase):
        return coordinator.step(ctx, phase, event)
    if isinstance(phase, ParticipantPhase):
        return participant.step(ctx, phase, event)
    assert_never(phase)


GENERATION: SessionType[Phase] = SessionType(
    name="generation",
    kind=SessionKind.GENERATION,
    messages=GENERATION_MESSAGES,
    start=coordinator.start,
    join=participant.join,
    step=_step,
)

REDISTRIBUTION: SessionType[Phase] = SessionType(
    name="redistribution",
    kind=SessionKind.REDISTRIBUTION,
    messages=REDISTRIBUTION_MESSAGES,
    start=redistribution.start,
    join=succession.join,
    step=_step,
)
