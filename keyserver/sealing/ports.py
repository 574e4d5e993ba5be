"""What sealing asks of the store, the audit log and the clock (`keyserver.storage` implements)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from keyserver.model.identifiers import NodeId


@dataclass(frozen=True, slots=True)
class StoredSeal:
    """The rows of the tables `seal` and `seal_keyring` (sealing, C17)."""

    record: str
    """The seal record, JSON."""
    epoch: int
    keyring_version: int
    keyring_epoch: int
    keyring_box: bytes

    @property
    def version(self) -> "SealVersion":
        """What grows with every change."""
        return SealVersion(self.epoch, self.keyring_version)


@dataclass(frozen=True, slots=True, order=True)
class SealVersion:
    """Number of the set of shares in force, and of the keyring's version; only ever grow."""

    epoch: int
    keyring_version: int


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """The row of `node_identity`: the node's key, sealed."""

    node_id: NodeId
    secret_box: bytes = field(repr=False)
    secret_term: int


@dataclass(frozen=True, slots=True)
class StoredBox:
    """One sealed value, and where it is."""

    table: str
    column: str
    primary_key: tuple[str, ...]
    """The values of the row's key as texts, as its context has them (sealing, C4.3)."""
    box: bytes = field(repr=False)


class SealStore(Protocol):
    """Where the seal record, the keyring's box and the node's key are kept.

    Every method raises `StorageError` for trouble with the database.
    """

    async def load(self) -> StoredSeal | None:
        """What is stored; `None` for a store that was never sealed.

        Raises `StorageError` if only a part of it is there.
        """
        ...

    async def create(self, seal: StoredSeal, identity: StoredIdentity | None = None) -> None:
        """Store the first seal of this store, and the node's key with it.

        Raises `AlreadyInitialisedError` if there is one, `StorageError` if sealed rows exist
        without one.
        """
        ...

    async def replace(
        self,
        seal: StoredSeal,
        *,
        expected: SealVersion,
        identity: StoredIdentity | None = None,
        without_term: int | None = None,
    ) -> None:
        """Put a seal in place of the one of version `expected`, in one transaction.

        `identity` is stored with it where given. Raises `SealConflictError` if the stored seal is
        of another version by now, `TermInUseError` if there is a box of the term `without_term`.
        """
        ...

    async def identity(self) -> StoredIdentity | None:
        """The node's key; `None` where the configuration has it."""
        ...

    async def boxes_by_term(self) -> Mapping[int, int]:
        """How many boxes of each term there are, in all sealed columns together."""
        ...

    async def boxes_not_of(
        self, term: int, limit: int, after: StoredBox | None = None
    ) -> Sequence[StoredBox]:
        """The next boxes of other terms than this one, at most `limit`, in an order of their own.

        `after`: the last one of those before; empty when none follows.
        """
        ...

    async def replace_boxes(self, boxes: Sequence[tuple[StoredBox, bytes]]) -> int:
        """Put a new box in place of each old one, in one transaction.

        A row that has another box than the old one by now stays as it is. Returns how many rows
        were changed.
        """
        ...


# --- the audit log (sealing, C14) -------------------------------------------------------------


class ActorKind(Enum):
    """Who did something."""

    ETH = "eth"
    TOKEN = "token"  # noqa: S105 - a kind of caller
    SHARE = "share"
    LOCAL = "local"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something; `name` is an address (`0x…`), a token's id, or nothing."""

    kind: ActorKind
    name: str | None = None


SYSTEM = Actor(ActorKind.SYSTEM)
"""The process itself."""


class AuditOutcome(Enum):
    """How it went."""

    OK = "ok"
    REFUSED = "refused"
    """The request was wrong."""
    DENIED = "denied"
    """The caller may not."""
    ERROR = "error"


AuditDetails = Mapping[str, str | int | bool | None]


