"""Confirmed logs become tasks, together with how far the logs have been read (W-01, W-03)."""

from collections.abc import Sequence

import structlog

from keyserver.chain.client import BlockId, Log
from keyserver.chain.ports import KEPT_BLOCKS, LogBatch
from keyserver.engine.ports import NodeSets
from keyserver.evm.abi import AbiError
from keyserver.model.identifiers import NodeId
from keyserver.services.base import DeployedServices, requests_in_log
from keyserver.tasks.model import ReadBlock, SeenRequest
from keyserver.tasks.ports import TaskStore

log = structlog.get_logger()


class TaskIntake:
    """The watcher's `LogSink`."""

    def __init__(
        self,
        *,
        store: TaskStore,
        services: DeployedServices,
        node_sets: NodeSets,
        me: NodeId,
        chain_id: int,
    ) -> None:
        self._store = store
        self._services = services
        self._node_sets = node_sets
        self._me = me
        self._chain_id = chain_id

    async def history(self) -> Sequence[BlockId]:
        """The last blocks whose logs have become tasks."""
        return [BlockId(block.number, block.hash) for block in await self._store.history()]

    async def accept(self, batch: LogBatch) -> None:
        """Store tasks and blocks in one transaction; raises `StorageError`.

        A node outside the set takes no tasks; when it joins, it reads the pending lists.
        """
        isolated = self._me not in self._node_sets.snapshot.current
        requests = [] if isolated else [each for log_ in batch.logs for each in self._read(log_)]
        opened = await self._store.accept_blocks(
            dropped=_blocks(batch.dropped),
            requests=requests,
            blocks=_blocks(batch.blocks),
            keep=KEPT_BLOCKS,
        )
        if opened:
            log.info("tasks_opened", count=opened)

    def _read(self, event: Log) -> tuple[SeenRequest, ...]:
        services = self._services.by_address.get(event.address, ())
        try:
            return requests_in_log(services, self._chain_id, event)
        except AbiError as error:
            log.warning(
                "log_skipped",
                contract=event.address.hex(),
                block=event.block_number,
                reason=str(error),
            )
            return ()


def _blocks(blocks: Sequence[BlockId]) -> list[ReadBlock]:
    return [ReadBlock(block.number, block.hash) for block in blocks]
