"""Reads of contracts pinned to the blocks that the watcher has evaluated (W-17)."""

from collections.abc import Sequence

from keyserver.chain.client import (
    BlockId,
    ChainClient,
    ChainUnavailableError,
    ContractCall,
    Returned,
)
from keyserver.chain.ports import ChainTip
from keyserver.model.identifiers import Address, Hash32
from keyserver.tasks.ports import ReadAt, Reading


class PinnedReader:
    """The tasks' `ContractReader`: refuses while the chain is not to be trusted (W-12)."""

    def __init__(self, client: ChainClient, tip: ChainTip) -> None:
        self._client = client
        self._tip = tip

    async def read(self, contract: Address, calls: Sequence[bytes], at: ReadAt) -> Reading:
        """Run calls in one batch at the head or the confirmed block; raises `ChainError`."""
        view = self._tip.view
        if not view.synced or view.head is None or view.confirmed is None:
            raise ChainUnavailableError(view.problem or "no block has been seen yet")
        block = view.head.id if at is ReadAt.HEAD else view.confirmed
        return await self.read_at(contract, calls, block.number, block.hash)

    async def read_at(
        self, contract: Address, calls: Sequence[bytes], block: int, block_hash: Hash32
    ) -> Reading:
        """Run calls in one batch at this very block; raises `ChainError`."""
        pinned = BlockId(block, block_hash)
        batch = [ContractCall(contract, data) for data in calls]
        results = await self._client.call_many(batch, pinned)
        values = tuple(result.data if isinstance(result, Returned) else None for result in results)
        return Reading(block, block_hash, values)
