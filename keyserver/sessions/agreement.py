"""One small agreement: the nodes decide one value per subject, once (engine design, 7.6).

Used for the record of a version and for the document key of an attempt. The rules of a voter and
of a proposer, on abstract votes: who signs, sends, checks signatures and writes to disk stands
elsewhere. Small enough to be explored exhaustively, which a test does.

Round 0 is the session that proposed the value. A later round begins when the one before did not
decide in time: its proposer collects the STATUS of a quorum, from which the outcome follows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId

NOTHING = ZERO_HASH
"""The value that gives an attempt up."""

FIRST_ROUND_S = 60.0
"""How long an undecided round lasts before the next one; doubles with every round."""

LONGEST_ROUND_S = 3600.0

LAST_ROUND = 2**31
"""No honest node comes so far; a vote for a later round is refused, as it could not be followed."""

KEY_SPACE = 2**256


class VoteRefusedError(Exception):
    """A vote that the rules forbid."""


@dataclass(frozen=True, slots=True, order=True)
class Prepared:
    """A quorum prepared this value in this round."""

    round: int
    value: Hash32


@dataclass(frozen=True, slots=True)
class Voter:
    """What a voter must remember about a subject, also across restarts."""

    round: int = 0
    """The highest round it has entered: it votes in no lower one any more."""
    prepares: Mapping[int, Hash32] = field(default_factory=lambda: MappingProxyType({}))
    commits: Mapping[int, Hash32] = field(default_factory=lambda: MappingProxyType({}))
    highest: Prepared | None = None
    """The highest prepared certificate it has seen."""

    def enter(self, round_: int) -> "Voter":
        """Vote STATUS: from now on no PREPARE and no COMMIT of a lower round."""
        if round_ <= self.round:
            raise VoteRefusedError("the round has been entered already")
        return replace(self, round=round_)

    def prepare(self, round_: int, value: Hash32) -> "Voter":
        """Vote PREPARE: one value per round, and only in the round entered last."""
        if round_ != self.round:
            raise VoteRefusedError("PREPARE belongs to the round entered last")
        if self.prepares.get(round_, value) != value:
            raise VoteRefusedError("another value was prepared in this round")
        return replace(self, prepares=MappingProxyType({**self.prepares, round_: value}))

    def commit(self, prepared: Prepared) -> "Voter":
        """Vote COMMIT on a prepared certificate of the round entered last."""
        if prepared.round != self.round:
            raise VoteRefusedError("COMMIT belongs to the round entered last")
        seen = self.see(prepared)
        commits = MappingProxyType({**self.commits, prepared.round: prepared.value})
        return replace(seen, commits=commits)

    def see(self, prepared: Prepared) -> "Voter":
        """Remember a prepared certificate if it is the highest."""
        if self.highest is not None and self.highest.round >= prepared.round:
            return self
        return replace(self, highest=prepared)


def outcome(statuses: Iterable[Prepared | None]) -> Hash32:
    """What a round proposes, given the highest certificates of a quorum of voters.

    The value of the highest of them, *nothing* if there is none: a value that may have been decided
    in an earlier round is among them.
    """
    known = [status for status in statuses if status is not None]
    return max(known, key=lambda prepared: prepared.round).value if known else NOTHING


def first_proposer(key_id: KeyId, voters: int) -> int:
    """`i0`: the voter whose range of key ids holds this one (chain watcher, section 5)."""
    width = (KEY_SPACE - 1) // voters + 1
    return int.from_bytes(key_id, "big") // width


def proposer(key_id: KeyId, voters: tuple[NodeId, ...], round_: int) -> NodeId:
    """Who proposes in a round."""
    return voters[(first_proposer(key_id, len(voters)) + round_) % len(voters)]


def round_timeout_s(round_: int) -> float:
    """How long a round may take before the next one begins."""
    doublings = min(round_, 10)  # more would be longer than the longest
    return min(FIRST_ROUND_S * 2.0**doublings, LONGEST_ROUND_S)
