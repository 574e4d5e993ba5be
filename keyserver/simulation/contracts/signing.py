"""Signatures: a majority agrees on the public, then any one server publishes a valid signature."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, Self

from keyserver.crypto.curve import ORDER, Point, Scalar, lincomb, recover
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.hashing import address_of, keccak256
from keyserver.model.identifiers import Address
from keyserver.simulation.contracts.base import BASE_METHODS
from keyserver.simulation.contracts.contract import (
    EmittedLog,
    Entry,
    Message,
    Method,
    RevertError,
    dispatch,
    entry_points,
)
from keyserver.simulation.contracts.keys import ETHER, Voting
from keyserver.simulation.contracts.majority import ERROR, MajorityVotes, Verdict, majority
from keyserver.simulation.contracts.node_set import Seat
from keyserver.simulation.contracts.queue import Queue, ServiceState, require_point

Subject = tuple[bytes, Address, bytes]
"""Key id, requester and hash of the message."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of signature."""

    name: str
    """As in the names of functions and events."""
    accepts: Callable[..., bool]
    """(public, hash, what a server answers) → whether that is a signature."""

    @property
    def artifact(self) -> str:
        """The compiled contract."""
        return f"SecretStore{self.name}SigningService"

    @property
    def lower(self) -> str:
        """As names of functions begin."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A hash that somebody wants signed."""

    created: int
    votes: MajorityVotes = field(default_factory=MajorityVotes)
    public: bytes | None = None
    """Agreed on; `None` in the common stage."""
    errors: Voting = field(default_factory=Voting)
    """Who has reported one in the personal stage."""


