"""The rule of server key retrieval, once more, as plainly as possible."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

ERROR_THRESHOLD = 0xFF


@dataclass(frozen=True, slots=True)
class Answer:
    """A public, by some name, with a threshold; an error has no public."""

    public: str
    threshold: int


ERROR = Answer("", ERROR_THRESHOLD)


@dataclass(frozen=True, slots=True)
class Result:
    """How a request ends; `None` in `answer` is an error."""

    answer: Answer | None


def outcome(votes: Sequence[Answer], servers: int) -> Result | None:
    """What the votes so far, in order, amount to among `servers`; `None`: still open.

    First a threshold needs a majority (error counts as one), then a public needs one more equal
    votes than that threshold. As soon as one of both is impossible, the request fails.
    """
    left = servers - len(votes)
    majority = servers // 2 + 1
    thresholds = Counter(vote.threshold for vote in votes)
    agreed = [threshold for threshold, count in thresholds.items() if count >= majority]
    if not agreed:
        return Result(None) if max(thresholds.values(), default=0) + left < majority else None
    if agreed[0] == ERROR_THRESHOLD:
        return Result(None)
    leader, support = _leader([vote for vote in votes if vote.threshold == agreed[0]])
    if support >= agreed[0] + 1:
        return Result(leader)
    return Result(None) if support + left < agreed[0] + 1 else None


def _leader(votes: Sequence[Answer]) -> tuple[Answer, int]:
    """The answer with the most votes; of several, the one that had them first."""
    counts = Counter[Answer]()
    leader, support = votes[0], 0
    for vote in votes:
        counts[vote] += 1
        if counts[vote] > support:
            leader, support = vote, counts[vote]
    return leader, support
