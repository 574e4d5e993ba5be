"""The metrics of one node."""

from keyserver.app.metrics import CONTENT_TYPE, Metrics


def test_nodes_do_not_share_their_metrics() -> None:
    one, two = Metrics(), Metrics()
    one.sessions.labels("generation", "coordinator", "completed").inc()
    one.outbox.labels("queued").set(3)
    text = one.render().decode()
    line = 'keyserver_sessions_total{outcome="completed",role="coordinator",type="generation"} 1.0'
    assert line in text
    assert 'keyserver_outbox{state="queued"} 3.0' in text
    assert line not in two.render().decode()


def test_everything_has_the_prefix_and_an_explanation() -> None:
    metrics = Metrics()
    families = list(metrics.registry.collect())
    names = {family.name for family in families}
    assert {
        "keyserver_sessions",
        "keyserver_session_seconds",
        "keyserver_peers",
        "keyserver_lag_blocks",
        "keyserver_oldest_task_seconds",
        "keyserver_outbox",
        "keyserver_balance_wei",
    } <= names
    assert all(name.startswith("keyserver_") for name in names)
    assert all(family.documentation for family in families)
    assert "version=0.0.4" in CONTENT_TYPE
