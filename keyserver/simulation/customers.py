"""Accounts that use the contracts, and keep on until each request is on the chain.

A customer sees the chain as it is. A transaction that a reorganisation takes is sent again; one
that the contract refused, as when too many requests are pending, is made anew.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from keyserver.chain.client import Log
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.evm.abi import Event
from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.simulation.chain import GWEI, VirtualChain
from keyserver.simulation.contracts.contract import abi_of
from keyserver.simulation.mempool import NotTakenError, Transaction

FEE = 10_000 * GWEI
"""More than any spike."""

GAS = 1_000_000
PAYMENT = 10**18
"""More than any fee of a service."""


@dataclass
class Wish:
    """A call of a contract that a customer wants on the chain."""

    to: Address
    artifact: str
    data: bytes
    value: int
    once: bool = False
    """Whether it is given up when the contract refuses it."""
    transactions: list[Transaction] = field(default_factory=list)
    """The newest last; earlier ones were refused."""


class Customer:
    """An account with wishes."""

    def __init__(self, chain: VirtualChain, secret: SecretScalar) -> None:
        self.secret = secret
        self.public = secret.public()
        self.address = NodeId.of(self.public).address
        self._chain = chain
        self._nonce = 0
        self._wishes: list[Wish] = []

    def wish(
        self,
        to: Address,
        artifact: str,
        method: str,
        *arguments: Any,
        pays: bool,
        once: bool = False,
    ) -> Wish:
        """Send a transaction, and look after it from now on."""
        data = abi_of(artifact).function(method).encode(*arguments)
        wish = Wish(to, artifact, data, PAYMENT if pays else 0, once)
        self._wishes.append(wish)
        self._send(wish)
        return wish

    def block_of(self, wish: Wish) -> int | None:
        """In which block of the canonical chain the wish was carried out first, if it was."""
        receipts = (self._chain.receipt(each.hash) for each in wish.transactions)
        return next((each.block_number for each in receipts if each and each.succeeded), None)

    def look(self) -> None:
        """Send what the chain has lost, and make anew what was refused."""
        for wish in self._wishes:
            receipts = [self._chain.receipt(each.hash) for each in wish.transactions]
            for transaction, receipt in zip(wish.transactions, receipts, strict=True):
                if receipt is None and transaction.hash not in self._chain.pool:
                    self._submit(transaction)
            refused = all(receipt is not None and not receipt.succeeded for receipt in receipts)
            if refused and not wish.once:
                self._send(wish)

    def _send(self, wish: Wish) -> None:
        name = self.address + self._nonce.to_bytes(8, "big")
        transaction = Transaction(
            Hash32(keccak256(name)),
            self.address,
            self._nonce,
            wish.to,
            wish.data,
            GAS,
            FEE,
            2 * GWEI,
            wish.value,
        )
        self._nonce += 1
        wish.transactions.append(transaction)
        self._submit(transaction)

    def _submit(self, transaction: Transaction) -> None:
        try:
            self._chain.submit(transaction)
        except NotTakenError as refused:
            # the account has one writer, so the pool can only have it already
            raise AssertionError(f"a customer's transaction was refused: {refused}") from refused


@dataclass(frozen=True, slots=True)
class Seen:
    """An event on the canonical chain."""

    log: Log
    values: tuple[Any, ...]

    @property
    def place(self) -> tuple[int, int]:
        """The block, and where in it."""
        return self.log.block_number, self.log.log_index


def events(
    chain: VirtualChain,
    artifact: str,
    name: str,
    since: int,
    wanted: Callable[[tuple[Any, ...]], bool],
) -> list[Seen]:
    """The events of this name from a block on, whose values are wanted."""
    event: Event = abi_of(artifact).event(name)
    found = [
        Seen(log, event.decode(log.topics, log.data))
        for log in chain.logs_since(since)
        if log.topics[0] == event.topic0
    ]
    return [each for each in found if wanted(each.values)]
