"""Permits for each client."""

from contextlib import ExitStack

import pytest

from keyserver.api import rate_limit
from keyserver.api.rate_limit import BURST_S, MOST_AT_ONCE, RateLimiter
from tests.support.leaping_clock import LeapingClock


def admitted(limiter: RateLimiter, client: str, times: int) -> int:
    return sum(limiter.admits(client) for _ in range(times))


def test_a_burst_and_then_a_steady_rate() -> None:
    time = LeapingClock()
    limiter = RateLimiter(5, time.monotonic)
    assert admitted(limiter, "a", 100) == 5 * BURST_S
    time.now += 1
    assert admitted(limiter, "a", 100) == 5
    time.now += 1000
    assert admitted(limiter, "a", 100) == 5 * BURST_S


def test_clients_do_not_share() -> None:
    limiter = RateLimiter(1, LeapingClock().monotonic)
    assert admitted(limiter, "a", 20) == BURST_S
    assert admitted(limiter, "b", 20) == BURST_S


def test_zero_is_no_limit() -> None:
    assert admitted(RateLimiter(0, LeapingClock().monotonic), "a", 10_000) == 10_000


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MOST_CLIENTS", 3)
    limiter = RateLimiter(1, LeapingClock().monotonic)
    assert admitted(limiter, "a", 20) == BURST_S
    for other in ("b", "c", "d"):
        limiter.admits(other)
    assert limiter.admits("a"), "who was forgotten is forgiven"


def test_one_client_has_so_many_requests_worked_on_at_once() -> None:
    limiter = RateLimiter(1, LeapingClock().monotonic)
    with ExitStack() as under_way:
        for _ in range(MOST_AT_ONCE):
            assert under_way.enter_context(limiter.working("a"))
        with limiter.working("a") as has_room:
            assert not has_room
        with limiter.working("b") as has_room:
            assert has_room
    with limiter.working("a") as has_room:
        assert has_room


def test_failed_work_is_over_too() -> None:
    limiter = RateLimiter(1, LeapingClock().monotonic)

    def fail() -> None:
        with limiter.working("a") as has_room:
            assert has_room
            raise ZeroDivisionError

    for _ in range(MOST_AT_ONCE + 1):
        with pytest.raises(ZeroDivisionError):
            fail()


def test_no_limit_is_none_for_work_either() -> None:
    limiter = RateLimiter(0, LeapingClock().monotonic)
    with ExitStack() as under_way:
        assert all(under_way.enter_context(limiter.working("a")) for _ in range(2 * MOST_AT_ONCE))
