"""What all services share: the pending list, its limits and fees, and the seats of key servers."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from keyserver.model.identifiers import Address
from keyserver.simulation.contracts.contract import (
    EmittedLog,
    Message,
    RevertError,
    abi_of,
    emitted,
)
from keyserver.simulation.contracts.node_set import NodeSetContract, Seat

ARTIFACT: Final = "SecretStoreService"
POINT_BYTES: Final = 64


class Pending(Protocol):
    """What every pending request has."""

    @property
    def created(self) -> int:
        """Number of the block of the request."""
        ...


Request = TypeVar("Request", bound=Pending)


@dataclass
class Queue(Generic[Request]):
    """The requests of one service, in the order of the contract's list."""

    fee: int
    """Wei."""
    limit: int
    requests: dict[Hashable, Request] = field(default_factory=dict)
    order: list[Hashable] = field(default_factory=list)

    def clone(self) -> Self:
        """An independent copy; requests are values."""
        return replace(self, requests=dict(self.requests), order=list(self.order))

    def add(self, key: Hashable, request: Request, value: int) -> None:
        """Take a new request in."""
        if value < self.fee:
            raise RevertError("FeeNotPaid")
        if len(self.order) >= self.limit:
            raise RevertError("TooManyPending")
        if key in self.requests:
            raise RevertError("AlreadyPending")
        self.requests[key] = request
        self.order.append(key)

    def at(self, index: int) -> Hashable:
        """The key of the request with this index."""
        if index >= len(self.order):
            raise RevertError("NotPending")
        return self.order[index]

    def pending(self, key: Hashable) -> Request:
        """The request of this key; reverts if there is none."""
        if key not in self.requests:
            raise RevertError("NotPending")
        return self.requests[key]

    def remove(self, key: Hashable) -> None:
        """Take a settled request out; the last one takes over its place."""
        del self.requests[key]
        place, last = self.order.index(key), self.order.pop()
        if last != key:
            self.order[place] = last


@dataclass
class ServiceState:
    """The state that is not of one service alone."""

    owner: Address
    node_set: Address
    artifact: str = ARTIFACT
    """The compiled contract, whose events are emitted."""
    lifetime: int = 600
    """Blocks after which anybody may end an unanswered request."""
    owed: dict[Address, int] = field(default_factory=dict)
    """Wei by key server."""
    authors: dict[bytes, Address] = field(default_factory=dict)
    """Who had a key generated here."""
    logs: list[EmittedLog] = field(default_factory=list)

    def clone(self) -> Self:
        """An independent copy without logs."""
        return replace(self, owed=dict(self.owed), authors=dict(self.authors), logs=[])

    def emit(self, event: str, *values: Any) -> None:
        """Log an event, named as in the contract."""
        self.logs.append(emitted(abi_of(self.artifact).event(event), *values))

    def set_at(self, message: Message) -> NodeSetContract:
        """The key server set."""
        contract = message.contracts[self.node_set]
        assert isinstance(contract, NodeSetContract)
        return contract

    def seat_of(self, message: Message, server: Address) -> Seat:
        """The place of a key server; reverts for anybody else."""
        seat = self.set_at(message).seat_of(server)
        if seat is None:
            raise RevertError("NotKeyServer")
        return seat

    def collect_fee(self, message: Message) -> int:
        """Credit what was paid to the current key servers and tell their number."""
        servers = self.set_at(message).current
        if not servers:
            raise RevertError("NoKeyServers")
        share, rest = divmod(message.value, len(servers))
        if message.value:
            for server in servers:
                self.owed[server] = self.owed.get(server, 0) + share
            self.owed[servers[-1]] += rest
        return len(servers)

    def require_expired(self, message: Message, request: Pending) -> None:
        """Reverts while a request may still be answered."""
        if not self.lifetime or message.block_number < request.created + self.lifetime:
            raise RevertError("NotExpired")


def require_point(point: bytes) -> None:
    """Reverts for another length; whether it is a point is nobody's business on chain."""
    if len(point) != POINT_BYTES:
        raise RevertError("InvalidPoint")
