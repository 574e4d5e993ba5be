"""How far a change of the node set has come, for people to look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from keyserver.model.identifiers import Hash32, KeyId, NodeId

MOST_TOLD = 100
"""Keys that are told with what keeps them; of the others the number must do."""


class ChangePhase(StrEnum):
    """What a change is doing, at its coordinator."""

    ASKING = "asking"
    LOOKING = "looking"
    MOVING = "moving"
    FREEZING = "freezing"
    MOVING_REST = "moving the rest"
    CONCLUDING = "concluding"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ChangeProgress:
    """One look at a change that this node coordinates, or has coordinated last."""

    change_id: Hash32
    phase: ChangePhase = ChangePhase.ASKING
    total: int = 0
    """Keys that are to be on the new set."""
    moved: int = 0
    """How many of them are."""
    missing: frozenset[NodeId] = frozenset()
    """Nodes of either set that do not take part."""
    kept: Mapping[KeyId, str] = field(default_factory=lambda: MappingProxyType({}))
    """Keys that do not move, and why; the first `MOST_TOLD`."""
    keys_kept: int = 0
    """How many these are in all."""
    why: str = ""
    """What a failed change failed of."""
