"""A watcher over an in-process chain, driven head by head, and what it tells."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from keyserver.chain.backoff import Backoff
from keyserver.chain.client import BlockId, BlockRef, BlockTag, Log
from keyserver.chain.ports import KEPT_BLOCKS, Evaluation, LogBatch, WatchedContracts
from keyserver.chain.watcher import Watcher, WatcherSettings
from keyserver.errors import ChainError, StorageError
from keyserver.model.identifiers import Address, Hash32
from tests.support import echo_contract as echo
from tests.support.eth_tester_client import EthTesterClient
from tests.support.faulty_client import FaultyClient
from tests.support.manual_clock import ManualClock

TOPIC = Hash32(b"\x07" * 32)


@dataclass
class MemorySink:
    """Keeps what it is given, as a task store would."""

    logs: list[Log] = field(default_factory=list)
    """Of blocks that have not been dropped."""
    delivered: int = 0
    """Logs given, also those of dropped blocks and repeated ones."""
    blocks: list[BlockId] = field(default_factory=list)
    batches: list[LogBatch] = field(default_factory=list)
    failures: int = 0
    """How many of the next batches are refused."""

    async def history(self) -> Sequence[BlockId]:
        return tuple(self.blocks)

    async def accept(self, batch: LogBatch) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageError("the disk is full")
        self.batches.append(batch)
        gone = {block.hash for block in batch.dropped}
        self.blocks = [block for block in self.blocks if block.hash not in gone]
        self.logs = [log for log in self.logs if log.block_hash not in gone]
        assert all(block.number > self.cursor for block in batch.blocks), "the cursor went back"
        self.blocks = (self.blocks + list(batch.blocks))[-KEPT_BLOCKS:]
        self.logs += batch.logs
        self.delivered += len(batch.logs)

    @property
    def cursor(self) -> int:
        return self.blocks[-1].number if self.blocks else -1

    @property
    def texts(self) -> list[bytes]:
        return [log.data for log in self.logs]


@dataclass
class FixedContracts:
    """Contracts that stay where they are."""

    services: frozenset[Address] = frozenset()
    hints: frozenset[Address] = frozenset()
    refreshed: int = 0

    def is_due(self, block_number: int, touched: frozenset[Address]) -> bool:
        return bool(touched & self.hints)

    async def refresh(self, head: BlockRef, confirmed: BlockId) -> None:
        self.refreshed += 1


@dataclass
class RecordingObserver:
    """Remembers evaluations; fails when told to."""

    evaluations: list[Evaluation] = field(default_factory=list)
    unavailable: int = 0
    errors: list[ChainError] = field(default_factory=list)

    async def on_evaluation(self, evaluation: Evaluation) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.evaluations.append(evaluation)

    def on_unavailable(self) -> None:
        self.unavailable += 1

    @property
    def last(self) -> Evaluation:
        return self.evaluations[-1]


@dataclass
class WatchedChain:
    """A chain with an echo contract, and nodes that watch it."""

    clock: ManualClock
    inner: EthTesterClient
    client: FaultyClient
    contract: Address
    sink: MemorySink = field(default_factory=MemorySink)
    observer: RecordingObserver = field(default_factory=RecordingObserver)

    @classmethod
    def start(cls) -> "WatchedChain":
        """A chain whose only contract is an echo contract, in block 1."""
        clock = ManualClock()
        inner = EthTesterClient.start(clock=clock.unix)
        contract = inner.deploy(echo.CREATION_CODE)
        return cls(clock, inner, FaultyClient(inner), contract)

    def watcher(
        self,
        settings: WatcherSettings | None = None,
        *,
        contracts: WatchedContracts | None = None,
    ) -> Watcher:
        """A new node over the same sink: what a restart leaves."""
        return Watcher(
            client=self.client,
            sink=self.sink,
            contracts=contracts or FixedContracts(frozenset({self.contract})),
            observers=[self.observer],
            clock=self.clock,
            settings=settings or WatcherSettings(),
            backoff=Backoff(lambda: -1.0),  # no waiting between attempts
        )

    def log(self, text: bytes, *, to: Address | None = None) -> bytes:
        """Have the contract log a text in the next block; the raw transaction."""
        raw = self.inner.sign(to or self.contract, echo.logging(TOPIC, text))
        self.inner.node.submit(raw)
        return raw

    def mine(self, count: int = 1) -> BlockRef:
        """Mine blocks, one second apart."""
        head = self.inner.mine(0)
        for _ in range(count):
            self.clock.advance(1)
            head = self.inner.mine()
        return head

    async def process(self, watcher: Watcher) -> bool:
        """Show the watcher the present head."""
        head = await self.inner.block(BlockTag.LATEST)
        assert head is not None
        return await watcher.process(head)

    async def mine_and_process(self, watcher: Watcher, count: int = 1) -> None:
        """Mine blocks and show each of them."""
        for _ in range(count):
            self.mine()
            assert await self.process(watcher)
