"""Works off tasks: claims those that are due, runs their handlers, records what came of it.

Several tasks run at once, never two of one key id. Nothing is polled: the store is asked when a
block, an outcome or a finished task may have changed what is due. The result of a handler and the
entry in the outbox are written in one transaction, so a crash at any point repeats work and never
an answer (architecture, section 6).
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from keyserver.errors import ChainError, KeyServerError
from keyserver.model.identifiers import ZERO_HASH, KeyId, NodeId
from keyserver.tasks.model import SeenRequest, Sighting, Task, TaskKey, TaskKind, TaskState
from keyserver.tasks.outbox import Answer, OutboxEntry, OutboxState, new_entry
from keyserver.tasks.ports import (
    Answered,
    Discard,
    Disposition,
    NothingOwed,
    NotMember,
    StaleRowError,
    TaskHandler,
    TryAgain,
    WaitUntil,
    WorkStore,
)
from keyserver.tasks.responsibility import backoff, jitter

log = structlog.get_logger()

DUE_LIMIT: Final = 256
"""Tasks looked at in one go; the rest follows when some of these are done."""


class TaskQueue:
    """The executor of durable work."""

    def __init__(
        self,
        *,
        store: WorkStore,
        handlers: Mapping[TaskKind, TaskHandler],
        me: NodeId,
        interval: int,
        on_answer: Callable[[], None],
        parallel: int = 8,
    ) -> None:
        """`interval`: blocks of the first back-off; `on_answer`: tells the sender."""
        self._store = store
        self._handlers = handlers
        self._me = me
        self._interval = interval
        self._on_answer = on_answer
        self._parallel = parallel
        self._head: int | None = None
        self._last_head = 0
        self._busy: dict[KeyId, int] = {}
        self._woken: set[int] = set()
        self._signal = asyncio.Event()

    # --- what others tell -----------------------------------------------------------------

    def on_block(self, head: int) -> None:
        """There is a new latest block, and the chain is to be trusted."""
        self._head = self._last_head = head
        self._signal.set()

    def pause(self) -> None:
        """The chain is not to be trusted: start nothing until the next block (W-12)."""
        self._head = None

    def wake(self) -> None:
        """The store may hold something that is due."""
        self._signal.set()

    async def wake_key(self, key_id: KeyId) -> None:
        """Something about this key has changed: look at its tasks again, without delay."""
        for task in await self._store.open_tasks(key_id):
            await self._make_due(task)
        self._signal.set()

    async def hasten(self) -> None:
        """Look again at all tasks that wait for another attempt, as when a peer is back."""
        for task in await self._store.open_tasks():
            if task.attempts:
                await self._make_due(task)
        self._signal.set()

    async def release_held(self) -> None:
        """The node set has changed: tasks held back may be this node's again (W-29)."""
        for task in await self._store.open_tasks():
            if task.state is TaskState.HELD:
                await self._change(task.id, _released)
        self._signal.set()

    async def record_result(self, key: TaskKey, result: bytes, *, wait: int = 0) -> None:
        """Keep what a session has brought for a task, durably, and have it answered.

        The task may not exist yet, when this node reads the chain later than its peers. `wait`:
        how many blocks another node is given to answer first. Any result will do then, so a task
        with one, or that this node has answered, stays as it is: who repeats the session could
        put the answer off for ever.
        """
        task = await self._store.latest(key)
        if task is None or not task.state.is_open:
            seen = Sighting(self._last_head, ZERO_HASH)
            await self._store.admit([SeenRequest(key, b"", seen)])
            task = await self._store.latest(key)
        if task is None or not task.state.is_open:
            log.warning("result_without_task", key_id=key.key_id.hex())
            return
        due = self._last_head + wait if wait else 0
        await self._change(task.id, lambda row: _with_result(row, result, due))
        self._signal.set()

    # --- the loop -------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled; raises `StorageError` if the store cannot be used."""
        await self._recover()
        self._signal.set()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._signal.wait()
                self._signal.clear()
                for task in await self._claim_due():
                    group.create_task(self._work(task))

    @property
    def idle(self) -> bool:
        """Whether nothing is running and nobody has asked to look at the store."""
        return not self._busy and not self._signal.is_set()

    async def _recover(self) -> None:
        """What ran when the process ended, and what waited for an outcome, is due at once."""
        for task in await self._store.open_tasks():
            if task.state in (TaskState.RUNNING, TaskState.PENDING):
                await self._change(task.id, _recovered)

    async def _claim_due(self) -> list[Task]:
        if self._head is None:
            return []
        claimed = []
        for task in await self._store.due(self._head, DUE_LIMIT):
            if len(self._busy) >= self._parallel:
                break
            if task.key.key_id in self._busy:
                continue
            self._busy[task.key.key_id] = task.id
            self._woken.discard(task.id)
            try:
                await self._store.commit(tasks=[task.moved_to(TaskState.RUNNING)])
            except StaleRowError:
                del self._busy[task.key.key_id]
                self._signal.set()
                continue
            claimed.append(task)
        return claimed

    async def _work(self, task: Task) -> None:
        head = self._last_head
        try:
            disposition = await self._decide(task, head)
            await self._finish(task, disposition)
            if task.id in self._woken:
                await self._change(task.id, _due_now)
        finally:
            self._woken.discard(task.id)
            del self._busy[task.key.key_id]
            self._signal.set()

    async def _decide(self, task: Task, head: int) -> Disposition:
        try:
            return await self._handlers[task.key.kind].handle(task, head)
        except ChainError as error:
            return WaitUntil(head + 1, str(error))  # the next block shows that the chain is back
        except KeyServerError as error:
            log.info("task_postponed", task=task.id, reason=str(error), code=error.code)
            return TryAgain(str(error))
        except Exception as error:
            log.exception("task_failed", task=task.id, kind=task.key.kind.name)
            return TryAgain(f"internal error: {error!r}")

    # --- what came of it ------------------------------------------------------------------

    async def _finish(self, claimed: Task, disposition: Disposition) -> None:
        while True:
            task = await self._store.task(claimed.id)
            if task is None or task.state is not TaskState.RUNNING:
                return  # another request has taken its place meanwhile
            try:
                await self._record(claimed, task, disposition)
            except StaleRowError:
                continue
            return

    async def _record(self, claimed: Task, task: Task, disposition: Disposition) -> None:
        entries: list[OutboxEntry] = []
        if isinstance(disposition, Answered):
            after = await self._answered(task, disposition.answer, entries)
        else:
            after = self._without_answer(task, disposition)
        if after.state.is_open and self._has_news(claimed, task):
            after = replace(after, state=TaskState.PENDING, result=task.result)
            after = replace(after, next_attempt_block=0)
        await self._store.commit(tasks=[after], new_entries=entries)
        log.info("task_moved", task=task.id, state=after.state.value, reason=after.reason)
        if entries:
            self._on_answer()

    def _has_news(self, claimed: Task, task: Task) -> bool:
        """Whether the handler decided without knowing what has come in while it ran."""
        asked_again = task.last_seen.in_log and task.last_seen != claimed.last_seen
        return task.id in self._woken or task.result != claimed.result or asked_again

    async def _answered(self, task: Task, answer: Answer, entries: list[OutboxEntry]) -> Task:
        """The task's new state; adds the entry to `entries` unless it exists."""
        entry = new_entry(task.id, self._me.address, task.key.contract, answer)
        earlier = await self._store.entries_of(task.id)
        if answer.is_error and any(not other.is_error for other in earlier):
            # a recorded result never changes from success to error (W-08)
            return self._again(task, "found an error after a result")
        same = next((other for other in earlier if other.key == entry.key), None)
        if same is None:
            entries.append(entry)
        elif same.state is OutboxState.CONFIRMED and same.mined:
            return task.moved_to(TaskState.ANSWERED).closed(TaskState.SETTLED, same.mined.block)
        elif not same.state.is_open:
            log.error("answer_given_up", task=task.id, reason=same.reason)
            return task.closed(TaskState.ABANDONED, self._last_head, same.reason)
        return task.moved_to(TaskState.ANSWERED, answer.method)

    def _without_answer(
        self, task: Task, disposition: NothingOwed | NotMember | WaitUntil | TryAgain | Discard
    ) -> Task:
        match disposition:
            case NothingOwed(block, reason):
                return task.closed(TaskState.REJECTED, block, reason)
            case NotMember(reason):
                return task.moved_to(TaskState.HELD, reason)
            case WaitUntil(block, reason):
                waiting = task.moved_to(TaskState.PENDING, reason)
                return replace(waiting, next_attempt_block=block)
            case TryAgain(reason):
                return self._again(task, reason)
        return replace(task.again(self._last_head + 1, disposition.reason), result=b"")

    def _again(self, task: Task, reason: str) -> Task:
        attempts = task.attempts + 1
        wait = backoff(attempts, self._interval)
        wait += jitter(self._me, task.key.key_id, attempts, self._interval)
        return task.again(self._last_head + wait, reason)

    # --- rows that others write too -------------------------------------------------------

    async def _make_due(self, task: Task) -> None:
        """Also when it runs, or when the result of its handler is being written right now.

        Marked first, and looked at afterwards: whoever writes the row last sees the mark.
        """
        if task.state in (TaskState.RUNNING, TaskState.PENDING):
            self._woken.add(task.id)
            await self._change(task.id, _due_now)

    async def _change(self, task_id: int, change: Callable[[Task], Task]) -> None:
        while True:
            task = await self._store.task(task_id)
            if task is None:
                return
            changed = change(task)
            if changed == task:
                return
            try:
                await self._store.commit(tasks=[changed])
            except StaleRowError:
                continue
            return


def _due_now(task: Task) -> Task:
    if task.state is not TaskState.PENDING:
        return task
    return replace(task, next_attempt_block=0)


def _recovered(task: Task) -> Task:
    if task.state is TaskState.RUNNING:
        task = task.moved_to(TaskState.PENDING, "the process was restarted")
    return _due_now(task)


def _released(task: Task) -> Task:
    if task.state is not TaskState.HELD:
        return task
    return _due_now(task.moved_to(TaskState.PENDING, "the node set has changed"))


def _with_result(task: Task, result: bytes, due: int) -> Task:
    if not task.state.is_open or task.result == result:
        return task
    if due and (task.state is TaskState.ANSWERED or task.result):
        return task
    if task.state is TaskState.ANSWERED:
        task = task.moved_to(TaskState.PENDING, "another session has ended")
    if task.state is TaskState.PENDING:
        task = replace(task, next_attempt_block=due)
    return replace(task, result=result)
