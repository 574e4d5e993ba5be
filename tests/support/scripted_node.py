"""A node whose engine answers what a test tells it to."""

from dataclasses import dataclass, field

from starlette.types import ASGIApp

from keyserver.api.cors import OriginPolicy
from keyserver.api.original import ClientDependencies, client_app
from keyserver.api.ports import Availability
from keyserver.api.rate_limit import RateLimiter
from keyserver.crypto.curve import Point
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.credentials import CredentialSource, signer_of
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Address, KeyId, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord, DocumentKey
from keyserver.model.requests import Credential, SigningScheme, SignMessage
from keyserver.sessions.core import Policy
from keyserver.sessions.outcomes import ShadowResult
from tests.support.fake_cluster import certified_document, certified_record, node_of, point_of

NODES = tuple(sorted(node_of(number) for number in (1, 2, 3)))
AUTHOR = Address(b"\xa1" * 20)
SHADOW = ShadowResult(
    point_of(5), point_of(6), (b"\x01" * 145, b"\x02" * 145), NODES[:2], (point_of(7), point_of(8))
)

Asked = tuple[object, ...]


@dataclass
class ScriptedOperations:
    """`ClientOperations` that take down what they are asked; `failure` is raised if set."""

    calls: list[Asked] = field(default_factory=list)
    failure: Exception | None = None

    def _note(self, *asked: object) -> None:
        self.calls.append(asked)
        if self.failure is not None:
            raise self.failure

    async def generate_server_key(
        self, key_id: KeyId, threshold: int, credential: Credential | CredentialSource
    ) -> CertifiedRecord:
        self._note("generate_server_key", key_id, threshold)
        return certified_record(key_id, AUTHOR, min(threshold, 2), NODES)

    async def generate_both(
        self,
        key_id: KeyId,
        threshold: int,
        credential: Credential | CredentialSource,
        recipient: Point,
    ) -> bytes:
        self._note("generate_both", key_id, threshold, recipient)
        return b"\x04" * 177

    async def store_document_key(
        self, key_id: KeyId, document: DocumentKey, credential: Credential | CredentialSource
    ) -> CertifiedDocumentKey:
        self._note("store_document_key", key_id, document)
        return certified_document(document)

    async def check_storing(self, key_id: KeyId, requester: Address) -> None:
        self._note("check_storing", key_id, requester)

    async def retrieve_server_key(self, key_id: KeyId, requester: Address) -> CertifiedRecord:
        self._note("retrieve_server_key", key_id, requester)
        return certified_record(key_id, AUTHOR, 1, NODES)

    async def retrieve_shadow(
        self,
        key_id: KeyId,
        credential: Credential | CredentialSource,
        exclude: frozenset[NodeId] = frozenset(),
    ) -> ShadowResult:
        self._note("retrieve_shadow", key_id, exclude)
        return SHADOW

    async def retrieve_plain(
        self, key_id: KeyId, credential: Credential | CredentialSource
    ) -> bytes:
        self._note("retrieve_plain", key_id)
        return b"\x04" * 177

    async def sign_sealed(
        self, operation: SignMessage, credential: Credential | CredentialSource
    ) -> bytes:
        who = signer_of(credential)
        self._note("sign", operation.key_id, operation.message, operation.scheme, who)
        return b"\x04" * (177 if operation.scheme is SigningScheme.SCHNORR else 178)


@dataclass
class ScriptedNode:
    """`NodeState` with everything at hand."""

    operations: ScriptedOperations = field(default_factory=ScriptedOperations)
    availability: Availability = Availability.OPEN
    policy: Policy = field(default_factory=Policy)
    chain_is_silent: bool = False
    node_set_is_known: bool = True

    @property
    def signing_domain(self) -> SigningDomain | None:
        return self.policy.signing_domain if self.node_set_is_known else None


def app_of(
    node: ScriptedNode, *, cors: tuple[str, ...] = (), limiter: RateLimiter | None = None
) -> ASGIApp:
    """The client listener's application on this node."""
    limits = limiter or RateLimiter(0, lambda: 0.0)
    return client_app(ClientDependencies(node, SeededRandom(1), OriginPolicy(cors), limits))
