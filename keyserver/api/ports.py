"""What the client listener and the JSON-RPC listener ask of the rest of the process."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from keyserver.crypto.curve import Point, SecretScalar
from keyserver.engine.credentials import CredentialSource
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Address, KeyId, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord, DocumentKey
from keyserver.model.requests import Credential, SignMessage
from keyserver.model.set_change import AdministratorOrder
from keyserver.model.set_change_rules import AdministratorView
from keyserver.sessions.core import Policy
from keyserver.sessions.outcomes import ShadowResult


class ClientOperations(Protocol):
    """What clients may ask (`keyserver.engine.key_server.KeyServer`).

    All methods raise `DeniedError` (final) or `UnavailableError`.
    """

    async def generate_server_key(
        self, key_id: KeyId, threshold: int, credential: Credential | CredentialSource
    ) -> CertifiedRecord:
        """Have the nodes make a key."""
        ...

    async def generate_both(
        self,
        key_id: KeyId,
        threshold: int,
        credential: Credential | CredentialSource,
        recipient: Point,
    ) -> bytes:
        """Make a key and a document key; the latter as an ECIES message to the recipient."""
        ...

    async def store_document_key(
        self, key_id: KeyId, document: DocumentKey, credential: Credential | CredentialSource
    ) -> CertifiedDocumentKey:
        """Bind a document key to a server key."""
        ...

    async def check_storing(self, key_id: KeyId, requester: Address) -> None:
        """Raise what storing would raise whatever the points."""
        ...

    async def retrieve_server_key(self, key_id: KeyId, requester: Address) -> CertifiedRecord:
        """The key of an author."""
        ...

    async def retrieve_shadow(
        self,
        key_id: KeyId,
        credential: Credential | CredentialSource,
        exclude: frozenset[NodeId] = frozenset(),
    ) -> ShadowResult:
        """A document key in shadow form, without the help of the nodes in `exclude`."""
        ...

    async def retrieve_plain(
        self, key_id: KeyId, credential: Credential | CredentialSource
    ) -> bytes:
        """A document key as an ECIES message to the requester."""
        ...

    async def sign_sealed(
        self, operation: SignMessage, credential: Credential | CredentialSource
    ) -> bytes:
        """A signature of a server key as an ECIES message to the requester."""
        ...


class Availability(Enum):
    """Whether the node serves clients."""

    OPEN = "open"
    SEALED = "sealed"
    STANDBY = "standby"


class NodeState(Protocol):
    """The node as the client listener sees it; asked anew for every request."""

    @property
    def availability(self) -> Availability:
        """Whether it serves."""
        ...

    @property
    def operations(self) -> ClientOperations:
        """The engine; only asked for while the node is open."""
        ...

    @property
    def policy(self) -> Policy:
        """What the operator allows now."""
        ...

    @property
    def signing_domain(self) -> SigningDomain | None:
        """What requests of `/v1` are signed under; `None` while the node set is not known."""
        ...

    @property
    def chain_is_silent(self) -> bool:
        """Whether permissions have to be asked of a chain that does not answer or is stale."""
        ...


@dataclass(frozen=True, slots=True)
class ChangeStanding:
    """What a node looks at before it starts a change of the node set (section 9)."""

    view: AdministratorView
    all_connected: bool
    """Whether every node of the old set is connected, and this node is one of them."""
    change_runs: bool
    has_sessions: bool
    """Whether other work is in progress here that does not end soon."""


class SetChangeService(Protocol):
    """Carries out an administrator's orders."""

    async def standing(self) -> ChangeStanding:
        """What stands in the way, if anything; may wait some seconds for sessions to end."""
        ...

    async def run(self, order: AdministratorOrder) -> None:
        """Carry out an order, which every node judges for itself, and return when all is done.

        Of two at the same moment only one may run: the other raises `UnavailableError` with
        `DuplicateSessionId`. Who asked may be gone before the end; the change goes on. Raises
        `KeysWouldBeLostError` before anything is touched, `OrderRefusedError` if this node
        finds fault with it by now, `DeniedError` and `UnavailableError` by the original's names.
        """
        ...


class LockedKey(Protocol):
    """A key file (`keyserver.app.accounts.KeyFile`)."""

    @property
    def address(self) -> Address:
        """The account."""
        ...

    def open(self, password: str) -> SecretScalar | None:
        """The key, `None` with a wrong password; slow. Raises `ConfigError` if damaged."""
        ...
