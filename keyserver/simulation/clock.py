"""The running event loop's time as the engine's clock."""

import asyncio
from dataclasses import dataclass

from keyserver.engine.ports import TimerCallback, TimerHandle

EPOCH = 1_800_000_000
"""Unix time at virtual second 0."""


@dataclass
class VirtualClock:
    """Time of the loop that runs."""

    skew_s: int = 0
    """How far the date is wrong; waiting is not affected."""

    def monotonic(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    def unix(self) -> int:
        """Unix seconds."""
        return EPOCH + int(self.monotonic()) + self.skew_s

    def call_later(self, seconds: float, callback: TimerCallback) -> TimerHandle:
        """Run `callback` once, later."""
        return asyncio.get_running_loop().call_later(seconds, callback)
