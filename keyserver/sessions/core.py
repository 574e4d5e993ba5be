"""What a session is: events in, effects out, phases in between.

A session is one run of one protocol at one node. It computes; it never waits, reads a clock,
touches a disk or a socket. The driver (`keyserver.engine.driver`) turns effects into action and
feeds the answers back as events (architecture, section 4).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from keyserver.crypto.randomness import RandomSource
from keyserver.errors import KeyServerError
from keyserver.model.blocks import BlockId
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.codec import encode
from keyserver.model.identifiers import (
    Address,
    Hash32,
    NodeId,
    Nonce32,
    SessionId,
    Signature,
)
from keyserver.model.keys import (
    CertifiedDocumentKey,
    CertifiedRecord,
    Decision,
    DocumentKey,
    HoldingCertificate,
    KeyRecord,
    KeyShare,
)
from keyserver.model.node_set import NodeSet
from keyserver.model.quorums import Quorums
from keyserver.model.requests import Operation, Request
from keyserver.sessions.bound_uses import BoundUses
from keyserver.sessions.presignature_pool import PresignaturePool
from keyserver.sessions.writes import Promise, Write

if TYPE_CHECKING:
    from keyserver.sessions.authentication import Authentic

P = TypeVar("P")


# --- messages -------------------------------------------------------------------------------


class Message:
    """Base of everything that travels between nodes inside a session.

    A subclass is a frozen dataclass of encodable fields with its own `TYPE`: high byte the
    session kind, never reused (engine design, section 5.2).
    """

    TYPE: ClassVar[int]
    TO_COORDINATOR: ClassVar[bool]
    """Whether a participant sends it to the coordinator, or the coordinator to a participant."""

    @cached_property
    def encoded(self) -> bytes:
        """The fields in canonical encoding; made once, as most messages go to many nodes."""
        return encode(self)


class SessionKind(IntEnum):
    """Kinds of sessions, part of every session id (engine design, section 5.5)."""

    LINK = 0
    GENERATION = 1
    REDISTRIBUTION = 2
    STORING = 3
    RETRIEVAL = 4
    SCHNORR = 5
    PRESIGNING = 6
    ECDSA = 7
    SHARE_ADDITION = 8
    IMPORT = 9
    SET_CHANGE = 10


class Refusal(IntEnum):
    """Why a node takes no part (engine design, section 17)."""

    DENIED = 1
    NOT_FOUND = 2
    NO_DOCUMENT = 3
    EXISTS = 4
    TEMPORARY = 5
    BUSY = 6
    STALE = 7
    POLICY = 8
    BAD = 9
    EXCLUSIVE = 10


# --- control signals of a step ---------------------------------------------------------------


class NotYet(Exception):  # noqa: N818 - a control signal, not an error
    """The message belongs to a later phase: keep it and try again."""


class Refused(Exception):  # noqa: N818
    """A check failed; nothing was computed and nothing secret leaves the node."""

    def __init__(
        self,
        code: Refusal,
        why: str,
        error: str | None = None,
        reports: "tuple[Report, ...]" = (),
    ) -> None:
        super().__init__(f"{code.name}: {why}")
        self.code = code
        self.why = why
        self.error = error
        """Name of the final error where the code alone does not say it."""
        self.reports = reports
        """Who is to blame, where that can be proven."""


class SessionError(KeyServerError):
    """A session that did not bring its result."""


class UnavailableError(SessionError):
    """Too few nodes, a peer lost, time ran out: the same request may succeed later."""

    retriable = True

    def __init__(
        self,
        message: str,
        code: str = "ConsensusTemporaryUnreachable",
        failed: frozenset[NodeId] = frozenset(),
        refusing: frozenset[NodeId] = frozenset(),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.failed = failed
        """Nodes without which another attempt may succeed at once."""
        self.refusing = refusing
        """Those of them that will say no whenever they are asked."""


class GivenUpError(UnavailableError):
    """The coordinator has said that nothing more will come."""


class StaleError(UnavailableError):
    """Nodes have another version of the key in force: this node is behind, or they are.

    `failed` says which, where all of those that were asked are needed.
    """


class DeniedError(SessionError):
    """A final answer: the client is told, and on the contract path it is published."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


# --- events ----------------------------------------------------------------------------------


class Verdict(Enum):
    """What the chain says about a request."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Received:
    """A message of this session; the sender is authenticated by the connection."""

    sender: NodeId
    message: Any


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The connection to a peer is gone."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that this session set has run out."""

    name: str


@dataclass(frozen=True, slots=True)
class Authorised:
    """The answer to an `Authorise` effect."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Performed:
    """The answer to a `Perform` effect; what it may be is said by the session's own works."""

    result: Any


Event = Received | PeerLost | TimerFired | Authorised | Performed


# --- effects ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message of this session to a node, possibly to itself."""

    to: NodeId
    message: Any


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Ask for `TimerFired(name)` in `seconds`; a later one of the same name replaces it."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Authorise:
    """Ask what only the chain can tell about a request.

    Is it pending in the contract that it names (kind 3), and has the requester the permission
    (operations 5 to 9)?
    """

    request: Request
    requester: Address
    needs_permission: bool
    permission_block: BlockId | None = None
    """Where all nodes of the session read the permission; `None` where none is needed."""


@dataclass(frozen=True, slots=True)
class Report:
    """Somebody can be convicted: keep the evidence and show it to everybody."""

    culprits: frozenset[NodeId]
    what: str
    evidence: bytes


