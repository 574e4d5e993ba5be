"""Is a request authentic, and who asks? Every participant finds out for itself.

Engine design, sections 6, 6.1 and 6.2. What only the chain can tell (is the request pending, has
the requester the permission) is left to an `Authorise` effect; everything else is decided here.
"""

from dataclasses import dataclass
from typing import TypedDict, assert_never

from keyserver.crypto.credentials import bound_context, credential_statement, legacy_context
from keyserver.crypto.curve import ORDER, Point
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.proofs import verify
from keyserver.model.bound_requests import MAX_BOUND_LIFETIME_S, request_digest
from keyserver.model.codec import CodecError
from keyserver.model.identifiers import Address
from keyserver.model.requests import (
    AnyOperation,
    BoundCredential,
    Credential,
    GenerateServerKey,
    LegacyCredential,
    NodeCredential,
    OnChainAddress,
    OnChainPublic,
    Operation,
)
from keyserver.sessions.bound_uses import Claim
from keyserver.sessions.core import Authorise, Context, Policy, Refusal, Refused

_ON_CHAIN_OPERATIONS = frozenset(
    {
        Operation.GENERATE_SERVER_KEY,
        Operation.STORE_DOCUMENT_KEY,
        Operation.RETRIEVE_SHADOW,
        Operation.SIGN_SCHNORR,
        Operation.SIGN_ECDSA,
    }
)
_NEEDS_PERMISSION = frozenset(
    {
        Operation.RETRIEVE_PLAIN,
        Operation.RETRIEVE_SHADOW,
        Operation.SIGN_SCHNORR,
        Operation.SIGN_FROST,
        Operation.SIGN_ECDSA,
    }
)
_PLAIN_MODES = frozenset({Operation.GENERATE_BOTH, Operation.RETRIEVE_PLAIN})
_NODE_OPERATIONS = frozenset(
    {Operation.PRESIGN, Operation.RESHARE, Operation.ADD_SHARE, Operation.CHANGE_SET}
)
"""Asked by a node for itself; no credential of a client is good for them."""


@dataclass(frozen=True, slots=True)
class Authentic:
    """A request that is what it says it is, as far as a node can tell without the chain."""

    operation: AnyOperation
    requester: Address
    recipient: Point | None
    """The requester's public key, to which answers are sealed; known for all but on-chain
    generation and storing."""
    chain_check: Authorise | None
    """What remains to be asked of the chain; `None` if nothing."""


def authenticate(ctx: Context) -> Authentic:
    """Check the request of a session; raises `Refused`."""
    if ctx.authentic is not None:
        return ctx.authentic
    request = ctx.request
    try:
        operation, credential = request.operation(), request.credential()
    except CodecError as problem:
        raise Refused(Refusal.BAD, str(problem)) from problem
    if (request.operation_number in _NODE_OPERATIONS) != isinstance(credential, NodeCredential):
        raise Refused(Refusal.BAD, "the credential is not one for the operation")
    check_policy(request.operation_number, credential, ctx.policy)
    requester, recipient = _who_asks(ctx, credential)
    generators = ctx.policy.generators
    if isinstance(operation, GenerateServerKey) and generators and requester not in generators:
        raise Refused(Refusal.DENIED, "this account may not generate keys here")
    permission = request.operation_number in _NEEDS_PERMISSION
    on_chain = isinstance(credential, OnChainAddress | OnChainPublic)
    check = Authorise(request, requester, permission) if permission or on_chain else None
    return Authentic(operation, requester, recipient, check)


def check_policy(operation: int, credential: Credential, policy: Policy) -> None:
    """Apply the node's options of section 6.2; raises `Refused`."""
    if policy.forbid_plain_modes and operation in _PLAIN_MODES:
        raise Refused(Refusal.POLICY, "forbid_plain_modes")
    match credential:
        case LegacyCredential() if operation in policy.strict_credentials:
            raise Refused(Refusal.POLICY, "strict_credentials")
        case OnChainAddress() | OnChainPublic():
            if operation not in _ON_CHAIN_OPERATIONS:
                raise Refused(Refusal.BAD, "the operation cannot be asked for on chain")
            if (credential.contract, operation) not in policy.service_contracts:
                # The registry may name it without this node having seen that yet.
                raise Refused(Refusal.TEMPORARY, "the contract is none that this node knows")
        case _:
            pass


def _who_asks(ctx: Context, credential: Credential) -> tuple[Address, Point | None]:
    """The requester's account, and its public key where the credential shows one."""
    match credential:
        case LegacyCredential():
            _check_key_id(ctx)
            context = legacy_context(**opening_fields(ctx))
            _check_possession(context, ctx.request.key_id, credential)
            return _account_of(credential.requester), credential.requester
        case BoundCredential():
            _check_bound(ctx, credential)
            return _account_of(credential.requester), credential.requester
        case OnChainPublic():
            return _account_of(credential.requester), credential.requester
        case OnChainAddress():
            return credential.requester, None
        case NodeCredential():
            return ctx.coordinator.address, ctx.coordinator.point
    assert_never(credential)


def _account_of(public: Point) -> Address:
    return Address(keccak256(public.raw64)[12:])


def _check_bound(ctx: Context, credential: BoundCredential) -> None:
    if credential.not_after < ctx.now:
        raise Refused(Refusal.BAD, "the credential has expired", error="SignatureExpired")
    if credential.not_after > ctx.now + MAX_BOUND_LIFETIME_S:
        raise Refused(Refusal.BAD, "the credential lives too long")
    request = ctx.request
    bound = request_digest(
        ctx.policy.signing_domain,
        request.operation_number,
        request.key_id,
        request.payload,
        credential.not_after,
        credential.nonce,
    )
    context = bound_context(**opening_fields(ctx), digest=bound)
    _check_possession(context, bound, credential)
    claim = ctx.bound_uses.claim(credential, bound, ctx.coordinator, ctx.now)
    if claim is Claim.USED:
        raise Refused(Refusal.BAD, f"nonce: {claim.value}", error="ReplayProtection")
    if claim is Claim.FULL:
        raise Refused(Refusal.BUSY, f"nonce: {claim.value}")


def _check_key_id(ctx: Context) -> None:
    """The bare key id is what was signed: some ids anybody can "sign" for any key."""
    if not 0 < int.from_bytes(ctx.request.key_id, "big") < ORDER:
        raise Refused(Refusal.BAD, "this key id cannot be signed as it is")
    generates = ctx.request.operation_number in {
        Operation.GENERATE_SERVER_KEY,
        Operation.GENERATE_BOTH,
    }
    if generates and ctx.policy.generators:
        raise Refused(Refusal.POLICY, "generators are checked against a bound credential only")


class OpeningFields(TypedDict):
    """What the proof of a credential is bound to: one session and one request."""

    coordinator: Point
    boot_nonce: bytes
    counter: int
    operation: int
    key_id: bytes
    payload: bytes


def opening_fields(ctx: Context) -> OpeningFields:
    """The fields that `legacy_context` and `bound_context` take."""
    return OpeningFields(
        coordinator=ctx.coordinator.point,
        boot_nonce=ctx.boot_nonce,
        counter=ctx.counter,
        operation=ctx.request.operation_number,
        key_id=ctx.request.key_id,
        payload=ctx.request.payload,
    )


def _check_possession(
    context: bytes, signed: bytes, credential: LegacyCredential | BoundCredential
) -> None:
    try:
        statement = credential_statement(
            context, signed, credential.requester, credential.nonce_point
        )
        verify(statement, credential.proof)
    except CryptoError as problem:
        raise Refused(Refusal.BAD, f"credential: {problem}") from problem
