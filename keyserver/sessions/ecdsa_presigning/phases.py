"""Phases of a presigning.

Coordinator:  AwaitingAccepts → AwaitingDeals → AwaitingAgreed (both twice) → AwaitingProducts →
              AwaitingKept
Participant:  AwaitingStart → AwaitingDealt → AwaitingAllAgreed (both twice) → AwaitingPresigned;
              where a deal is wrong, AwaitingLists after AwaitingDealt
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.one_time import OneTime
from keyserver.crypto.presignatures import DealtNumbers, Presigning, PublicPresignature
from keyserver.crypto.presigning import SealedDeal
from keyserver.model.identifiers import NodeId, Signature
from keyserver.sessions.ecdsa_presigning.messages import (
    PresignAccept,
    PresignAgreed,
    PresignatureKept,
    PresignDeal,
    ProductPart,
)
from keyserver.sessions.ecdsa_presigning.terms import Agreement, Group, Terms
from keyserver.sessions.rounds import Round
from keyserver.sessions.sharing.messages import Accepted

# --- the coordinator -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AwaitingAccepts:
    """Proposed; all signers must accept."""

    terms: Terms
    round: Round[PresignAccept]


@dataclass(frozen=True, slots=True)
class AwaitingDeals:
    """Every signer deals, in the round after those agreed on."""

    group: Group
    agreed: tuple[Agreement, ...]
    signed: tuple[tuple[Signature, ...], ...]
    """The signatures of all signers under each of them."""
    round: Round[PresignDeal]


@dataclass(frozen=True, slots=True)
class AwaitingAgreed:
    """The deals are handed round; every signer signs what came of them."""

    group: Group
    agreed: tuple[Agreement, ...]
    """The last of them is not signed by all yet."""
    signed: tuple[tuple[Signature, ...], ...]
    dealt: Mapping[NodeId, PresignDeal]
    round: Round[PresignAgreed]
    investigating: frozenset[NodeId] = frozenset()
    """Who was sent all commitments already."""


@dataclass(frozen=True, slots=True)
class AwaitingProducts:
    """Both rounds are agreed on; every signer gives its part of the product."""

    group: Group
    agreed: tuple[Agreement, ...]
    presigning: Presigning
    round: Round[ProductPart]


@dataclass(frozen=True, slots=True)
class AwaitingKept:
    """Every signer has the product, and is to keep its share."""

    presignature: PublicPresignature
    group: Group
    agreed: tuple[Agreement, ...]
    round: Round[PresignatureKept]


CoordinatorPhase = (
    AwaitingAccepts | AwaitingDeals | AwaitingAgreed | AwaitingProducts | AwaitingKept
)


# --- a signer --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AwaitingStart:
    """Accepted, with a one-time key of its own."""

    terms: Terms
    one_time: OneTimeKey = field(repr=False)
    accepted: Accepted


@dataclass(frozen=True, slots=True)
class Progress:
    """What a signer has at hand from START on."""

    group: Group
    one_time: OneTimeKey = field(repr=False)
    agreed: tuple[Agreement, ...] = ()
    numbers: tuple[tuple[SecretScalar, ...], ...] = field(default=(), repr=False)
    """What it was dealt, round by round."""

    @property
    def number(self) -> int:
        """The round after those in which this node has its numbers."""
        return len(self.numbers) + 1


@dataclass(frozen=True, slots=True)
class AwaitingDealt:
    """The own deal is out; the numbers of all must come."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class AwaitingAllAgreed:
    """The own numbers of a round are right; everybody must say the same."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class AwaitingLists:
    """Something is wrong with the numbers; all commitments were asked for."""

    progress: Progress
    deals: tuple[SealedDeal, ...]


@dataclass(frozen=True, slots=True)
class AwaitingPresigned:
    """The own part of the product is out."""

    group: Group
    presigning: Presigning
    dealt: OneTime[DealtNumbers]
    """Makes one share of one presignature."""


ParticipantPhase = (
    AwaitingStart | AwaitingDealt | AwaitingAllAgreed | AwaitingLists | AwaitingPresigned
)

Phase = CoordinatorPhase | ParticipantPhase
