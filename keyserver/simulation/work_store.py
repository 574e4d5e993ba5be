"""Tasks and answers of a simulated process: commits take time, and none happens after its end."""

import asyncio
from collections.abc import Sequence
from random import Random

from keyserver.simulation.disk import FaultyDisk
from keyserver.simulation.process import Process, never
from keyserver.storage.memory import MemoryWorkStore
from keyserver.tasks.migration import JoinedMigration, PlannedStart
from keyserver.tasks.model import ReadBlock, SeenRequest, Task
from keyserver.tasks.outbox import OutboxEntry


class SimulatedWorkStore(MemoryWorkStore):
    """The durable work of one process, on the disk that its keys are on."""

    def __init__(self, disk: FaultyDisk, chain_id: int, process: Process, random: Random) -> None:
        super().__init__(disk, chain_id)
        self._faulty = disk
        self._process = process
        self._random = random

    async def admit(self, requests: Sequence[SeenRequest]) -> int:
        """Record sightings."""
        await self._begin()
        opened = await super().admit(requests)
        await self._end()
        return opened

    async def accept_blocks(
        self,
        *,
        dropped: Sequence[ReadBlock],
        requests: Sequence[SeenRequest],
        blocks: Sequence[ReadBlock],
        keep: int,
    ) -> int:
        """Move on in the chain."""
        await self._begin()
        opened = await super().accept_blocks(
            dropped=dropped, requests=requests, blocks=blocks, keep=keep
        )
        await self._end()
        return opened

    async def prune(self, before_block: int) -> int:
        """Delete what is finished."""
        await self._begin()
        removed = await super().prune(before_block)
        await self._end()
        return removed

    async def commit(
        self,
        *,
        tasks: Sequence[Task] = (),
        entries: Sequence[OutboxEntry] = (),
        new_entries: Sequence[OutboxEntry] = (),
        new_tasks: Sequence[SeenRequest] = (),
    ) -> None:
        """Write all or nothing."""
        await self._begin()
        await super().commit(
            tasks=tasks, entries=entries, new_entries=new_entries, new_tasks=new_tasks
        )
        await self._end()

    async def keep_planned_start(self, plan: PlannedStart) -> None:
        """Remember under which id a migration is started."""
        await self._begin()
        await super().keep_planned_start(plan)
        await self._end()

    async def keep_joined_migration(self, joined: JoinedMigration) -> None:
        """Remember how far a migration got here."""
        await self._begin()
        await super().keep_joined_migration(joined)
        await self._end()

    async def _begin(self) -> None:
        if self._faulty.slowest_s:
            await asyncio.sleep(self._random.uniform(0, self._faulty.slowest_s))
        if not self._process.acts():
            await never()

    async def _end(self) -> None:
        if not self._process.alive:
            await never()
