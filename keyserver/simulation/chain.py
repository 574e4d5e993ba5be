"""A chain on virtual time: blocks, a mempool, receipts, logs, reorganisations; no EVM.

State belongs to a block: contracts are copied when a transaction changes them, so a call can be
asked of any block, also of one that a reorganisation has replaced.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from keyserver.chain.client import ContractCall, Log, Receipt
from keyserver.crypto.hashing import keccak256
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32
from keyserver.simulation.clock import EPOCH
from keyserver.simulation.contracts.contract import Contract, EmittedLog, Message, RevertError
from keyserver.simulation.mempool import Mempool, Transaction

GWEI: Final = 10**9
PLAIN_GAS: Final = 21_000
BYTE_GAS: Final = 16
CALL_GAS: Final = 40_000
LOG_GAS: Final = 25_000
"""An answer that settles a request logs more than the estimate has seen."""

NOBODY: Final = Address(bytes(20))


@dataclass(frozen=True, slots=True)
class State:
    """What accounts have after a block."""

    contracts: Mapping[Address, Contract]
    nonces: Mapping[Address, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Block:
    """A block with everything that came of it."""

    number: int
    hash: Hash32
    parent_hash: Hash32
    timestamp: int
    base_fee: int
    """Wei per gas."""
    transactions: tuple[Transaction, ...]
    receipts: Mapping[Hash32, Receipt]
    logs: tuple[Log, ...]
    state: State
    remembered: dict[object, object] = field(default_factory=dict)
    """Answers about this block that were worked out before: it never changes."""

    def nonce_of(self, account: Address) -> int:
        """The account's next nonce."""
        return self.state.nonces.get(account, 0)

    def call(self, call: ContractCall) -> bytes:
        """Return data of a call that changes nothing; raises `RevertError`."""
        return self._tried(call)[0]

    def estimate(self, call: ContractCall) -> int:
        """Gas that the call would take; raises `RevertError`."""
        _, logs = self._tried(call)
        return gas_of(call.data, len(logs))

    def _tried(self, call: ContractCall) -> tuple[bytes, list[EmittedLog]]:
        contract = self.state.contracts.get(call.to)
        if contract is None:
            return b"", []
        message = Message(
            call.sender or NOBODY, call.data, call.value, self.number + 1, self.state.contracts
        )
        return contract.clone().run(message)


def gas_of(data: bytes, logs: int) -> int:
    """What a call costs: enough to tell a cheap one from a dear one."""
    return PLAIN_GAS + BYTE_GAS * len(data) + CALL_GAS + LOG_GAS * logs


