"""One chain as its node sees it: head, mempool, mining rules, clock, snapshots, reorganisations.

Synchronous and single-threaded: every public method leaves a consistent chain behind.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from eth.abc import SignedTransactionAPI
from eth_hash.auto import keccak
from eth_keys.datatypes import PrivateKey
from eth_typing import Address

from keyserver.devnet.embedded_errors import RpcError, invalid_params
from keyserver.devnet.embedded_evm import Block, Call, Evm, Executed
from keyserver.devnet.embedded_mempool import Mempool
from keyserver.devnet.local_chain import DEVELOPMENT_BALANCE_WEI, DEVELOPMENT_PRIVATE_KEYS

MAX_TRANSACTIONS_PER_BLOCK = 50
SAFE_DEPTH = 1
FINALIZED_DEPTH = 2


class ChainObserver(Protocol):
    """Hears of every change of the canonical chain, at once and in order."""

    def block_added(self, block: Block) -> None:
        """`block` is the new head."""

    def block_removed(self, block: Block) -> None:
        """`block`, the head until now, is no longer part of the chain."""


class EmbeddedNode:
    """A chain with the behaviour of a node's mempool and miner."""

    def __init__(
        self,
        *,
        chain_id: int,
        funded: Sequence[bytes] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start at a genesis that funds the development accounts and the addresses of `funded`.

        `clock` gives Unix seconds; block timestamps follow it but never fall behind the parent's.
        """
        keys = [PrivateKey(key) for key in DEVELOPMENT_PRIVATE_KEYS]
        self.key_by_account = {key.public_key.to_canonical_address(): key for key in keys}
        self.evm = Evm(
            chain_id=chain_id,
            balance_by_address=dict.fromkeys(
                [*self.key_by_account, *funded], DEVELOPMENT_BALANCE_WEI
            ),
        )
        self.mempool = Mempool()
        self._automine = True
        self.interval_s: float | None = None
        self.minimum_tip = 0
        self.next_timestamp: int | None = None
        self.clock_offset_s = 0
        self._clock = clock
        self._blocks = [self.evm.genesis]
        self._number_by_hash = {self.evm.genesis.hash: 0}
        self._place_by_transaction: dict[bytes, tuple[int, int]] = {}
        self._snapshots: dict[int, tuple[tuple[Block, ...], int]] = {}
        self._snapshot_ids = itertools.count(1)
        self._mined_blocks = itertools.count(1)
        self._observers: list[ChainObserver] = []
        self._mining_listeners: list[Callable[[], None]] = []

    @property
    def chain_id(self) -> int:
        """The chain id transactions must be signed for."""
        return self.evm.chain_id

    @property
    def head(self) -> Block:
        """The newest block."""
        return self._blocks[-1]

    @property
    def safe(self) -> Block:
        """The block of the tag `safe`."""
        return self._blocks[max(0, self.head.number - SAFE_DEPTH)]

    @property
    def finalized(self) -> Block:
        """The block of the tag `finalized`."""
        return self._blocks[max(0, self.head.number - FINALIZED_DEPTH)]

    def observe(self, observer: ChainObserver) -> None:
        """Tell `observer` of every later change."""
        self._observers.append(observer)

    def unobserve(self, observer: ChainObserver) -> None:
        """Stop telling `observer`."""
        self._observers.remove(observer)

    def blocks(self, first: int, last: int) -> Sequence[Block]:
        """Return the blocks of the heights `first` to `last` that exist."""
        return self._blocks[max(0, first) : max(0, last + 1)]

    def block_by_number(self, number: int) -> Block | None:
        """Return the block at height `number`."""
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def block_by_hash(self, block_hash: bytes) -> Block | None:
        """Return the canonical block of that hash."""
        number = self._number_by_hash.get(block_hash)
        return None if number is None else self._blocks[number]

    def executed(self, transaction_hash: bytes) -> tuple[Block, int, Executed] | None:
        """Return a mined transaction with its block and its index there."""
        place = self._place_by_transaction.get(transaction_hash)
        if place is None:
            return None
        number, index = place
        return self._blocks[number], index, self._blocks[number].executed[index]

    def account_nonce(self, address: bytes) -> int:
        """Return the number of mined transactions of `address`."""
        return self.evm.state_at(self.head.header).get_nonce(Address(address))

    def pending_nonce(self, address: bytes) -> int:
        """Return the nonce the next transaction of `address` should have, queued ones counted."""
        return self.mempool.next_nonce(address, self.account_nonce(address))

    def pending_header(self) -> Any:
        """Return the header the next block would have without transactions."""
        return self.evm.next_header(self.head.header).copy(timestamp=self._timestamp())

    def submit(self, raw: bytes) -> bytes:
        """Take a signed transaction into the mempool, mine it if mining is automatic.

        Returns its hash. Raises `RpcError` in the words of real nodes.
        """
        transaction = self.evm.decode_transaction(raw)
        self._check_affordable(transaction)
        self.mempool.add(transaction, account_nonce=self.account_nonce(transaction.sender))
        if self._automine:
            self.mine_pending()
        return bytes(transaction.hash)

    def sign(self, call: Call, *, gas: int, nonce: int, max_fee: int, tip: int) -> bytes:
        """Sign `call` with the key of its sender, a development account; fees in wei per gas."""
        return self.evm.sign(
            call, self.key_by_account[call.sender], gas=gas, nonce=nonce, max_fee=max_fee, tip=tip
        )

    def set_mining(self, *, automine: bool, interval_s: float | None) -> None:
        """Mine at each transaction (`automine`), at intervals of seconds, or only when told."""
        self._automine = automine
        self.interval_s = interval_s
        for listener in self._mining_listeners:
            listener()
        if automine:
            self.mine_pending()

    def on_mining_changed(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change of `interval_s`."""
        self._mining_listeners.append(listener)

    def mine_pending(self) -> None:
        """Mine blocks until no waiting transaction can be executed."""
        while self._executable():
            self.mine()

    def mine(self, balance_by_address: Mapping[bytes, int] | None = None) -> Block:
        """Mine one block of waiting transactions, setting the given balances (wei) first."""
        return self._append(
            self._executable()[:MAX_TRANSACTIONS_PER_BLOCK], balance_by_address or {}
        )

    def rewind(self, number: int) -> None:
        """Remove all blocks above height `number`; their transactions are forgotten."""
        while self.head.number > number:
            removed = self._blocks.pop()
            del self._number_by_hash[removed.hash]
            for executed in removed.executed:
                del self._place_by_transaction[executed.transaction.hash]
            for observer in tuple(self._observers):
                observer.block_removed(removed)

    def reorganise(self, depth: int, raw_by_offset: Mapping[int, Sequence[bytes]]) -> None:
        """Replace the newest `depth` blocks by as many others.

        Their transactions are dropped; block i of the new branch, counted from 0, holds the signed
        transactions `raw_by_offset[i]`. The mempool is left alone.
        """
        if not 0 < depth <= self.head.number:
            raise invalid_params("reorganisation depth", f"1 to {self.head.number}, got {depth}")
        beyond = [offset for offset in raw_by_offset if not 0 <= offset < depth]
        if beyond:
            raise invalid_params("block offset", f"0 to {depth - 1}, got {beyond[0]}")
        branch = {
            offset: [self.evm.decode_transaction(raw) for raw in raws]
            for offset, raws in raw_by_offset.items()
        }
        self.rewind(self.head.number - depth)
        for offset in range(depth):
            self._append(branch.get(offset, []), {})

    def snapshot(self) -> int:
        """Remember the chain and the clock; return the id for `revert`."""
        snapshot_id = next(self._snapshot_ids)
        self._snapshots[snapshot_id] = (tuple(self._blocks), self.clock_offset_s)
        return snapshot_id

    def revert(self, snapshot_id: int) -> bool:
        """Return to a snapshot, which is used up with all later ones; tell whether it existed."""
        if snapshot_id not in self._snapshots:
            return False
        blocks, self.clock_offset_s = self._snapshots[snapshot_id]
        self._snapshots = {i: kept for i, kept in self._snapshots.items() if i < snapshot_id}
        while blocks[self.head.number : self.head.number + 1] != (self.head,):
            self.rewind(self.head.number - 1)
        for block in blocks[len(self._blocks) :]:
            self._adopt(block)
        return True

    def set_next_timestamp(self, timestamp: int) -> None:
        """Give the next block `timestamp` (Unix seconds) and let the clock go on from there."""
        parent = self.head.header.timestamp
        if timestamp < parent:
            raise invalid_params("timestamp", f"not before the head's, {parent}, got {timestamp}")
        self.next_timestamp = timestamp

    def _timestamp(self) -> int:
        if self.next_timestamp is not None:
            return self.next_timestamp
        now = int(self._clock() + self.clock_offset_s)
        return max(int(self.head.header.timestamp), now)

    def _executable(self) -> list[SignedTransactionAPI]:
        if not len(self.mempool):
            return []
        state = self.evm.state_at(self.head.header)
        return self.mempool.executable(
            nonce_of=lambda sender: state.get_nonce(Address(sender)),
            base_fee=self.evm.next_header(self.head.header).base_fee_per_gas,
            minimum_tip=self.minimum_tip,
        )

    def _append(
        self,
        candidates: Sequence[SignedTransactionAPI],
        balance_by_address: Mapping[bytes, int],
    ) -> Block:
        timestamp = self._timestamp()
        parent = self.head
        block, rejected = self.evm.build_block(
            parent.header,
            timestamp=timestamp,
            mix_hash=self._fresh_mix_hash(parent),
            candidates=candidates,
            balance_by_address=balance_by_address,
        )
        if self.next_timestamp is not None:
            self.clock_offset_s = timestamp - int(self._clock())
            self.next_timestamp = None
        for transaction in rejected:
            self.mempool.drop(transaction.hash)
        self._adopt(block)
        return block

    def _adopt(self, block: Block) -> None:
        """Make `block`, built on the head, the new head."""
        self._blocks.append(block)
        self._number_by_hash[block.hash] = block.number
        for index, executed in enumerate(block.executed):
            self._place_by_transaction[executed.transaction.hash] = (block.number, index)
        state = self.evm.state_at(block.header)
        for sender in {executed.transaction.sender for executed in block.executed}:
            self.mempool.forget_used(sender, state.get_nonce(Address(sender)))
        for observer in tuple(self._observers):
            observer.block_added(block)

    def _fresh_mix_hash(self, parent: Block) -> bytes:
        """Return a value no other block on `parent` has, so that branches never coincide."""
        return bytes(keccak(parent.hash + next(self._mined_blocks).to_bytes(8, "big")))

    def _check_affordable(self, transaction: SignedTransactionAPI) -> None:
        header = self.head.header
        if transaction.gas > header.gas_limit:
            raise RpcError(f"exceeds block gas limit: {transaction.gas} > {header.gas_limit}")
        intrinsic = transaction.get_intrinsic_gas()
        if transaction.gas < intrinsic:
            raise RpcError(f"intrinsic gas too low: gas {transaction.gas}, minimum {intrinsic}")
        if transaction.max_fee_per_gas < transaction.max_priority_fee_per_gas:
            raise RpcError("max priority fee per gas higher than max fee per gas")
        cost = transaction.gas * transaction.max_fee_per_gas + transaction.value
        balance = self.evm.state_at(header).get_balance(transaction.sender)
        if balance < cost:
            raise RpcError(
                "insufficient funds for gas * price + value: "
                f"balance {balance}, tx cost {cost}, overshot {cost - balance}"
            )
