"""Phases of a storing session.

Coordinator:  AwaitingAcks → AwaitingCommits
Participant:  AwaitingVerdict → AwaitingCert → AwaitingDecision
"""

from collections.abc import Mapping
from dataclasses import dataclass

from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.keys import Decision, DocumentKey, KeyRecord, NodeSignature
from keyserver.sessions.core import Refusal
from keyserver.sessions.rounds import Round


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be stored; the same on all nodes."""

    record: KeyRecord
    document: DocumentKey
    attempt: int
    skipped: tuple[Decision, ...]

    @property
    def value(self) -> Hash32:
        """What is voted on."""
        return self.document.hash_under(self.record.hash)


@dataclass(frozen=True, slots=True)
class AwaitingAcks:
    """Proposed to the committee."""

    proposal: Proposal
    round: Round[Signature]
    refusals: Mapping[NodeId, Refusal]


@dataclass(frozen=True, slots=True)
class AwaitingCommits:
    """The prepared certificate is out."""

    proposal: Proposal
    prepared: tuple[NodeSignature, ...]
    round: Round[Signature]
    told: frozenset[NodeId]
    """Who hears of the decision: all that take part, also those that have not voted yet."""


CoordinatorPhase = AwaitingAcks | AwaitingCommits


@dataclass(frozen=True, slots=True)
class AwaitingVerdict:
    """The chain is asked whether the request is really pending."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class AwaitingCert:
    """Voted for the value."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class AwaitingDecision:
    """Committed."""

    proposal: Proposal


ParticipantPhase = AwaitingVerdict | AwaitingCert | AwaitingDecision

Phase = CoordinatorPhase | ParticipantPhase
