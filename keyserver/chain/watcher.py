"""Follows the chain: what is new, what is confirmed, what was dropped, and whom to tell.

Per new head, in this order: place it among the known blocks (`heads`), decide whether the chain is
to be trusted now (W-12), look contract addresses up if they may have changed, read logs from the
last confirmed block to the head, hand the confirmed ones to the sink, let the observers look at
the chain. An error leaves everything as it was and is tried again; the cursor moves only in the
sink's own transaction (W-03).
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from keyserver.chain.backoff import Backoff
from keyserver.chain.client import (
    BlockId,
    BlockRef,
    BlockReplacedError,
    BlockTag,
    ChainClient,
    ChainUnavailableError,
    Log,
)
from keyserver.chain.heads import Advance, Fetch, History, Moved, confirmed_number, plan_move
from keyserver.chain.log_reader import LogReader
from keyserver.chain.ports import (
    KEPT_BLOCKS,
    ChainObserver,
    ChainView,
    Evaluation,
    LogBatch,
    LogSink,
    WatchedContracts,
)
from keyserver.engine.ports import Clock
from keyserver.errors import ChainError, StorageError
from keyserver.model.identifiers import Address

_log = structlog.get_logger(__name__)

STARTING = "no block has been processed yet"

MOVED_PAUSE_S = 0.2
"""After an evaluation whose block was replaced; the next head is usually there at once."""

MOST_MOVES = 25
"""After so many in a row it is no chain that moves, but an endpoint that tells no truth."""


@dataclass(frozen=True, slots=True)
class WatcherSettings:
    """The configuration group *chain*, as far as following it goes."""

    confirmations: int = 3
    finality: BlockTag | None = None
    """`SAFE` or `FINALIZED`: the chain names the confirmed block; `None`: by depth."""
    start_block: int | None = None
    """Where reading logs begins at the very first start; `None`: at the confirmed block."""
    log_chunk_blocks: int = 1000
    retry_interval_blocks: int = 30
    """After so many blocks everything is read again."""
    max_head_age_s: int = 300
    """A head older than this means that the endpoint lags; 0: do not check."""


class Watcher:
    """The chain's tip as this node sees it; `run` keeps it up to date."""

    def __init__(
        self,
        *,
        client: ChainClient,
        sink: LogSink,
        contracts: WatchedContracts,
        observers: Sequence[ChainObserver],
        clock: Clock,
        settings: WatcherSettings,
        backoff: Backoff | None = None,
    ) -> None:
        """`observers` act in this order on every new block."""
        self._client = client
        self._sink = sink
        self._contracts = contracts
        self._observers = tuple(observers)
        self._clock = clock
        self._settings = settings
        self._backoff = backoff or Backoff()
        self._logs = LogReader(client, chunk_blocks=settings.log_chunk_blocks)
        self._history: History | None = None
        self._cursor: int | None = None
        self._dropped: tuple[BlockId, ...] = ()
        self._moves = 0
        self._reread = True
        self._reread_at = 0
        self._head: BlockRef | None = None
        self._confirmed: BlockId | None = None
        self._problem: str | None = STARTING
        self._evaluated = asyncio.Event()

    # --- what others see ---------------------------------------------------------------------

    @property
    def view(self) -> ChainView:
        """As of now: a head that has become too old is a problem without any event."""
        return ChainView(self._head, self._confirmed, self._problem or self._age_problem())

    async def next_evaluation(self) -> None:
        """Return when the next evaluation is complete."""
        await self._evaluated.wait()

    def request_reread(self) -> None:
        """Have everything read again at the next block: something contradicts what is known."""
        self._reread = True

    # --- running -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the chain until cancelled, across all failures."""
        while True:
            try:
                async with aclosing(self._client.heads()) as heads:
                    self._reread = True
                    async for head in heads:
                        await self.process(head)
                        self._backoff.reset()
                        self._moves = 0
            except (ChainError, StorageError) as error:
                await asyncio.sleep(self._pause_after(error))

    def _pause_after(self, error: ChainError | StorageError) -> float:
        """Take note of what went wrong; returns how long to wait, in seconds."""
        if isinstance(error, BlockReplacedError) and self._moves < MOST_MOVES:
            self._moves += 1
            _log.debug("chain_moved_during_evaluation", reason=str(error))
            return MOVED_PAUSE_S
        delay = self._backoff.next_delay()
        _log.warning("chain_trouble", error=str(error), retry_in_s=round(delay, 1))
        self._stop_trusting(str(error))
        return delay

    async def process(self, head: BlockRef) -> bool:
        """Bring everything up to this head; false if there is nothing to act on.

        Raises `ChainError` or `StorageError`; the same head may then be given again.
        """
        try:
            if not await self._place(head):
                return False
            if self._is_too_old(head):
                age = self._clock.unix() - head.timestamp
                self._stop_trusting(f"block {head.number} is {age} s old")
                return False
            confirmed = await self._confirmed_block(head)
            await self._check_endpoints(confirmed)
            await self._evaluate(head, confirmed)
        except (ChainError, StorageError):
            self._reread = True
            raise
        return True

    # --- where the head belongs --------------------------------------------------------------

    async def _place(self, head: BlockRef) -> bool:
        """Take the head into the history; false if it says nothing new or is replaced already."""
        history = await self._load_history()
        fetched: dict[int, BlockRef | None] = {}
        depth = KEPT_BLOCKS + self._settings.confirmations
        while isinstance(move := plan_move(history, head, fetched, depth=depth), Fetch):
            blocks = await self._client.blocks(move.numbers)
            fetched |= dict(zip(move.numbers, blocks, strict=True))
        if isinstance(move, Moved):
            raise BlockReplacedError("the chain moved while its headers were read")
        if isinstance(move, Advance):
            await self._check_depth(move)
            self._apply(move, history.advanced(move, keep=depth), history)
            return True
        # A head that was placed, but whose evaluation failed, or that a reconnect shows again.
        return self._reread and history.top == head.id

    async def _check_depth(self, move: Advance) -> None:
        """Raises `ChainUnavailableError` if only some endpoints tell of a deep reorganisation."""
        if len(move.dropped) <= self._settings.confirmations:
            return
        first = move.dropped[0].number
        instead = next((each for each in move.added if each.number >= first), move.added[-1])
        if not await self._client.endpoints_agree(instead.id):
            raise ChainUnavailableError(f"endpoints disagree about block {instead.number}")

    async def _load_history(self) -> History:
        if self._history is None:
            self._history = History(tuple(await self._sink.history()))
            self._cursor = self._history.top.number if self._history.top else None
        return self._history

    def _apply(self, move: Advance, history: History, before: History) -> None:
        """Note the new blocks; logs of the dropped ones have to be read again."""
        self._history = history
        if not move.dropped:
            return
        kept = move.ancestor.number if move.ancestor else before.blocks[0].number - 1
        processed = tuple(
            block
            for block in move.dropped
            if self._cursor is not None and block.number <= self._cursor
        )
        _log.warning("chain_reorganised", dropped=len(move.dropped), to_block=kept)
        self._reread = True
        if processed:
            self._dropped += processed
            self._cursor = kept
        if move.is_deep:
            _log.error("chain_reorganised_deeper_than_known", known_from=before.blocks[0].number)

    async def _confirmed_block(self, head: BlockRef) -> BlockId:
        assert self._history is not None
        if self._settings.finality is not None:
            tagged = await self._client.block(self._settings.finality)
            if tagged is None:
                return await self._block_id(0)  # a young chain has not named one yet
            known = self._history.hash_at(tagged.number)
            if tagged.number > head.number or (known is not None and known != tagged.hash):
                raise BlockReplacedError("the confirmed block is not below this head")
            return tagged.id
        number = confirmed_number(head.number, self._settings.confirmations)
        found = next((block for block in self._history.blocks if block.number == number), None)
        return found if found is not None else await self._block_id(number)

    # --- whether to trust it -----------------------------------------------------------------

    async def _check_endpoints(self, confirmed: BlockId) -> None:
        """Raises `ChainUnavailableError` if they lag or disagree.

        They are asked when there is reason to: at start, after trouble, and now and then.
        """
        if not self._reread and self._problem is None and not self._is_interval_over:
            return
        if await self._client.syncing():
            raise ChainUnavailableError("the Ethereum node is still catching up")
        if not await self._client.endpoints_agree(confirmed):
            raise ChainUnavailableError(f"endpoints disagree about block {confirmed.number}")

    def _is_too_old(self, head: BlockRef) -> bool:
        limit = self._settings.max_head_age_s
        return limit > 0 and self._clock.unix() - head.timestamp > limit

    def _age_problem(self) -> str | None:
        if self._head is None or not self._is_too_old(self._head):
            return None
        return f"no new block since block {self._head.number}"

    def _stop_trusting(self, problem: str) -> None:
        if problem != self._problem:
            _log.warning("chain_not_trusted", reason=problem)
        self._problem = problem
        self._reread = True
        for observer in self._observers:
            observer.on_unavailable()

    # --- acting on it ------------------------------------------------------------------------

    async def _evaluate(self, head: BlockRef, confirmed: BlockId) -> None:
        reread = self._reread or self._is_interval_over
        if reread or self._contracts.is_due(head.number, frozenset()):
            await self._contracts.refresh(head, confirmed)
        touched = await self._read_logs(head, confirmed)
        if touched and self._contracts.is_due(head.number, touched):
            await self._contracts.refresh(head, confirmed)
        self._head, self._confirmed, self._problem = head, confirmed, None
        self._reread = False
        evaluation = Evaluation(head, confirmed, touched, reread)
        for observer in self._observers:
            await observer.on_evaluation(evaluation)
        if reread:
            self._reread_at = head.number + self._settings.retry_interval_blocks
        finished, self._evaluated = self._evaluated, asyncio.Event()
        finished.set()

    @property
    def _is_interval_over(self) -> bool:
        top = self._history.top if self._history else None
        return top is not None and top.number >= self._reread_at

    async def _read_logs(self, head: BlockRef, confirmed: BlockId) -> frozenset[Address]:
        """Read from the cursor to the head, deliver what is confirmed; who has logged at all."""
        if self._cursor is None:
            start = self._settings.start_block
            self._cursor = (confirmed.number if start is None else start) - 1
        watched = self._contracts.services | self._contracts.hints
        touched: set[Address] = set()
        first = self._cursor + 1
        while first <= head.number:
            page = await self._logs.page(watched, first, head.number)
            self._check_branch(page.logs)
            touched |= {log.address for log in page.logs}
            if self._cursor < confirmed.number:
                await self._deliver(page.logs, min(page.last, confirmed.number), confirmed)
            first = page.last + 1
        if self._dropped:
            await self._accept((), ())
        return frozenset(touched)

    def _check_branch(self, logs: Sequence[Log]) -> None:
        """The logs must be of the branch that was evaluated: eth_getLogs names only numbers."""
        assert self._history is not None
        for log in logs:
            known = self._history.hash_at(log.block_number)
            if known is not None and known != log.block_hash:
                raise BlockReplacedError(f"logs of block {log.block_number} are of another branch")

    async def _deliver(self, logs: Sequence[Log], last: int, confirmed: BlockId) -> None:
        """Hand the blocks after the cursor up to `last` to the sink."""
        assert self._history is not None
        assert self._cursor is not None
        services = self._contracts.services
        blocks = [block for block in self._history.blocks if self._cursor < block.number <= last]
        if not blocks or blocks[-1].number != last:
            end = confirmed if last == confirmed.number else await self._block_id(last)
            blocks.append(end)
        wanted = [log for log in logs if log.block_number <= last and log.address in services]
        await self._accept(tuple(wanted), tuple(blocks[-KEPT_BLOCKS:]))
        self._cursor = last

    async def _block_id(self, number: int) -> BlockId:
        header = await self._client.block(number)
        if header is None:
            raise BlockReplacedError(f"there is no block {number} any more")
        return header.id

    async def _accept(self, logs: tuple[Log, ...], blocks: tuple[BlockId, ...]) -> None:
        await self._sink.accept(LogBatch(self._dropped, logs, blocks))
        self._dropped = ()
