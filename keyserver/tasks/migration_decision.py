"""What a node does about a change of the node set on chain (chain watcher, sections 11 and 12).

Pure: `decide` looks at one block's view of the set contract, at the session that moves the keys
and at what is stored here, and names the next step. Whoever carries the step out
(`keyserver.chain.migration`) asks again afterwards, until the answer is to wait.
"""

from typing import Final

from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import MigrationOrder
from keyserver.tasks.migration import (
    AcceptMigration,
    Action,
    CheckKeys,
    ChooseId,
    ForgetSession,
    JoinedMigration,
    MigrationFacts,
    MigrationView,
    PlannedStart,
    RecordFailure,
    RecordSuccess,
    Refusal,
    Refuse,
    RunningMigration,
    SendConfirm,
    SendStart,
    Sent,
    SentState,
    SessionPhase,
    SessionState,
    StartSession,
    Wait,
    Waiting,
)

NEW_SET_DELAY_BLOCKS: Final = 5
"""How long a new set must have looked the same before anybody acts on it (W-20, W-25)."""

RESEND_BLOCKS: Final = 30
"""Blocks until the same transaction of the same migration may be sent again (W-21, W-23)."""

RERUN_BLOCKS: Final = 60
"""Blocks after its own success until a master moves the keys again (W-23)."""

FIRST_BACK_OFF_S: Final = 10.0
LONGEST_BACK_OFF_S: Final = 600.0
"""Seconds between failed sessions of a migration: doubling from the first to the longest."""


def decide(me: NodeId, view: MigrationView, session: SessionState, facts: MigrationFacts) -> Action:
    """The next step (11.3 as amended by W-20 to W-26 and W-39)."""
    running = view.running
    idle = session.phase is SessionPhase.IDLE
    ours = not idle and _is_concerned(me, view)
    if ours and running is not None and session.migration == running.id:
        return _after_session(running, session, facts.joined)
    if view.stale:
        return Wait(Waiting.STALE)
    if not idle:
        return ForgetSession()
    if running is None:
        return _before_start(me, view, facts)
    return _while_running(me, view, running, facts)


def elected_master(current: NodeSet, new: NodeSet) -> NodeId | None:
    """Who starts the migration: the smallest node id in both sets, `None` without one.

    The original elects a newcomer where nobody stays; such a change is refused here.
    """
    return min(frozenset(current.nodes) & frozenset(new.nodes), default=None)


def start_is_wanted(
    me: NodeId, view: MigrationView, plan: PlannedStart | None, migration_id: Hash32
) -> bool:
    """Whether `startMigration` of this node, under this id, still makes sense."""
    due = view.new_shown and view.running is None and not view.stale
    elected = elected_master(view.current, view.new) == me
    return due and elected and plan is not None and plan.id == migration_id and plan.fits(view)


def confirm_is_wanted(
    me: NodeId, view: MigrationView, joined: JoinedMigration | None, migration_id: Hash32
) -> bool:
    """Whether `confirmMigration` of this node is still owed."""
    running = view.running
    if running is None or running.id != migration_id or joined is None or not joined.is_of(running):
        return False
    owed = me in running.target and me not in running.confirmed
    return owed and joined.succeeded_block is not None


def objection(
    view: MigrationView, running: RunningMigration, joined: JoinedMigration | None
) -> Refusal | Waiting | None:
    """Why this node does not (yet) take part in a running migration; `None`: it does.

    What was accepted once stays accepted: the owner may edit the new set meanwhile.
    """
    if running.master is None or running.master not in running.target:
        return Refusal.MASTER_OUTSIDE
    if elected_master(view.current, running.target) is None:
        return Refusal.DISJOINT
    if joined is not None and joined.is_of(running):
        return None
    if running.target.nodes != view.new.nodes:
        return Refusal.FOREIGN_SET
    if view.block - view.new_since < NEW_SET_DELAY_BLOCKS:
        return Waiting.DELAY
    return None


def refused_order(
    view: MigrationView, joined: JoinedMigration | None, order: MigrationOrder
) -> str | None:
    """Why a session of this order is not for this node, in words; `None`: it may take part.

    Every node decides by its own view of the chain; what the order claims must agree with it.
    """
    running = view.running
    if view.stale:
        return Waiting.STALE.value
    if running is None or running.id != order.id:
        return "no such migration runs"
    if (running.target.nodes, running.master) != (order.new_nodes, order.master):
        return "the migration has another set or another master"
    why = objection(view, running, joined)
    return None if why is None else why.value


def back_off(failures: int) -> float:
    """Seconds to wait after so many failed sessions in a row, >= 1."""
    return min(FIRST_BACK_OFF_S * 2.0 ** min(failures - 1, 16), LONGEST_BACK_OFF_S)


