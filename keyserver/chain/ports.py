"""What the chain package tells the rest of the node, and what it needs from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from keyserver.chain.client import BlockId, BlockRef, Log
from keyserver.model.identifiers import Address, KeyId, NodeId
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.model.set_change import MigrationOrder
from keyserver.tasks.migration import MigrationView, SessionState

KEPT_BLOCKS = 128
"""How many blocks a log sink remembers, and how deep a reorganisation is followed exactly."""


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Confirmed logs, and how far they reach. Batches come in order and without gaps."""

    dropped: tuple[BlockId, ...]
    """Blocks of earlier batches that are no longer canonical, ascending.

    Tasks whose log stood in one of them and that have not started are cancelled. Their logs, where
    the chain has them again, are in this batch or the next.
    """
    logs: tuple[Log, ...]
    """Of the watched service contracts, in the order of the chain."""
    blocks: tuple[BlockId, ...]
    """Blocks that are done with now, ascending; the last one is the cursor.

    All of the last `KEPT_BLOCKS` are listed; in a long range read at once, older ones may be
    missing. Empty when a reorganisation only took blocks away: the cursor is then the last block
    that is left.
    """


class LogSink(Protocol):
    """Who turns confirmed logs into tasks (the tasks' part of the node)."""

    async def history(self) -> Sequence[BlockId]:
        """The last `KEPT_BLOCKS` blocks of accepted batches, ascending, without dropped ones.

        The last one is the cursor; empty before the first batch.
        """
        ...

    async def accept(self, batch: LogBatch) -> None:
        """Store tasks and history (so the cursor) in one transaction.

        Raises `StorageError`; the same batch then comes again. A log that does not decode is
        reported and skipped, never an error.
        """
        ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A moment at which the chain is looked at: a new head, and what follows from it."""

    head: BlockRef
    confirmed: BlockId
    touched: frozenset[Address]
    """Watched contracts with a log that is not yet confirmed or just became so: hints only."""
    reread: bool
    """Read everything again: at start, after a reconnect, a deep reorganisation, a contradiction,
    and every so many blocks."""


class ChainObserver(Protocol):
    """Who acts on new blocks: called one after the other, in a fixed order."""

    async def on_evaluation(self, evaluation: Evaluation) -> None:
        """Look at the chain; raises `ChainError` if that was not possible.

        An error ends the evaluation for the observers after this one. The next one comes with the
        next block, with `reread` set.
        """
        ...

    def on_unavailable(self) -> None:
        """The chain cannot be reached, or is not in sync; repeated while that lasts."""
        ...


@dataclass(frozen=True, slots=True)
class ChainView:
    """What this node knows of the chain's tip."""

    head: BlockRef | None
    """The newest processed block; `None` before the first."""
    confirmed: BlockId | None
    problem: str | None
    """Why the chain is not to be trusted now, in words for an operator; `None`: it is."""

    @property
    def synced(self) -> bool:
        """Whether to act on the chain at all: start tasks, send, approve (W-12)."""
        return self.problem is None and self.head is not None


class ChainTip(Protocol):
    """Where the chain's tip can be looked up and waited for (`keyserver.chain.watcher`)."""

    @property
    def view(self) -> ChainView:
        """As of now; a head too old counts as a problem."""
        ...

    async def next_evaluation(self) -> None:
        """Return when the next evaluation has been completed by all observers."""
        ...


class WatchedContracts(Protocol):
    """Which contracts' logs are read (`keyserver.chain.name_registry`)."""

    @property
    def services(self) -> frozenset[Address]:
        """Their confirmed logs go to the sink."""
        ...

    @property
    def hints(self) -> frozenset[Address]:
        """Any log of these means that they may have changed."""
        ...

    def is_due(self, block_number: int, touched: frozenset[Address]) -> bool:
        """Whether to look the addresses up at this block, given who has logged."""
        ...

    async def refresh(self, head: BlockRef, confirmed: BlockId) -> None:
        """Look the addresses up; raises `ChainError`, and then nothing changes."""
        ...


class MigrationViews(Protocol):
    """Where the sets and the running migration can be looked up (`keyserver.chain.node_set`)."""

    @property
    def migration_view(self) -> MigrationView | None:
        """As of the last reading; `None` before the first one or without a contract."""
        ...


class SetChanges(Protocol):
    """Who moves the keys to another set: the one session of a set change at this node.

    Its owner tells the migration driver (`wake`) of every change of `state` and `connected`, asks
    it (`accepts`) before this node takes part in a session, and tells it of members that its
    session has left behind (`on_left_behind`).
    """

    @property
    def state(self) -> SessionState:
        """The session, led by this node or by another one."""
        ...

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers with an open connection."""
        ...

    async def keys_at_risk(self, target: NodeSet) -> tuple[KeyId, ...]:
        """Stored keys that lose holders and keep fewer than t + 1 of them in `target` (W-24).

        Raises `StorageError`.
        """
        ...

    def start(self, order: MigrationOrder) -> None:
        """Lead a session: `state` is active at once, and finished or failed later."""
        ...

    def forget(self) -> None:
        """`state` is idle from now on; a session under way is broken off."""
        ...


class NodeSetListener(Protocol):
    """Who is told that the node set has changed; called on the event loop, must not block."""

    def on_node_set(self, before: NodeSetSnapshot, after: NodeSetSnapshot) -> None:
        """Members, addresses, migration, epoch or staleness are different now."""
        ...
