"""What a node counts and measures, in the form Prometheus reads.

One `Metrics` object belongs to one node and has a registry of its own, so several nodes in one
process do not mix. Names start with `keyserver_`; amounts are in base units (seconds, wei, blocks).
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from keyserver.app.refresh_facts import RefreshMetrics
from keyserver.app.set_change_metrics import SetChangeMetrics
from keyserver.app.signing_facts import SigningMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of `Metrics.render`."""

_SESSION_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """All metrics of one node."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self.sessions = Counter(
            "keyserver_sessions",
            "Sessions that ended, by session type, role and outcome",
            ["type", "role", "outcome"],
            registry=registry,
        )
        self.sessions_running = Gauge(
            "keyserver_sessions_running", "Sessions that run now", registry=registry
        )
        self.session_seconds = Histogram(
            "keyserver_session_seconds",
            "How long sessions took, by session type",
            ["type"],
            buckets=_SESSION_SECONDS,
            registry=registry,
        )
        self.peers = Gauge(
            "keyserver_peers",
            "Nodes of the set by state of their connection",
            ["state"],
            registry=registry,
        )
        self.head_block = Gauge(
            "keyserver_head_block", "Newest block the Ethereum node knows", registry=registry
        )
        self.confirmed_block = Gauge(
            "keyserver_confirmed_block", "Newest confirmed block", registry=registry
        )
        self.lag_blocks = Gauge(
            "keyserver_lag_blocks",
            "Confirmed blocks whose logs have not been read yet",
            registry=registry,
        )
        self.chain_calls = Counter(
            "keyserver_chain_calls",
            "Calls to Ethereum nodes, by method",
            ["method"],
            registry=registry,
        )
        self.tasks = Gauge(
            "keyserver_tasks", "Tasks by service and state", ["service", "state"], registry=registry
        )
        self.oldest_task_seconds = Gauge(
            "keyserver_oldest_task_seconds",
            "Age of the oldest task that is not settled; 0 without any",
            registry=registry,
        )
        self.outbox = Gauge(
            "keyserver_outbox", "Answers to contracts by state", ["state"], registry=registry
        )
        self.balance_wei = Gauge(
            "keyserver_balance_wei", "Balance of the node's account", registry=registry
        )
        self.keys = Gauge(
            "keyserver_keys", "Server keys this node has a record of", registry=registry
        )
        self.keys_without_share = Gauge(
            "keyserver_keys_without_share",
            "Server keys this node has a record of, but no share",
            registry=registry,
        )
        self.share_additions_running = Gauge(
            "keyserver_share_additions_running",
            "Keys whose share this node is asking others for",
            registry=registry,
        )

        self.misbehaviour = Counter(
            "keyserver_misbehaviour",
            "Offences of other nodes that this node has evidence of, by rule",
            ["rule"],
            registry=registry,
        )
        self.avoided_nodes = Gauge(
            "keyserver_avoided_nodes",
            "Nodes that are chosen last because of evidence against them",
            registry=registry,
        )
        self.set_change = SetChangeMetrics(registry)
        self.refreshes = RefreshMetrics(registry)
        self.signing = SigningMetrics(registry)

    def render(self) -> bytes:
        """Return all values as text for a scraper; see `CONTENT_TYPE`."""
        return generate_latest(self.registry)
