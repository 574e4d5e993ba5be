"""Phases of a set change.

Coordinator:  AwaitingAccepts → Surveying → Moving → AwaitingFrozen → MovingRest → AwaitingExecuted
Participant:  AwaitingJudgement → Locked → Settling → Frozen → Concluding
"""

from collections.abc import Mapping
from dataclasses import dataclass

from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.set_change import SetChange
from keyserver.sessions.core import Refusal
from keyserver.sessions.rounds import Round
from keyserver.sessions.set_change.messages import (
    ChangeAccept,
    ChangeExecuted,
    ChangeFrozen,
    PastChange,
)

# --- coordinator -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Terms:
    """What is carried out, and with whom."""

    change: SetChange
    needs_all: bool
    """Whether the change ends with the first node that is lost (an administrator's order)."""
    taking_part: frozenset[NodeId]
    """Whom the coordinator counts on, itself among them."""
    may_lose_keys: bool = False
    """Whether every node that takes part allows the loss of keys."""
    keys: int = 0
    """How many there are, about: so long the last look takes."""


@dataclass(frozen=True, slots=True)
class AwaitingAccepts:
    """Proposed to everybody."""

    terms: Terms
    round: Round[ChangeAccept]
    refusals: Mapping[NodeId, Refusal]


@dataclass(frozen=True, slots=True)
class Surveying:
    """Everybody holds the lock; nothing has been touched."""

    terms: Terms


@dataclass(frozen=True, slots=True)
class Moving:
    """Keys move while the service goes on."""

    terms: Terms


@dataclass(frozen=True, slots=True)
class AwaitingFrozen:
    """Nobody is to vote for the old set any more."""

    terms: Terms
    left: tuple[KeyId, ...]
    round: Round[ChangeFrozen]
    is_enough: bool = False
    """Whether so many have that the others are not waited for much longer."""


@dataclass(frozen=True, slots=True)
class MovingRest:
    """What was made meanwhile moves, too."""

    terms: Terms
    frozen: Mapping[NodeId, ChangeFrozen]


@dataclass(frozen=True, slots=True)
class AwaitingExecuted:
    """Everything is where it belongs; the nodes write that down."""

    terms: Terms
    left: tuple[KeyId, ...]
    round: Round[ChangeExecuted]


CoordinatorPhase = (
    AwaitingAccepts | Surveying | Moving | AwaitingFrozen | MovingRest | AwaitingExecuted
)


@dataclass(frozen=True, slots=True)
class Report:
    """How a change ended that was carried out."""

    change: SetChange
    left: tuple[KeyId, ...]
    """Keys that stay where they were."""
    executed: frozenset[NodeId]
    """Nodes that have written it down."""


# --- participant -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AwaitingJudgement:
    """The order is judged, and the lock asked for."""


@dataclass(frozen=True, slots=True)
class Locked:
    """The change lock is held."""

    change: SetChange
    moved: int = 0
    """Keys on the target set when somebody last looked."""


@dataclass(frozen=True, slots=True)
class Settling:
    """No new vote for the old set; those given are waited for."""

    change: SetChange
    moved: int


@dataclass(frozen=True, slots=True)
class Frozen:
    """All votes are decided."""

    change: SetChange
    moved: int
    past: tuple[PastChange, ...]


@dataclass(frozen=True, slots=True)
class Concluding:
    """The own keys are looked through, and the change is written down."""

    change: SetChange


ParticipantPhase = AwaitingJudgement | Locked | Settling | Frozen | Concluding

Phase = CoordinatorPhase | ParticipantPhase
