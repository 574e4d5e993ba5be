"""Refreshes as operators are told of them: numbers, and what is wrong."""

from prometheus_client import CollectorRegistry, Gauge

from keyserver.api.facts import Trouble
from keyserver.engine.refreshes import Refreshes


class RefreshMetrics:
    """The gauges; they are set when somebody looks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.begun = Gauge(
            "keyserver_refreshes",
            "Refreshes of keys that this node has begun since it started, by outcome",
            ["outcome"],
            registry=registry,
        )
        self.running = Gauge(
            "keyserver_refreshes_running",
            "Keys whose shares this node is having renewed",
            registry=registry,
        )
        self.waiting = Gauge(
            "keyserver_refreshes_waiting",
            "Whether something is in the way of all refreshes at this node",
            registry=registry,
        )
        self.elsewhere = Gauge(
            "keyserver_keys_not_refreshed",
            "Keys that are due, but on another set than the current one",
            registry=registry,
        )


def measure_refreshes(metrics: RefreshMetrics, refreshes: Refreshes) -> None:
    """Set all gauges."""
    counts = refreshes.counts
    metrics.begun.labels("done").set(counts.done)
    metrics.begun.labels("failed").set(counts.failed)
    metrics.running.set(counts.running)
    metrics.waiting.set(refreshes.obstacle is not None)
    metrics.elsewhere.set(counts.elsewhere)


def refresh_troubles(refreshes: Refreshes) -> tuple[Trouble, ...]:
    """What wants the operator's attention."""
    found = []
    if refreshes.last_failure is not None:
        text = f"a key could not be refreshed: {refreshes.last_failure}"
        found.append(Trouble("refresh_failed", text))
    if refreshes.counts.elsewhere:
        text = f"{refreshes.counts.elsewhere} keys are not refreshed: they are on another set"
        found.append(Trouble("keys_not_refreshed", text))
    return tuple(found)
