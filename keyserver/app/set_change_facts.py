"""What operators are told about changes of the node set."""

from collections.abc import Iterable, Sequence

from keyserver.api.facts import Trouble
from keyserver.api.operator_set_change import (
    ChangeFacts,
    CompletedFacts,
    KeptKeyFacts,
    MigrationStatusFacts,
    SetChangeFacts,
    TakesPartFacts,
    TransactionState,
)
from keyserver.engine.set_change_progress import MOST_TOLD, ChangePhase, ChangeProgress
from keyserver.model.identifiers import NodeId
from keyserver.model.set_change import CompletedChange, SetChange
from keyserver.tasks.migration import Sent
from keyserver.tasks.migration_status import MigrationStatus


def set_change_facts(
    completed: Sequence[CompletedChange],
    running: SetChange | None,
    progress: ChangeProgress | None,
    migration: MigrationStatus | None,
    *,
    is_exclusive: bool,
) -> SetChangeFacts:
    """Put together what the parts of a node know; `completed`: all changes, the oldest first."""
    latest = completed[-1] if completed else None
    return SetChangeFacts(
        next_epoch=1 if latest is None else latest.epoch + 1,
        takes_part=None if running is None else _takes_part(running, is_exclusive=is_exclusive),
        coordinated=None if progress is None else _coordinated(progress),
        completed=None if latest is None else _completed(latest),
        migration=None if migration is None else _migration(migration),
    )


def _takes_part(change: SetChange, *, is_exclusive: bool) -> TakesPartFacts:
    return TakesPartFacts(change.id, is_exclusive, change.old.nodes, change.new.nodes)


def _coordinated(progress: ChangeProgress) -> ChangeFacts:
    return ChangeFacts(
        change_id=progress.change_id,
        phase=progress.phase.value,
        keys_total=progress.total,
        keys_moved=progress.moved,
        missing=_ordered(progress.missing),
        keys_kept=progress.keys_kept,
        kept=tuple(KeptKeyFacts(key_id, why) for key_id, why in progress.kept.items()),
        why=progress.why,
    )


def _completed(change: CompletedChange) -> CompletedFacts:
    return CompletedFacts(
        change.epoch, change.id, change.old.nodes, change.new.nodes, change.completed_at
    )


def _migration(status: MigrationStatus) -> MigrationStatusFacts:
    return MigrationStatusFacts(
        phase=status.phase.value,
        why=status.why,
        refused=status.refused is not None,
        block=status.block,
        stale=status.stale,
        id=status.id,
        master=status.master,
        current_set=status.current.nodes,
        target_set=status.target.nodes,
        confirmed=_ordered(status.confirmed),
        unconfirmed=_ordered(status.unconfirmed),
        missing=_ordered(status.missing),
        keys_at_risk=len(status.keys_at_risk),
        at_risk=status.keys_at_risk[:MOST_TOLD],
        session=status.session.phase.value,
        session_failure=status.session.reason,
        start=_transaction(status.start),
        confirm=_transaction(status.confirm),
    )


def _transaction(sent: Sent | None) -> TransactionState | None:
    return None if sent is None else TransactionState(sent.state.value, sent.block)


def _ordered(nodes: Iterable[NodeId]) -> tuple[NodeId, ...]:
    return tuple(sorted(nodes))


def set_change_troubles(facts: SetChangeFacts) -> tuple[Trouble, ...]:
    """What wants the operator's attention: nothing of it goes on by itself."""
    found = []
    migration, change = facts.migration, facts.coordinated
    if migration is not None and migration.refused:
        text = f"the change of the node set on chain is refused: {migration.why}"
        found.append(Trouble("migration_refused", text))
    if change is not None and change.phase == ChangePhase.FAILED:
        found.append(Trouble("set_change_failed", f"the last change failed: {change.why}"))
    if change is not None and change.keys_kept:
        text = f"{change.keys_kept} keys did not move: `keyserver admin set-change status`"
        found.append(Trouble("keys_kept", text))
    return tuple(found)
