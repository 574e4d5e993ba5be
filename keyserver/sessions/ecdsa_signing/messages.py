"""Messages of an ECDSA signature, in the order in which they are sent (engine design, 12.3)."""

from dataclasses import dataclass

from keyserver.crypto.curve import Scalar
from keyserver.model.blocks import BlockId
from keyserver.model.codec import U64
from keyserver.model.identifiers import FixedBytes, Hash32, Signature
from keyserver.model.requests import Request
from keyserver.sessions.core import Message


class ShareProof(FixedBytes):
    """A linear proof with three witnesses."""

    __slots__ = ()
    SIZE = 128


@dataclass(frozen=True)
class EcdsaRequest(Message):
    """Opens the session: asks a signer for its part, under a presignature of the coordinator's."""

    TYPE = 0x0701
    TO_COORDINATOR = False

    counter: U64
    request: Request
    record_hash: Hash32
    presig_id: Hash32
    """Zeros for a key of threshold 0, which needs none."""
    permission_block: BlockId | None
    """A recent block that the coordinator names: every signer reads the permission there, too."""


@dataclass(frozen=True)
class EcdsaPart(Message):
    """A signer's part of the signature, with its proof; its presignature is gone."""

    TYPE = 0x0702
    TO_COORDINATOR = True

    value: Scalar
    proof: ShareProof
    signature: Signature


@dataclass(frozen=True)
class EcdsaWhole(Message):
    """The signature of a key of threshold 0, which any holder makes alone."""

    TYPE = 0x0703
    TO_COORDINATOR = True

    signature: Signature


@dataclass(frozen=True)
class EcdsaSigned(Message):
    """The signature that a contract asked for: every signer checks and publishes it now."""

    TYPE = 0x0704
    TO_COORDINATOR = False

    signature: Signature


MESSAGES = (EcdsaRequest, EcdsaPart, EcdsaWhole, EcdsaSigned)
