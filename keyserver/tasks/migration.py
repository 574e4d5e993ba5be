"""A change of the node set on chain: what a node knows of it, and what it may do about it.

Values only (chain watcher, sections 11 and 12); `keyserver.tasks.migration_decision` leads from
the ones to the others.
"""

from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final

from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import MigrationOrder, SetChange

# --- what is known ----------------------------------------------------------------------------


@dataclass(frozen=True)
class RunningMigration:
    """A migration as the contract tells it."""

    id: Hash32
    target: NodeSet
    """The set that will be the current one; frozen since the start."""
    master: NodeId | None
    """Who started it and leads the session; `None` if its account is in none of the sets."""
    confirmed: frozenset[NodeId]
    """Members of the target whose confirmation is mined."""


@dataclass(frozen=True)
class MigrationView:
    """What one block says about current, new and migration set, delay included."""

    block: int
    """The head."""
    current: NodeSet
    new: NodeSet
    """As the contract has it at this block, whether it is old enough or not."""
    new_since: int
    """The block in which this node first saw the new set as it is now, addresses included."""
    new_shown: bool
    """Whether it may be acted on: it differs, no migration runs, and the delay is over (W-20)."""
    running: RunningMigration | None
    last_id: Hash32 | None
    """Id of the running or last migration; `None` if there has never been one."""
    stale: bool = False
    """Whether the chain could not be asked lately: then nothing is begun (W-09)."""

    @property
    def contract(self) -> Address:
        """The contract of the sets."""
        return self.current.contract

    @property
    def change(self) -> SetChange | None:
        """What the running migration changes; `None` if none runs."""
        if self.running is None:
            return None
        return SetChange.ordered(self.current, self.running.target, self.running.id)


@unique
class SessionPhase(Enum):
    """Where the one known session of a set change stands at this node."""

    IDLE = "idle"
    ACTIVE = "active"
    FINISHED = "finished"
    """Every key this node knows is on the target set."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SessionState:
    """The session, and which migration it is for."""

    phase: SessionPhase = SessionPhase.IDLE
    migration: Hash32 | None = None
    """`None` if idle."""
    reason: str = ""
    """Of a failure, for people."""


IDLE: Final = SessionState()


@dataclass(frozen=True, slots=True)
class PlannedStart:
    """The id under which this node would start the migration of one pair of sets (W-21). Stored."""

    id: Hash32
    contract: Address
    current_set: Hash32
    """`set_id` of the current set it is for."""
    new_set: Hash32
    block: int
    """Head when it was chosen."""

    def fits(self, view: MigrationView) -> bool:
        """Whether it is for the view's sets, and the id has not been used up."""
        pair = (view.contract, view.current.id, view.new.id)
        return (self.contract, self.current_set, self.new_set) == pair and self.id != view.last_id


@dataclass(frozen=True, slots=True)
class JoinedMigration:
    """A migration that this node takes part in (W-25), and how far it got here. Stored."""

    id: Hash32
    contract: Address
    target_set: Hash32
    """`set_id` of the target."""
    accepted_block: int
    succeeded_block: int | None = None
    """Head when the session succeeded here (W-23); `None`: it has not yet."""

    def is_of(self, running: RunningMigration) -> bool:
        """Whether it is this migration: the same id with the same target."""
        return (self.id, self.target_set) == (running.id, running.target.id)


@unique
class SentState(Enum):
    """What became of a transaction that was decided on."""

    OPEN = "open"
    """On its way, or about to be."""
    DONE = "done"
    """Mined, and final."""
    REFUSED = "refused"
    """The contract would not have taken it, or it was withdrawn: never mined."""
    GIVEN_UP = "given up"
    """Mined and refused by the contract too often."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The last transaction of a kind for a migration id."""

    block: int
    """Head when it was decided on."""
    state: SentState


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """What becomes of the stored keys if only the members of a set keep their shares (W-24)."""

    target_set: Hash32
    at_risk: tuple[KeyId, ...]
    """Those that would lose holders and be left with fewer than t + 1."""


@dataclass(frozen=True, slots=True)
class MigrationFacts:
    """What this node knows by itself."""

    plan: PlannedStart | None = None
    joined: JoinedMigration | None = None
    """Of the running migration's id."""
    start: Sent | None = None
    """Of the plan's id."""
    confirm: Sent | None = None
    """Of the running migration's id."""
    retry_at: float = 0.0
    """Monotonic seconds before which no session is begun again."""
    left_behind: bool = False
    """Whether a member of the target needs another session."""
    check: KeyCheck | None = None
    now: float = 0.0
    """Monotonic seconds."""
    connected: frozenset[NodeId] = field(default_factory=frozenset)


# --- what to do -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChooseId:
    """Choose a random id for these sets and store it."""

    current: NodeSet
    new: NodeSet


@dataclass(frozen=True, slots=True)
class SendStart:
    """Send `startMigration`."""

    id: Hash32


@dataclass(frozen=True, slots=True)
class SendConfirm:
    """Send `confirmMigration`."""

    id: Hash32


@dataclass(frozen=True, slots=True)
class AcceptMigration:
    """Store that this node takes part: its set is the new set this node has seen (W-25)."""

    running: RunningMigration


@dataclass(frozen=True, slots=True)
class CheckKeys:
    """Find out which keys would be lost."""

    target: NodeSet


@dataclass(frozen=True, slots=True)
class StartSession:
    """Lead the session."""

    order: MigrationOrder


@dataclass(frozen=True, slots=True)
class ForgetSession:
    """Drop a session that belongs to no running migration."""


@dataclass(frozen=True, slots=True)
class RecordSuccess:
    """Store that the session succeeded here, then forget it."""

    joined: JoinedMigration


@dataclass(frozen=True, slots=True)
class RecordFailure:
    """Count the failure and forget the session."""

    running: RunningMigration
    reason: str


@unique
class Refusal(Enum):
    """Why a change is not carried out; people have to act."""

    EMPTY = "the new set is empty"
    DISJOINT = "no member of the current set stays: every key would be lost"
    KEYS_AT_RISK = "keys would be left with fewer than t + 1 holders"
    FOREIGN_SET = "the migration set is not the new set this node sees"
    MASTER_OUTSIDE = "the migration's master is not in the migration set"
    GIVEN_UP = "the contract refused this node's confirmation too often"


@dataclass(frozen=True, slots=True)
class Refuse:
    """Take no part, and report why."""

    why: Refusal
    keys: tuple[KeyId, ...] = ()
    """Those at risk."""


@unique
class Waiting(Enum):
    """What has to happen before this node does anything."""

    NOTHING_TO_DO = "current and new set have the same members"
    NOT_CONCERNED = "this node is in neither set"
    STALE = "the chain cannot be asked"
    DELAY = "the new set must stay as it is for a while"
    ELECTED = "the elected node starts the migration"
    START = "this node's startMigration is on its way"
    SESSION = "the master moves the keys"
    BACK_OFF = "the last session failed; the next one begins after a pause"
    CONNECTIONS = "members of the migration set are not connected"
    CONFIRMATIONS = "the members confirm on chain"


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now."""

    why: Waiting


Action = (
    ChooseId
    | SendStart
    | SendConfirm
    | AcceptMigration
    | CheckKeys
    | StartSession
    | ForgetSession
    | RecordSuccess
    | RecordFailure
    | Refuse
    | Wait
)
