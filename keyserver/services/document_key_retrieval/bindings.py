"""The shadow retrieval contract in bytes (contracts, section 8).

One request has two stages and becomes two tasks: `RETRIEVE_COMMON`, which every node answers, and
`RETRIEVE_PERSONAL`, which the t + 1 nodes that decrypt answer. The requester's public key is not
in the event of the common stage; the handler reads it from the pending list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.curve import Point
from keyserver.crypto.hashing import address_of, keccak256
from keyserver.evm.abi import AbiError, Event, Function
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.model.requests import Operation
from keyserver.services.base import Asked, EventLog
from keyserver.tasks.model import SetEpoch, TaskKey, TaskKind
from keyserver.tasks.outbox import Answer

COMMON_REQUESTED = Event.parse("DocumentKeyCommonRetrievalRequested(bytes32,address)")
PERSONAL_REQUESTED = Event.parse("DocumentKeyPersonalRetrievalRequested(bytes32,bytes)")
COMMON_RETRIEVED = Function.parse("documentKeyCommonRetrieved(bytes32,address,bytes,uint8)")
PERSONAL_RETRIEVED = Function.parse(
    "documentKeyPersonalRetrieved(bytes32,address,uint256,bytes,bytes)"
)
ERROR = Function.parse("documentKeyShadowRetrievalError(bytes32,address)")
COUNT = Function.parse("documentKeyShadowRetrievalRequestsCount()", "uint256")
ITEM = Function.parse("getDocumentKeyShadowRetrievalRequest(uint256)", "bytes32", "bytes", "bool")
REQUIRED = Function.parse(
    "isDocumentKeyShadowRetrievalResponseRequired(bytes32,address,address)", "bool"
)


def common_retrieved(
    epoch: SetEpoch, key_id: KeyId, requester: Address, common_point: Point, threshold: int
) -> Answer:
    """The common point, already negated for odd thresholds: `documentKeyCommonRetrieved`."""
    data = COMMON_RETRIEVED.encode(key_id, requester, common_point.raw64, threshold)
    return Answer(epoch, COMMON_RETRIEVED.name, data)


@dataclass(frozen=True, slots=True)
class PersonalAnswer:
    """What a participant of a decryption publishes."""

    participants: int
    """Bit i stands for the server with index i in the current set of the epoch."""
    decrypted_secret: Point
    shadow: bytes


def personal_retrieved(
    epoch: SetEpoch, key_id: KeyId, requester: Address, personal: PersonalAnswer
) -> Answer:
    """This node's part: `documentKeyPersonalRetrieved`; one answer per mask and secret."""
    secret = personal.decrypted_secret.raw64
    data = PERSONAL_RETRIEVED.encode(
        key_id, requester, personal.participants, secret, personal.shadow
    )
    variant = Hash32(keccak256(personal.participants.to_bytes(32, "big") + secret))
    return Answer(epoch, PERSONAL_RETRIEVED.name, data, bound_to_epoch=True, variant=variant)


def retrieval_error(epoch: SetEpoch, key_id: KeyId, requester: Address) -> Answer:
    """The requester gets nothing: a vote for the error of the present stage."""
    return Answer(epoch, ERROR.name, ERROR.encode(key_id, requester), is_error=True)


def participants_mask(indices: Sequence[int]) -> int:
    """The mask of servers with these indices (0..255, distinct)."""
    mask = 0
    for index in indices:
        mask |= 1 << index
    return mask


class DocumentKeyRetrieval:
    """The `ServiceContract` of shadow retrieval."""

    name = "document_key_retrieval"
    option = "service_contract_doc_sretr"
    registry_name = "secretstore_service_doc_sretr"
    operation = Operation.RETRIEVE_SHADOW
    in_combined = True
    kinds = (TaskKind.RETRIEVE_COMMON, TaskKind.RETRIEVE_PERSONAL)
    topics: frozenset[Hash32] = frozenset({COMMON_REQUESTED.topic0, PERSONAL_REQUESTED.topic0})
    count_call = COUNT.encode()

    def item_call(self, index: int) -> bytes:
        """`getDocumentKeyShadowRetrievalRequest`."""
        return ITEM.encode(index)

    def required_call(self, key: TaskKey, server: Address) -> bytes:
        """`isDocumentKeyShadowRetrievalResponseRequired`: requester first, then server."""
        return REQUIRED.encode(key.key_id, key.requester, server)

    def asked_in_log(self, log: EventLog) -> tuple[Asked, ...]:
        """Both tasks for the request itself; the personal one when its stage begins."""
        if log.topics[0] == COMMON_REQUESTED.topic0:
            key_id, requester = COMMON_REQUESTED.decode(log.topics, log.data)
            common = Asked(TaskKind.RETRIEVE_COMMON, KeyId(key_id), requester=requester)
            personal = Asked(TaskKind.RETRIEVE_PERSONAL, KeyId(key_id), requester=requester)
            return common, personal
        key_id, public = PERSONAL_REQUESTED.decode(log.topics, log.data)
        requester = _address(public)
        return (Asked(TaskKind.RETRIEVE_PERSONAL, KeyId(key_id), requester=requester),)

    def asked_in_item(self, data: bytes) -> tuple[Asked, ...]:
        """The stages that an entry of the pending list still waits for."""
        key_id, public, completed = ITEM.decode(data)
        requester = _address(public)
        common, personal = (
            Asked(kind, KeyId(key_id), b"", requester, public) for kind in self.kinds
        )
        return (personal,) if completed else (common, personal)


def _address(public: bytes) -> Address:
    if len(public) != 64:
        raise AbiError(f"requesterPublic: need 64 bytes, got {len(public)}")
    return Address(address_of(public))
