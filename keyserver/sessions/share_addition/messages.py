"""Messages of a share addition, in the order in which they are sent (engine design, 14.1)."""

from dataclasses import dataclass

from keyserver.crypto.curve import Point
from keyserver.model.codec import U64, RawPoint
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.requests import Proof, Request
from keyserver.sessions.core import Message
from keyserver.sessions.sharing.messages import (
    Accepted,
    DealtCommitments,
    SealedShare,
    SignedShare,
)


@dataclass(frozen=True)
class AddPropose(Message):
    """Opens the session: the coordinator lacks its share of this record and asks these holders."""

    TYPE = 0x0801
    TO_COORDINATOR = False

    counter: U64
    request: Request
    record_hash: Hash32
    donors: tuple[NodeId, ...]
    """t + 1 members of the committee, in canonical order."""


@dataclass(frozen=True)
class AddAccept(Message):
    """A donor takes part, with a fresh one-time key and the proof that it knows it."""

    TYPE = 0x0802
    TO_COORDINATOR = True

    one_time: Point
    proof: Proof
    signature: Signature


@dataclass(frozen=True)
class AddStart(Message):
    """All donors and the late node with their one-time keys, in canonical order."""

    TYPE = 0x0803
    TO_COORDINATOR = False

    accepted: tuple[Accepted, ...]


@dataclass(frozen=True)
class AddMask(Message):
    """A donor's mask: commitments, and the sealed values of all donors, in canonical order."""

    TYPE = 0x0804
    TO_COORDINATOR = True

    commitments: tuple[RawPoint, ...]
    values: tuple[SignedShare, ...]


@dataclass(frozen=True, slots=True)
class RelayedMask:
    """What one donor gets of another one's mask."""

    dealer: NodeId
    mask_hash: Hash32
    ciphertext: SealedShare
    signature: Signature


@dataclass(frozen=True)
class AddMasks(Message):
    """The masks of all donors as far as one of them needs them, and the sums of commitments."""

    TYPE = 0x0805
    TO_COORDINATOR = False

    masks: tuple[RelayedMask, ...]
    sums: tuple[Point, ...]


@dataclass(frozen=True)
class AddBlinded(Message):
    """The donor's share and all masks at its place, sealed for the late node."""

    TYPE = 0x0806
    TO_COORDINATOR = True

    ciphertext: SealedShare
    signature: Signature


@dataclass(frozen=True)
class AddInvestigate(Message):
    """The masks do not fit: the donor wants to see everybody's commitments."""

    TYPE = 0x0807
    TO_COORDINATOR = True


@dataclass(frozen=True)
class AddCommitments(Message):
    """Every donor's commitments, for one that investigates."""

    TYPE = 0x0808
    TO_COORDINATOR = False

    dealt: tuple[DealtCommitments, ...]


@dataclass(frozen=True)
class AddComplaint(Message):
    """A dealer's value is wrong: the point that opens it, with a proof."""

    TYPE = 0x0809
    TO_COORDINATOR = True

    dealer: NodeId
    opened: Point
    proof: Proof


MESSAGES = (
    AddPropose,
    AddAccept,
    AddStart,
    AddMask,
    AddMasks,
    AddBlinded,
    AddInvestigate,
    AddCommitments,
    AddComplaint,
)
