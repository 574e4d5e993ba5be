"""Transactions that wait for a block: nonce order, replacement, choice for the next block."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from eth.abc import SignedTransactionAPI

from keyserver.devnet.embedded_errors import RpcError

MAX_POOLED = 5_000
"""Transactions kept at most; the next is refused."""

REPLACEMENT_PERCENT = 110
"""A replacement offers at least this share of both fees of the transaction it replaces."""


@dataclass(frozen=True, slots=True)
class _Pooled:
    arrival: int
    transaction: SignedTransactionAPI


class Mempool:
    """The waiting transactions of all senders, at most one for each sender and nonce.

    It knows nothing of the chain: account nonces come from the caller, so a reorganisation needs no
    repair here. A transaction behind a nonce gap stays until the gap is filled.
    """

    def __init__(self) -> None:
        self._queue_by_sender: dict[bytes, dict[int, _Pooled]] = {}
        self._transaction_by_hash: dict[bytes, SignedTransactionAPI] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._transaction_by_hash)

    def add(self, transaction: SignedTransactionAPI, *, account_nonce: int) -> None:
        """Queue `transaction`, replacing one of the same nonce that offers less.

        Raises `RpcError` with the words of real nodes: already known, nonce too low, replacement
        transaction underpriced, txpool is full.
        """
        if transaction.hash in self._transaction_by_hash:
            raise RpcError("already known")
        if transaction.nonce < account_nonce:
            raise RpcError(
                f"nonce too low: next nonce {account_nonce}, tx nonce {transaction.nonce}"
            )
        queue = self._queue_by_sender.setdefault(transaction.sender, {})
        replaced = queue.get(transaction.nonce)
        if replaced is not None:
            _require_higher_fees(replaced.transaction, transaction)
            del self._transaction_by_hash[replaced.transaction.hash]
        elif len(self) >= MAX_POOLED:
            raise RpcError("txpool is full")
        self._arrivals += 1
        queue[transaction.nonce] = _Pooled(self._arrivals, transaction)
        self._transaction_by_hash[transaction.hash] = transaction

    def get(self, transaction_hash: bytes) -> SignedTransactionAPI | None:
        """Return the waiting transaction of that hash."""
        return self._transaction_by_hash.get(transaction_hash)

    def hashes(self) -> tuple[bytes, ...]:
        """Return the hashes of all waiting transactions, oldest first."""
        return tuple(self._transaction_by_hash)

    def drop(self, transaction_hash: bytes) -> bool:
        """Forget a waiting transaction; tell whether it was there."""
        transaction = self._transaction_by_hash.pop(transaction_hash, None)
        if transaction is None:
            return False
        queue = self._queue_by_sender[transaction.sender]
        del queue[transaction.nonce]
        if not queue:
            del self._queue_by_sender[transaction.sender]
        return True

    def forget_used(self, sender: bytes, account_nonce: int) -> None:
        """Forget what `sender` can no longer send because its nonce has moved on."""
        queue = self._queue_by_sender.get(sender, {})
        used = [pooled.transaction.hash for n, pooled in queue.items() if n < account_nonce]
        for transaction_hash in used:
            self.drop(transaction_hash)

    def next_nonce(self, sender: bytes, account_nonce: int) -> int:
        """Return the nonce after the account's and all queued ones that follow without a gap."""
        return account_nonce + len(self._run(sender, account_nonce))

    def executable(
        self, *, nonce_of: Callable[[bytes], int], base_fee: int, minimum_tip: int
    ) -> list[SignedTransactionAPI]:
        """List what a block at `base_fee` (wei per gas) may hold.

        Each sender's transactions are in nonce order; among senders the older comes first. One that
        does not pay `base_fee` plus `minimum_tip` waits, and so do those behind it.
        """
        heads: list[tuple[int, int, list[_Pooled]]] = []
        for position, sender in enumerate(self._queue_by_sender):
            run = _paying(self._run(sender, nonce_of(sender)), base_fee, minimum_tip)
            if run:
                heads.append((run[0].arrival, position, run[::-1]))
        heapq.heapify(heads)
        ordered = []
        while heads:
            _, position, rest = heapq.heappop(heads)
            ordered.append(rest.pop().transaction)
            if rest:
                heapq.heappush(heads, (rest[-1].arrival, position, rest))
        return ordered

    def _run(self, sender: bytes, account_nonce: int) -> list[_Pooled]:
        queue = self._queue_by_sender.get(sender, {})
        run: list[_Pooled] = []
        while (pooled := queue.get(account_nonce + len(run))) is not None:
            run.append(pooled)
        return run


def _paying(run: list[_Pooled], base_fee: int, minimum_tip: int) -> list[_Pooled]:
    for length, pooled in enumerate(run):
        transaction = pooled.transaction
        tip = min(
            transaction.max_priority_fee_per_gas,
            transaction.max_fee_per_gas - base_fee,
        )
        if tip < minimum_tip:
            return run[:length]
    return run


def _require_higher_fees(old: SignedTransactionAPI, new: SignedTransactionAPI) -> None:
    def is_raised(old_fee: int, new_fee: int) -> bool:
        return new_fee > old_fee and new_fee * 100 >= old_fee * REPLACEMENT_PERCENT

    if not (
        is_raised(old.max_fee_per_gas, new.max_fee_per_gas)
        and is_raised(old.max_priority_fee_per_gas, new.max_priority_fee_per_gas)
    ):
        raise RpcError("replacement transaction underpriced")
