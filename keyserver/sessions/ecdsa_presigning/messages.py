"""Messages of a presigning, in the order in which they are sent (engine design, section 12.2)."""

from dataclasses import dataclass
from typing import Annotated

from keyserver.crypto.curve import Point, Scalar
from keyserver.model.codec import U8, U64, Limit, RawPoint
from keyserver.model.identifiers import FixedBytes, Hash32, KeyId, NodeId, Signature
from keyserver.model.requests import NodeCredential, Presign, Proof, Request
from keyserver.sessions.core import Message
from keyserver.sessions.sharing.messages import Accepted

MAX_SIGNERS = 255
"""2t + 1 of at most 256 nodes."""

RawLists = Annotated[tuple[tuple[RawPoint, ...], ...], Limit(4)]
"""Commitments of a dealer: four lists in round one, one in round two."""

PointLists = Annotated[tuple[tuple[Point, ...], ...], Limit(4)]
"""The same, compressed, where few of them travel."""


class ProductProof(FixedBytes):
    """A linear proof with three witnesses."""

    __slots__ = ()
    SIZE = 128


@dataclass(frozen=True)
class PresignPropose(Message):
    """Opens the session: these 2t + 1 holders are to make a presignature of the coordinator's."""

    TYPE = 0x0601
    TO_COORDINATOR = False

    counter: U64
    key_id: KeyId
    record_hash: Hash32
    signers: Annotated[tuple[NodeId, ...], Limit(MAX_SIGNERS)]

    @property
    def request(self) -> Request:
        """Nobody has asked for anything: the session id is bound to no request."""
        return Request.of(Presign(self.key_id), NodeCredential())


@dataclass(frozen=True)
class PresignAccept(Message):
    """A holder takes part, with a fresh one-time key and the proof that it knows it."""

    TYPE = 0x0602
    TO_COORDINATOR = True

    one_time: Point
    proof: Proof
    signature: Signature


@dataclass(frozen=True)
class PresignStart(Message):
    """All signers with their one-time keys, in canonical order."""

    TYPE = 0x0603
    TO_COORDINATOR = False

    accepted: Annotated[tuple[Accepted, ...], Limit(MAX_SIGNERS)]


@dataclass(frozen=True, slots=True)
class SealedNumbers:
    """Numbers sealed for one receiver, with the dealer's signature that they are of its deal."""

    ciphertext: Annotated[bytes, Limit(240)]
    """240 bytes in round one, 48 in round two."""
    signature: Signature


@dataclass(frozen=True)
class PresignDeal(Message):
    """A signer's deal in round one or two: commitments, and sealed numbers for every signer."""

    TYPE = 0x0604
    TO_COORDINATOR = True

    number: U8
    commitments: RawLists
    values: Annotated[tuple[SealedNumbers, ...], Limit(MAX_SIGNERS)]


@dataclass(frozen=True, slots=True)
class RelayedNumbers:
    """What one signer gets of another one's deal."""

    deal_hash: Hash32
    value: SealedNumbers


@dataclass(frozen=True)
class PresignDeals(Message):
    """All deals, in the order of the signers, as far as one of them needs them, and the sums."""

    TYPE = 0x0605
    TO_COORDINATOR = False

    number: U8
    deals: Annotated[tuple[RelayedNumbers, ...], Limit(MAX_SIGNERS)]
    sums: PointLists


@dataclass(frozen=True)
class PresignAgreed(Message):
    """The numbers are right; signed is the transcript of the round."""

    TYPE = 0x0606
    TO_COORDINATOR = True

    number: U8
    signature: Signature


@dataclass(frozen=True)
class AllAgreed(Message):
    """The signatures of all signers under one transcript, in their order."""

    TYPE = 0x0607
    TO_COORDINATOR = False

    number: U8
    signatures: Annotated[tuple[Signature, ...], Limit(MAX_SIGNERS)]


@dataclass(frozen=True)
class ProductPart(Message):
    """A signer's part of the product of nonce and multiplier, with its proof."""

    TYPE = 0x0608
    TO_COORDINATOR = True

    value: Scalar
    proof: ProductProof
    signature: Signature


@dataclass(frozen=True)
class Presigned(Message):
    """The product; every signer checks it and keeps its share of the presignature."""

    TYPE = 0x0609
    TO_COORDINATOR = False

    product: Scalar


@dataclass(frozen=True)
class PresignatureKept(Message):
    """The signer has its share."""

    TYPE = 0x060A
    TO_COORDINATOR = True


@dataclass(frozen=True)
class PresignInvestigate(Message):
    """The numbers do not fit: the signer wants to see everybody's commitments."""

    TYPE = 0x060B
    TO_COORDINATOR = True

    number: U8


@dataclass(frozen=True)
class PresignLists(Message):
    """Every dealer's commitments, in the order of the signers, for one that investigates."""

    TYPE = 0x060C
    TO_COORDINATOR = False

    number: U8
    lists: Annotated[tuple[RawLists, ...], Limit(MAX_SIGNERS)]


@dataclass(frozen=True)
class PresignComplaint(Message):
    """A dealer's numbers are wrong: the point that opens them, with a proof."""

    TYPE = 0x060D
    TO_COORDINATOR = True

    number: U8
    dealer: NodeId
    opened: Point
    proof: Proof


MESSAGES = (
    PresignPropose,
    PresignAccept,
    PresignStart,
    PresignDeal,
    PresignDeals,
    PresignAgreed,
    AllAgreed,
    ProductPart,
    Presigned,
    PresignatureKept,
    PresignInvestigate,
    PresignLists,
    PresignComplaint,
)
