"""Phases of a sharing session: exactly what is known in each.

Coordinator:  AwaitingAccepts → AwaitingDeals → AwaitingOks → AwaitingReadies → AwaitingCommits
Participant:  AwaitingVerdict → AwaitingStart → AwaitingShares → AwaitingFinalize → AwaitingCert
              → AwaitingInstalled; where a share is wrong, AwaitingCommitments and
              AwaitingFewerShares stand between AwaitingShares and AwaitingFinalize
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from keyserver.crypto.curve import Point
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Holding, Member, ReceivedDeal
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.keys import Decision, HoldingCertificate, KeyRecord, NodeSignature
from keyserver.sessions.core import Refusal
from keyserver.sessions.rounds import Round
from keyserver.sessions.sharing.messages import Accept, Deal, Ok, ShareParams


@dataclass(frozen=True, slots=True)
class Terms:
    """What is agreed before the first message, by coordinator and participant alike."""

    params: ShareParams
    params_hash: Hash32
    skipped: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Who takes part, after START."""

    terms: Terms
    session_hash: Hash32
    """`h1`: params and everybody's one-time key."""
    members: Mapping[NodeId, Member]


# --- coordinator -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AwaitingAccepts:
    """Proposed; nodes accept or refuse."""

    terms: Terms
    round: Round[Accept]
    refusals: Mapping[NodeId, Refusal]


@dataclass(frozen=True, slots=True)
class AwaitingDeals:
    """Started; every participant deals."""

    group: Group
    round: Round[Deal]


@dataclass(frozen=True, slots=True)
class Sharing:
    """The deals in use and what follows from them; shrinks when a dealer is taken out."""

    group: Group
    deals: Mapping[NodeId, Deal]
    commitments: tuple[Point, ...]
    transcript: Hash32
    attempt: int


@dataclass(frozen=True, slots=True)
class AwaitingOks:
    """Shares are out; receivers check them."""

    sharing: Sharing
    round: Round[Ok]
    investigating: frozenset[NodeId] = frozenset()
    """Who was sent all commitments already."""


@dataclass(frozen=True, slots=True)
class AwaitingReadies:
    """The record is out; receivers store it."""

    sharing: Sharing
    record: KeyRecord
    round: Round[Signature]


@dataclass(frozen=True, slots=True)
class AwaitingCommits:
    """The holding certificate is out; a quorum of commitments decides."""

    sharing: Sharing
    record: KeyRecord
    holding: HoldingCertificate
    round: Round[Signature]


CoordinatorPhase = AwaitingAccepts | AwaitingDeals | AwaitingOks | AwaitingReadies | AwaitingCommits


# --- participant -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AwaitingVerdict:
    """The chain is asked whether the request is really pending."""

    terms: Terms


@dataclass(frozen=True, slots=True)
class AwaitingStart:
    """Accepted, with a one-time key of its own."""

    terms: Terms
    one_time: OneTimeKey = field(repr=False)
    accept: Accept


@dataclass(frozen=True, slots=True)
class AwaitingShares:
    """The own deal is out."""

    group: Group
    one_time: OneTimeKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class AwaitingCommitments:
    """Something is wrong with the shares; all commitments were asked for."""

    group: Group
    one_time: OneTimeKey = field(repr=False)
    dealers: frozenset[NodeId]
    deals: tuple[ReceivedDeal, ...]


@dataclass(frozen=True, slots=True)
class AwaitingFewerShares:
    """A dealer was complained about, or has not signed its deal: shares without it must come."""

    group: Group
    one_time: OneTimeKey = field(repr=False)
    dealers: frozenset[NodeId]


@dataclass(frozen=True, slots=True)
class AwaitingFinalize:
    """The share is right; also the place to receive shares again without a guilty dealer."""

    group: Group
    one_time: OneTimeKey = field(repr=False)
    dealers: frozenset[NodeId]
    commitments: tuple[Point, ...]
    holding: Holding = field(repr=False)


@dataclass(frozen=True, slots=True)
class AwaitingCert:
    """READY is given: the record is PREPARED on disk."""

    record: KeyRecord
    transcript: Hash32
    skipped: tuple[Decision, ...]
    ready: NodeSignature
    """This node's own."""


@dataclass(frozen=True, slots=True)
class AwaitingInstalled:
    """Committed; only the decision is missing."""

    record: KeyRecord
    holding: HoldingCertificate
    skipped: tuple[Decision, ...]
    commit: NodeSignature
    """This node's own."""


ParticipantPhase = (
    AwaitingVerdict
    | AwaitingStart
    | AwaitingShares
    | AwaitingCommitments
    | AwaitingFewerShares
    | AwaitingFinalize
    | AwaitingCert
    | AwaitingInstalled
)

Phase = CoordinatorPhase | ParticipantPhase
