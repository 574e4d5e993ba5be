"""Changes of the node set in numbers; part of `keyserver.app.metrics.Metrics`."""

from prometheus_client import CollectorRegistry, Gauge

from keyserver.api.operator_set_change import SetChangeFacts
from keyserver.engine.set_change_progress import ChangePhase
from keyserver.tasks.migration_status import MigrationPhase


class SetChangeMetrics:
    """The gauges; they are set when somebody looks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.completed = Gauge(
            "keyserver_set_changes_completed",
            "Changes of the node set that this node has seen completed",
            registry=registry,
        )
        self.running = Gauge(
            "keyserver_set_change_running",
            "Whether this node takes part in a change of the node set",
            registry=registry,
        )
        self.phase = Gauge(
            "keyserver_set_change_phase",
            "Phase of the change that this node coordinates or has coordinated last: 1 for one",
            ["phase"],
            registry=registry,
        )
        self.keys = Gauge(
            "keyserver_set_change_keys",
            "Keys of that change, by what became of them; total are to be on the new set",
            ["state"],
            registry=registry,
        )
        self.missing = Gauge(
            "keyserver_set_change_missing_nodes",
            "Nodes that do not take part in that change",
            registry=registry,
        )
        self.migration_phase = Gauge(
            "keyserver_migration_phase",
            "Phase of the change that the node set contract asks for: 1 for one",
            ["phase"],
            registry=registry,
        )
        self.unconfirmed = Gauge(
            "keyserver_migration_unconfirmed_nodes",
            "Members of the migration set whose confirmation is missing on chain",
            registry=registry,
        )
        self.unreachable = Gauge(
            "keyserver_migration_missing_nodes",
            "Members of the migration set without a connection to this node",
            registry=registry,
        )
        self.at_risk = Gauge(
            "keyserver_migration_keys_at_risk",
            "Keys because of which a migration is refused",
            registry=registry,
        )


def measure_set_change(metrics: SetChangeMetrics, facts: SetChangeFacts) -> None:
    """Set all gauges; those of what there is not stay as they are, at first without labels."""
    metrics.completed.set(facts.next_epoch - 1)
    metrics.running.set(facts.takes_part is not None)
    if facts.coordinated is not None:
        change = facts.coordinated
        for phase in ChangePhase:
            metrics.phase.labels(phase.value).set(phase == change.phase)
        for state, number in (
            ("total", change.keys_total),
            ("moved", change.keys_moved),
            ("kept", change.keys_kept),
        ):
            metrics.keys.labels(state).set(number)
        metrics.missing.set(len(change.missing))
    if facts.migration is not None:
        migration = facts.migration
        for each in MigrationPhase:
            metrics.migration_phase.labels(each.value).set(each.value == migration.phase)
        metrics.unconfirmed.set(len(migration.unconfirmed))
        metrics.unreachable.set(len(migration.missing))
        metrics.at_risk.set(migration.keys_at_risk)
