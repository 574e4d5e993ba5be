"""A `WorkStore` in dictionaries that can be made to die before any of its commits."""

from collections.abc import Sequence
from dataclasses import replace

from keyserver.model.identifiers import Address, KeyId
from keyserver.tasks.model import (
    Confirm,
    Ignore,
    Open,
    ReadBlock,
    Replace,
    SeenRequest,
    Task,
    TaskKey,
    TaskState,
    admit,
    new_task,
    vanished,
)
from keyserver.tasks.outbox import OutboxEntry
from keyserver.tasks.ports import StaleRowError


class ProcessKilled(BaseException):
    """The process ends here: nothing catches this."""


class FakeWorkStore:
    """Rows survive a kill; `lives` says how many more writes go through (`None`: all)."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.entries: dict[int, OutboxEntry] = {}
        self.blocks: tuple[ReadBlock, ...] = ()
        self.lives: int | None = None
        self.writes = 0

    def _spend(self) -> None:
        if self.lives == 0:
            raise ProcessKilled
        if self.lives is not None:
            self.lives -= 1
        self.writes += 1

    def _admit(self, requests: Sequence[SeenRequest]) -> int:
        opened = 0
        for request in requests:
            match admit(self._latest(request.key), request):
                case Open():
                    opened += self._open(request)
                case Replace(closed):
                    self.tasks[closed.id] = replace(closed, revision=closed.revision + 1)
                    opened += self._open(request)
                case Confirm(task):
                    self.tasks[task.id] = replace(task, revision=task.revision + 1)
                case Ignore():
                    pass
        return opened

    def _open(self, request: SeenRequest) -> int:
        number = max(self.tasks, default=0) + 1
        self.tasks[number] = new_task(number, request)
        return 1

    def _latest(self, key: TaskKey) -> Task | None:
        rows = [task for task in self.tasks.values() if task.key == key]
        return max(rows, key=lambda task: task.id, default=None)

    async def admit(self, requests: Sequence[SeenRequest]) -> int:
        self._spend()
        return self._admit(requests)

    async def accept_blocks(
        self,
        *,
        dropped: Sequence[ReadBlock],
        requests: Sequence[SeenRequest],
        blocks: Sequence[ReadBlock],
        keep: int,
    ) -> int:
        self._spend()
        hashes = {block.hash for block in dropped}
        gone = [task.id for task in self.tasks.values() if vanished(task, hashes)]
        for number in gone:
            del self.tasks[number]
        stay = tuple(block for block in self.blocks if block not in dropped)
        self.blocks = (*stay, *blocks)[-keep:]
        return self._admit(requests)

    async def history(self) -> Sequence[ReadBlock]:
        return self.blocks

    async def task(self, task_id: int) -> Task | None:
        return self.tasks.get(task_id)

    async def latest(self, key: TaskKey) -> Task | None:
        return self._latest(key)

    async def due(self, block: int, limit: int) -> Sequence[Task]:
        pending = [task for task in self.tasks.values() if task.state is TaskState.PENDING]
        return [task for task in pending if task.next_attempt_block <= block][:limit]

    async def open_tasks(self, key_id: KeyId | None = None) -> Sequence[Task]:
        rows = [task for task in self.tasks.values() if task.state.is_open]
        return [task for task in rows if key_id is None or task.key.key_id == key_id]

    async def prune(self, before_block: int) -> int:
        closed = [
            task.id
            for task in self.tasks.values()
            if task.closed_block is not None and task.closed_block < before_block
        ]
        for number in closed:
            del self.tasks[number]
        self.entries = {
            number: entry
            for number, entry in self.entries.items()
            if entry.key.task_id in self.tasks
        }
        return len(closed)

    async def open_entries(self, sender: Address) -> Sequence[OutboxEntry]:
        rows = [entry for entry in self.entries.values() if entry.state.is_open]
        return [entry for entry in rows if entry.key.sender == sender]

    async def entry(self, entry_id: int) -> OutboxEntry | None:
        return self.entries.get(entry_id)

    async def entries_of(self, task_id: int) -> Sequence[OutboxEntry]:
        return [entry for entry in self.entries.values() if entry.key.task_id == task_id]

    async def highest_nonce(self, sender: Address) -> int | None:
        nonces = [entry.nonce for entry in self.entries.values() if entry.nonce is not None]
        return max(nonces, default=None)

    async def commit(
        self,
        *,
        tasks: Sequence[Task] = (),
        entries: Sequence[OutboxEntry] = (),
        new_entries: Sequence[OutboxEntry] = (),
        new_tasks: Sequence[SeenRequest] = (),
    ) -> None:
        self._spend()
        for task in tasks:
            if task.id not in self.tasks or self.tasks[task.id].revision != task.revision:
                raise StaleRowError
        for entry in entries:
            if self.entries[entry.id].revision != entry.revision:
                raise StaleRowError
        for task in tasks:
            self.tasks[task.id] = replace(task, revision=task.revision + 1)
        for entry in entries:
            self.entries[entry.id] = replace(entry, revision=entry.revision + 1)
        known = {entry.key for entry in self.entries.values()}
        for entry in new_entries:
            if entry.key not in known:
                number = max(self.entries, default=0) + 1
                self.entries[number] = replace(entry, id=number)
        self._admit(new_tasks)
