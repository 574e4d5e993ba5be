"""What operators are told about changes of the node set: public facts, ready for JSON."""

from dataclasses import dataclass

from keyserver.model.identifiers import Hash32, KeyId, NodeId


@dataclass(frozen=True, slots=True)
class KeptKeyFacts:
    """A key that does not move."""

    key_id: KeyId
    why: str


@dataclass(frozen=True, slots=True)
class ChangeFacts:
    """A change that this node coordinates, or has coordinated last."""

    change_id: Hash32
    phase: str
    """`asking`, `looking`, `moving`, `freezing`, `moving the rest`, `concluding`, `done` or
    `failed`."""
    keys_total: int
    """Keys that are to be on the new set; known once the nodes have looked."""
    keys_moved: int
    missing: tuple[NodeId, ...]
    """Nodes of either set that do not take part."""
    keys_kept: int
    kept: tuple[KeptKeyFacts, ...]
    """The first hundred of these."""
    why: str
    """What it failed of; else empty."""


@dataclass(frozen=True, slots=True)
class TakesPartFacts:
    """A change that goes on at this node, whoever coordinates it."""

    change_id: Hash32
    exclusive: bool
    """Whether clients have to wait until it is over."""
    old_set: tuple[NodeId, ...]
    new_set: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class CompletedFacts:
    """A change that is over."""

    epoch: int
    """Its number, from 1."""
    change_id: Hash32
    old_set: tuple[NodeId, ...]
    new_set: tuple[NodeId, ...]
    completed_at: int
    """Unix seconds, by this node's clock."""


@dataclass(frozen=True, slots=True)
class TransactionState:
    """The last transaction of a kind for a migration."""

    state: str
    """`open`, `done`, `refused` or `given up`."""
    block: int
    """The head when it was decided on."""


@dataclass(frozen=True, slots=True)
class MigrationStatusFacts:
    """The change that the node set contract asks for, as this node sees it."""

    phase: str
    """`idle`, `delayed`, `required`, `migrating`, `confirming` or `refused`."""
    why: str
    """What is refused or waited for."""
    refused: bool
    """Whether people have to act: nothing goes on by itself."""
    block: int
    """The head that this is about."""
    stale: bool
    """Whether the chain could not be asked lately."""
    id: Hash32 | None
    """The contract's name for the migration; before its start the one that this node would use."""
    master: NodeId | None
    """Who leads it, or is elected to start it."""
    current_set: tuple[NodeId, ...]
    target_set: tuple[NodeId, ...]
    confirmed: tuple[NodeId, ...]
    unconfirmed: tuple[NodeId, ...]
    """Members of the migration set whose confirmation is missing on chain."""
    missing: tuple[NodeId, ...]
    """Members of the migration set without a connection to this node."""
    keys_at_risk: int
    at_risk: tuple[KeyId, ...]
    """The first hundred of these."""
    session: str
    """`idle`, `active`, `finished` or `failed`: the moving of the keys, at this node."""
    session_failure: str
    start: TransactionState | None
    """This node's `startMigration`."""
    confirm: TransactionState | None
    """This node's `confirmMigration`."""


@dataclass(frozen=True, slots=True)
class SetChangeFacts:
    """All that a node knows about changes of its node set."""

    next_epoch: int
    """What the next bound order must name: the number of completed changes, and one."""
    takes_part: TakesPartFacts | None
    coordinated: ChangeFacts | None
    """Of the coordinator only: keys are counted there."""
    completed: CompletedFacts | None
    """The latest."""
    migration: MigrationStatusFacts | None
    """`None` where the node set has no contract, or no block has been seen yet."""
