"""One run of a simulated node's process: everything that it does to the outside passes here.

A process ends at any of these points: from then on nothing that its code still computes reaches a
peer, the chain or the disk, as if the machine had stopped between two instructions.
"""

import asyncio
from collections.abc import Callable
from typing import NoReturn


class Process:
    """Counts what a node does, and lets a chosen one of these be the end."""

    def __init__(self, on_death: Callable[[], None]) -> None:
        self.alive = True
        self.effects = 0
        """How many things were done to the outside so far."""
        self._fatal: int | None = None
        self._on_death = on_death

    def die_at_effect(self, nth: int) -> None:
        """Let the `nth` effect from now (from 1) be the end; it does not happen."""
        self._fatal = self.effects + nth

    def spare(self) -> None:
        """Take back `die_at_effect`."""
        self._fatal = None

    def acts(self) -> bool:
        """Say that something is about to be done to the outside; false: it must not happen."""
        self.effects += 1
        if self.alive and self.effects == self._fatal:
            self.die()
        return self.alive

    def die(self) -> None:
        """End here."""
        if self.alive:
            self.alive = False
            self._on_death()


async def never() -> NoReturn:
    """What a process that has ended waits for, until it is cleared away."""
    while True:
        await asyncio.get_running_loop().create_future()
