"""The server key retrieval contract in bytes (contracts, section 6).

Nodes answer with three arguments; the event with two that the original emits is for clients.
"""

from keyserver.crypto.curve import Point
from keyserver.evm.abi import Event, Function
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.model.requests import Operation
from keyserver.services.base import Asked, EventLog
from keyserver.tasks.model import SetEpoch, TaskKey, TaskKind
from keyserver.tasks.outbox import Answer

REQUESTED = Event.parse("ServerKeyRetrievalRequested(bytes32)")
RETRIEVED = Function.parse("serverKeyRetrieved(bytes32,bytes,uint8)")
ERROR = Function.parse("serverKeyRetrievalError(bytes32)")
COUNT = Function.parse("serverKeyRetrievalRequestsCount()", "uint256")
ITEM = Function.parse("getServerKeyRetrievalRequest(uint256)", "bytes32")
REQUIRED = Function.parse("isServerKeyRetrievalResponseRequired(bytes32,address)", "bool")


def retrieved(epoch: SetEpoch, key_id: KeyId, public: Point, threshold: int) -> Answer:
    """The public key and threshold, at most 254: `serverKeyRetrieved`."""
    return Answer(epoch, RETRIEVED.name, RETRIEVED.encode(key_id, public.raw64, threshold))


def retrieval_error(epoch: SetEpoch, key_id: KeyId) -> Answer:
    """There is no such key: a vote for the error."""
    return Answer(epoch, ERROR.name, ERROR.encode(key_id), is_error=True)


class ServerKeyRetrieval:
    """The `ServiceContract` of server key retrieval."""

    name = "server_key_retrieval"
    option = "service_contract_srv_retr"
    registry_name = "secretstore_service_srv_retr"
    operation = Operation.RETRIEVE_SERVER_KEY
    in_combined = True
    kinds = (TaskKind.RETRIEVE_SERVER_KEY,)
    topics: frozenset[Hash32] = frozenset({REQUESTED.topic0})
    count_call = COUNT.encode()

    def item_call(self, index: int) -> bytes:
        """`getServerKeyRetrievalRequest`."""
        return ITEM.encode(index)

    def required_call(self, key: TaskKey, server: Address) -> bytes:
        """`isServerKeyRetrievalResponseRequired`."""
        return REQUIRED.encode(key.key_id, server)

    def asked_in_log(self, log: EventLog) -> tuple[Asked, ...]:
        """`ServerKeyRetrievalRequested`."""
        (key_id,) = REQUESTED.decode(log.topics, log.data)
        return (Asked(TaskKind.RETRIEVE_SERVER_KEY, KeyId(key_id)),)

    def asked_in_item(self, data: bytes) -> tuple[Asked, ...]:
        """An entry of the pending list: the key id alone."""
        return (Asked(TaskKind.RETRIEVE_SERVER_KEY, KeyId(ITEM.decode_single(data))),)