@dataclass(frozen=True, slots=True)
class Persist:
    """Write all of these in one transaction; durable before any later effect happens."""

    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class Perform:
    """Have something done that takes long and is no exchange of messages of this session.

    Answered by `Performed`, not awaited by any other effect; given up when the session ends.
    """

    work: Any


Effect = Send | SetTimer | Authorise | Report | Persist | Perform


# --- what a session knows --------------------------------------------------------------------


class Signer(Protocol):
    """The node key's one use inside sessions; the key itself stays behind it."""

    def sign(self, digest: Hash32) -> Signature:
        """Sign a tagged hash (engine design, section 3)."""
        ...


@dataclass(frozen=True, slots=True)
class PreparedRecord:
    """A record this node gave its READY for, not decided yet."""

    record: KeyRecord
    share: KeyShare | None = field(repr=False)
    transcript: Hash32
    holding: HoldingCertificate | None


@dataclass(frozen=True, slots=True)
class DocumentCandidate:
    """A document key this node voted for, not decided yet."""

    attempt: int
    record_hash: Hash32
    document: DocumentKey


@dataclass(frozen=True, slots=True)
class KeyState:
    """Everything this node has stored about one key id."""

    active: CertifiedRecord | None = None
    share: KeyShare | None = field(default=None, repr=False)
    """This node's share of the active record; `None` while it is absent or no member."""
    prepared: PreparedRecord | None = None
    skipped: tuple[Decision, ...] = ()
    """Versions after the active one that were decided as *nothing*, in order."""
    document: CertifiedDocumentKey | None = None
    document_candidate: DocumentCandidate | None = None
    document_skipped: tuple[Decision, ...] = ()
    """Storing attempts under the active record decided as *nothing*, in order."""
    promise: Promise | None = None
    installed_at: int = field(default=0, compare=False)
    """Since when the active record is in force here, in Unix seconds by this node's clock."""

    @property
    def next_version(self) -> int:
        """The first undecided version."""
        return (self.active.record.version if self.active else 0) + len(self.skipped) + 1

    @property
    def next_document_attempt(self) -> int:
        """The first undecided attempt to store a document key."""
        first = self.active.record.first_attempt if self.active else 1
        return first + len(self.document_skipped)


@dataclass(frozen=True, slots=True)
class Policy:
    """What this node's operator allows (engine design, sections 6.2, 7.2 and 25)."""

    max_faulty: int | None = None
    generation_quorum: int | None = None
    """g_start; `None` is "all"."""
    strict_credentials: frozenset[Operation] = frozenset()
    forbid_plain_modes: bool = False
    generators: frozenset[Address] = frozenset()
    """Accounts that may generate keys; empty: anybody."""
    service_contracts: frozenset[tuple[Address, Operation]] = frozenset()
    """Which contract may carry which operation (credential kind 3)."""
    chain_id: int = 0
    verifying_contract: Address = field(default_factory=lambda: Address(bytes(20)))
    """Domain of bound credentials: the node set contract, or what stands for it."""

    @property
    def signing_domain(self) -> SigningDomain:
        """What bound credentials are signed for."""
        return SigningDomain(self.chain_id, self.verifying_contract)


@dataclass(frozen=True, slots=True)
class Context:
    """What never changes during a session."""

    me: NodeId
    sid: SessionId
    kind: SessionKind
    coordinator: NodeId
    boot_nonce: Nonce32
    """Of the coordinator's process; bound into the session id and credential proofs."""
    counter: int
    request: Request
    signer: Signer
    random: RandomSource
    node_set: NodeSet
    """The current set at the opening."""
    connected: frozenset[NodeId]
    """Peers with a connection at the opening, this node included."""
    key: KeyState
    policy: Policy
    now: int
    """Unix seconds at the opening."""
    bound_uses: BoundUses
    """Which bound credentials were used; one memory for all sessions of this node."""
    presignatures: PresignaturePool
    """Shares of presignatures; one memory for all sessions of this node."""
    permission_block: BlockId | None = None
    """Where this node would have permissions read; `None` where it follows no chain."""
    authentic: "Authentic | None" = None
    """What was found out about the request before the session began."""
    generated_by: NodeId | None = None
    """Who coordinated the generation of this key under a request for both keys (op 3), as far as
    this node took part in it since its start."""
    target: NodeSet | None = None
    """Where the shares go, if the request names a change that this node accepts."""
    avoided: frozenset[NodeId] = frozenset()
    """Nodes against which there is evidence: others are chosen while there are enough of them."""

    def quorums(self, nodes: int) -> Quorums:
        """The quorums of a committee of this size under the cluster's `max_faulty`."""
        return Quorums.of(nodes, self.policy.max_faulty)


@dataclass(frozen=True, slots=True)
class Completed:
    """The session brought its result."""

    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The session ended without one."""

    error: SessionError


@dataclass(frozen=True, slots=True)
class Step(Generic[P]):
    """The next phase and what has to happen, in order."""

    phase: P | Completed | Failed
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionType(Generic[P]):
    """A protocol, as the table, the driver and the generic tests see it."""

    name: str
    kind: SessionKind
    messages: tuple[type[Message], ...]
    """The first one opens the session at a participant."""
    start: Callable[[Context, Any], Step[P]]
    """The coordinator's part begins; the second argument is the session's own input."""
    join: Callable[[Context, NodeId, Any], Step[P]]
    """A participant's part begins with the opening message."""
    step: Callable[[Context, P, Event], Step[P]]
