"""Delays after failures."""

from keyserver.chain.backoff import LIMIT_S, Backoff


def test_delays_double_up_to_a_minute() -> None:
    longest = Backoff(lambda: 1.0)
    assert [longest.next_delay() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    shortest = Backoff(lambda: 0.0)
    assert [shortest.next_delay() for _ in range(3)] == [0.5, 1, 2]


def test_a_success_begins_anew() -> None:
    backoff = Backoff(lambda: 1.0)
    backoff.next_delay()
    backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() == 1


def test_the_jitter_is_random_and_within_bounds() -> None:
    delays = [Backoff().next_delay() for _ in range(50)]
    assert len(set(delays)) > 1
    assert all(0.5 <= delay <= 1 for delay in delays)


def test_many_failures_do_not_overflow() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5000):
        delay = backoff.next_delay()
    assert delay == LIMIT_S
