"""The services that need the answer of every key server: generation and storing."""

from dataclasses import dataclass, field, replace
from typing import Any, Final

from keyserver.model.identifiers import Address
from keyserver.simulation.contracts.contract import Message, RevertError
from keyserver.simulation.contracts.node_set import Seat
from keyserver.simulation.contracts.queue import Queue, ServiceState, require_point

MAX_THRESHOLD: Final = 254
ETHER: Final = 10**18


@dataclass(frozen=True, slots=True)
class Voting:
    """Who has answered, all with the same answer, of one set of key servers."""

    epoch: tuple[int, int] | None = None
    voters: frozenset[int] = frozenset()
    answer: bytes = b""

    def of(self, seat: Seat) -> "Voting":
        """The same, or empty if the answers are of another set."""
        return self if self.epoch == seat.epoch else Voting(seat.epoch)

    def has(self, seat: Seat) -> bool:
        """Whether this server has answered."""
        return self.epoch == seat.epoch and seat.index in self.voters

    def with_vote(self, seat: Seat) -> "Voting":
        """With the answer of one more server."""
        return replace(self, voters=self.voters | {seat.index})


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A key that somebody wants."""

    author: Address
    threshold: int
    created: int
    votes: Voting = field(default_factory=Voting)


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A document key that somebody wants to be kept."""

    author: Address
    common: bytes
    encrypted: bytes
    created: int
    votes: Voting = field(default_factory=Voting)


class Generation:
    """Asks all key servers for a new key: one differing public, or one error, ends it."""

    def __init__(self, state: ServiceState, queue: Queue[GenerationRequest] | None = None) -> None:
        self.state = state
        self.queue = queue or Queue(fee=ETHER // 5, limit=4)

    def request(self, message: Message, arguments: Any) -> None:
        """`generateServerKey`."""
        key_id, threshold = arguments
        count = self.state.collect_fee(message)
        if threshold > MAX_THRESHOLD or threshold >= count:
            raise RevertError("InvalidThreshold")
        wanted = GenerationRequest(message.sender, threshold, message.block_number)
        self.queue.add(key_id, wanted, message.value)
        self.state.emit("ServerKeyGenerationRequested", key_id, message.sender, threshold)

    def generated(self, message: Message, arguments: Any) -> None:
        """`serverKeyGenerated`."""
        key_id, public = arguments
        require_point(public)
        request = self.queue.requests.get(key_id)
        if request is None:
            return
        seat = self.state.seat_of(message, message.sender)
        votes = request.votes.of(seat)
        if votes.has(seat):
            return
        if not votes.voters:
            votes = replace(votes, answer=public)
        votes = votes.with_vote(seat)
        if votes.answer != public:
            self._fail(key_id)
        elif len(votes.voters) == seat.count:
            self.state.authors[key_id] = request.author
            self.queue.remove(key_id)
            self.state.emit("ServerKeyGenerated", key_id, public)
        else:
            self.queue.requests[key_id] = replace(request, votes=votes)

    def error(self, message: Message, arguments: Any) -> None:
        """`serverKeyGenerationError`."""
        self.state.seat_of(message, message.sender)
        if arguments[0] in self.queue.requests:
            self._fail(arguments[0])

    def item(self, _: Message, arguments: Any) -> tuple[Any, ...]:
        """`getServerKeyGenerationRequest`."""
        key_id = self.queue.at(arguments[0])
        request = self.queue.requests[key_id]
        return key_id, request.author, request.threshold

    def required(self, message: Message, arguments: Any) -> tuple[bool]:
        """`isServerKeyGenerationResponseRequired`."""
        seat = self.state.seat_of(message, arguments[1])
        request = self.queue.requests.get(arguments[0])
        return (request is not None and not request.votes.has(seat),)

    def expire(self, message: Message, arguments: Any) -> None:
        """`expireServerKeyGenerationRequest`."""
        self.state.require_expired(message, self.queue.pending(arguments[0]))
        self._fail(arguments[0])

    def _fail(self, key_id: bytes) -> None:
        self.queue.remove(key_id)
        self.state.emit("ServerKeyGenerationError", key_id)


class Storing:
    """Asks all key servers to keep a document key: all have to confirm, one error ends it."""

    def __init__(self, state: ServiceState, queue: Queue[StoreRequest] | None = None) -> None:
        self.state = state
        self.queue = queue or Queue(fee=ETHER // 10, limit=8)

    def request(self, message: Message, arguments: Any) -> None:
        """`storeDocumentKey`."""
        key_id, common, encrypted = arguments
        require_point(common)
        require_point(encrypted)
        if self.state.authors.get(key_id, message.sender) != message.sender:
            raise RevertError("NotAuthor")
        self.state.collect_fee(message)
        wanted = StoreRequest(message.sender, common, encrypted, message.block_number)
        self.queue.add(key_id, wanted, message.value)
        self.state.emit("DocumentKeyStoreRequested", key_id, message.sender, common, encrypted)

    def stored(self, message: Message, arguments: Any) -> None:
        """`documentKeyStored`."""
        (key_id,) = arguments
        request = self.queue.requests.get(key_id)
        if request is None:
            return
        seat = self.state.seat_of(message, message.sender)
        votes = request.votes.of(seat).with_vote(seat)
        if len(votes.voters) == seat.count:
            self.queue.remove(key_id)
            self.state.emit("DocumentKeyStored", key_id)
        else:
            self.queue.requests[key_id] = replace(request, votes=votes)

    def error(self, message: Message, arguments: Any) -> None:
        """`documentKeyStoreError`."""
        if arguments[0] not in self.queue.requests:
            return
        self.state.seat_of(message, message.sender)
        self._fail(arguments[0])

    def item(self, _: Message, arguments: Any) -> tuple[Any, ...]:
        """`getDocumentKeyStoreRequest`."""
        key_id = self.queue.at(arguments[0])
        request = self.queue.requests[key_id]
        return key_id, request.author, request.common, request.encrypted

    def required(self, message: Message, arguments: Any) -> tuple[bool]:
        """`isDocumentKeyStoreResponseRequired`."""
        seat = self.state.seat_of(message, arguments[1])
        request = self.queue.requests.get(arguments[0])
        return (request is not None and not request.votes.has(seat),)

    def expire(self, message: Message, arguments: Any) -> None:
        """`expireDocumentKeyStoreRequest`."""
        self.state.require_expired(message, self.queue.pending(arguments[0]))
        self._fail(arguments[0])

    def _fail(self, key_id: bytes) -> None:
        self.queue.remove(key_id)
        self.state.emit("DocumentKeyStoreError", key_id)
