"""Keeps durable work in step with the chain: tells the queue of blocks and of set changes."""

from typing import Final

import structlog

from keyserver.chain.ports import Evaluation
from keyserver.engine.ports import NodeSets
from keyserver.tasks.model import SetEpoch
from keyserver.tasks.ports import TaskStore
from keyserver.tasks.queue import TaskQueue

log = structlog.get_logger()

KEPT_FOR_BLOCKS: Final = 10_000
"""How long finished tasks and their answers are kept."""

PRUNE_INTERVAL: Final = 1_000
"""Blocks between two removals of what is older."""


class WorkDriver:
    """A `ChainObserver`; to be told after the node set and the pending lists have been read."""

    def __init__(self, *, queue: TaskQueue, store: TaskStore, node_sets: NodeSets) -> None:
        self._queue = queue
        self._store = store
        self._node_sets = node_sets
        self._epoch: SetEpoch | None = None
        self._prune_at = 0

    async def on_evaluation(self, evaluation: Evaluation) -> None:
        """Let the queue work at the new block; raises `StorageError`."""
        epoch = SetEpoch.of(self._node_sets.snapshot)
        if epoch != self._epoch:
            await self._queue.release_held()
            self._epoch = epoch
        self._queue.on_block(evaluation.head.number)
        if evaluation.head.number >= self._prune_at:
            self._prune_at = evaluation.head.number + PRUNE_INTERVAL
            removed = await self._store.prune(evaluation.confirmed.number - KEPT_FOR_BLOCKS)
            log.debug("tasks_pruned", count=removed)

    def on_unavailable(self) -> None:
        """Start nothing until the next block (W-12)."""
        self._queue.pause()
