"""Refreshes as operators are told of them."""

from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from keyserver.app.refresh_facts import RefreshMetrics, measure_refreshes, refresh_troubles
from keyserver.engine.refreshes import RefreshCounts


def refreshes(counts: RefreshCounts, obstacle: str | None = None, last: str | None = None) -> Any:
    return SimpleNamespace(counts=counts, obstacle=obstacle, last_failure=last)


def lines_of(told: Any) -> list[str]:
    registry = CollectorRegistry()
    measure_refreshes(RefreshMetrics(registry), told)
    return generate_latest(registry).decode().splitlines()


def test_metrics() -> None:
    lines = lines_of(refreshes(RefreshCounts(done=7, failed=2, running=1, elsewhere=3)))
    assert 'keyserver_refreshes{outcome="done"} 7.0' in lines
    assert 'keyserver_refreshes{outcome="failed"} 2.0' in lines
    assert "keyserver_refreshes_running 1.0" in lines
    assert "keyserver_refreshes_waiting 0.0" in lines
    assert "keyserver_keys_not_refreshed 3.0" in lines
    assert "keyserver_refreshes_waiting 1.0" in lines_of(refreshes(RefreshCounts(), "a change"))


def test_what_is_wrong_is_a_warning() -> None:
    assert refresh_troubles(refreshes(RefreshCounts(done=1, failed=4))) == ()
    told = refresh_troubles(refreshes(RefreshCounts(elsewhere=2), last="too few nodes"))
    assert {each.code: each.text for each in told} == {
        "refresh_failed": "a key could not be refreshed: too few nodes",
        "keys_not_refreshed": "2 keys are not refreshed: they are on another set",
    }
