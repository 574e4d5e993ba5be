"""How many requests one client may make (configuration, `rate_limit`)."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

BURST_S = 10
"""Seconds' worth of requests that may come at once."""

MOST_CLIENTS = 65_536
"""Clients remembered; those not heard of for longest are forgotten, that is: forgiven."""

MOST_AT_ONCE = 128
"""Requests of one client that are worked on at once.

Half of the sessions that the other nodes let a node have open (engine design, section 16), and far
from all connections: one client alone cannot keep all others out.
"""


class RateLimiter:
    """A bucket of permits for each client that fills at a steady rate."""

    def __init__(self, per_second: int, monotonic: Callable[[], float]) -> None:
        """Allow `per_second` requests a second on average; 0 allows all."""
        self._per_second = per_second
        self._monotonic = monotonic
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """Permits left, and when that was so."""
        self._working: Counter[Hashable] = Counter()

    def admits(self, client: Hashable) -> bool:
        """Take a permit of the client's bucket; false if it is empty."""
        if not self._per_second:
            return True
        now, full = self._monotonic(), float(BURST_S * self._per_second)
        permits, at = self._buckets.pop(client, (full, now))
        permits = min(full, permits + (now - at) * self._per_second)
        admitted = permits >= 1
        self._buckets[client] = (permits - 1 if admitted else permits, now)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return admitted

    @contextmanager
    def working(self, client: Hashable) -> Iterator[bool]:
        """Work on a request of the client; gives false if too many of its are worked on."""
        if self._per_second and self._working[client] >= MOST_AT_ONCE:
            yield False
            return
        self._working[client] += 1
        try:
            yield True
        finally:
            self._working[client] -= 1
            if not self._working[client]:
                del self._working[client]
