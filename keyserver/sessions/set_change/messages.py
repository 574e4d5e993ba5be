"""Messages of a set change, in the order in which they are sent (engine design, section 14.4).

The session's request (op 18) carries the order; its key id is the name of the change.
"""

from dataclasses import dataclass
from typing import Annotated

from keyserver.model.codec import U8, U32, U64, Limit
from keyserver.model.identifiers import Hash32, KeyId, NodeId, Signature
from keyserver.model.keys import NodeSignature
from keyserver.model.quorums import MAX_NODES
from keyserver.model.requests import Request
from keyserver.sessions.core import Message

MAX_LEFT = 2**16
"""Keys that a change may leave on their old set; they are few, or the change is refused."""

MAX_PAST = 4096
"""Earlier changes that are told."""


@dataclass(frozen=True)
class ChangePropose(Message):
    """Opens the session: judge this order, and take the change lock."""

    TYPE = 0x0A01
    TO_COORDINATOR = False

    counter: U64
    request: Request


@dataclass(frozen=True)
class ChangeAccept(Message):
    """The order is valid here, and no other change runs."""

    TYPE = 0x0A02
    TO_COORDINATOR = True

    may_lose_keys: U8
    """1 if this node's operator has set `allow_key_loss`."""


@dataclass(frozen=True)
class ChangeKeepAlive(Message):
    """The change goes on; sent every 15 s."""

    TYPE = 0x0A03
    TO_COORDINATOR = False


@dataclass(frozen=True)
class ChangeFreeze(Message):
    """From here to the end nothing new for the old set; answer when all votes are decided."""

    TYPE = 0x0A04
    TO_COORDINATOR = False


@dataclass(frozen=True, slots=True)
class PastChange:
    """A completed change, as nodes tell it each other."""

    epoch: U32
    id: Hash32
    old: Annotated[tuple[NodeId, ...], Limit(MAX_NODES)]
    new: Annotated[tuple[NodeId, ...], Limit(MAX_NODES)]


Past = Annotated[tuple[PastChange, ...], Limit(MAX_PAST)]
"""All changes completed before this one, in order."""


@dataclass(frozen=True)
class ChangeFrozen(Message):
    """No vote of this node is undecided, and it gives none for the old set any more."""

    TYPE = 0x0A05
    TO_COORDINATOR = True

    past: Past
    signature: Signature
    """Over `history_digest`: this node vouches for the past."""


@dataclass(frozen=True)
class ChangeDone(Message):
    """All keys are on the target set, but those that are `left`."""

    TYPE = 0x0A06
    TO_COORDINATOR = False

    past: Past
    vouchers: Annotated[tuple[NodeSignature, ...], Limit(MAX_NODES)]
    """Of the nodes that told the same past."""
    left: Annotated[tuple[KeyId, ...], Limit(MAX_LEFT)]
    """Keys that stay on another set: nobody loses them, or losing keys is allowed everywhere."""


@dataclass(frozen=True)
class ChangeExecuted(Message):
    """This node knows no other key on another set, and has written the change down."""

    TYPE = 0x0A07
    TO_COORDINATOR = True


MESSAGES = (
    ChangePropose,
    ChangeAccept,
    ChangeKeepAlive,
    ChangeFreeze,
    ChangeFrozen,
    ChangeDone,
    ChangeExecuted,
)
