"""How many requests one client may make (configuration, `rate_limit`)."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

BURST_S = 10
"""Seconds' worth of requests that may come at once."""

MOST_CLIENTS = 65_536
"""Clients remembered; those not heard of for longest are forgotten, that is: forgiven."""


class RateLimiter:
    """A bucket of permits for each client that fills at a steady rate."""

    def __init__(self, per_second: int, monotonic: Callable[[], float]) -> None:
        """Allow `per_second` requests a second on average; 0 allows all."""
        self._per_second = per_second
        self._monotonic = monotonic
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def admits(self, client: Hashable) -> bool:
        """Take a permit of the client's bucket; false if it is empty."""
        if not self._per_second:
            return True
        now = self._monotonic()
        full_at = max(self._full_at.pop(client, now), now)
        admitted = full_at - now <= BURST_S - 1 / self._per_second
        self._full_at[client] = full_at + (1 / self._per_second if admitted else 0)
        if len(self._full_at) > MOST_CLIENTS:
            self._full_at.popitem(last=False)
        return admitted
