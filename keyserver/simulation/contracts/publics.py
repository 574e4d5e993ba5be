"""Retrieval of server keys: a majority names the threshold t, then t + 1 equal publics name it."""

from dataclasses import dataclass, field, replace
from typing import Any, Final

from keyserver.simulation.contracts.contract import Message
from keyserver.simulation.contracts.keys import ETHER, Voting
from keyserver.simulation.contracts.majority import majority
from keyserver.simulation.contracts.node_set import Seat
from keyserver.simulation.contracts.queue import Queue, ServiceState, require_point

ERROR_THRESHOLD: Final = 255
"""An error is a vote for this threshold."""

Answer = tuple[int, bytes]
"""Threshold and public."""

ERROR: Final[Answer] = ERROR_THRESHOLD, b""


@dataclass(frozen=True, slots=True)
class Tallies:
    """How the votes stand; of equally many, the answer that got there first leads."""

    votes: dict[Answer, int] = field(default_factory=dict)
    leaders: dict[int, Answer] = field(default_factory=dict)
    """By threshold."""

    def with_vote(self, answer: Answer) -> "Tallies":
        """One vote more."""
        votes = {**self.votes, answer: self.votes.get(answer, 0) + 1}
        leader = self.leaders.get(answer[0])
        leads = leader is None or votes[answer] > votes[leader]
        return Tallies(votes, {**self.leaders, answer[0]: answer} if leads else self.leaders)

    def for_threshold(self, threshold: int) -> int:
        """Votes that name this threshold."""
        return sum(votes for answer, votes in self.votes.items() if answer[0] == threshold)

    def best_threshold(self) -> tuple[int, int]:
        """The threshold with most votes, and how many."""
        votes, threshold = max((self.for_threshold(each), each) for each in self.leaders)
        return threshold, votes


@dataclass(frozen=True, slots=True)
class PublicRequest:
    """A public that somebody wants to know."""

    created: int
    votes: Voting = field(default_factory=Voting)
    tallies: Tallies = field(default_factory=Tallies)


class PublicRetrieval:
    """The service."""

    def __init__(self, state: ServiceState, queue: Queue[PublicRequest] | None = None) -> None:
        self.state = state
        self.queue = queue or Queue(fee=ETHER // 10, limit=8)

    def request(self, message: Message, arguments: Any) -> None:
        """`retrieveServerKey`."""
        (key_id,) = arguments
        self.state.collect_fee(message)
        self.queue.add(key_id, PublicRequest(message.block_number), message.value)
        self.state.emit("ServerKeyRetrievalRequested", key_id)

    def retrieved(self, message: Message, arguments: Any) -> None:
        """`serverKeyRetrieved`; with threshold 255 it is an error."""
        key_id, public, threshold = arguments
        require_point(public)
        self._vote(message, key_id, ERROR if threshold == ERROR_THRESHOLD else (threshold, public))

    def error(self, message: Message, arguments: Any) -> None:
        """`serverKeyRetrievalError`."""
        self._vote(message, arguments[0], ERROR)

    def item(self, _: Message, arguments: Any) -> tuple[Any]:
        """`getServerKeyRetrievalRequest`."""
        return (self.queue.at(arguments[0]),)

    def required(self, message: Message, arguments: Any) -> tuple[bool]:
        """`isServerKeyRetrievalResponseRequired`."""
        seat = self.state.seat_of(message, arguments[1])
        request = self.queue.requests.get(arguments[0])
        return (request is not None and not request.votes.has(seat),)

    def expire(self, message: Message, arguments: Any) -> None:
        """`expireServerKeyRetrievalRequest`."""
        self.state.require_expired(message, self.queue.pending(arguments[0]))
        self._fail(arguments[0])

    def _vote(self, message: Message, key_id: bytes, answer: Answer) -> None:
        request = self.queue.requests.get(key_id)
        if request is None:
            return
        seat = self.state.seat_of(message, message.sender)
        if request.votes.has(seat):
            return
        tallies = request.tallies if request.votes.epoch == seat.epoch else Tallies()
        tallies = tallies.with_vote(answer)
        votes = request.votes.of(seat).with_vote(seat)
        self.queue.requests[key_id] = replace(request, votes=votes, tallies=tallies)
        self._settle(key_id, seat, votes, tallies)

    def _settle(self, key_id: bytes, seat: Seat, votes: Voting, tallies: Tallies) -> None:
        """End the request if it is decided, or cannot be any more."""
        left = seat.count - len(votes.voters)
        threshold, best = tallies.best_threshold()
        if best < majority(seat.count):
            if best + left < majority(seat.count):
                self._fail(key_id)
            return
        need, leader = threshold + 1, tallies.leaders[threshold]
        if threshold == ERROR_THRESHOLD or tallies.votes[leader] + left < need:
            self._fail(key_id)
        elif tallies.votes[leader] >= need:
            self.queue.remove(key_id)
            long, short = "(bytes32,bytes,uint256)", "(bytes32,bytes)"
            self.state.emit(f"ServerKeyRetrieved{long}", key_id, leader[1], threshold)
            self.state.emit(f"ServerKeyRetrieved{short}", key_id, leader[1])

    def _fail(self, key_id: bytes) -> None:
        self.queue.remove(key_id)
        self.state.emit("ServerKeyRetrievalError", key_id)
