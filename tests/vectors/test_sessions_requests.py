"""Client requests as every participant checks them, from the bytes between nodes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.model.bound_requests import SigningDomain, bound_digest, request_digest
from keyserver.model.codec import decode, encode
from keyserver.model.identifiers import Address, KeyId, NodeId, Nonce32
from keyserver.model.node_set import static_set_contract
from keyserver.model.requests import (
    BoundCredential,
    LegacyCredential,
    Operation,
    Proof,
    Request,
)
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.bound_uses import BoundUses
from keyserver.sessions.core import Context, KeyState, Policy, Refusal, Refused, SessionKind
from keyserver.sessions.identity import session_id
from keyserver.sessions.presignature_pool import PresignaturePool
from tests.support.delivery import KeySigner
from tests.support.keys import node_secrets, node_set_of
from tests.vectors.files import load, point, raw

_FILE: dict[str, Any] = load("request_auth")
_DOMAIN = _FILE["domain"]
_POLICY = Policy(
    chain_id=_DOMAIN["chainId"], verifying_contract=Address(raw(_DOMAIN["verifyingContract"]))
)
_KNOWN = {1, 2, 3, 4, 5, 6}
"""Operations that have a session type."""


def _context(request: Request, opening: dict[str, Any], now: int) -> Context:
    coordinator = NodeId.of(point(opening["coordinator"]))
    boot_nonce = Nonce32(raw(opening["boot_nonce"]))
    kind = SessionKind(opening["session_kind"])
    sid = session_id(kind, coordinator, boot_nonce, opening["counter"], request.hash)
    assert sid == raw(opening["sid"])
    return Context(
        me=coordinator,
        sid=sid,
        kind=kind,
        coordinator=coordinator,
        boot_nonce=boot_nonce,
        counter=opening["counter"],
        request=request,
        signer=KeySigner(node_secrets(1)[0]),
        random=SeededRandom(0),
        node_set=node_set_of(3),
        connected=frozenset(),
        key=KeyState(),
        policy=_POLICY,
        now=now,
        bound_uses=BoundUses(),
        presignatures=PresignaturePool(),
    )


def _bound_case(vector: dict[str, Any]) -> Context:
    request = decode(Request, raw(vector["bound"]["request"]))
    assert request.hash == raw(vector["bound"]["request_hash"])
    return _context(request, vector["bound"], vector["not_after"] - 60)


def _legacy_case(vector: dict[str, Any]) -> Context:
    request = decode(Request, raw(vector["request"]))
    assert request.hash == raw(vector["request_hash"])
    return _context(request, vector, 0)


_BOUND = [vector for vector in _FILE["requests"] if vector["operation"] in _KNOWN]
_LEGACY = [vector for vector in _FILE["legacy"]["proofs"] if vector["operation"] in _KNOWN]
_CASES = [pytest.param(_bound_case(vector), id=f"bound-{vector['name']}") for vector in _BOUND]
_CASES += [pytest.param(_legacy_case(v), id=f"legacy-{v['operation']}") for v in _LEGACY]


@pytest.mark.parametrize("vector", _FILE["requests"], ids=lambda vector: vector["name"])
def test_the_digest_that_a_client_signs(vector: dict[str, Any]) -> None:
    request = decode(Request, raw(vector["bound"]["request"]))
    nonce = Nonce32(raw(vector["nonce"]))
    number, key_id, payload = request.operation_number, request.key_id, request.payload
    made = request_digest(
        _POLICY.signing_domain, number, key_id, payload, vector["not_after"], nonce
    )
    assert made == raw(vector["digest"])


@pytest.mark.parametrize("vector", _BOUND, ids=lambda vector: vector["name"])
def test_the_digest_of_an_operation(vector: dict[str, Any]) -> None:
    operation = decode(Request, raw(vector["bound"]["request"])).operation()
    nonce = Nonce32(raw(vector["nonce"]))
    made = bound_digest(_POLICY.signing_domain, operation, vector["not_after"], nonce)
    assert made == raw(vector["digest"])


def test_the_domain_of_a_static_set() -> None:
    static = _FILE["static_domain"]
    contract = static_set_contract(static["cluster_name"])
    assert contract == raw(static["verifyingContract"])
    vector = _BOUND[0]
    operation = decode(Request, raw(vector["bound"]["request"])).operation()
    domain = SigningDomain(static["chainId"], contract)
    nonce = Nonce32(raw(vector["nonce"]))
    assert bound_digest(domain, operation, vector["not_after"], nonce) != raw(vector["digest"])


@pytest.mark.parametrize("vector", _BOUND, ids=lambda vector: vector["name"])
def test_the_bytes_of_a_bound_request(vector: dict[str, Any]) -> None:
    request = _bound_case(vector).request
    assert encode(request) == raw(vector["bound"]["request"])
    assert request.auth == raw(vector["bound"]["auth"])
    credential = request.credential()
    assert isinstance(credential, BoundCredential)
    assert Request.of(request.operation(), credential) == request


@pytest.mark.parametrize("vector", _LEGACY, ids=lambda vector: str(vector["operation"]))
def test_the_bytes_of_a_legacy_request(vector: dict[str, Any]) -> None:
    request = _legacy_case(vector).request
    assert encode(request) == raw(vector["request"])
    credential = request.credential()
    assert isinstance(credential, LegacyCredential)
    assert Request.of(request.operation(), credential) == request


@pytest.mark.parametrize("ctx", _CASES)
def test_it_is_authentic(ctx: Context) -> None:
    authentic = authenticate(ctx)
    assert authentic.requester == raw(_FILE["requester_address"])
    assert authentic.recipient is not None
    assert authentic.recipient.raw64 == raw(_FILE["requester_public_raw64"])
    permission = ctx.request.operation_number in {5, 6}
    assert (authentic.chain_check is not None) == permission


def _other_node(ctx: Context) -> Context:
    return replace(ctx, coordinator=node_set_of(3).nodes[1])


def _auth(change: Callable[[bytes], bytes]) -> Callable[[Context], Context]:
    return lambda ctx: replace(ctx, request=replace(ctx.request, auth=change(ctx.request.auth)))


_STRANGER = node_secrets(1)[0].public()
_ALTERED: dict[str, Callable[[Context], Context]] = {
    "another coordinator": _other_node,
    "another process": lambda ctx: replace(ctx, boot_nonce=Nonce32(bytes(32))),
    "another session": lambda ctx: replace(ctx, counter=ctx.counter + 1),
    "another operation": lambda ctx: replace(
        ctx,
        request=replace(
            ctx.request,
            operation_number=4 if ctx.request.operation_number != 4 else 6,
            payload=b"",
        ),
    ),
    "another key": lambda ctx: replace(ctx, request=replace(ctx.request, key_id=KeyId(b"\1" * 32))),
    "another proof": _auth(lambda auth: auth[:-1] + bytes([auth[-1] ^ 1])),
    "another requester": _auth(
        lambda a: a[:-130] + node_secrets(1)[0].public().compressed + a[-97:]
    ),
    "a nonce point off the curve": _auth(lambda a: a[:-97] + b"\x05" + a[-96:]),
    "a longer credential": _auth(lambda auth: auth + b"\0"),
    "no credential": _auth(lambda _: b""),
    "a credential of no known kind": _auth(lambda auth: b"\x09" + auth[1:]),
    "a node's own": _auth(lambda _: b"\x04"),
}


@pytest.mark.parametrize("change", _ALTERED)
@pytest.mark.parametrize("ctx", _CASES)
def test_nothing_may_be_altered(ctx: Context, change: str) -> None:
    with pytest.raises(Refused) as refused:
        authenticate(_ALTERED[change](ctx))
    assert refused.value.code is Refusal.BAD


@pytest.mark.parametrize("vector", _BOUND, ids=lambda vector: vector["name"])
def test_a_bound_request_expires(vector: dict[str, Any]) -> None:
    ctx, end = _bound_case(vector), vector["not_after"]
    for good in (end, end - 600):
        assert authenticate(replace(ctx, now=good)).requester
    for bad in (end + 1, end - 601):
        with pytest.raises(Refused, match=r"expired|lives too long"):
            authenticate(replace(ctx, now=bad))


@pytest.mark.parametrize("ctx", _CASES)
def test_another_domain(ctx: Context) -> None:
    """A bound request belongs to one network; a legacy one says nothing of it."""
    elsewhere = replace(ctx, policy=replace(_POLICY, chain_id=1))
    if isinstance(ctx.request.credential(), BoundCredential):
        with pytest.raises(Refused):
            authenticate(elsewhere)
    else:
        assert authenticate(elsewhere).requester


@pytest.mark.parametrize("ctx", _CASES)
def test_operators_may_be_stricter(ctx: Context) -> None:
    operation = Operation(ctx.request.operation_number)
    strict = replace(ctx, policy=replace(_POLICY, strict_credentials=frozenset({operation})))
    if isinstance(ctx.request.credential(), LegacyCredential):
        with pytest.raises(Refused) as refused:
            authenticate(strict)
        assert refused.value.code is Refusal.POLICY
    else:
        assert authenticate(strict).requester


def test_key_ids_that_anybody_can_sign() -> None:
    ctx = _legacy_case(_LEGACY[0])
    for key_id in (bytes(32), b"\xff" * 32):
        with pytest.raises(Refused, match="cannot be signed"):
            authenticate(replace(ctx, request=replace(ctx.request, key_id=KeyId(key_id))))


def test_a_nonce_point_with_no_signature() -> None:
    ctx = _legacy_case(_LEGACY[0])
    credential = ctx.request.credential()
    assert isinstance(credential, LegacyCredential)
    for other in (
        replace(credential, proof=Proof(bytes(64))),
        replace(credential, nonce_point=credential.requester),
    ):
        altered = Request.of(ctx.request.operation(), other)
        with pytest.raises(Refused):
            authenticate(replace(ctx, request=altered))
