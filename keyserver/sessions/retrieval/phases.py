"""Phases of a retrieval.

Coordinator:  AwaitingPartials → AwaitingShadows (shadow modes only)
Participant:  AwaitingVerdict → AwaitingSelect ⇄ AwaitingDone (shadow modes only)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from keyserver.crypto.curve import Point, SecretScalar
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import CertifiedDocumentKey, DocumentKey, KeyRecord
from keyserver.sessions.core import Refusal
from keyserver.sessions.retrieval.messages import Mode, Partial, Select, Shadow
from keyserver.sessions.rounds import Round


@dataclass(frozen=True, slots=True)
class Subject:
    """What is decrypted for whom; the same on all nodes."""

    mode: Mode
    record: KeyRecord
    document: DocumentKey
    recipient: Point


@dataclass(frozen=True, slots=True)
class AwaitingPartials:
    """Holders were asked; `more` can still be asked."""

    subject: Subject
    document: CertifiedDocumentKey
    round: Round[Partial]
    more: tuple[NodeId, ...]
    holders: int
    """How many are known to have shares, connected or not."""
    refusals: Mapping[NodeId, Refusal]
    late: frozenset[NodeId]
    """Members of a selection whose time ran out."""
    selects: int
    """How many SELECTs were sent before."""


@dataclass(frozen=True, slots=True)
class AwaitingShadows:
    """t + 1 valid parts were selected; their makers finish."""

    before: AwaitingPartials
    select: Select
    select_hash: Hash32
    round: Round[Shadow]


CoordinatorPhase = AwaitingPartials | AwaitingShadows


@dataclass(frozen=True, slots=True)
class AwaitingVerdict:
    """The chain is asked whether request and requester are what they say."""

    subject: Subject


@dataclass(frozen=True, slots=True)
class AwaitingSelect:
    """The own part is out; `mask` finishes it."""

    subject: Subject
    mask: SecretScalar = field(repr=False)
    partial: Partial
    selects: int
    """How many SELECTs were answered."""


@dataclass(frozen=True, slots=True)
class AwaitingDone:
    """The shadow is out."""

    before: AwaitingSelect
    select_hash: Hash32
    participants: tuple[NodeId, ...]
    decrypted_secret: Point
    shadow: bytes


ParticipantPhase = AwaitingVerdict | AwaitingSelect | AwaitingDone

Phase = CoordinatorPhase | ParticipantPhase
