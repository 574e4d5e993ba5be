"""What every service contract offers to the rest of the node, and what its handlers are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from keyserver.engine.key_server import KeyServerApi
from keyserver.engine.ports import NodeSets
from keyserver.evm.abi import AbiError, Function
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, KeyId, NodeId
from keyserver.model.quorums import Quorums
from keyserver.model.requests import Operation
from keyserver.tasks.model import (
    NO_REQUESTER,
    SeenRequest,
    SetEpoch,
    Sighting,
    TaskKey,
    TaskKind,
)
from keyserver.tasks.ports import ContractReader, PermissionReader

REQUIRE_KEY_SERVER = Function.parse("requireKeyServer(address)", "uint8")
"""Index of a current key server; reverts for anybody else (contracts, section 4)."""


class EventLog(Protocol):
    """A log as the chain client delivers it."""

    @property
    def address(self) -> Address:
        """The contract."""
        ...

    @property
    def topics(self) -> tuple[Hash32, ...]:
        """The first names the event."""
        ...

    @property
    def data(self) -> bytes:
        """Everything that is not indexed."""
        ...

    @property
    def block_number(self) -> int:
        """The block it is in."""
        ...

    @property
    def block_hash(self) -> Hash32:
        """The hash of that block."""
        ...

    @property
    def log_index(self) -> int:
        """Its position in the block."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the contract tells it, by event or in its pending list."""

    kind: TaskKind
    key_id: KeyId
    payload: bytes = b""
    requester: Address = NO_REQUESTER
    requester_public: bytes = b""
    """64 bytes `x || y`; only entries of the pending list of shadow retrievals have it."""
    message: Hash32 = ZERO_HASH
    """What is to be signed."""

    def at(self, chain_id: int, contract: Address, seen: Sighting) -> SeenRequest:
        """As a sighting in one contract."""
        key = TaskKey(chain_id, contract, self.kind, self.key_id, self.requester, self.message)
        return SeenRequest(key, self.payload, seen)


class ServiceContract(Protocol):
    """One service contract: all that is special about it."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        ...

    @property
    def option(self) -> str:
        """The configuration key that says where it is."""
        ...

    @property
    def registry_name(self) -> str:
        """Its entry in the name registry."""
        ...

    @property
    def operation(self) -> Operation:
        """The operation whose requests it may carry (credential kind 3)."""
        ...

    @property
    def in_combined(self) -> bool:
        """Whether the combined contract serves it, too."""
        ...

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """The tasks that its requests become."""
        ...

    @property
    def topics(self) -> frozenset[Hash32]:
        """First topics of its request events."""
        ...

    @property
    def count_call(self) -> bytes:
        """Asks for the length of the pending list; returns `uint256`."""
        ...

    def item_call(self, index: int) -> bytes:
        """Asks for one entry of the pending list."""
        ...

    def required_call(self, key: TaskKey, server: Address) -> bytes:
        """Asks whether the contract wants an answer of `server`; returns `bool`."""
        ...

    def asked_in_log(self, log: EventLog) -> tuple[Asked, ...]:
        """What a request event asks for; raises `AbiError` if it does not decode."""
        ...

    def asked_in_item(self, data: bytes) -> tuple[Asked, ...]:
        """What an entry of the pending list still asks for; raises `AbiError`.

        Stages that are completed are left out.
        """
        ...


class DeployedServices(Protocol):
    """Where the service contracts are, as of now."""

    @property
    def by_address(self) -> Mapping[Address, tuple[ServiceContract, ...]]:
        """The services at each address: four at that of a combined contract."""
        ...


@dataclass(frozen=True)
class HandlerTools:
    """What handlers work with."""

    me: NodeId
    key_server: KeyServerApi
    node_sets: NodeSets
    reader: ContractReader
    permissions: PermissionReader
    interval: int
    """Blocks that a starter is given before the next one may start (`retry_interval_blocks`)."""

    @property
    def epoch(self) -> SetEpoch:
        """The epoch of the set as this node knows it now."""
        return SetEpoch.of(self.node_sets.snapshot)

    @property
    def set_in_doubt(self) -> bool:
        """Whether "not found" would be premature.

        So it is while the set is stale or migrating, since a record may just be arriving, and
        while too few peers are connected to have asked a quorum.
        """
        snapshot = self.node_sets.snapshot
        if snapshot.stale or snapshot.migration is not None:
            return True
        nodes = frozenset(snapshot.current.nodes)
        reached = len((self.key_server.connected & nodes) | {self.me})
        return reached < Quorums.of(len(nodes)).agreement


def requests_in_log(
    services: Sequence[ServiceContract], chain_id: int, log: EventLog
) -> tuple[SeenRequest, ...]:
    """What a log asks of this node; empty for events that are no requests.

    `services` are those that live at the log's address. Raises `AbiError` for a request event
    that does not decode.
    """
    seen = Sighting(log.block_number, log.block_hash, log.log_index)
    return tuple(
        asked.at(chain_id, log.address, seen)
        for service in services
        if log.topics and log.topics[0] in service.topics
        for asked in service.asked_in_log(log)
    )


def decode_count(data: bytes | None) -> int:
    """The answer to `count_call`; raises `AbiError` when there is none."""
    if data is None or len(data) != 32:
        raise AbiError("the length of the pending list cannot be read")
    return int.from_bytes(data, "big")
