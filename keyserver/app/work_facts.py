"""Tasks and answers, as operators are told them."""

from collections.abc import Sequence

from keyserver.api.facts import AnswerFacts, TaskFacts, TransactionFacts
from keyserver.model.identifiers import ZERO_HASH
from keyserver.tasks.model import NO_REQUESTER, Task
from keyserver.tasks.outbox import OutboxEntry
from keyserver.tasks.ports import WorkStore


async def task_facts(store: WorkStore) -> Sequence[TaskFacts]:
    """All open tasks with their answers, the oldest first; raises `StorageError`."""
    tasks = await store.open_tasks()
    return [_task(task, await store.entries_of(task.id)) for task in tasks]


def _task(task: Task, entries: Sequence[OutboxEntry]) -> TaskFacts:
    key = task.key
    return TaskFacts(
        id=task.id,
        kind=key.kind.name.lower(),
        contract=key.contract,
        key_id=key.key_id,
        requester=None if key.requester == NO_REQUESTER else key.requester,
        message=None if key.message == ZERO_HASH else key.message,
        state=task.state.value,
        reason=task.reason,
        attempts=task.attempts,
        first_seen_block=task.first_seen.block,
        next_attempt_block=task.next_attempt_block,
        answers=tuple(_answer(entry) for entry in entries),
    )


def _answer(entry: OutboxEntry) -> AnswerFacts:
    return AnswerFacts(
        id=entry.id,
        method=entry.key.method,
        state=entry.state.value,
        nonce=entry.nonce,
        transactions=tuple(
            TransactionFacts(
                attempt.tx_hash,
                str(attempt.max_fee),
                attempt.gas,
                attempt.block,
                bool(attempt.cancels),
            )
            for attempt in entry.attempts
        ),
        mined_block=None if entry.mined is None else entry.mined.block,
        failures=entry.failures,
        reason=entry.reason,
    )
