"""Messages of a signing session, in the order in which they are sent (engine design, 11)."""

from dataclasses import dataclass
from typing import Annotated

from keyserver.crypto.curve import Point, Scalar
from keyserver.model.blocks import BlockId
from keyserver.model.codec import U64, Limit
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.requests import Request
from keyserver.sessions.core import Message


@dataclass(frozen=True)
class SignRequest(Message):
    """Opens the session: asks a holder for commitments to fresh nonces."""

    TYPE = 0x0501
    TO_COORDINATOR = False

    counter: U64
    request: Request
    record_hash: Hash32
    permission_block: BlockId | None
    """A recent block that the coordinator names: every holder reads the permission there, too."""


@dataclass(frozen=True)
class NonceCommitments(Message):
    """What a holder's two nonces commit to; one per session and node."""

    TYPE = 0x0502
    TO_COORDINATOR = True

    hiding: Point
    binding: Point
    signature: Signature


@dataclass(frozen=True, slots=True)
class ChosenSigner:
    """A signer's commitments as a package lists them."""

    node: NodeId
    hiding: Point
    binding: Point


@dataclass(frozen=True, slots=True)
class SignedSigner:
    """The same with the signature under them."""

    signer: ChosenSigner
    signature: Signature


@dataclass(frozen=True)
class Package(Message):
    """The t + 1 who sign, in ascending order of their coordinates."""

    TYPE = 0x0503
    TO_COORDINATOR = False

    signers: Annotated[tuple[SignedSigner, ...], Limit(256)]


@dataclass(frozen=True)
class SignatureShare(Message):
    """A signer's part of the signature; its nonces are gone when this leaves."""

    TYPE = 0x0504
    TO_COORDINATOR = True

    value: Scalar
    signature: Signature


@dataclass(frozen=True)
class Signed(Message):
    """The signature is there; where a contract asked for it, every signer publishes it now."""

    TYPE = 0x0505
    TO_COORDINATOR = False

    response: Scalar
    """`z`; all signers know the rest of the signature."""


@dataclass(frozen=True)
class Unneeded(Message):
    """Others were chosen to sign: the nonces are to be forgotten."""

    TYPE = 0x0506
    TO_COORDINATOR = False


MESSAGES = (SignRequest, NonceCommitments, Package, SignatureShare, Signed, Unneeded)
