"""How long to wait after failures: doubling, with a limit and jitter (chain watcher, W-09)."""

from collections.abc import Callable
from random import SystemRandom

FIRST_S = 1.0
LIMIT_S = 60.0

Fraction = Callable[[], float]
"""Gives numbers from 0 up to 1, for the jitter."""

ANY_FRACTION: Fraction = SystemRandom().random


class Backoff:
    """Delays in seconds from one failure to the next, until a success."""

    def __init__(self, fraction: Fraction = ANY_FRACTION) -> None:
        self._fraction = fraction
        self._failures = 0

    def next_delay(self) -> float:
        """Count a failure; the time to wait: half to all of 1, 2, 4, … up to 60 s."""
        full = min(LIMIT_S, FIRST_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return full * (0.5 + 0.5 * self._fraction())

    def reset(self) -> None:
        """Count a success."""
        self._failures = 0