class SigningContract:
    """The service of one scheme."""

    def __init__(
        self, scheme: Scheme, state: ServiceState, queue: Queue[SigningRequest] | None = None
    ) -> None:
        self.scheme = scheme
        self.state = state
        self.queue = queue or Queue(fee=ETHER // 5, limit=4)

    def clone(self) -> Self:
        """An independent copy."""
        return type(self)(self.scheme, self.state.clone(), self.queue.clone())

    def run(self, message: Message) -> tuple[bytes, list[EmittedLog]]:
        """Carry out a call."""
        return dispatch(_entries(self.scheme), self, message), self.state.logs

    def request(self, message: Message, arguments: Any) -> None:
        """`signMessage…`."""
        key_id, message_hash = arguments
        subject = key_id, message.sender, message_hash
        self.state.collect_fee(message)
        self.queue.add(subject, SigningRequest(message.block_number), message.value)
        self.state.emit(f"{self.scheme.name}SigningCommonRequested", *subject)

    def common(self, message: Message, arguments: Any) -> None:
        """`…SigningCommonRetrieved`."""
        subject, (public, threshold) = arguments[:3], arguments[3:]
        require_point(public)
        request = self.queue.requests.get(subject)
        if request is None:
            return
        seat = self.state.seat_of(message, message.sender)
        if request.public is not None:
            self.queue.requests[subject] = self._of_epoch(subject, request, seat)
        elif self._agrees(subject, request, seat, (public, threshold)):
            agreed = replace(request, public=public, errors=Voting(seat.epoch))
            self.queue.requests[subject] = agreed
            name = f"{self.scheme.name}SigningCommonRetrieved"
            self.state.emit(name, *subject, public, threshold)
            self._ask_for_signature(subject)

    def signed(self, message: Message, arguments: Any) -> None:
        """`…MessageSigned`."""
        subject, answer = arguments[:3], arguments[3:]
        for nonce_public in answer[1:]:
            require_point(nonce_public)
        request = self.queue.requests.get(subject)
        if request is None:
            return
        self.state.seat_of(message, message.sender)
        if request.public is None:
            raise RevertError("CommonStageOpen")
        if not self.scheme.accepts(request.public, subject[2], *answer):
            raise RevertError("InvalidSignature")
        self.queue.remove(subject)
        self.state.emit(f"{self.scheme.name}MessageSigned", *subject, answer[0])

    def error(self, message: Message, subject: Subject) -> None:
        """`…SigningError`."""
        request = self.queue.requests.get(subject)
        if request is None:
            return
        seat = self.state.seat_of(message, message.sender)
        if request.public is None:
            self._agrees(subject, request, seat, ERROR)
            return
        request = self._of_epoch(subject, request, seat)
        request = replace(request, errors=request.errors.with_vote(seat))
        self.queue.requests[subject] = request
        if len(request.errors.voters) >= majority(seat.count):
            self._fail(subject)

    def item(self, _: Message, arguments: Any) -> tuple[Any, ...]:
        """`get…SigningRequest`."""
        subject: Any = self.queue.at(arguments[0])
        return *subject, self.queue.requests[subject].public is not None

    def required(self, message: Message, arguments: Any) -> tuple[bool]:
        """`is…SigningResponseRequired`; always true in the personal stage."""
        subject, server = arguments[:3], arguments[3]
        seat = self.state.seat_of(message, server)
        request = self.queue.requests.get(subject)
        if request is None:
            return (False,)
        return (request.public is not None or not request.votes.has(seat),)

    def expire(self, message: Message, subject: Subject) -> None:
        """`expire…SigningRequest`."""
        self.state.require_expired(message, self.queue.pending(subject))
        self._fail(subject)

    # --- inside ---------------------------------------------------------------------------

    def _agrees(
        self,
        subject: Subject,
        request: SigningRequest,
        seat: Seat,
        answer: tuple[bytes, int] | None,
    ) -> bool:
        """Count a vote; whether a majority now has this answer. Else it is kept, or the end."""
        votes, verdict = request.votes.cast(seat, answer)
        if verdict is Verdict.FAILED:
            self._fail(subject)
        else:
            self.queue.requests[subject] = replace(request, votes=votes)
        return verdict is Verdict.AGREED

    def _of_epoch(self, subject: Subject, request: SigningRequest, seat: Seat) -> SigningRequest:
        """Without errors of another set of servers; the present one is asked again."""
        if request.errors.epoch == seat.epoch:
            return request
        self._ask_for_signature(subject)
        return replace(request, errors=Voting(seat.epoch))

    def _ask_for_signature(self, subject: Subject) -> None:
        self.state.emit(f"{self.scheme.name}SigningPersonalRequested", *subject)

    def _fail(self, subject: Subject) -> None:
        self.queue.remove(subject)
        self.state.emit(f"{self.scheme.name}SigningError", *subject)


def new_signing(scheme: Scheme, owner: Address, node_set: Address) -> SigningContract:
    """The contract as its constructor leaves it."""
    return SigningContract(scheme, ServiceState(owner, node_set, artifact=scheme.artifact))


# --- signatures -------------------------------------------------------------------------------


def _is_ecdsa(public: bytes, message_hash: bytes, signature: bytes) -> bool:
    if len(signature) != 65 or signature[64] not in (27, 28):
        return False
    if int.from_bytes(signature[32:64], "big") > ORDER // 2:
        return False
    try:
        signer = recover(message_hash, signature[:64] + bytes([signature[64] - 27]))
    except CryptoError:
        return False
    return address_of(signer.raw64) == address_of(public)


def _is_schnorr(public: bytes, message_hash: bytes, signature: bytes, nonce_public: bytes) -> bool:
    """Of y the contract uses the parity alone; x from the order of the group up it cannot check."""
    x, challenge = public[:32], keccak256(message_hash + nonce_public[:32])
    if len(signature) != 64 or int.from_bytes(x, "big") >= ORDER:
        return False
    try:
        key = Point.parse(bytes([2 + (public[63] & 1)]) + x)
        c, s = Scalar.from_bytes(signature[:32]), Scalar.from_bytes(signature[32:])
    except CryptoError:
        return False
    if c.is_zero or int(c) != int.from_bytes(challenge, "big") % ORDER:
        return False
    nonce = lincomb(s, c, key)
    return nonce is not None and nonce.raw64 == nonce_public


ECDSA: Final = Scheme("Ecdsa", _is_ecdsa)
SCHNORR: Final = Scheme("Schnorr", _is_schnorr)


@cache
def _entries(scheme: Scheme) -> dict[bytes, Entry]:
    upper, lower = scheme.name, scheme.lower
    methods: dict[str, Method] = {
        f"signMessage{upper}": SigningContract.request,
        f"{lower}SigningCommonRetrieved": SigningContract.common,
        f"{lower}MessageSigned": SigningContract.signed,
        f"{lower}SigningError": SigningContract.error,
        f"{lower}SigningRequestsCount": lambda c, m, a: (len(c.queue.order),),
        f"get{upper}SigningRequest": SigningContract.item,
        f"is{upper}SigningResponseRequired": SigningContract.required,
        f"expire{upper}SigningRequest": SigningContract.expire,
        f"{lower}SigningFee": lambda c, m, a: (c.queue.fee,),
        **BASE_METHODS,
    }
    return entry_points(scheme.artifact, methods, frozenset({f"signMessage{upper}"}))
