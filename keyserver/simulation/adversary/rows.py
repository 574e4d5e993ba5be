"""What a row of the adversary matrix is: who does what in which protocol, and what must follow."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from keyserver.sessions.core import Refusal
from keyserver.sessions.messages import Refuse
from keyserver.simulation.liars import Lie, LinkLie, Place, at

if TYPE_CHECKING:
    from keyserver.simulation.cluster import Cluster, SimulatedNode


class Behaviour(Enum):
    """Kinds of cheating."""

    SILENT = "silent"
    CRASH = "crash mid-round"
    WRONG_SHARE = "wrong share"
    EQUIVOCATION = "equivocation"
    DEGREE = "short or long polynomial"
    BAD_POINT = "off-curve and identity points"
    REPLAY = "replay across sessions and versions"
    BAD_PARTIAL = "bad partial result"
    BAD_PROOF = "bad proof"
    NONCE = "reused or withheld nonce"
    FALSE_ACCUSATION = "false accusation"
    FLOOD = "flood"
    OVERSIZED = "oversized"
    STALE_ACL = "stale ACL"
    LIED_REQUEST = "lying about the request"
    LIED_SET = "lying about the node set"


class Protocol(Enum):
    """What is cheated in."""

    GENERATION = "generation"
    BOTH = "generation of both keys"
    STORING = "storing"
    PLAIN = "plain retrieval"
    SHADOW_LEGACY = "shadow retrieval, legacy credential"
    SHADOW_BOUND = "shadow retrieval, bound credential"
    SHADOW_CONTRACT = "shadow retrieval, contract"
    AGREEMENT = "agreement on a record"
    DOCUMENT_AGREEMENT = "agreement on a document key"
    CATALOGUE = "catalogue"
    TRANSPORT = "transport"
    ADDITION = "share addition"
    REDISTRIBUTION = "redistribution"
    HANDOVER = "redistribution to other nodes"
    REFRESH = "refresh"
    SET_CHANGE = "set change"
    SCHNORR = "Schnorr signature, contract"
    FROST = "FROST signature, legacy credential"
    PRESIGNING = "presigning"
    ECDSA = "ECDSA signature, contract"


class Part(Enum):
    """The liar's part in it."""

    MEMBER = "member"
    """It answers an honest coordinator, proposer or asking node."""
    COORDINATOR = "coordinator"
    """It leads: coordinator of a session, proposer of a round, node that asks."""


class Must(Enum):
    """What must follow, as long as enough honest nodes are left."""

    COMPLETES = "completes"
    """The honest coordinator brings the right result all the same."""
    REFUSED = "fails safely"
    """What the liar leads brings nothing, anywhere; afterwards an honest node completes it."""
    DECIDED = "one outcome"
    """What the liar leads may come to its end or not; all honest nodes agree which, and an honest
    node completes it if not."""
    NOTICED = "the requester notices"
    """The requester finds out whose part is wrong, leaves it out, and has the right result."""
    DENIED = "denied"
    """Honest nodes do not permit it, and no liar's word makes them."""


@dataclass(frozen=True, slots=True)
class Tells:
    """It lies in messages of one type."""

    message: str
    told: Lie

    @property
    def lie(self) -> Lie:
        """What it says in a session."""
        return at(self.message, self.told)


@dataclass(frozen=True, slots=True)
class Refusing:
    """A lie: the node takes no part, for this reason."""

    code: int

    def __call__(self, place: Place, message: object) -> Refuse:
        """Refuse instead."""
        return Refuse(self.code)


@dataclass(frozen=True, slots=True)
class TellsOnLinks:
    """It lies outside of sessions, in messages of one type."""

    message: str
    told: LinkLie


@dataclass(frozen=True, slots=True)
class Crashes:
    """Its process ends with the first message of this type, which nobody gets."""

    message: str


@dataclass(frozen=True, slots=True)
class Acts:
    """It does something at the beginning, and otherwise follows the protocol."""

    act: Callable[["Cluster", "SimulatedNode"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Replays:
    """It repeats of each type the first message it ever sent: a session goes before."""

    whole: bool = False
    """With the id of that session, too, as the very same bytes."""


Deed = Tells | TellsOnLinks | Crashes | Acts | Replays


@dataclass(frozen=True, slots=True)
class Row:
    """One named cheat."""

    behaviour: Behaviour
    protocol: Protocol
    part: Part
    name: str
    deed: Deed
    must: Must
    provable: bool = False
    """Whether honest nodes that see it can prove it to others: then the culprits are the liars,
    else nobody is named."""
    left_out: bool = True
    """Whether the liar is not among those that the result counts as holders or voters."""
    least_threshold: int = 0
    """Below it there is nothing to lie about."""
    two_faced: bool = False
    """Whether two messages may come to contradict each other: then liars may be named that an
    honest node has caught so, but need not; with `provable`, one at least in the usual networks."""

    @property
    def message(self) -> str:
        """The type of message in which it cheats; empty where it cheats without."""
        return self.deed.message if isinstance(self.deed, Tells | TellsOnLinks | Crashes) else ""

    @property
    def refuses(self) -> Refusal | None:
        """For what reason it says that it takes no part, if that is the lie."""
        if not isinstance(self.deed, Tells) or not isinstance(self.deed.told, Refusing):
            return None
        return Refuse(self.deed.told.code).refusal


def lies_of(rows: Iterable[Row], chosen: Callable[[Row], bool]) -> dict[str, Lie]:
    """The lies among these rows by their names."""
    return {row.name: row.deed.lie for row in rows if isinstance(row.deed, Tells) and chosen(row)}
