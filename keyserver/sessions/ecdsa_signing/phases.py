"""Phases of an ECDSA signature.

Coordinator:  AwaitingParts, or AwaitingWhole for a key of threshold 0
Participant:  AwaitingVerdict → AwaitingSigned (on chain only)
"""

from collections.abc import Mapping
from dataclasses import dataclass

from keyserver.crypto.curve import Point
from keyserver.crypto.ecdsa import Bound
from keyserver.crypto.presignatures import Presignature
from keyserver.model.identifiers import NodeId
from keyserver.sessions.core import Refusal
from keyserver.sessions.ecdsa_presigning import OwnPresignature
from keyserver.sessions.ecdsa_signing.messages import EcdsaPart, EcdsaWhole
from keyserver.sessions.ecdsa_signing.terms import Signing
from keyserver.sessions.rounds import Round


@dataclass(frozen=True, slots=True)
class AwaitingParts:
    """All signers of the presignature were asked."""

    signing: Signing
    recipient: Point | None
    """The requester's key, to which the signature is sealed; `None` if a contract asked."""
    presignature: OwnPresignature
    bound: Bound
    holders: int
    """How many are known to have shares, connected or not."""
    refusals: Mapping[NodeId, Refusal]
    round: Round[EcdsaPart]


@dataclass(frozen=True, slots=True)
class AwaitingWhole:
    """One holder was asked to sign alone."""

    signing: Signing
    recipient: Point | None
    holders: int
    refusals: Mapping[NodeId, Refusal]
    round: Round[EcdsaWhole]


CoordinatorPhase = AwaitingParts | AwaitingWhole


@dataclass(frozen=True, slots=True)
class AwaitingVerdict:
    """The chain is asked; the presignature is out of the pool already."""

    signing: Signing
    presignature: Presignature


@dataclass(frozen=True, slots=True)
class AwaitingVerdictAlone:
    """The same for a key of threshold 0."""

    signing: Signing


@dataclass(frozen=True, slots=True)
class AwaitingSigned:
    """The part is out."""

    signing: Signing


ParticipantPhase = AwaitingVerdict | AwaitingVerdictAlone | AwaitingSigned

Phase = CoordinatorPhase | ParticipantPhase
