"""What a node's operator and the kind of a credential allow."""

from dataclasses import replace

import pytest

from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.requests import (
    AddShare,
    Credential,
    GenerateServerKey,
    NodeCredential,
    OnChainAddress,
    OnChainPublic,
    Request,
    RetrieveDocumentKey,
    RetrieveServerKey,
    SigningScheme,
    SignMessage,
)
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.bound_uses import BoundUses
from keyserver.sessions.core import Authorise, Context, Policy, Refusal, Refused
from tests.support.credentials import bound, legacy
from tests.support.delivery import CONTRACT, Delivery
from tests.support.key_life import AUTHOR, KEY_ID, ON_CHAIN, REQUESTER, generate

OTHER_CONTRACT = Address(b"\x0c" * 20)


@pytest.fixture
def ctx() -> Context:
    net = Delivery(1)
    generate(net, 0)
    return net.openings[0][0]


def _refusal(ctx: Context, operation: object, credential: Credential) -> Refusal:
    request = Request.of(operation, credential)  # type: ignore[arg-type]
    with pytest.raises(Refused) as refused:
        authenticate(replace(ctx, request=request))
    return refused.value.code


def test_a_request_on_chain_is_checked_on_chain(ctx: Context) -> None:
    authentic = authenticate(ctx)
    assert authentic.requester == AUTHOR
    assert authentic.recipient is None
    assert authentic.chain_check == Authorise(ctx.request, AUTHOR, needs_permission=False)


def test_only_the_contracts_that_this_node_serves(ctx: Context) -> None:
    """An unknown one is no final answer: this node may be behind in what the registry says."""
    operation = GenerateServerKey(KEY_ID, 0)
    assert _refusal(ctx, operation, OnChainAddress(OTHER_CONTRACT, AUTHOR)) is Refusal.TEMPORARY
    services = frozenset({(CONTRACT, 6)})
    served = replace(ctx, policy=Policy(service_contracts=services))  # type: ignore[arg-type]
    assert _refusal(served, operation, ON_CHAIN) is Refusal.TEMPORARY
    unread = replace(ctx, policy=Policy())
    assert _refusal(unread, operation, ON_CHAIN) is Refusal.TEMPORARY


def test_a_contract_asks_for_signatures_by_account_only(ctx: Context) -> None:
    """A public key in its place would be another request than the one that is pending."""
    operation = SignMessage(KEY_ID, Hash32(b"\x07" * 32), SigningScheme.ECDSA)
    by_public = OnChainPublic(CONTRACT, REQUESTER.public())
    assert _refusal(ctx, operation, by_public) is Refusal.BAD


def test_a_nonce_belongs_to_one_coordinator() -> None:
    net = Delivery(2)
    generate(net, 0)
    operation = GenerateServerKey(KEY_ID, 0)
    opening = replace(net.openings[0][0], counter=net.counter + 1)
    through = [
        replace(opening, coordinator=net.members[i].id, request=Request.of(operation, credential))
        for i in (0, 1)
        for credential in [bound(net, operation, REQUESTER, coordinator=i)]
    ]
    assert authenticate(through[0]) == authenticate(through[0])
    with pytest.raises(Refused) as refused:
        authenticate(through[1])
    assert (refused.value.code, refused.value.error) == (Refusal.BAD, "ReplayProtection")


def test_a_coordinator_has_only_so_many_bound_credentials_in_use() -> None:
    net = Delivery(1)
    generate(net, 0)
    operation = GenerateServerKey(KEY_ID, 0)
    full = replace(net.openings[0][0], counter=net.counter + 1, bound_uses=BoundUses(limit=0))
    assert _refusal(full, operation, bound(net, operation, REQUESTER)) is Refusal.BUSY


def test_only_some_operations_exist_on_chain(ctx: Context) -> None:
    for operation in (
        RetrieveServerKey(KEY_ID),
        RetrieveDocumentKey(KEY_ID, shadow=False),
        GenerateServerKey(KEY_ID, 0, with_document_key=True),
    ):
        assert _refusal(ctx, operation, ON_CHAIN) is Refusal.BAD


def test_a_shadow_is_sealed_to_the_key_on_chain(ctx: Context) -> None:
    credential = OnChainPublic(CONTRACT, REQUESTER.public())
    request = Request.of(RetrieveDocumentKey(KEY_ID), credential)
    authentic = authenticate(replace(ctx, request=request))
    assert authentic.recipient == REQUESTER.public()
    assert authentic.chain_check is not None
    assert authentic.chain_check.needs_permission


def test_plain_modes_may_be_forbidden(ctx: Context) -> None:
    strict = replace(ctx, policy=replace(ctx.policy, forbid_plain_modes=True))
    for operation in (
        RetrieveDocumentKey(KEY_ID, shadow=False),
        GenerateServerKey(KEY_ID, 0, with_document_key=True),
    ):
        assert _refusal(strict, operation, ON_CHAIN) is Refusal.POLICY
    assert authenticate(strict).requester == AUTHOR


def test_generators_need_a_bound_credential() -> None:
    net = Delivery(1)
    generate(net, 0)
    operation = GenerateServerKey(KEY_ID, 0)
    by_key, by_form = legacy(net, operation, REQUESTER), bound(net, operation, REQUESTER)
    policy = replace(net.openings[0][0].policy, generators=frozenset({AUTHOR}))
    next_session = replace(net.openings[0][0], counter=net.counter + 1, policy=policy)
    assert _refusal(next_session, operation, by_key) is Refusal.POLICY
    assert _refusal(next_session, operation, by_form) is Refusal.DENIED
    me = NodeId.of(REQUESTER.public()).address
    allowed = replace(policy, generators=frozenset({me}))
    request = Request.of(operation, by_form)
    assert authenticate(replace(next_session, policy=allowed, request=request)).requester == me


def test_a_request_that_does_not_parse(ctx: Context) -> None:
    for request in (
        replace(ctx.request, operation_number=99),
        replace(ctx.request, payload=b"\0"),
        replace(ctx.request, auth=b"\x03" + bytes(39)),
    ):
        with pytest.raises(Refused) as refused:
            authenticate(replace(ctx, request=request))
        assert refused.value.code is Refusal.BAD


def test_a_node_asks_for_itself_only() -> None:
    """Nobody else has its share added, and its word opens nothing that clients ask for."""
    net = Delivery(1)
    generate(net, 0)
    ctx = net.openings[0][0]
    asked = replace(ctx, request=Request.of(AddShare(KEY_ID), NodeCredential()))
    authentic = authenticate(asked)
    assert authentic.operation == AddShare(KEY_ID)
    assert authentic.requester == ctx.coordinator.address
    assert authentic.chain_check is None
    assert _refusal(ctx, GenerateServerKey(KEY_ID, 0), NodeCredential()) is Refusal.BAD
    assert _refusal(ctx, RetrieveDocumentKey(KEY_ID), NodeCredential()) is Refusal.BAD
    assert _refusal(ctx, AddShare(KEY_ID), ON_CHAIN) is Refusal.BAD
    for credential in (
        legacy(net, AddShare(KEY_ID), REQUESTER),
        bound(net, AddShare(KEY_ID), REQUESTER),
    ):
        assert _refusal(ctx, AddShare(KEY_ID), credential) is Refusal.BAD
