"""Messages of a retrieval, in the order in which they are sent (engine design, 9 and 10)."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from keyserver.crypto.curve import Point
from keyserver.model.blocks import BlockId
from keyserver.model.codec import U8, U64, Limit
from keyserver.model.identifiers import FixedBytes, Hash32, NodeId, Signature
from keyserver.model.keys import CertifiedDocumentKey
from keyserver.model.requests import Proof, Request
from keyserver.sessions.core import Message

SEALED_SHADOW_SIZE = 145
"""An ECIES message with a 32-byte scalar."""


class Mode(IntEnum):
    """Who gets what (engine design, sections 9 and 10)."""

    PLAIN = 1
    """The coordinator gets the document key."""
    SHADOW = 2
    """Only the requester can put it together; the coordinator gets all parts."""
    SHADOW_ON_CHAIN = 3
    """As SHADOW, and every member gets what it publishes."""


class MaskPoint(FixedBytes):
    """`E_i` compressed, or 33 zero bytes in the plain mode."""

    __slots__ = ()
    SIZE = 33


NO_MASK = MaskPoint(bytes(33))


class SealedShadow(FixedBytes):
    """A shadow, encrypted to the requester."""

    __slots__ = ()
    SIZE = SEALED_SHADOW_SIZE


@dataclass(frozen=True)
class DecRequest(Message):
    """Opens the session: asks a holder for its part."""

    TYPE = 0x0401
    TO_COORDINATOR = False

    counter: U64
    request: Request
    record_hash: Hash32
    mode: U8
    document: CertifiedDocumentKey | None
    """For holders that may have missed it."""
    permission_block: BlockId | None
    """A recent block that the coordinator names: every holder reads the permission there, too."""


@dataclass(frozen=True)
class Partial(Message):
    """A holder's partial decryption with its proof."""

    TYPE = 0x0402
    TO_COORDINATOR = True

    point: Point
    mask: MaskPoint
    proof: Proof
    signature: Signature


@dataclass(frozen=True, slots=True)
class SelectedPartial:
    """A partial decryption as SELECT lists it."""

    node: NodeId
    point: Point
    mask: MaskPoint
    proof: Proof
    signature: Signature


@dataclass(frozen=True)
class Select(Message):
    """The t + 1 whose parts are used, with those parts."""

    TYPE = 0x0403
    TO_COORDINATOR = False

    partials: Annotated[tuple[SelectedPartial, ...], Limit(256)]
    signature: Signature


@dataclass(frozen=True)
class Shadow(Message):
    """A member's shadow for the selected set, encrypted to the requester."""

    TYPE = 0x0404
    TO_COORDINATOR = True

    select_hash: Hash32
    sealed: SealedShadow
    signature: Signature


@dataclass(frozen=True)
class Done(Message):
    """All members of the selected set have answered; on chain each publishes its part now.

    Holders that were asked but not selected hear by it that they are not needed any more.
    """

    TYPE = 0x0405
    TO_COORDINATOR = False

    select_hash: Hash32


MESSAGES = (DecRequest, Partial, Select, Shadow, Done)
