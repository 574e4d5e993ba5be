"""The time of the machine, as the engine's `Clock`."""

import asyncio
import time

from keyserver.engine.ports import TimerCallback, TimerHandle


class SystemClock:
    """Real time; timers run on the event loop that is running."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def unix(self) -> int:
        """Seconds since 1970."""
        return int(time.time())

    def call_later(self, seconds: float, callback: TimerCallback) -> TimerHandle:
        """Run `callback` once, later."""
        return asyncio.get_running_loop().call_later(seconds, callback)
