"""The outbox: answers on their way into the chain (architecture, section 6).

Pure: values and the table of legal transitions. `keyserver.chain.sender` drives the entries; the
signed bytes of every transaction are stored here before they are broadcast.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, unique
from typing import Annotated, Final

from keyserver.model.codec import U8, U64, UInt
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32
from keyserver.tasks.model import IllegalTransitionError, SetEpoch

U128 = Annotated[int, UInt(16)]
"""Amounts of wei."""


@unique
class OutboxState(Enum):
    """Where an answer stands; the values are stored."""

    QUEUED = "queued"
    """Has no nonce yet, or has none any more."""
    SIGNED = "signed"
    """Signed bytes are stored; they may or may not have left this node."""
    BROADCAST = "broadcast"
    """An Ethereum node has taken it."""
    MINED = "mined"
    """In a block that is not deep enough yet."""
    CONFIRMED = "confirmed"
    """In a block that is deep enough: final."""
    SUPERSEDED = "superseded"
    """Not needed any more; nothing of it will be mined, or what was mined had no effect."""
    FAILED = "failed"
    """The contract refused it too often: given up."""

    @property
    def is_open(self) -> bool:
        """Whether the sender still has to do something about it."""
        return bool(OUTBOX_TRANSITIONS[self])

    @property
    def is_in_flight(self) -> bool:
        """Whether a nonce is taken by transactions that may still be mined."""
        return self in (OutboxState.SIGNED, OutboxState.BROADCAST, OutboxState.MINED)


OUTBOX_TRANSITIONS: Final[Mapping[OutboxState, frozenset[OutboxState]]] = {
    OutboxState.QUEUED: frozenset({OutboxState.SIGNED, OutboxState.SUPERSEDED, OutboxState.FAILED}),
    # back to queued: another transaction of the account took the nonce
    OutboxState.SIGNED: frozenset(
        {OutboxState.SIGNED, OutboxState.BROADCAST, OutboxState.MINED, OutboxState.QUEUED}
    ),
    # back to signed: a replacement with a higher fee
    OutboxState.BROADCAST: frozenset({OutboxState.SIGNED, OutboxState.MINED, OutboxState.QUEUED}),
    # back to broadcast: reorganised; back to queued: it failed, ask whether to try again
    OutboxState.MINED: frozenset(
        {
            OutboxState.BROADCAST,
            OutboxState.QUEUED,
            OutboxState.CONFIRMED,
            OutboxState.SUPERSEDED,
            OutboxState.FAILED,
        }
    ),
    OutboxState.CONFIRMED: frozenset(),
    OutboxState.SUPERSEDED: frozenset(),
    OutboxState.FAILED: frozenset(),
}
"""Which state may follow which; a final state has no successor."""


@dataclass(frozen=True, slots=True)
class OutboxKey:
    """What makes two answers the same; an entry per key (W-08)."""

    task_id: int
    epoch: SetEpoch
    method: str
    """Name of the contract's function."""
    sender: Address
    variant: Hash32 = ZERO_HASH
    """Of personal answers, which set of participants and which secret: a repeated session gives
    another; zero for the rest, which have one answer only."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction; all attempts of an entry that is in flight share a nonce."""

    raw: bytes
    tx_hash: Hash32
    max_fee: U128
    """Wei per gas at most; the gas price on a chain without EIP-1559."""
    priority_fee: U128
    """Wei per gas to the block's maker; the gas price on a chain without EIP-1559."""
    gas: U64
    """Its gas limit."""
    block: U64
    """Head when it was made."""
    cancels: U8 = 0
    """1: it only uses up the nonce, because the answer is not to be sent any more."""


@dataclass(frozen=True, slots=True)
class Mined:
    """Where one of the attempts was found."""

    tx_hash: Hash32
    block: U64
    block_hash: Hash32
    succeeded: U8
    """The receipt's status: 1 or 0."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler wants sent: a call, made for one epoch."""

    epoch: SetEpoch
    method: str
    data: bytes
    """Selector and arguments."""
    is_error: bool = False
    """Whether it tells the contract that the request cannot be served."""
    bound_to_epoch: bool = False
    """Whether the call is worthless in another epoch (a mask of participants)."""
    variant: Hash32 = ZERO_HASH


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A row of the outbox. `attempts` and `mined` are encodable with the codec."""

    id: int
    """Given by the store, ascending; 0 before."""
    key: OutboxKey
    contract: Address
    """Where the request came from, and the answer goes."""
    data: bytes
    is_error: bool = False
    bound_to_epoch: bool = False
    state: OutboxState = OutboxState.QUEUED
    nonce: int | None = None
    """Of the attempts; `None` while there are none."""
    attempts: tuple[Attempt, ...] = ()
    """The newest last."""
    mined: Mined | None = None
    failures: int = 0
    """How often it was mined and refused by the contract."""
    reason: str = ""
    """Why it is where it is, for people."""
    revision: int = 0
    """Counted up by the store with every write."""

    def moved_to(self, state: OutboxState, reason: str = "") -> "OutboxEntry":
        """The same entry in another state; raises `IllegalTransitionError`."""
        if state not in OUTBOX_TRANSITIONS[self.state]:
            raise IllegalTransitionError(f"answer {self.id}: {self.state.value} → {state.value}")
        return replace(self, state=state, reason=reason)

    def signed(self, nonce: int, attempt: Attempt) -> "OutboxEntry":
        """With one more transaction, of this nonce."""
        return replace(
            self.moved_to(OutboxState.SIGNED), nonce=nonce, attempts=(*self.attempts, attempt)
        )

    def found_in(self, mined: Mined) -> "OutboxEntry":
        """Mined."""
        return replace(self.moved_to(OutboxState.MINED), mined=mined)

    def lost_again(self) -> "OutboxEntry":
        """Broadcast, its block having left the chain."""
        reorganised = self.moved_to(OutboxState.BROADCAST, "its block left the chain")
        return replace(reorganised, mined=None)

    def queued_again(self, reason: str, *, failed: bool) -> "OutboxEntry":
        """Without a nonce, to be sent from the beginning."""
        return replace(
            self.moved_to(OutboxState.QUEUED, reason),
            nonce=None,
            attempts=(),
            mined=None,
            failures=self.failures + failed,
        )

    def written(self) -> "OutboxEntry":
        """As the store has it after this was written."""
        return replace(self, revision=self.revision + 1)

    @property
    def cancelled(self) -> bool:
        """Whether the newest attempt only uses up the nonce."""
        return bool(self.attempts and self.attempts[-1].cancels)


def new_entry(task_id: int, sender: Address, contract: Address, answer: Answer) -> OutboxEntry:
    """The entry of an answer; the store gives it its id."""
    key = OutboxKey(task_id, answer.epoch, answer.method, sender, answer.variant)
    return OutboxEntry(
        id=0,
        key=key,
        contract=contract,
        data=answer.data,
        is_error=answer.is_error,
        bound_to_epoch=answer.bound_to_epoch,
    )
