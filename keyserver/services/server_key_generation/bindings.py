"""The server key generation contract in bytes (contracts, section 5)."""

from dataclasses import dataclass
from typing import Final

from keyserver.crypto.curve import Point
from keyserver.evm.abi import Event, Function
from keyserver.model.codec import U16, encode
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.model.requests import Operation
from keyserver.services.base import Asked, EventLog
from keyserver.tasks.model import SetEpoch, TaskKey, TaskKind
from keyserver.tasks.outbox import Answer

REQUESTED = Event.parse("ServerKeyGenerationRequested(bytes32,address,uint8)")
GENERATED = Function.parse("serverKeyGenerated(bytes32,bytes)")
ERROR = Function.parse("serverKeyGenerationError(bytes32)")
COUNT = Function.parse("serverKeyGenerationRequestsCount()", "uint256")
ITEM = Function.parse("getServerKeyGenerationRequest(uint256)", "bytes32", "address", "uint256")
REQUIRED = Function.parse("isServerKeyGenerationResponseRequired(bytes32,address)", "bool")

LARGEST_THRESHOLD: Final = 254
"""255 marks an error on chain (contracts, section 1)."""

THRESHOLD_OVERFLOW: Final = 2**16 - 1
"""What thresholds beyond the field of a task are written as: they are refused all the same."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Payload of the task."""

    author: Address
    threshold: U16
    """As the contract says; it may be one that no key can have."""


def generated(epoch: SetEpoch, key_id: KeyId, public: Point) -> Answer:
    """The key exists: `serverKeyGenerated`."""
    return Answer(epoch, GENERATED.name, GENERATED.encode(key_id, public.raw64))


def generation_error(epoch: SetEpoch, key_id: KeyId) -> Answer:
    """The key cannot come to be; one such answer ends the request for everybody."""
    return Answer(epoch, ERROR.name, ERROR.encode(key_id), is_error=True)


class ServerKeyGeneration:
    """The `ServiceContract` of server key generation."""

    name = "server_key_generation"
    option = "service_contract_srv_gen"
    registry_name = "secretstore_service_srv_gen"
    operation = Operation.GENERATE_SERVER_KEY
    in_combined = True
    kinds = (TaskKind.GENERATE_SERVER_KEY,)
    topics: frozenset[Hash32] = frozenset({REQUESTED.topic0})
    count_call = COUNT.encode()

    def item_call(self, index: int) -> bytes:
        """`getServerKeyGenerationRequest`."""
        return ITEM.encode(index)

    def required_call(self, key: TaskKey, server: Address) -> bytes:
        """`isServerKeyGenerationResponseRequired`."""
        return REQUIRED.encode(key.key_id, server)

    def asked_in_log(self, log: EventLog) -> tuple[Asked, ...]:
        """`ServerKeyGenerationRequested`."""
        return _asked(*REQUESTED.decode(log.topics, log.data))

    def asked_in_item(self, data: bytes) -> tuple[Asked, ...]:
        """An entry of the pending list, with the same three values."""
        return _asked(*ITEM.decode(data))


def _asked(key_id: bytes, author: Address, threshold: int) -> tuple[Asked, ...]:
    request = GenerationRequest(author, min(threshold, THRESHOLD_OVERFLOW))
    return (Asked(TaskKind.GENERATE_SERVER_KEY, KeyId(key_id), encode(request)),)
