"""Following the canonical chain by hashes: pure decisions, no I/O (chain watcher, W-01).

A node keeps the hashes of the blocks it has processed. When a new head does not continue them, it
looks for the common ancestor; what lay above it is dropped and read again. Whether a block is
canonical is always decided by comparing the hash at its number.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keyserver.chain.client import BlockId, BlockRef

WALK_STEP = 16
"""How many headers are asked for at once on the way back to the common ancestor."""


@dataclass(frozen=True, slots=True)
class History:
    """Hashes of known blocks by number, ascending; there may be gaps after a long absence."""

    blocks: tuple[BlockId, ...] = ()

    @property
    def top(self) -> BlockId | None:
        """The newest known block."""
        return self.blocks[-1] if self.blocks else None

    def hash_at(self, number: int) -> bytes | None:
        """The hash of the known block of this number."""
        return next((block.hash for block in reversed(self.blocks) if block.number == number), None)

    def above(self, number: int) -> tuple[BlockId, ...]:
        """Known blocks with a greater number."""
        return tuple(block for block in self.blocks if block.number > number)

    def advanced(self, move: "Advance", *, keep: int) -> "History":
        """The history after a move, cut to its newest `keep` blocks."""
        stay = move.ancestor.number if move.ancestor else -1
        kept = tuple(block for block in self.blocks if block.number <= stay)
        return History((kept + tuple(block.id for block in move.added))[-keep:])


@dataclass(frozen=True, slots=True)
class Fetch:
    """More headers are needed: ask again with these."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Advance:
    """The head continues the chain from `ancestor`."""

    ancestor: BlockId | None
    """The newest known block that is still canonical; `None`: there was none."""
    dropped: tuple[BlockId, ...]
    """Known blocks that are no longer canonical, ascending."""
    added: tuple[BlockRef, ...]
    """New canonical blocks up to the head, ascending, without gaps."""

    @property
    def is_deep(self) -> bool:
        """Whether all that was known is gone: deeper than we can follow."""
        return bool(self.dropped) and self.ancestor is None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The head is a known block: an endpoint that lags, or the same head again."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The headers do not fit together: the chain moved while they were read. Wait for a head."""


Move = Fetch | Advance | Unchanged | Moved


def plan_move(
    history: History, head: BlockRef, fetched: Mapping[int, BlockRef | None], *, depth: int
) -> Move:
    """What a new head means, or which headers to fetch to find out.

    `fetched`: canonical headers by number as read since the head arrived. `depth`: how many
    blocks up to the head are wanted with their hashes.
    """
    if history.hash_at(head.number) == head.hash:
        return Unchanged()
    lowest = max(0, head.number - depth + 1)
    top = history.top
    start = lowest if top is None else max(lowest, min(top.number + 1, head.number))
    branch = _linked(range(start, head.number), head, fetched)
    if not isinstance(branch, tuple):
        return branch
    if top is None:
        return Advance(None, (), branch)
    if branch[0].number == top.number + 1 and branch[0].parent_hash == top.hash:
        return Advance(top, (), branch)
    return _across_fork(history, head, fetched, lowest)


def _across_fork(
    history: History, head: BlockRef, fetched: Mapping[int, BlockRef | None], lowest: int
) -> Move:
    """Go down the known blocks until one is canonical."""
    below_head = tuple(block for block in history.blocks if block.number < head.number)
    for position in range(len(below_head) - 1, -1, -1):
        known = below_head[position]
        if known.number not in fetched:
            step = below_head[max(0, position - WALK_STEP + 1) : position + 1]
            return Fetch(tuple(each.number for each in step if each.number not in fetched))
        canonical = fetched[known.number]
        if canonical is None:
            return Moved()
        if canonical.hash == known.hash:
            start = max(lowest, known.number + 1)
            branch = _linked(range(start, head.number), head, fetched)
            if not isinstance(branch, tuple):
                return branch
            if start == known.number + 1 and branch[0].parent_hash != known.hash:
                return Moved()
            return Advance(known, history.above(known.number), branch)
    branch = _linked(range(lowest, head.number), head, fetched)
    return Advance(None, history.blocks, branch) if isinstance(branch, tuple) else branch


def _linked(
    numbers: Iterable[int], head: BlockRef, fetched: Mapping[int, BlockRef | None]
) -> tuple[BlockRef, ...] | Fetch | Moved:
    """The blocks of these numbers and the head, if each is the parent of the next."""
    wanted = tuple(numbers)
    missing = tuple(number for number in wanted if number not in fetched)
    if missing:
        return Fetch(missing)
    chain: list[BlockRef] = []
    for number in wanted:
        block = fetched[number]
        if block is None or (chain and block.parent_hash != chain[-1].hash):
            return Moved()
        chain.append(block)
    if chain and head.parent_hash != chain[-1].hash:
        return Moved()
    return (*chain, head)


def confirmed_number(head: int, confirmations: int) -> int:
    """The newest block that counts as confirmed: `head - confirmations`, never below 0."""
    return max(head - confirmations, 0)
