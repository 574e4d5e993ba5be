"""Results of sessions, as callers of the engine see them."""

from dataclasses import dataclass, field

from keyserver.crypto.curve import Point
from keyserver.crypto.schnorr import SchnorrSignature
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId, Signature


@dataclass(frozen=True, slots=True)
class ShadowResult:
    """A document key in shadow form (engine design, section 10)."""

    decrypted_secret: Point
    common_point: Point
    """The stored one for even thresholds, its negation for odd ones."""
    shadows: tuple[bytes, ...]
    """t + 1 ECIES messages of 145 bytes."""
    nodes: tuple[NodeId, ...]
    """Who made them, in the same order."""
    shadow_commitments: tuple[Point, ...]
    """`shadow * G` of each, so that the requester can check what it decrypts."""


@dataclass(frozen=True, slots=True)
class PlainResult:
    """A document key in the clear, and whom it is for: sealed before it leaves the engine."""

    document_key: Point = field(repr=False)
    recipient: Point


@dataclass(frozen=True, slots=True)
class ShadowReady:
    """This node is one of the t + 1 that decrypted for a request on a contract."""

    contract: Address
    key_id: KeyId
    requester: Point
    participants: tuple[NodeId, ...]
    decrypted_secret: Point
    shadow: bytes
    """ECIES of this node's shadow to the requester, 145 bytes."""


@dataclass(frozen=True, slots=True)
class SignatureResult:
    """A signature of the server key, and whom it is for."""

    signature: SchnorrSignature
    recipient: Point | None
    """The requester's key, to which it is sealed before it leaves the engine; `None` if a contract
    asked: then it is for everybody."""


@dataclass(frozen=True, slots=True)
class SignatureReady:
    """This node is one of the t + 1 that signed for a request on a contract."""

    contract: Address
    key_id: KeyId
    requester: Address
    message: Hash32
    signature: SchnorrSignature


@dataclass(frozen=True, slots=True)
class EcdsaResult:
    """An ECDSA signature of the server key, and whom it is for."""

    signature: Signature
    """`r || s || v`, with low s and v 0 or 1."""
    recipient: Point | None
    """As of a `SignatureResult`."""


@dataclass(frozen=True, slots=True)
class EcdsaReady:
    """This node is one of those that signed for a request on a contract."""

    contract: Address
    key_id: KeyId
    requester: Address
    message: Hash32
    signature: Signature