# --- before a migration -----------------------------------------------------------------------


def _before_start(me: NodeId, view: MigrationView, facts: MigrationFacts) -> Action:
    if view.new.nodes == view.current.nodes:
        return Wait(Waiting.NOTHING_TO_DO)
    if me not in view.current and me not in view.new:
        return Wait(Waiting.NOT_CONCERNED)
    if not view.new_shown:
        return Wait(Waiting.DELAY)
    if not view.new.nodes:
        return Refuse(Refusal.EMPTY)
    elected = elected_master(view.current, view.new)
    if elected is None:
        return Refuse(Refusal.DISJOINT)
    if elected != me:
        return Wait(Waiting.ELECTED)
    plan = facts.plan if facts.plan is not None and facts.plan.fits(view) else None
    start = facts.start if plan is not None else None
    if _is_recent(start, view.block):
        return Wait(Waiting.START)
    unsafe = _unsafe(view.new, facts)
    if unsafe is not None:
        return unsafe
    if plan is None or (start is not None and start.state in _DEAD):
        return ChooseId(view.current, view.new)
    return SendStart(plan.id)


_DEAD: Final = (SentState.REFUSED, SentState.GIVEN_UP)
"""An id that the contract does not take may have been used before: another one is chosen."""


# --- while one runs ---------------------------------------------------------------------------


def _while_running(
    me: NodeId, view: MigrationView, running: RunningMigration, facts: MigrationFacts
) -> Action:
    if not _is_concerned(me, view):
        return Wait(Waiting.NOT_CONCERNED)
    joined = facts.joined if facts.joined is not None and facts.joined.is_of(running) else None
    why = objection(view, running, joined)
    if isinstance(why, Refusal):
        return Refuse(why)
    if isinstance(why, Waiting):
        return Wait(why)
    if joined is None:
        return AcceptMigration(running)
    if confirm_is_wanted(me, view, joined, running.id):
        if facts.confirm is not None and facts.confirm.state is SentState.GIVEN_UP:
            return Refuse(Refusal.GIVEN_UP)
        if not _is_recent(facts.confirm, view.block):
            return SendConfirm(running.id)
    return _session(me, view, running, joined, facts)


def _session(
    me: NodeId,
    view: MigrationView,
    running: RunningMigration,
    joined: JoinedMigration,
    facts: MigrationFacts,
) -> Action:
    """Whether to move the keys now, or once more."""
    succeeded = joined.succeeded_block
    if me != running.master:
        return Wait(Waiting.SESSION if succeeded is None else Waiting.CONFIRMATIONS)
    done = succeeded is not None and view.block - succeeded < RERUN_BLOCKS
    if done and not facts.left_behind:
        return Wait(Waiting.CONFIRMATIONS)
    if facts.now < facts.retry_at:
        return Wait(Waiting.BACK_OFF)
    if missing_members(me, running, facts.connected):
        return Wait(Waiting.CONNECTIONS)
    unsafe = _unsafe(running.target, facts)
    if unsafe is not None:
        return unsafe
    return StartSession(MigrationOrder(running.id, running.target.nodes, me))


def _after_session(
    running: RunningMigration, session: SessionState, joined: JoinedMigration | None
) -> Action:
    """What a session of this very migration has come to.

    One that this node has never accepted is worth nothing, whatever it says.
    """
    if joined is None or not joined.is_of(running):
        return ForgetSession()
    if session.phase is SessionPhase.ACTIVE:
        return Wait(Waiting.SESSION)
    if session.phase is SessionPhase.FINISHED:
        return RecordSuccess(joined)
    return RecordFailure(running, session.reason)


def missing_members(
    me: NodeId, running: RunningMigration, connected: frozenset[NodeId]
) -> frozenset[NodeId]:
    """Members of the target that this node is not connected to."""
    return frozenset(running.target.nodes) - connected - {me}


def _is_concerned(me: NodeId, view: MigrationView) -> bool:
    return me in view.current or (view.running is not None and me in view.running.target)


def _is_recent(sent: Sent | None, block: int) -> bool:
    """Whether a transaction is under way, or was so lately that it is not sent again."""
    if sent is None:
        return False
    return sent.state is SentState.OPEN or block - sent.block < RESEND_BLOCKS


def _unsafe(target: NodeSet, facts: MigrationFacts) -> CheckKeys | Refuse | None:
    if facts.check is None or facts.check.target_set != target.id:
        return CheckKeys(target)
    if facts.check.at_risk:
        return Refuse(Refusal.KEYS_AT_RISK, facts.check.at_risk)
    return None
