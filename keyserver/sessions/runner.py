"""Drives one role of one session: early messages, refusals, final phases.

What is the same for every protocol stands here once, so that the protocols themselves have a line
per case of their own only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from keyserver.model.identifiers import NodeId
from keyserver.sessions.core import (
    Completed,
    Context,
    DeniedError,
    Effect,
    Event,
    Failed,
    GivenUpError,
    NotYet,
    PeerLost,
    Received,
    Refusal,
    Refused,
    Send,
    SessionError,
    SessionType,
    Step,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.messages import Cancel, Refuse

MAX_EARLY_MESSAGES = 1024
"""Bound on messages kept for a later phase; at most one per sender and type."""


class Role(Enum):
    """The part of a session; the coordinator's node plays both."""

    COORDINATOR = "coordinator"
    PARTICIPANT = "participant"


@dataclass(frozen=True, slots=True)
class _NotStarted:
    """Before the first event."""


class Runner:
    """One role of one session, from its opening to its outcome."""

    def __init__(self, session_type: SessionType[Any], ctx: Context, role: Role) -> None:
        self.session_type = session_type
        self.ctx = ctx
        self.role = role
        self.phase: Any = _NotStarted()
        self._early: dict[tuple[NodeId, int], Received] = {}
        self.asked: dict[NodeId, None] = {}

    @property
    def outcome(self) -> Completed | Failed | None:
        """The final phase, `None` while the session runs."""
        return self.phase if isinstance(self.phase, Completed | Failed) else None

    def start(self, argument: Any) -> tuple[Effect, ...]:
        """Begin as coordinator."""
        return self._take(lambda: self.session_type.start(self.ctx, argument))

    def join(self, sender: NodeId, message: Any) -> tuple[Effect, ...]:
        """Begin as participant, with the opening message."""
        return self._take(lambda: self.session_type.join(self.ctx, sender, message))

    def turn_away(self, refused: Refused) -> tuple[Effect, ...]:
        """End before the beginning, as participant: the request is not what it should be."""
        return self._refused(refused, None)

    def handle(self, event: Event) -> tuple[Effect, ...]:
        """Feed one event; returns what has to happen, in order."""
        if self.outcome is not None:
            return ()
        if self.role is Role.PARTICIPANT:
            ended = self._ended_by(event)
            if ended is not None:
                self.phase = Failed(ended)
                return ()
        before = self.phase
        effects = self._take(lambda: self.session_type.step(self.ctx, self.phase, event), event)
        if self.phase is not before and self._early:
            effects += self._replay()
        return effects

    def _ended_by(self, event: Event) -> UnavailableError | None:
        """What ends a participant's part whatever the protocol."""
        match event:
            case PeerLost(peer) if peer == self.ctx.coordinator:
                return UnavailableError("the coordinator is gone")
            case Received(_, Cancel()):
                return GivenUpError("the coordinator gave the session up")
            case TimerFired("idle"):
                return UnavailableError("nothing came from the coordinator")
        return None

    def _take(
        self, advance: Callable[[], Step[Any]], event: Event | None = None
    ) -> tuple[Effect, ...]:
        try:
            step = advance()
        except NotYet:
            return self._keep(event)
        except Refused as refused:
            return self._refused(refused, event)
        except SessionError as error:
            step = Step(Failed(error))
        self.phase = step.phase
        return self._noting_whom_we_asked(step)

    def _noting_whom_we_asked(self, step: Step[Any]) -> tuple[Effect, ...]:
        """A coordinator that fails tells everybody it has asked, so that nobody waits."""
        if self.role is Role.PARTICIPANT:
            return step.effects
        for effect in step.effects:
            if isinstance(effect, Send):
                self.asked[effect.to] = None
        if not isinstance(step.phase, Failed):
            return step.effects
        cancel = Cancel(Refusal.TEMPORARY)
        return step.effects + tuple(Send(node, cancel) for node in self.asked)

    def _keep(self, event: Event | None) -> tuple[Effect, ...]:
        if isinstance(event, Received) and len(self._early) < MAX_EARLY_MESSAGES:
            self._early.setdefault((event.sender, event.message.TYPE), event)
        return ()

    def _replay(self) -> tuple[Effect, ...]:
        kept, self._early = self._early, {}
        effects: tuple[Effect, ...] = ()
        for event in kept.values():
            effects += self.handle(event)
        return effects

    def _refused(self, refused: Refused, event: Event | None) -> tuple[Effect, ...]:
        if self.role is Role.PARTICIPANT:
            self.phase = Failed(_error_of(refused))
            return (*refused.reports, Send(self.ctx.coordinator, Refuse(refused.code)))
        if isinstance(event, Received):
            lost = PeerLost(event.sender)
            dropped = self._take(lambda: self.session_type.step(self.ctx, self.phase, lost), lost)
            return (*refused.reports, *dropped)
        self.phase = Failed(_error_of(refused))
        return refused.reports


def _error_of(refused: Refused) -> SessionError:
    if refused.code is Refusal.EXCLUSIVE:
        return UnavailableError(str(refused), "ExclusiveSessionActive")
    final = refused.error or _FINAL.get(refused.code)
    return UnavailableError(str(refused)) if final is None else DeniedError(str(refused), final)


_FINAL = {
    Refusal.DENIED: "AccessDenied",
    Refusal.NOT_FOUND: "ServerKeyIsNotFound",
    Refusal.NO_DOCUMENT: "DocumentKeyIsNotFound",
    Refusal.EXISTS: "ServerKeyAlreadyGenerated",
    Refusal.POLICY: "AccessDenied",
    Refusal.BAD: "InvalidMessage",
}
