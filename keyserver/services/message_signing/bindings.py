"""The two signing contracts in bytes (contracts, section 12): the same but for their names.

One request has two stages and becomes two tasks: the common one, which every node answers with the
key's public half, and the personal one, which is answered with the signature, once for all. One
account may have several messages signed by one key at a time, so the message is part of a task's
key.
"""

from dataclasses import dataclass, field
from typing import Final

from keyserver.crypto.curve import Point
from keyserver.evm.abi import Event, Function
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.model.requests import Operation, SigningScheme
from keyserver.services.base import Asked, EventLog
from keyserver.tasks.answers import PublicSignature
from keyserver.tasks.model import SetEpoch, TaskKey, TaskKind
from keyserver.tasks.outbox import Answer

RECOVERY_OFFSET: Final = 27
"""What the chain adds to the recovery id of a signature."""


@dataclass(frozen=True, slots=True)
class Calls:
    """The functions and events of one scheme's contract."""

    common_requested: Event
    personal_requested: Event
    common_retrieved: Function
    signed: Function
    error: Function
    count: Function
    item: Function
    required: Function

    @classmethod
    def of(cls, scheme: str, signed: str) -> "Calls":
        """`scheme` as the names have it, `Ecdsa` or `Schnorr`; `signed` takes the signature."""
        name = scheme.lower()
        return cls(
            common_requested=Event.parse(
                f"{scheme}SigningCommonRequested(bytes32,address,bytes32)"
            ),
            personal_requested=Event.parse(
                f"{scheme}SigningPersonalRequested(bytes32,address,bytes32)"
            ),
            common_retrieved=Function.parse(
                f"{name}SigningCommonRetrieved(bytes32,address,bytes32,bytes,uint8)"
            ),
            signed=Function.parse(signed),
            error=Function.parse(f"{name}SigningError(bytes32,address,bytes32)"),
            count=Function.parse(f"{name}SigningRequestsCount()", "uint256"),
            item=Function.parse(
                f"get{scheme}SigningRequest(uint256)", "bytes32", "address", "bytes32", "bool"
            ),
            required=Function.parse(
                f"is{scheme}SigningResponseRequired(bytes32,address,bytes32,address)", "bool"
            ),
        )


@dataclass(frozen=True, slots=True)
class MessageSigning:
    """The `ServiceContract` of one scheme."""

    scheme: SigningScheme
    name: str
    option: str
    registry_name: str
    kinds: tuple[TaskKind, TaskKind]
    """Of the common and of the personal stage."""
    calls: Calls
    in_combined: bool = field(default=False, init=False)

    @property
    def operation(self) -> Operation:
        """The operation whose requests it may carry (credential kind 3)."""
        return Operation(self.scheme)

    @property
    def topics(self) -> frozenset[Hash32]:
        """First topics of its request events."""
        events = (self.calls.common_requested, self.calls.personal_requested)
        return frozenset(event.topic0 for event in events)

    @property
    def count_call(self) -> bytes:
        """`<s>SigningRequestsCount`."""
        return self.calls.count.encode()

    def item_call(self, index: int) -> bytes:
        """`get<S>SigningRequest`."""
        return self.calls.item.encode(index)

    def required_call(self, key: TaskKey, server: Address) -> bytes:
        """`is<S>SigningResponseRequired`."""
        return self.calls.required.encode(key.key_id, key.requester, key.message, server)

    def asked_in_log(self, log: EventLog) -> tuple[Asked, ...]:
        """Both tasks for the request itself; the personal one when its stage begins."""
        begins = log.topics[0] == self.calls.personal_requested.topic0
        event = self.calls.personal_requested if begins else self.calls.common_requested
        return self._asked(*event.decode(log.topics, log.data), common_completed=begins)

    def asked_in_item(self, data: bytes) -> tuple[Asked, ...]:
        """The stages that an entry of the pending list still waits for."""
        key_id, requester, message, completed = self.calls.item.decode(data)
        return self._asked(key_id, requester, message, common_completed=completed)

    def _asked(
        self, key_id: bytes, requester: Address, message: bytes, *, common_completed: bool
    ) -> tuple[Asked, ...]:
        return tuple(
            Asked(kind, KeyId(key_id), requester=requester, message=Hash32(message))
            for kind in self.kinds[1 if common_completed else 0 :]
        )

    # --- answers ------------------------------------------------------------------------------

    def common_retrieved(
        self, epoch: SetEpoch, key: TaskKey, public: Point, threshold: int
    ) -> Answer:
        """The key that is to sign: `<s>SigningCommonRetrieved`."""
        return self._answer(epoch, self.calls.common_retrieved, key, public.raw64, threshold)

    def signed(self, epoch: SetEpoch, key: TaskKey, made: PublicSignature) -> Answer:
        """The signature: `ecdsaMessageSigned` or `schnorrMessageSigned`."""
        if self.scheme is SigningScheme.SCHNORR:
            return self._answer(epoch, self.calls.signed, key, made.signature, made.nonce)
        on_chain = made.signature[:64] + bytes([made.signature[64] + RECOVERY_OFFSET])
        return self._answer(epoch, self.calls.signed, key, on_chain)

    def signing_error(self, epoch: SetEpoch, key: TaskKey) -> Answer:
        """There will be no signature: a vote for the error of the present stage."""
        return self._answer(epoch, self.calls.error, key, is_error=True)

    def _answer(
        self,
        epoch: SetEpoch,
        function: Function,
        key: TaskKey,
        *values: bytes | int,
        is_error: bool = False,
    ) -> Answer:
        data = function.encode(key.key_id, key.requester, key.message, *values)
        return Answer(epoch, function.name, data, is_error=is_error)


ECDSA: Final = MessageSigning(
    SigningScheme.ECDSA,
    name="ecdsa_signing",
    option="service_contract_ecdsa_sign",
    registry_name="secretstore_service_ecdsa_sign",
    kinds=(TaskKind.ECDSA_COMMON, TaskKind.ECDSA_PERSONAL),
    calls=Calls.of("Ecdsa", "ecdsaMessageSigned(bytes32,address,bytes32,bytes)"),
)
SCHNORR: Final = MessageSigning(
    SigningScheme.SCHNORR,
    name="schnorr_signing",
    option="service_contract_schnorr_sign",
    registry_name="secretstore_service_schnorr_sign",
    kinds=(TaskKind.SCHNORR_COMMON, TaskKind.SCHNORR_PERSONAL),
    calls=Calls.of("Schnorr", "schnorrMessageSigned(bytes32,address,bytes32,bytes,bytes)"),
)
"""In the original's form."""
