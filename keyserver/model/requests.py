"""What a client may ask, and how its right to ask is carried (engine design, section 6)."""

from dataclasses import dataclass
from enum import IntEnum

from keyserver.crypto.curve import Point
from keyserver.crypto.hashing import tagged_hash
from keyserver.model.codec import U8, U16, U64, CodecError, RawPoint, decode, encode
from keyserver.model.identifiers import (
    ZERO_HASH,
    Address,
    FixedBytes,
    Hash32,
    KeyId,
    Nonce32,
)
from keyserver.model.keys import DocumentKey


class Operation(IntEnum):
    """The operations and their numbers in requests."""

    GENERATE_SERVER_KEY = 1
    STORE_DOCUMENT_KEY = 2
    GENERATE_BOTH = 3
    RETRIEVE_SERVER_KEY = 4
    RETRIEVE_PLAIN = 5
    RETRIEVE_SHADOW = 6
    SIGN_SCHNORR = 7
    SIGN_FROST = 8
    SIGN_ECDSA = 9
    RESHARE = 16
    ADD_SHARE = 17
    CHANGE_SET = 18
    PRESIGN = 19


class Proof(FixedBytes):
    """A linear proof with one witness: challenge and response, 64 bytes."""

    __slots__ = ()
    SIZE = 64


@dataclass(frozen=True, slots=True)
class LegacyCredential:
    """Kind 1: the client's signature over the bare key id, proven, not shown (section 6.1)."""

    requester: Point
    nonce_point: Point
    proof: Proof


@dataclass(frozen=True, slots=True)
class BoundCredential:
    """Kind 2: a signature bound to operation, key, payload and expiry, proven as in 6.1."""

    not_after: U64
    nonce: Nonce32
    requester: Point
    nonce_point: Point
    proof: Proof


@dataclass(frozen=True, slots=True)
class OnChainPublic:
    """Kind 3 of a shadow retrieval: pending in `contract` under this public key."""

    contract: Address
    requester: RawPoint


@dataclass(frozen=True, slots=True)
class OnChainAddress:
    """Kind 3 of the other operations: pending in `contract` for this account."""

    contract: Address
    requester: Address


@dataclass(frozen=True, slots=True)
class NodeCredential:
    """Kind 4: the coordinator itself (redistribution, share addition)."""


Credential = LegacyCredential | BoundCredential | OnChainPublic | OnChainAddress | NodeCredential

_KIND_OF: dict[type, int] = {
    LegacyCredential: 1,
    BoundCredential: 2,
    OnChainPublic: 3,
    OnChainAddress: 3,
    NodeCredential: 4,
}

LEGACY_KINDS = frozenset({LegacyCredential, BoundCredential})


@dataclass(frozen=True)
class Request:
    """A request as it travels between nodes: `u8 op || key_id || bytes payload || bytes auth`."""

    operation_number: U8
    key_id: KeyId
    payload: bytes
    auth: bytes

    @classmethod
    def of(cls, operation: "AnyOperation", credential: Credential) -> "Request":
        """The wire form of an operation and who asks for it."""
        auth = bytes([_KIND_OF[type(credential)]]) + encode(credential)
        return cls(operation.number, operation.key_id, operation.payload(), auth)

    @property
    def hash(self) -> Hash32:
        """What the session id is bound to; zeros where nobody has asked for anything."""
        if self.operation_number == Operation.PRESIGN:
            return ZERO_HASH
        return Hash32(tagged_hash("tks/1/request", encode(self)))

    def operation(self) -> "AnyOperation":
        """The typed operation; raises `CodecError` if the payload does not fit."""
        match self.operation_number:
            case Operation.GENERATE_SERVER_KEY | Operation.GENERATE_BOTH:
                threshold = decode(_Threshold, self.payload).threshold
                both = self.operation_number == Operation.GENERATE_BOTH
                return GenerateServerKey(self.key_id, threshold, with_document_key=both)
            case Operation.STORE_DOCUMENT_KEY:
                return StoreDocumentKey(self.key_id, decode(DocumentKey, self.payload))
            case Operation.RETRIEVE_SERVER_KEY:
                self._expect_empty_payload()
                return RetrieveServerKey(self.key_id)
            case Operation.RETRIEVE_PLAIN | Operation.RETRIEVE_SHADOW:
                self._expect_empty_payload()
                shadow = self.operation_number == Operation.RETRIEVE_SHADOW
                return RetrieveDocumentKey(self.key_id, shadow=shadow)
            case Operation.SIGN_SCHNORR | Operation.SIGN_FROST | Operation.SIGN_ECDSA:
                message = decode(_Message, self.payload).message
                return SignMessage(self.key_id, message, SigningScheme(self.operation_number))
            case Operation.PRESIGN:
                self._expect_empty_payload()
                return Presign(self.key_id)
            case Operation.RESHARE:
                named = decode(_Resharing, self.payload)
                return Reshare(self.key_id, named.change_id, named.document)
            case Operation.ADD_SHARE:
                self._expect_empty_payload()
                return AddShare(self.key_id)
            case Operation.CHANGE_SET:
                return ChangeSet(Hash32(self.key_id), self.payload)
        raise CodecError(f"operation {self.operation_number} is not known")

    def credential(self) -> Credential:
        """Who asks; raises `CodecError` if it does not parse or not fit the operation."""
        kind, body = self.auth[:1], self.auth[1:]
        match kind:
            case b"\x01":
                return decode(LegacyCredential, body)
            case b"\x02":
                return decode(BoundCredential, body)
            case b"\x03" if self.operation_number == Operation.RETRIEVE_SHADOW:
                return decode(OnChainPublic, body)
            case b"\x03":
                return decode(OnChainAddress, body)
            case b"\x04" if not body:
                return NodeCredential()
        raise CodecError("the credential is of no known kind")

    def _expect_empty_payload(self) -> None:
        if self.payload:
            raise CodecError(f"operation {self.operation_number} takes no payload")


