"""What operators are told of a node: public facts, never a secret.

Amounts of wei are decimal strings: they do not fit the numbers of most readers of JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from keyserver.api.operator_set_change import SetChangeFacts
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId, SessionId


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong: a constant name, and words for an operator."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """What the node knows of the chain."""

    chain_id: int
    head: int | None
    confirmed: int | None
    lag: int | None
    """Confirmed blocks whose logs have not become tasks yet."""
    problem: str | None
    """Why the chain is not to be trusted now."""
    contracts: Mapping[str, Address | None]
    """By configuration key."""
    balance_wei: str | None
    requests: Mapping[str, int]
    """Requests sent to Ethereum nodes since the start, by method."""


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """A member of any of the node sets."""

    node_id: NodeId
    address: Address
    at: str | None
    """Where it listens; `None`: nobody can say."""
    is_current: bool
    """Whether it is in the current set."""
    state: str
    """`self`, `connected` or `disconnected`."""


@dataclass(frozen=True, slots=True)
class NodeSetFacts:
    """The node set as this node sees it."""

    contract: Address
    epoch: int
    block: int
    stale: bool
    migrating: bool
    isolated: bool
    """Whether this node is not in the current set."""
    nodes: tuple[PeerFacts, ...]


@dataclass(frozen=True, slots=True)
class OffenceFacts:
    """What a node was convicted of; times in Unix seconds."""

    culprit: NodeId
    address: Address
    rule: str
    """The name of the rule that it broke."""
    what: str
    """The same as a sentence without its subject."""
    key_id: KeyId
    session: SessionId | None
    since: int
    """When this node first saw evidence."""
    until: int
    """Until when the culprit is avoided for it."""
    evidence: Hash32
    """The name of the record that proves it."""


@dataclass(frozen=True, slots=True)
class SigningFacts:
    """Joint signatures."""

    made: Mapping[str, int]
    """Signatures that were made at this node's asking since it started, by scheme."""
    presignatures: int
    """Prepared ECDSA signatures that are ready."""


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """A node at a glance."""

    node_id: NodeId
    address: Address
    version: str
    pid: int
    uptime_s: int
    peer: str | None
    """Where it listens for other nodes; `None` before it does."""
    ready: bool
    problems: tuple[Trouble, ...]
    warnings: tuple[Trouble, ...]
    chain: ChainFacts | None
    """`None` where no chain is followed."""
    node_set: NodeSetFacts
    sessions: int
    keys: int
    keys_without_share: int
    """Keys with a record here, but no share of this node."""
    tasks: Mapping[str, int]
    answers: Mapping[str, int]
    avoided: tuple[OffenceFacts, ...] = ()
    """Nodes that are chosen last now, each with its newest offence."""
    set_change: SetChangeFacts | None = None
    """Changes of the node set; `None` from views that do not know."""
    signing: SigningFacts | None = None
    """Joint signatures; `None` from views that do not know."""


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key in a list."""

    key_id: KeyId
    version: int
    has_share: bool
    has_document_key: bool


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """A member of a key's committee."""

    node_id: NodeId
    x: int
    is_holder: bool
    """Whether it is known to hold a share."""


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """All that is public about a key."""

    key_id: KeyId
    author: Address
    threshold: int
    required_nodes: int
    version: int
    public: bytes
    """64 bytes, `x || y`."""
    record_hash: Hash32
    set_id: Hash32
    committee: tuple[MemberFacts, ...]
    share: str
    """This node's own: `held`, `none` or `unreadable`."""
    has_document_key: bool
    certified: bool
    undecided: bool
    """Whether a later version or a document key is being agreed on."""


@dataclass(frozen=True, slots=True)
class TransactionFacts:
    """A transaction that was signed for an answer."""

    tx_hash: Hash32
    max_fee_wei: str
    gas: int
    block: int
    """The head when it was made."""
    cancels: bool


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """An answer to a contract."""

    id: int
    method: str
    state: str
    nonce: int | None
    transactions: tuple[TransactionFacts, ...]
    mined_block: int | None
    failures: int
    reason: str


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A request on a contract that this node still owes something."""

    id: int
    kind: str
    contract: Address
    key_id: KeyId
    requester: Address | None
    message: Hash32 | None
    """What is to be signed; `None` for other requests."""
    state: str
    reason: str
    attempts: int
    first_seen_block: int
    next_attempt_block: int
    answers: tuple[AnswerFacts, ...]


@dataclass(frozen=True, slots=True)
class FeeFacts:
    """What a service contract holds for this node."""

    contract: Address
    services: tuple[str, ...]
    balance_wei: str
