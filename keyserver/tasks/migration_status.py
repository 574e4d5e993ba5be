"""How a migration stands, for people: the facts behind `keyserver migration status`."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.node_set import NodeSet
from keyserver.tasks.migration import (
    Action,
    MigrationFacts,
    MigrationView,
    Refusal,
    Refuse,
    SendConfirm,
    Sent,
    SessionState,
    Wait,
    Waiting,
)
from keyserver.tasks.migration_decision import decide, elected_master, missing_members


@unique
class MigrationPhase(Enum):
    """How far a change of the set has come."""

    IDLE = "idle"
    DELAYED = "delayed"
    """The new set differs, and is too young to be acted on."""
    REQUIRED = "required"
    """Nobody has started the migration yet."""
    MIGRATING = "migrating"
    """The keys are being moved, or wait for that."""
    CONFIRMING = "confirming"
    """This node is done; confirmations are missing on chain."""
    REFUSED = "refused"


@dataclass(frozen=True)
class MigrationStatus:
    """A change of the node set, as this node sees it."""

    phase: MigrationPhase
    block: int
    id: Hash32 | None
    """Of the running migration; before its start the id this node would use, if it is elected."""
    master: NodeId | None
    """Who leads it; before its start who is elected."""
    current: NodeSet
    target: NodeSet
    """Migration set, or new set before the start."""
    confirmed: frozenset[NodeId]
    unconfirmed: frozenset[NodeId]
    """Members of the migration set whose confirmation is missing."""
    missing: frozenset[NodeId]
    """Members of the migration set without a connection to this node."""
    refused: Refusal | None
    keys_at_risk: tuple[KeyId, ...]
    waiting_for: Waiting | None
    session: SessionState
    start: Sent | None
    confirm: Sent | None
    stale: bool

    @property
    def why(self) -> str:
        """What is refused or waited for, in words."""
        if self.refused is Refusal.KEYS_AT_RISK:
            return f"{len(self.keys_at_risk)} {self.refused.value}"
        reason = self.refused or self.waiting_for
        return "in progress" if reason is None else str(reason.value)


_PHASES: Final[Mapping[Waiting, MigrationPhase]] = {
    Waiting.NOTHING_TO_DO: MigrationPhase.IDLE,
    Waiting.NOT_CONCERNED: MigrationPhase.IDLE,
    Waiting.ELECTED: MigrationPhase.REQUIRED,
    Waiting.START: MigrationPhase.REQUIRED,
    Waiting.CONFIRMATIONS: MigrationPhase.CONFIRMING,
}


def status_of(
    me: NodeId, view: MigrationView, session: SessionState, facts: MigrationFacts
) -> MigrationStatus:
    """Everything worth telling, as of this view."""
    action = decide(me, view, session, facts)
    running = view.running
    target = running.target if running is not None else view.new
    plan = facts.plan if facts.plan is not None and facts.plan.fits(view) else None
    confirmed = running.confirmed if running is not None else frozenset()
    return MigrationStatus(
        phase=_phase(action, view),
        block=view.block,
        id=running.id if running is not None else plan.id if plan is not None else None,
        master=running.master if running is not None else elected_master(view.current, view.new),
        current=view.current,
        target=target,
        confirmed=confirmed,
        unconfirmed=frozenset(target.nodes) - confirmed if running is not None else frozenset(),
        missing=missing_members(me, running, facts.connected) if running else frozenset(),
        refused=action.why if isinstance(action, Refuse) else None,
        keys_at_risk=action.keys if isinstance(action, Refuse) else (),
        waiting_for=action.why if isinstance(action, Wait) else None,
        session=session,
        start=facts.start if plan is not None else None,
        confirm=facts.confirm,
        stale=view.stale,
    )


def _phase(action: Action, view: MigrationView) -> MigrationPhase:
    if isinstance(action, Refuse):
        return MigrationPhase.REFUSED
    if isinstance(action, Wait) and action.why in _PHASES:
        return _PHASES[action.why]
    if isinstance(action, SendConfirm):
        return MigrationPhase.CONFIRMING
    if view.running is not None:
        return MigrationPhase.MIGRATING
    if view.new_shown:
        return MigrationPhase.REQUIRED
    differs = view.new.nodes != view.current.nodes
    return MigrationPhase.DELAYED if differs else MigrationPhase.IDLE
