"""What the engine tells the rest of the node when a session has brought something.

Told on every node that takes part, not only on the coordinator: each node answers the contracts
for itself, from what it holds itself.
"""

from dataclasses import dataclass
from typing import Protocol

from keyserver.crypto.curve import Point
from keyserver.model.identifiers import Address, KeyId, NodeId


@dataclass(frozen=True, slots=True)
class RecordInstalled:
    """A record of this key is ACTIVE here now (own session, recovery or catalogue sync)."""

    key_id: KeyId


@dataclass(frozen=True, slots=True)
class DocumentInstalled:
    """The decided document key of this key is stored here now."""

    key_id: KeyId


@dataclass(frozen=True, slots=True)
class ShadowReady:
    """This node is one of the t + 1 that decrypted for a request on a contract."""

    contract: Address
    key_id: KeyId
    requester: Point
    participants: tuple[NodeId, ...]
    decrypted_secret: Point
    shadow: bytes
    """ECIES of this node's shadow to the requester, 145 bytes."""


Outcome = RecordInstalled | DocumentInstalled | ShadowReady


class OutcomeListener(Protocol):
    """Who answers the contracts; called on the event loop, must not block."""

    def on_outcome(self, outcome: Outcome) -> None:
        """Take note; whatever must be durable the listener writes itself."""
        ...
