"""Credentials of clients, made as the contacted node makes them."""

from keyserver.crypto.credentials import (
    bound_context,
    credential_statement,
    legacy_context,
    open_signature,
)
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.proofs import prove
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.bound_requests import bound_digest
from keyserver.model.identifiers import Nonce32
from keyserver.model.requests import (
    AnyOperation,
    BoundCredential,
    LegacyCredential,
    Proof,
)
from keyserver.sessions.authentication import OpeningFields
from tests.support.delivery import NOW, Delivery

_RANDOM = SeededRandom(b"credentials")


def legacy(
    net: Delivery, operation: AnyOperation, client: SecretScalar, *, coordinator: int = 0
) -> LegacyCredential:
    """Kind 1 for the next session of a coordinator."""
    made = open_signature(operation.key_id, sign_digest(client, operation.key_id))
    context = legacy_context(**_fields(net, operation, coordinator))
    statement = credential_statement(context, operation.key_id, made.requester, made.nonce_point)
    proof = Proof(prove(statement, [made.response], _RANDOM))
    return LegacyCredential(made.requester, made.nonce_point, proof)


def bound(
    net: Delivery,
    operation: AnyOperation,
    client: SecretScalar,
    *,
    not_after: int = NOW + 60,
    coordinator: int = 0,
) -> BoundCredential:
    """Kind 2 for the next session of a coordinator."""
    nonce = Nonce32(b"\x0e" * 32)
    domain = net.members[coordinator].policy.signing_domain
    digest = bound_digest(domain, operation, not_after, nonce)
    made = open_signature(digest, sign_digest(client, digest))
    context = bound_context(**_fields(net, operation, coordinator), digest=digest)
    statement = credential_statement(context, digest, made.requester, made.nonce_point)
    proof = Proof(prove(statement, [made.response], _RANDOM))
    return BoundCredential(not_after, nonce, made.requester, made.nonce_point, proof)


def _fields(net: Delivery, operation: AnyOperation, coordinator: int) -> OpeningFields:
    return OpeningFields(
        coordinator=net.members[coordinator].id.point,
        boot_nonce=net.boot_nonce,
        counter=net.counter + 1,
        operation=operation.number,
        key_id=operation.key_id,
        payload=operation.payload(),
    )
