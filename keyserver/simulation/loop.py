"""An event loop on virtual time: nothing is waited for, time jumps to the next timer.

Ready callbacks run in the order in which they were scheduled, so a run depends on nothing but its
inputs. There is no real input or output: a loop with nothing to do and no timer is a deadlock.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlockError(Exception):
    """Everybody waits and no timer is set: the program under simulation is stuck."""


class _JumpingSelector(selectors.SelectSelector):
    """Never blocks: a wait of s seconds moves the clock by s seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Advance the clock."""
        if timeout is None:
            raise DeadlockError("nothing is scheduled")
        self.now += max(timeout, 0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose `time()` is virtual, starting at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds."""
        return self._jumping.now


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a fresh virtual loop, and cancel what it left behind."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
