"""The running event loop's time as the engine's clock."""

import asyncio

from keyserver.engine.ports import TimerCallback, TimerHandle

EPOCH = 1_800_000_000
"""Unix time at virtual second 0."""


class VirtualClock:
    """Time of the loop that runs."""

    def monotonic(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    def unix(self) -> int:
        """Unix seconds."""
        return EPOCH + int(self.monotonic())

    def call_later(self, seconds: float, callback: TimerCallback) -> TimerHandle:
        """Run `callback` once, later."""
        return asyncio.get_running_loop().call_later(seconds, callback)