class AuditLog(Protocol):
    """Where everything is written down that is done with seals and service keys."""

    async def record(
        self,
        action: str,
        outcome: AuditOutcome,
        actor: Actor,
        details: AuditDetails | None = None,
    ) -> None:
        """Write an entry, durable on return.

        `action` is one of the actions of sealing, C14; `details` are names from the log's list of
        what may be in it (anything else raises `ValueError`): never shares, keys, tokens or
        signatures. Raises `AuditUnavailableError` if it cannot be written and must be.
        """
        ...


# --- the state of the seal --------------------------------------------------------------------


class SealState(Enum):
    """Of one process (sealing, C6.1)."""

    UNINITIALISED = "uninitialised"
    SEALED = "sealed"
    UNSEALING = "unsealing"
    OPENING = "opening"
    UNSEALED = "unsealed"


@dataclass(frozen=True, slots=True)
class SealStatus:
    """What anybody may know of the seal."""

    state: SealState
    seal_id: bytes | None
    """16 bytes."""
    node_id: NodeId | None
    epoch: int
    """0 while there is none."""
    identifier: int | None
    """Of the set of shares; `None` without one."""
    progress: int
    """Shares collected."""
    required: int
    """Shares that open; 0 without a slot for shares."""
    shares: int
    """Shares that were handed out."""
    reason: str | None
    """Why it is sealed, where that is not the start."""
    opens_itself: bool
    """Whether a slot opens without operators: a key file, a variable, a passphrase file."""
    term: int
    """The active one; 0 while sealed."""

    @property
    def sealed(self) -> bool:
        """Whether secrets are out of reach."""
        return self.state is not SealState.UNSEALED


@dataclass(frozen=True, slots=True)
class ShareAnswer:
    """The answer to a share (sealing, C6.2)."""

    sealed: bool
    accepted: bool
    reason: str | None
    """`duplicate`, `already_unsealed`, or nothing."""
    progress: int
    required: int
    members: tuple[int, ...]
    """Whose shares are there."""


# --- who asks (sealing, C16) ------------------------------------------------------------------


class Scope(Enum):
    """What a caller may do."""

    KEYS_USE = "keys:use"
    KEYS_DATA = "keys:data"
    KEYS_ADMIN = "keys:admin"
    SEAL_ADMIN = "seal:admin"
    AUDIT_READ = "audit:read"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has proved to be who."""

    actor: Actor
    principal: str
    """`eth:0x…` of a signer, the principal of a token, `local` on this machine."""
    scopes: frozenset[Scope]
    services: tuple[str, ...] = ("*",)
    """Patterns of the services it may ask for."""
    expires_at: int | None = None
    """When its token ends, in milliseconds since 1970; `None` for who needs none."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a credential may be bound to: a request exactly as it came."""

    method: str
    target: str
    """Path and query as sent, percent-encoding included."""
    body: bytes = field(repr=False)
    authorization: str | None = field(repr=False)
    """The header of this name."""


class Callers(Protocol):
    """Tells who sent a request."""

    async def authenticate(
        self, request: SignedRequest, *, admins_only: bool = False, may_repeat: bool = False
    ) -> Caller:
        """Who has signed it, or whose token it shows.

        Administrators of the configuration have all scopes; any other account `keys:use` and
        `keys:data`; with `admins_only` it has none, and nothing is remembered of it. With
        `may_repeat` a request that was signed counts also while that cannot be remembered. Raises
        `UnauthenticatedError`, `SignatureExpiredError` or `NonceUsedError`.
        """
        ...

    @property
    def has_administrators(self) -> bool:
        """Whether accounts are configured as such; else who reaches a local listener is one."""
        ...


# --- replicas (sealing, C9) -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """One process of this node, as its row says."""

    replica_id: str
    operator_url: str
    state: SealState
    progress: int
    required: int
    epoch: int
    term: int
    software: str
    started_at: int
    """Milliseconds by the database's clock, as `seen_at`."""
    seen_at: int
    live: bool
    """Whether it was seen within the last 15 seconds."""
    active: bool
    """Whether it acts for the node."""
