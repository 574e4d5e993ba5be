"""The document key store contract in bytes (contracts, section 7)."""

from dataclasses import dataclass

from keyserver.crypto.curve import Point
from keyserver.crypto.errors import InvalidPointError
from keyserver.evm.abi import Event, Function
from keyserver.model.codec import encode
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import Operation
from keyserver.services.base import Asked, EventLog
from keyserver.tasks.model import SetEpoch, TaskKey, TaskKind
from keyserver.tasks.outbox import Answer

REQUESTED = Event.parse("DocumentKeyStoreRequested(bytes32,address,bytes,bytes)")
STORED = Function.parse("documentKeyStored(bytes32)")
ERROR = Function.parse("documentKeyStoreError(bytes32)")
COUNT = Function.parse("documentKeyStoreRequestsCount()", "uint256")
ITEM = Function.parse("getDocumentKeyStoreRequest(uint256)", "bytes32", "address", "bytes", "bytes")
REQUIRED = Function.parse("isDocumentKeyStoreResponseRequired(bytes32,address)", "bool")

POINT_BYTES = 64
"""Longer values are cut to one byte more when they become a task: they are refused anyway."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """Payload of the task; the points are as the contract has them and may be none."""

    author: Address
    common: bytes
    encrypted: bytes

    def document(self) -> DocumentKey | None:
        """The two points; `None` if one of them is no point of the curve."""
        try:
            return DocumentKey(Point.from_raw64(self.common), Point.from_raw64(self.encrypted))
        except InvalidPointError:
            return None


def stored(epoch: SetEpoch, key_id: KeyId) -> Answer:
    """The document key is bound to the server key: `documentKeyStored`."""
    return Answer(epoch, STORED.name, STORED.encode(key_id))


def store_error(epoch: SetEpoch, key_id: KeyId) -> Answer:
    """It cannot be stored; one such answer ends the request for everybody."""
    return Answer(epoch, ERROR.name, ERROR.encode(key_id), is_error=True)


class DocumentKeyStore:
    """The `ServiceContract` of document key storing."""

    name = "document_key_store"
    option = "service_contract_doc_store"
    registry_name = "secretstore_service_doc_store"
    operation = Operation.STORE_DOCUMENT_KEY
    in_combined = True
    kinds = (TaskKind.STORE_DOCUMENT_KEY,)
    topics: frozenset[Hash32] = frozenset({REQUESTED.topic0})
    count_call = COUNT.encode()

    def item_call(self, index: int) -> bytes:
        """`getDocumentKeyStoreRequest`."""
        return ITEM.encode(index)

    def required_call(self, key: TaskKey, server: Address) -> bytes:
        """`isDocumentKeyStoreResponseRequired`."""
        return REQUIRED.encode(key.key_id, server)

    def asked_in_log(self, log: EventLog) -> tuple[Asked, ...]:
        """`DocumentKeyStoreRequested`."""
        return _asked(*REQUESTED.decode(log.topics, log.data))

    def asked_in_item(self, data: bytes) -> tuple[Asked, ...]:
        """An entry of the pending list, with the same four values."""
        return _asked(*ITEM.decode(data))


def _asked(key_id: bytes, author: Address, common: bytes, encrypted: bytes) -> tuple[Asked, ...]:
    most = POINT_BYTES + 1
    request = StoreRequest(author, common[:most], encrypted[:most])
    return (Asked(TaskKind.STORE_DOCUMENT_KEY, KeyId(key_id), encode(request)),)
