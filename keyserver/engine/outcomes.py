"""What the engine tells the rest of the node when a session has brought something.

Told on every node that takes part, not only on the coordinator: each node answers the contracts
for itself, from what it holds itself.
"""

from dataclasses import dataclass
from typing import Protocol

from keyserver.model.identifiers import KeyId
from keyserver.sessions.outcomes import EcdsaReady, ShadowReady, SignatureReady


@dataclass(frozen=True, slots=True)
class RecordInstalled:
    """A record of this key is ACTIVE here now (own session, recovery or catalogue sync)."""

    key_id: KeyId


@dataclass(frozen=True, slots=True)
class DocumentInstalled:
    """The decided document key of this key is stored here now."""

    key_id: KeyId


ForContract = ShadowReady | SignatureReady | EcdsaReady
"""What a participant of a session ends with that a contract has asked for."""

Outcome = RecordInstalled | DocumentInstalled | ForContract


class OutcomeListener(Protocol):
    """Who answers the contracts; called on the event loop, must not block."""

    def on_outcome(self, outcome: Outcome) -> None:
        """Take note; whatever must be durable the listener writes itself."""
        ...


__all__ = [
    "DocumentInstalled",
    "EcdsaReady",
    "ForContract",
    "Outcome",
    "OutcomeListener",
    "RecordInstalled",
    "ShadowReady",
    "SignatureReady",
]
