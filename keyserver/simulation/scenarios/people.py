"""Who asks a simulated cluster for something, in which form, and what each of them may.

What the scripted chain says at honest nodes follows from it: a request of the contract path is
pending if it was made, and only readers have the permission. What no client asked for must not be
done, so this is also the measure of everything that honest nodes do.
"""

import asyncio
from dataclasses import dataclass, field

from keyserver.api.credentials import open_path_credential
from keyserver.api.v1_credentials import AuthHeader, BoundCredentialSource
from keyserver.crypto.credentials import open_signature
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.hashing import address_of
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.credentials import CredentialSource, source_of
from keyserver.model.bound_requests import SigningDomain, bound_digest
from keyserver.model.identifiers import Address, KeyId, NodeId, Nonce32
from keyserver.model.requests import (
    AnyOperation,
    Credential,
    NodeCredential,
    OnChainAddress,
    OnChainPublic,
    Operation,
    Request,
    RetrieveDocumentKey,
)
from keyserver.sessions.core import Verdict
from keyserver.simulation.clock import EPOCH
from keyserver.simulation.cluster import CONTRACT

FORMS = ("chain", "path", "bound")
"""How a request arrives: through a contract, with a signed key id, with a signed request."""

_NOT_ON_CHAIN = (Operation.GENERATE_BOTH, Operation.RETRIEVE_PLAIN, Operation.SIGN_FROST)
"""What no contract carries."""

_WITH_PERMISSION = (
    Operation.RETRIEVE_PLAIN,
    Operation.RETRIEVE_SHADOW,
    Operation.SIGN_SCHNORR,
    Operation.SIGN_FROST,
    Operation.SIGN_ECDSA,
)
"""What only readers may ask for."""

_Asked = tuple[int, KeyId, bytes, Address]
"""Operation, key, payload, requester."""


def account(secret: SecretScalar) -> Address:
    """The account of a key."""
    return Address(address_of(secret.public().raw64))


@dataclass
class People:
    """The clients of one run and everything they have asked for."""

    seed: bytes
    liars: frozenset[NodeId] = frozenset()
    """Who passes on to each other what clients send them."""
    readers: set[Address] = field(default_factory=set)
    """Who has the permission for every key."""
    on_chain: set[_Asked] = field(default_factory=set)
    """Requests that are pending in the contract, as all nodes see."""
    over_http: set[tuple[_Asked, NodeId]] = field(default_factory=set)
    """Requests, and the node that each was sent to."""

    def __post_init__(self) -> None:
        self.random = SeededRandom(b"client" + self.seed)
        self.author = SecretScalar.random(self.random)
        self.reader = SecretScalar.random(self.random)
        self.stranger = SecretScalar.random(self.random)
        self.readers.add(account(self.reader))

    def ask(
        self, who: SecretScalar, operation: AnyOperation, form: str, node: NodeId
    ) -> CredentialSource:
        """Make a request at a node; returns what the node shows to the others."""
        asked = (operation.number, operation.key_id, operation.payload(), account(who))
        if form == "chain" and operation.number not in _NOT_ON_CHAIN:
            self.on_chain.add(asked)
            return source_of(on_chain(who, operation))
        self.over_http.add((asked, node))
        if form == "path":
            signature = sign_digest(who, operation.key_id)
            return open_path_credential(operation.key_id, signature, self.random)
        return self.bound(who, operation)

    def bound(
        self, who: SecretScalar, operation: AnyOperation, lifetime_s: int = 500
    ) -> BoundCredentialSource:
        """A signature over one request."""
        nonce, domain = Nonce32(self.random.bytes(32)), SigningDomain(0, Address(bytes(20)))
        expiry = EPOCH + int(asyncio.get_running_loop().time()) + lifetime_s
        digest = bound_digest(domain, operation, expiry, nonce)
        signature = sign_digest(who, digest)
        header = AuthHeader(expiry, nonce, signature)
        return BoundCredentialSource(header, digest, open_signature(digest, signature), self.random)

    def made(self, request: Request, coordinator: NodeId) -> bool:
        """Whether somebody has asked for exactly this, at this coordinator if not on chain."""
        credential = request.credential()
        asked = (request.operation_number, request.key_id, request.payload, requester(credential))
        if isinstance(credential, OnChainAddress | OnChainPublic):
            return credential.contract == CONTRACT and asked in self.on_chain
        known_to = self.liars if coordinator in self.liars else {coordinator}
        return any((asked, node) in self.over_http for node in known_to)

    def verdict(self, request: Request, who: Address) -> Verdict:
        """What the chain says about a request."""
        credential = request.credential()
        if isinstance(credential, OnChainAddress | OnChainPublic):
            asked = (request.operation_number, request.key_id, request.payload, who)
            if asked not in self.on_chain:
                return Verdict.UNAVAILABLE
        if request.operation_number in _WITH_PERMISSION:
            return Verdict.ALLOWED if who in self.readers else Verdict.DENIED
        return Verdict.ALLOWED


def on_chain(who: SecretScalar, operation: AnyOperation) -> Credential:
    """What stands for a request that is pending in the service contract."""
    if isinstance(operation, RetrieveDocumentKey):
        return OnChainPublic(CONTRACT, who.public())
    return OnChainAddress(CONTRACT, account(who))


def requester(credential: Credential) -> Address:
    """The account that a credential names."""
    match credential:
        case OnChainAddress():
            return credential.requester
        case NodeCredential():
            return Address(bytes(20))
        case _:
            return Address(address_of(credential.requester.raw64))