@dataclass(frozen=True, slots=True)
class _Threshold:
    threshold: U16


@dataclass(frozen=True, slots=True)
class _Message:
    message: Hash32


@dataclass(frozen=True, slots=True)
class _Resharing:
    change_id: Hash32
    document: Hash32


@dataclass(frozen=True, slots=True)
class GenerateServerKey:
    """Make a server key with this threshold; `with_document_key` also a document key (op 3)."""

    key_id: KeyId
    threshold: int
    with_document_key: bool = False

    @property
    def number(self) -> Operation:
        """The operation's number."""
        both = self.with_document_key
        return Operation.GENERATE_BOTH if both else Operation.GENERATE_SERVER_KEY

    def payload(self) -> bytes:
        """The operation's parameters in canonical encoding."""
        return encode(_Threshold(self.threshold))


@dataclass(frozen=True, slots=True)
class StoreDocumentKey:
    """Bind a document key to a server key, once and for all."""

    key_id: KeyId
    document: DocumentKey

    @property
    def number(self) -> Operation:
        """The operation's number."""
        return Operation.STORE_DOCUMENT_KEY

    def payload(self) -> bytes:
        """The operation's parameters in canonical encoding."""
        return encode(self.document)


@dataclass(frozen=True, slots=True)
class RetrieveServerKey:
    """The public half of a server key."""

    key_id: KeyId

    @property
    def number(self) -> Operation:
        """The operation's number."""
        return Operation.RETRIEVE_SERVER_KEY

    def payload(self) -> bytes:
        """The operation's parameters in canonical encoding."""
        return b""


@dataclass(frozen=True, slots=True)
class RetrieveDocumentKey:
    """A document key, in shadow form or (op 5) in plain form."""

    key_id: KeyId
    shadow: bool = True

    @property
    def number(self) -> Operation:
        """The operation's number."""
        return Operation.RETRIEVE_SHADOW if self.shadow else Operation.RETRIEVE_PLAIN

    def payload(self) -> bytes:
        """The operation's parameters in canonical encoding."""
        return b""


class SigningScheme(IntEnum):
    """Which signature is made; the numbers are those of the operations."""

    SCHNORR = 7
    """The original's form."""
    FROST = 8
    """RFC 9591."""
    ECDSA = 9


@dataclass(frozen=True, slots=True)
class SignMessage:
    """A signature of the server key on 32 bytes, whatever they are the hash of (ops 7, 8, 9)."""

    key_id: KeyId
    message: Hash32
    scheme: SigningScheme

    @property
    def number(self) -> Operation:
        """The operation's number."""
        return Operation(self.scheme)

    def payload(self) -> bytes:
        """The operation's parameters in canonical encoding."""
        return encode(_Message(self.message))


@dataclass(frozen=True, slots=True)
class Presign:
    """A presignature, which a node has made in advance (op 19); no request stands behind it."""

    key_id: KeyId

    @property
    def number(self) -> Operation:
        """The operation's number."""
        return Operation.PRESIGN

    def payload(self) -> bytes:
        """The operation's parameters in canonical encoding."""
        return b""


@dataclass(frozen=True, slots=True)
class Reshare:
    """New shares of a key, for the target of a change of the node set (op 16); no client asks."""

    key_id: KeyId
    change_id: Hash32
    """An accepted change; zeros for a refresh, which leaves the set as it is."""
    document: Hash32
    """Hash of the document key that is stored under the key (`DocumentKey.hash`), or zeros."""

    @property
    def number(self) -> Operation:
        """The operation's number."""
        return Operation.RESHARE

    def payload(self) -> bytes:
        """The operation's parameters in canonical encoding."""
        return encode(_Resharing(self.change_id, self.document))


@dataclass(frozen=True, slots=True)
class AddShare:
    """The asking node's own share of a key in whose committee it is (op 17); no client asks."""

    key_id: KeyId

    @property
    def number(self) -> Operation:
        """The operation's number."""
        return Operation.ADD_SHARE

    def payload(self) -> bytes:
        """The operation's parameters in canonical encoding."""
        return b""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Move all keys to another node set (op 18); no client asks: what counts is the order.

    It is about no single key: the name of the change stands where a key id would.
    """

    change_id: Hash32
    order: bytes
    """An encoded order (`keyserver.model.set_change`)."""

    @property
    def key_id(self) -> KeyId:
        """The name of the change."""
        return KeyId(self.change_id)

    @property
    def number(self) -> Operation:
        """The operation's number."""
        return Operation.CHANGE_SET

    def payload(self) -> bytes:
        """The order."""
        return self.order


ClientOperation = (
    GenerateServerKey | StoreDocumentKey | RetrieveServerKey | RetrieveDocumentKey | SignMessage
)
"""What clients ask."""

AnyOperation = ClientOperation | Presign | Reshare | AddShare | ChangeSet
