"""Shadow retrieval: a majority agrees on what is common, then t + 1 servers tell their part."""

from dataclasses import dataclass, field, replace
from typing import Any, Final

from keyserver.crypto.hashing import address_of
from keyserver.model.identifiers import Address
from keyserver.simulation.contracts.contract import Message, RevertError
from keyserver.simulation.contracts.keys import ETHER
from keyserver.simulation.contracts.majority import ERROR, MajorityVotes, Verdict, majority
from keyserver.simulation.contracts.node_set import Seat
from keyserver.simulation.contracts.queue import Queue, ServiceState, require_point

MAX_SHADOW_BYTES: Final = 1024
MAX_ANSWERS_OF_SERVER: Final = 32

Common = tuple[bytes, int] | None
"""Common point and threshold; `None`: an error."""

Pair = tuple[int, bytes]
"""Mask of participants and decrypted secret."""


@dataclass(frozen=True, slots=True)
class ShadowRequest:
    """A document key that somebody wants decrypted."""

    requester: Address
    public: bytes
    created: int
    votes: MajorityVotes = field(default_factory=MajorityVotes)
    """For what is common."""
    threshold: int | None = None
    """Agreed on; `None` in the common stage."""
    epoch: tuple[int, int] | None = None
    """Of the personal answers."""
    first_pair: Pair | None = None
    answers: dict[Pair, frozenset[int]] = field(default_factory=dict)
    errors: frozenset[int] = frozenset()


class ShadowRetrieval:
    """The service."""

    def __init__(self, state: ServiceState, queue: Queue[ShadowRequest] | None = None) -> None:
        self.state = state
        self.queue = queue or Queue(fee=ETHER // 5, limit=4)

    def request(self, message: Message, arguments: Any) -> None:
        """`retrieveDocumentKeyShadow`."""
        key_id, public = arguments
        require_point(public)
        if address_of(public) != message.sender:
            raise RevertError("NotYourPublic")
        self.state.collect_fee(message)
        wanted = ShadowRequest(message.sender, public, message.block_number)
        self.queue.add((key_id, message.sender), wanted, message.value)
        self.state.emit("DocumentKeyCommonRetrievalRequested", key_id, message.sender)

    # --- common stage ---------------------------------------------------------------------

    def common(self, message: Message, arguments: Any) -> None:
        """`documentKeyCommonRetrieved`."""
        key_id, requester, point, threshold = arguments
        require_point(point)
        key = key_id, requester
        request = self.queue.requests.get(key)
        if request is None:
            return
        seat = self.state.seat_of(message, message.sender)
        if request.threshold is not None:
            self.queue.requests[key] = self._of_epoch(key_id, request, seat)
        elif self._agrees(key, request, seat, (point, threshold)):
            agreed = replace(request, threshold=threshold, epoch=seat.epoch)
            self.queue.requests[key] = agreed
            self.state.emit("DocumentKeyCommonRetrieved", key_id, requester, point, threshold)
            self.state.emit("DocumentKeyPersonalRetrievalRequested", key_id, request.public)

    def _agrees(
        self, key: tuple[bytes, Address], request: ShadowRequest, seat: Seat, answer: Common
    ) -> bool:
        """Count a vote; whether a majority now has this answer. Else it is kept, or the end."""
        votes, verdict = request.votes.cast(seat, answer)
        if verdict is Verdict.FAILED:
            self._fail(key)
        else:
            self.queue.requests[key] = replace(request, votes=votes)
        return verdict is Verdict.AGREED

    # --- personal stage -------------------------------------------------------------------

    def personal(self, message: Message, arguments: Any) -> None:
        """`documentKeyPersonalRetrieved`."""
        key_id, requester, participants, secret, shadow = arguments
        require_point(secret)
        key = key_id, requester
        request = self.queue.requests.get(key)
        if request is None:
            return
        seat = self.state.seat_of(message, message.sender)
        if request.threshold is None:
            raise RevertError("CommonStageOpen")
        if not 0 < len(shadow) <= MAX_SHADOW_BYTES:
            raise RevertError("InvalidShadow")
        request = self._of_epoch(key_id, request, seat)
        self._require_participant(participants, seat, request.threshold or 0)
        pair = participants, secret
        request = _answered(request, seat, pair)
        if len(request.answers[pair]) == participants.bit_count():
            self.queue.remove(key)
        else:
            self.queue.requests[key] = request
        self.state.emit("DocumentKeyPersonalRetrieved", key_id, requester, secret, shadow)

    def _of_epoch(self, key_id: bytes, request: ShadowRequest, seat: Seat) -> ShadowRequest:
        """Without what another set of servers has answered; the present one is asked again."""
        if request.epoch == seat.epoch:
            return request
        self.state.emit("DocumentKeyPersonalRetrievalRequested", key_id, request.public)
        return replace(request, epoch=seat.epoch, first_pair=None, answers={}, errors=frozenset())

    def _require_participant(self, participants: int, seat: Seat, threshold: int) -> None:
        takes_part = participants >> seat.index & 1
        if (
            not takes_part
            or participants >> seat.count
            or participants.bit_count() != threshold + 1
        ):
            raise RevertError("InvalidParticipants")

    # --- both stages ----------------------------------------------------------------------

    def error(self, message: Message, arguments: Any) -> None:
        """`documentKeyShadowRetrievalError`."""
        key_id, requester = arguments
        key = key_id, requester
        request = self.queue.requests.get(key)
        if request is None:
            return
        seat = self.state.seat_of(message, message.sender)
        if request.threshold is None:
            self._agrees(key, request, seat, ERROR)
            return
        request = self._of_epoch(key_id, request, seat)
        request = replace(request, errors=request.errors | {seat.index})
        self.queue.requests[key] = request
        if len(request.errors) >= majority(seat.count):
            self._fail(key)

    def item(self, _: Message, arguments: Any) -> tuple[Any, ...]:
        """`getDocumentKeyShadowRetrievalRequest`."""
        key: Any = self.queue.at(arguments[0])
        request = self.queue.requests[key]
        return key[0], request.public, request.threshold is not None

    def required(self, message: Message, arguments: Any) -> tuple[bool]:
        """`isDocumentKeyShadowRetrievalResponseRequired`; always true in the personal stage."""
        key_id, requester, server = arguments
        seat = self.state.seat_of(message, server)
        request = self.queue.requests.get((key_id, requester))
        if request is None:
            return (False,)
        return (request.threshold is not None or not request.votes.has(seat),)

    def expire(self, message: Message, arguments: Any) -> None:
        """`expireDocumentKeyShadowRetrievalRequest`."""
        key = arguments[0], arguments[1]
        self.state.require_expired(message, self.queue.pending(key))
        self._fail(key)

    def _fail(self, key: tuple[bytes, Address]) -> None:
        self.queue.remove(key)
        self.state.emit("DocumentKeyShadowRetrievalError", *key)


def _answered(request: ShadowRequest, seat: Seat, pair: Pair) -> ShadowRequest:
    """With the server's answer for this pair; reverts if it has said so, or too much."""
    first = request.first_pair or pair
    known = request.answers.get(pair, frozenset())
    if seat.index in known:
        raise RevertError("AlreadyAnswered")
    answers = {**request.answers, pair: known | {seat.index}}
    said = sum(seat.index in servers for servers in answers.values())
    if len(answers) > 1 and said > MAX_ANSWERS_OF_SERVER:
        raise RevertError("TooManyAnswers")
    return replace(request, first_pair=first, answers=answers)