class VirtualChain:
    """The canonical chain and the transactions that wait for it."""

    def __init__(
        self,
        random: Random,
        contracts: Mapping[Address, Contract],
        *,
        chain_id: int = 1,
        block_s: float = 4.0,
    ) -> None:
        self.chain_id = chain_id
        self.block_s = block_s
        """Time between two blocks, on average."""
        self.usual_fee = 5 * GWEI
        """Base fee in wei per gas."""
        self.spikes: list[int] = []
        """Base fees that hold for a while; the highest counts."""
        self.halted = 0
        """How many reasons there are to make no blocks."""
        self.pool = Mempool()
        genesis = Block(
            0, _hash(b"genesis"), ZERO_HASH, EPOCH, self.base_fee, (), {}, (), State(contracts)
        )
        self.blocks: list[Block] = [genesis]
        """By number."""
        self._by_hash = {genesis.hash: genesis}
        self._random = random
        self._place_of: dict[Hash32, int] = {}
        self._made = 0
        self._waiting: list[asyncio.Future[None]] = []

    # --- looking ------------------------------------------------------------------------------

    @property
    def base_fee(self) -> int:
        """Of the next block."""
        return max([self.usual_fee, *self.spikes])

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    def block_of(self, block_hash: Hash32) -> Block | None:
        """The block of this hash, also one that was replaced."""
        return self._by_hash.get(block_hash)

    def receipt(self, tx_hash: Hash32) -> Receipt | None:
        """Of a transaction that is mined on the canonical chain."""
        place = self._place_of.get(tx_hash)
        return None if place is None else self.blocks[place].receipts[tx_hash]

    def logs_since(self, number: int) -> list[Log]:
        """All logs of the canonical chain from a block on."""
        return [log for block in self.blocks[number:] for log in block.logs]

    async def changed(self) -> None:
        """Return when there is another head."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    # --- changing -----------------------------------------------------------------------------

    def submit(self, transaction: Transaction) -> None:
        """Put a transaction into the pool; raises `NotTakenError`."""
        self.pool.add(transaction, self.head.nonce_of(transaction.sender))

    async def run(self) -> None:
        """Make blocks until cancelled."""
        while True:
            await asyncio.sleep(self.block_s * self._random.uniform(0.6, 1.4))
            if not self.halted:
                self.mine()

    def mine(self, leave_out: Collection[Hash32] = ()) -> Block:
        """Make a block of what waits, except some."""
        self._append(leave_out)
        self._tell()
        return self.head

    def reorganise(self, depth: int, *, lose: bool) -> None:
        """Replace the newest `depth` blocks by one more than that.

        What was in them waits again, or with `lose` is forgotten by everybody.
        """
        depth = min(depth, len(self.blocks) - 1)
        if depth < 1:
            return
        removed, self.blocks = self.blocks[-depth:], self.blocks[:-depth]
        back = [transaction for block in removed for transaction in block.transactions]
        for transaction in back:
            del self._place_of[transaction.hash]
        waiting, self.pool = self.pool.waiting, Mempool()
        for transaction in [*([] if lose else back), *waiting]:
            self.pool.add(transaction, self.head.nonce_of(transaction.sender))
        for _ in range(depth + 1):
            late = [each.hash for each in self.pool.waiting if self._random.random() < 0.5]
            self._append(late)
        self._tell()

    # --- inside -------------------------------------------------------------------------------

    def _append(self, leave_out: Collection[Hash32]) -> None:
        parent = self.head
        self._made += 1
        block_hash = _hash(parent.hash + self._made.to_bytes(8, "big"))
        making = _Making(parent, block_hash, self.base_fee)
        chosen = self.pool.executable(parent.nonce_of, self.base_fee)
        held_back: set[Address] = set()
        for transaction in chosen:
            if transaction.hash in leave_out:
                held_back.add(transaction.sender)  # what follows it cannot go before
            if transaction.sender not in held_back:
                making.execute(transaction)
        timestamp = max(parent.timestamp + 1, EPOCH + int(asyncio.get_running_loop().time()))
        block = making.finish(timestamp)
        self.blocks.append(block)
        self._by_hash[block.hash] = block
        for transaction in block.transactions:
            self._place_of[transaction.hash] = block.number
        self.pool.forget_used(block.nonce_of)

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class _Making:
    """A block that is being filled."""

    def __init__(self, parent: Block, block_hash: Hash32, base_fee: int) -> None:
        self._parent = parent
        self._number = parent.number + 1
        self._hash = block_hash
        self._base_fee = base_fee
        self._contracts = dict(parent.state.contracts)
        self._nonces = dict(parent.state.nonces)
        self._transactions: list[Transaction] = []
        self._receipts: dict[Hash32, Receipt] = {}
        self._logs: list[Log] = []

    def execute(self, transaction: Transaction) -> None:
        """Carry out a transaction; one that fails uses its nonce and changes nothing."""
        logs, gas = self._outcome(transaction)
        succeeded = logs is not None
        self._nonces[transaction.sender] = transaction.nonce + 1
        self._transactions.append(transaction)
        price = min(transaction.max_fee, self._base_fee + transaction.tip)
        self._receipts[transaction.hash] = Receipt(
            transaction.hash, succeeded, self._number, self._hash, gas, price
        )
        for log in logs or []:
            self._logs.append(
                Log(
                    transaction.to,
                    log.topics,
                    log.data,
                    self._number,
                    self._hash,
                    transaction.hash,
                    len(self._logs),
                )
            )

    def _outcome(self, transaction: Transaction) -> tuple[list[EmittedLog] | None, int]:
        contract = self._contracts.get(transaction.to)
        if contract is None:
            return [], PLAIN_GAS
        changed = contract.clone()
        message = Message(
            transaction.sender, transaction.data, transaction.value, self._number, self._contracts
        )
        try:
            _, logs = changed.run(message)
        except RevertError:
            return None, gas_of(transaction.data, 0)
        gas = gas_of(transaction.data, len(logs))
        if gas > transaction.gas:
            return None, transaction.gas
        self._contracts[transaction.to] = changed
        return logs, gas

    def finish(self, timestamp: int) -> Block:
        """The block."""
        return Block(
            self._number,
            self._hash,
            self._parent.hash,
            timestamp,
            self._base_fee,
            tuple(self._transactions),
            self._receipts,
            tuple(self._logs),
            State(self._contracts, self._nonces),
        )


def _hash(data: bytes) -> Hash32:
    return Hash32(keccak256(data))
