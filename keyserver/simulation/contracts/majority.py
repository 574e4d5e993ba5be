"""Stages in which more than half of the key servers have to give the same answer."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from keyserver.simulation.contracts.node_set import Seat


class Verdict(Enum):
    """What one more vote has led to."""

    REPEATED = auto()
    """The server had voted before; nothing has changed."""
    OPEN = auto()
    AGREED = auto()
    """A majority agrees with this vote."""
    FAILED = auto()
    """A majority reports an error, or none can agree any more."""


ERROR = None
"""The vote of a server that cannot answer."""


@dataclass(frozen=True, slots=True)
class MajorityVotes:
    """The votes of one set of key servers."""

    epoch: tuple[int, int] | None = None
    voters: frozenset[int] = frozenset()
    counts: Mapping[Hashable, int] = field(default_factory=dict)
    """By answer."""

    def has(self, seat: Seat) -> bool:
        """Whether this server has voted."""
        return self.epoch == seat.epoch and seat.index in self.voters

    def cast(self, seat: Seat, answer: Hashable) -> tuple["MajorityVotes", Verdict]:
        """The votes with one more, without those of another set of servers."""
        if self.has(seat):
            return self, Verdict.REPEATED
        known = self if self.epoch == seat.epoch else MajorityVotes(seat.epoch)
        voters = known.voters | {seat.index}
        counts = {**known.counts, answer: known.counts.get(answer, 0) + 1}
        votes = MajorityVotes(seat.epoch, voters, counts)
        need, left = majority(seat.count), seat.count - len(voters)
        if counts[answer] >= need:
            return votes, Verdict.FAILED if answer is ERROR else Verdict.AGREED
        return votes, Verdict.FAILED if max(counts.values()) + left < need else Verdict.OPEN


def majority(count: int) -> int:
    """More than half."""
    return count // 2 + 1
