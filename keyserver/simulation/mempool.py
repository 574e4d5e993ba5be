"""Transactions that wait for a block, by the rules of real Ethereum nodes."""

from collections.abc import Callable
from dataclasses import dataclass

from keyserver.model.identifiers import Address, Hash32

REPLACEMENT_PERCENT = 110
"""A replacement offers at least this share of both fees of what it replaces."""


class NotTakenError(Exception):
    """A transaction that the pool refuses, in the words of real nodes."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction as the chain sees it; who signed it is settled."""

    hash: Hash32
    sender: Address
    nonce: int
    to: Address
    data: bytes
    gas: int
    max_fee: int
    """Wei per gas."""
    tip: int
    """Of that, to the block's maker at most."""
    value: int = 0


class Mempool:
    """At most one transaction for each sender and nonce."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[Address, int], Transaction] = {}

    def __contains__(self, tx_hash: Hash32) -> bool:
        return any(waiting.hash == tx_hash for waiting in self._by_place.values())

    @property
    def waiting(self) -> tuple[Transaction, ...]:
        """All transactions, the oldest first."""
        return tuple(self._by_place.values())

    def add(self, transaction: Transaction, account_nonce: int) -> None:
        """Take a transaction; raises `NotTakenError`."""
        if transaction.nonce < account_nonce:
            raise NotTakenError(f"nonce too low: next nonce {account_nonce}")
        place = transaction.sender, transaction.nonce
        known = self._by_place.get(place)
        if known is not None:
            if known.hash == transaction.hash:
                raise NotTakenError("already known")
            if not _is_better(known, transaction):
                raise NotTakenError("replacement transaction underpriced")
            del self._by_place[place]
        self._by_place[place] = transaction

    def drop(self, tx_hash: Hash32) -> None:
        """Forget a transaction."""
        self._by_place = {
            place: waiting for place, waiting in self._by_place.items() if waiting.hash != tx_hash
        }

    def forget_used(self, nonce_of: Callable[[Address], int]) -> None:
        """Forget what can never be mined any more."""
        self._by_place = {
            (sender, nonce): waiting
            for (sender, nonce), waiting in self._by_place.items()
            if nonce >= nonce_of(sender)
        }

    def next_nonce(self, sender: Address, account_nonce: int) -> int:
        """The nonce after the account's and all waiting ones that follow without a gap."""
        while (sender, account_nonce) in self._by_place:
            account_nonce += 1
        return account_nonce

    def executable(self, nonce_of: Callable[[Address], int], base_fee: int) -> list[Transaction]:
        """What a block may hold: each sender's in the order of nonces, the best tip first."""
        runs: dict[Address, list[Transaction]] = {}
        for sender in dict.fromkeys(sender for sender, _ in self._by_place):
            nonce = nonce_of(sender)
            run = []
            while (waiting := self._by_place.get((sender, nonce))) and waiting.max_fee >= base_fee:
                run.append(waiting)
                nonce += 1
            if run:
                runs[sender] = run
        chosen = []
        while runs:
            best = max(runs, key=lambda sender: _paid_tip(runs[sender][0], base_fee))
            chosen.append(runs[best].pop(0))
            if not runs[best]:
                del runs[best]
        return chosen


def _paid_tip(transaction: Transaction, base_fee: int) -> int:
    return min(transaction.tip, transaction.max_fee - base_fee)


def _is_better(old: Transaction, new: Transaction) -> bool:
    pairs = ((old.max_fee, new.max_fee), (old.tip, new.tip))
    return all(n > o and n * 100 >= o * REPLACEMENT_PERCENT for o, n in pairs)
