"""A `ChainClient` that behaves as badly as the test wants."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence

from keyserver.chain.client import (
    HEAD,
    At,
    BlockId,
    BlockRef,
    BlockTag,
    CallResult,
    ChainClient,
    ChainUnavailableError,
    ContractCall,
    FeeInputs,
    Log,
    Receipt,
    Returned,
    Reverted,
    TooManyLogsError,
)
from keyserver.errors import ChainError
from keyserver.model.identifiers import Address, Hash32


class FaultyClient:
    """Hands everything on to another client, unless a fault is switched on."""

    def __init__(self, inner: ChainClient) -> None:
        self._inner = inner
        self._errors: dict[str, list[ChainError]] = defaultdict(list)
        self._down: ChainError | None = None
        self._went_down = asyncio.Event()
        self.is_syncing = False
        """What `syncing` answers."""
        self.agrees = True
        """False: another endpoint has another block."""
        self.second_answer: frozenset[CallResult] = frozenset()
        """What another endpoint answers to a call at every endpoint."""
        self.invented: BlockRef | None = None
        """A block that one endpoint has made up; every call is answered with yes there."""
        self.max_log_blocks: int | None = None
        """Log queries over more blocks are refused."""
        self.frozen_head: BlockRef | None = None
        """The head that is shown for ever, as by an endpoint that has stopped."""

    def go_down(self, error: ChainError | None = None) -> None:
        """From now on everything fails, also an open `heads`."""
        self._down = error or ChainUnavailableError("connection refused")
        self._went_down.set()

    def come_back(self) -> None:
        """End of `go_down`."""
        self._down = None
        self._went_down.clear()

    def fail_next(self, method: str, *errors: ChainError) -> None:
        """Let the next calls of a method fail with these, one each."""
        self._errors[method].extend(errors)

    async def chain_id(self) -> int:
        await self._gate("chain_id")
        return await self._inner.chain_id()

    async def syncing(self) -> bool:
        await self._gate("syncing")
        return self.is_syncing or await self._inner.syncing()

    async def block(self, which: int | BlockTag) -> BlockRef | None:
        await self._gate("block")
        if self.frozen_head is not None and which is BlockTag.LATEST:
            return self.frozen_head
        if self.invented is not None and which == self.invented.number:
            return self.invented
        return await self._inner.block(which)

    async def blocks(self, numbers: Sequence[int]) -> tuple[BlockRef | None, ...]:
        await self._gate("blocks")
        return await self._inner.blocks(numbers)

    async def endpoints_agree(self, block: BlockId) -> bool:
        await self._gate("endpoints_agree")
        return self.agrees and await self._inner.endpoints_agree(block)

    async def logs(
        self,
        addresses: Sequence[Address],
        from_block: int,
        to_block: int,
        topics: Sequence[Hash32] | None = None,
    ) -> tuple[Log, ...]:
        await self._gate("logs")
        if self.max_log_blocks is not None and to_block - from_block >= self.max_log_blocks:
            raise TooManyLogsError(f"block range exceeds {self.max_log_blocks}")
        return await self._inner.logs(addresses, from_block, to_block, topics)

    async def call(self, call: ContractCall, at: At = HEAD) -> CallResult:
        await self._gate("call")
        return await self._inner.call(call, at)

    async def call_many(
        self, calls: Sequence[ContractCall], at: At = HEAD
    ) -> tuple[CallResult, ...]:
        await self._gate("call_many")
        return await self._inner.call_many(calls, at)

    async def call_everywhere(self, call: ContractCall, at: BlockId) -> frozenset[CallResult]:
        await self._gate("call")
        if self.invented is not None and at == self.invented.id:
            return frozenset({Returned(bytes(31) + b"\x01")})
        return await self._inner.call_everywhere(call, at) | self.second_answer

    async def code(self, address: Address, at: At = HEAD) -> bytes:
        await self._gate("code")
        return await self._inner.code(address, at)

    async def balance(self, address: Address) -> int:
        await self._gate("balance")
        return await self._inner.balance(address)

    async def transaction_count(self, address: Address, *, pending: bool) -> int:
        await self._gate("transaction_count")
        return await self._inner.transaction_count(address, pending=pending)

    async def estimate_gas(self, call: ContractCall) -> int | Reverted:
        await self._gate("estimate_gas")
        return await self._inner.estimate_gas(call)

    async def fee_inputs(self) -> FeeInputs:
        await self._gate("fee_inputs")
        return await self._inner.fee_inputs()

    async def send_raw_transaction(self, raw: bytes) -> Hash32:
        await self._gate("send_raw_transaction")
        return await self._inner.send_raw_transaction(raw)

    async def receipt(self, tx_hash: Hash32) -> Receipt | None:
        await self._gate("receipt")
        return await self._inner.receipt(tx_hash)

    async def knows_transaction(self, tx_hash: Hash32) -> bool:
        await self._gate("knows_transaction")
        return await self._inner.knows_transaction(tx_hash)

    async def heads(self) -> AsyncGenerator[BlockRef, None]:
        await self._gate("heads")
        inner = self._inner.heads()
        try:
            while True:
                head = await self._next_head(inner)
                if self.frozen_head is None:
                    yield head
        finally:
            await inner.aclose()

    async def close(self) -> None:
        await self._inner.close()

    async def _next_head(self, inner: AsyncGenerator[BlockRef, None]) -> BlockRef:
        next_head = asyncio.ensure_future(anext(inner))
        down = asyncio.ensure_future(self._went_down.wait())
        try:
            await asyncio.wait((next_head, down), return_when=asyncio.FIRST_COMPLETED)
            if self._down is not None:
                raise self._down
            return next_head.result()
        finally:
            for waiting in (next_head, down):
                waiting.cancel()
            await asyncio.gather(next_head, down, return_exceptions=True)

    async def _gate(self, method: str) -> None:
        if self._down is not None:
            raise self._down
        if self._errors[method]:
            raise self._errors[method].pop(0)
