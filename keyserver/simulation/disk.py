"""Disks that are slow, full or broken, and processes that end in the middle of a commit.

The faults are those of the disk, below every store on it: keys, votes, tasks and answers alike.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from keyserver.errors import StorageError
from keyserver.model.identifiers import KeyId
from keyserver.sessions.core import KeyState
from keyserver.sessions.writes import Write
from keyserver.simulation.process import Process, never
from keyserver.storage.memory import DiskState, MemoryDisk, MemoryRecordStore


@dataclass(frozen=True, slots=True)
class _Deadly:
    """Which commit is the last one of a process."""

    commit: int
    written: bool
    hit: Callable[[], None]


class FaultyDisk(MemoryDisk):
    """A memory disk as a process sees it, with the faults of real ones.

    What was committed survives them all; it can be looked at in `platter`.
    """

    def __init__(self, state: DiskState | None = None) -> None:
        self._broken = False
        self.platter = MemoryDisk(state)
        super().__init__(self.platter.state)
        self.full = False
        """Whether every write fails."""
        self.slowest_s = 0.0
        """How long a commit takes at most."""
        self._deadly: _Deadly | None = None

    @property
    def state(self) -> DiskState:
        """What is on disk; raises `StorageError` while it cannot be read."""
        if self._broken:
            raise StorageError("simulated disk: it cannot be read")
        return self.platter.state

    @state.setter
    def state(self, value: DiskState) -> None:
        self.platter.state = value

    def fail(self, *, reads: bool) -> None:
        """From now on writes fail, with `reads` also reading."""
        self.full, self._broken = True, reads

    def recover(self) -> None:
        """Work again."""
        self.full, self._broken = False, False

    def die_in_commit(self, nth: int, *, written: bool, hit: Callable[[], None]) -> None:
        """Call `hit` in the `nth` commit from now (from 1), before or after it is on disk."""
        self._deadly = _Deadly(self.commits + nth, written, hit)

    def spare(self) -> None:
        """Take back `die_in_commit`."""
        self._deadly = None

    def commit(self, change: Callable[[DiskState], DiskState]) -> None:
        """Replace the state by what `change` makes of it; raises `StorageError`."""
        deadly = self._deadly
        if deadly is not None and self.commits + 1 == deadly.commit:
            self._deadly = None
            if deadly.written:
                super().commit(change)
            deadly.hit()
            raise StorageError("simulated disk: the process ended in a commit")
        if self.full:
            self.commits += 1
            raise StorageError("simulated disk: no space left")
        super().commit(change)


class SimulatedRecordStore(MemoryRecordStore):
    """Keys and votes of a process: commits take time, and none happens after its end."""

    def __init__(
        self,
        disk: FaultyDisk,
        process: Process,
        random: Random,
        unix: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(disk, unix)
        self._faulty = disk
        self._process = process
        self._random = random

    async def load(self, key_id: KeyId) -> KeyState:
        """All that is stored about a key."""
        if not self._process.alive:
            await never()
        return await super().load(key_id)

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all or nothing; raises `VoteConflictError` or `StorageError`."""
        if self._faulty.slowest_s:
            await asyncio.sleep(self._random.uniform(0, self._faulty.slowest_s))
        if not self._process.acts():
            await never()
        await super().commit(writes)
        if not self._process.alive:
            await never()
