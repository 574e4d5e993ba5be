"""What a set change asks of the engine, and what the engine answers (`Perform`, `Performed`).

Here is all that takes long and is no exchange of messages: judging an order by configuration and
chain, walking through catalogues, moving keys, waiting for votes, writing down.
"""

from dataclasses import dataclass

from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.set_change import SetChange
from keyserver.sessions.core import Refusal
from keyserver.sessions.set_change.messages import PastChange


@dataclass(frozen=True, slots=True)
class Judge:
    """Judge an order and take the change lock; answered by `Accepted`."""

    order: bytes
    change_id: Hash32
    """What the coordinator calls the change."""
    coordinator: NodeId


@dataclass(frozen=True, slots=True)
class Survey:
    """Look what would become of every key, touching none; answered by `Surveyed`."""

    change: SetChange
    taking_part: frozenset[NodeId]
    may_lose_keys: bool


@dataclass(frozen=True, slots=True)
class MoveKeys:
    """Move keys until few are left, and in the end until none is; answered by `Moved`.

    While keys are still made there may always be another one: only a freeze lets the last arrive.
    """

    change: SetChange
    taking_part: frozenset[NodeId]
    may_lose_keys: bool
    frozen: bool
    """Whether nothing new is made: none may be left."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Give no vote for the old set any more, wait for those given; answered by `Settled`."""

    change: SetChange


@dataclass(frozen=True, slots=True)
class CountMoved:
    """How many keys this node knows on the target set; answered by `Counted`."""

    change: SetChange


@dataclass(frozen=True, slots=True)
class Conclude:
    """Check that no other key is left on another set, write the change down; `Concluded`."""

    change: SetChange
    past: tuple[PastChange, ...]
    left: tuple[KeyId, ...]
    coordinator: NodeId


Work = Judge | Survey | MoveKeys | Settle | CountMoved | Conclude


@dataclass(frozen=True, slots=True)
class Accepted:
    """The order is valid here."""

    change: SetChange
    may_lose_keys: bool


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What would become of the keys."""

    to_move: int
    losing: int
    """Keys that the change would leave with too few holders."""
    keys: int = 0
    """All that were looked at."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Every key is on the target set, but those that are left, and before a freeze some new."""

    keys: int
    left: tuple[KeyId, ...]
    """In ascending order."""


@dataclass(frozen=True, slots=True)
class Settled:
    """No vote of this node is undecided."""

    past: tuple[PastChange, ...]
    """Changes completed before this one."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Keys on the target set, as far as this node knows."""

    keys: int


@dataclass(frozen=True, slots=True)
class Concluded:
    """The change is on this node's disk."""


@dataclass(frozen=True, slots=True)
class Declined:
    """It cannot be done, now or ever."""

    code: Refusal
    why: str


Result = Accepted | Surveyed | Moved | Settled | Counted | Concluded | Declined
