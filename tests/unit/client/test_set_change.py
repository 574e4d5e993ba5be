"""An administrator's orders: what is planned and signed, what a node of ours makes of it."""

import json
from typing import Any

import pytest

from keyserver.client.errors import (
    BadAnswerError,
    ClientError,
    NodeFailedError,
    NodeNotReadyError,
    RefusedOverHttpError,
)
from keyserver.client.set_change import (
    bound_request,
    legacy_request,
    order_of_request,
    order_set_change,
)
from keyserver.client.set_change_plan import (
    SetChangePlan,
    plan_set_change,
    sign_bound_order,
    sign_legacy_order,
    warnings_of,
)
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.errors import ConfigError
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import NodeId
from keyserver.model.set_change import AdministratorOrder, LegacyOrder
from keyserver.model.set_change_rules import KeysWouldBeLostError, judge_order
from keyserver.sessions.core import DeniedError
from tests.support.asgi_transport import AsgiTransport
from tests.support.bound_requests import POLICY, v1_app_of
from tests.support.scripted_changes import ScriptedChanges
from tests.support.scripted_node import ScriptedNode
from tests.support.set_changes import ADMIN_KEY, CHAIN_ID, CONTRACT, NODES, NOW, OTHER_KEY, view
from tests.unit.client.scripted_nodes import ONE, ScriptedNodes, said, text
from tests.vectors.files import load

DOMAIN = SigningDomain(CHAIN_ID, CONTRACT)
WALLET = Wallet(ADMIN_KEY)
PLAN = plan_set_change(DOMAIN, NODES[:4], NODES[2:])
FILE: dict[str, Any] = load("http-api")
CASES: list[dict[str, Any]] = FILE["servers_set_change"]


def legacy() -> AdministratorOrder:
    return sign_legacy_order(WALLET, PLAN)


def bound(wallet: Wallet = WALLET) -> AdministratorOrder:
    return sign_bound_order(wallet, PLAN, epoch=1, not_after=NOW + 60)


ORDERS = pytest.mark.parametrize("order", [legacy(), bound()], ids=["legacy", "bound"])


def many(count: int, first: int = 100) -> set[NodeId]:
    numbers = range(first, first + count)
    return {NodeId.of(SecretScalar.from_int(number).public()) for number in numbers}


# --- plans ------------------------------------------------------------------------------------


def test_who_comes_and_goes() -> None:
    assert PLAN.old.nodes == NODES
    assert PLAN.new.nodes == NODES[2:]
    assert (PLAN.leaving, PLAN.staying, PLAN.joining) == (NODES[:2], NODES[2:4], NODES[4:])


def test_sets_that_are_none() -> None:
    with pytest.raises(ConfigError, match="present set: must have at least one node"):
        plan_set_change(DOMAIN, [], NODES)
    with pytest.raises(ConfigError, match="new set: must have at least one node"):
        plan_set_change(DOMAIN, NODES, [])
    assert len(plan_set_change(DOMAIN, many(128), many(128, 500)).old) == 256
    with pytest.raises(ConfigError, match="257 nodes would take part"):
        plan_set_change(DOMAIN, many(128), many(129, 500))


@pytest.mark.parametrize(
    ("present", "new", "threshold", "codes"),
    [
        (NODES[:3], NODES[:3], None, ["same_nodes"]),
        (NODES[:3], NODES[:4], None, []),
        (NODES[:4], NODES[:3], None, ["no_faults_tolerated"]),
        (NODES[:2], NODES[1:3], None, []),
        (NODES[:3], NODES[2:5], None, ["most_leave"]),
        (NODES[:3], NODES[:2], 2, ["too_few_nodes"]),
        (NODES[:3], NODES[:2], 1, ["none_to_spare"]),
        (NODES[:2], NODES[1:4], 1, ["leaving_are_needed"]),
        (NODES[:1], NODES[:5], 1, []),
        (NODES[:2], NODES[3:5], 1, ["most_leave", "none_to_spare", "leaving_are_needed"]),
    ],
)
def test_what_to_mind(
    present: tuple[NodeId, ...],
    new: tuple[NodeId, ...],
    threshold: int | None,
    codes: list[str],
) -> None:
    warnings = warnings_of(plan_set_change(DOMAIN, present, new), threshold)
    assert [warning.code for warning in warnings] == codes


def test_numbers_no_order_can_have() -> None:
    for epoch in (0, 2**64):
        with pytest.raises(ConfigError, match="epoch"):
            sign_bound_order(WALLET, PLAN, epoch=epoch, not_after=NOW)
    for not_after in (-1, 2**64):
        with pytest.raises(ConfigError, match="not_after"):
            sign_bound_order(WALLET, PLAN, epoch=1, not_after=not_after)


@ORDERS
def test_a_node_takes_what_was_signed(order: AdministratorOrder) -> None:
    change = judge_order(order, view())
    assert (change.old, change.new) == (PLAN.old, PLAN.new)


@ORDERS
def test_an_order_is_read_back_from_its_request(order: AdministratorOrder) -> None:
    is_legacy = isinstance(order, LegacyOrder)
    request = legacy_request(order) if isinstance(order, LegacyOrder) else bound_request(order)
    body = request.body.decode()
    assert order_of_request(request.path, body) == order
    wrong = [
        (f"{request.path}x", body),
        ("/elsewhere", body),
        (request.path, ""),
        (request.path, "[]" if is_legacy else "{}"),
        (request.path, "{}" if is_legacy else "[]"),
        (request.path, "[7]"),
        (request.path, body.replace("0x", "0y")),
    ]
    for path, sent in wrong:
        with pytest.raises(ConfigError, match="order: "):
            order_of_request(path, sent)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_vectors_come_out(case: dict[str, Any]) -> None:
    """Signatures, path and body, byte for byte, whoever is called joining or leaving."""
    old, new = (
        {NodeId(bytes.fromhex(node[2:])) for node in case[f"{which}_set"]}
        for which in ("old", "new")
    )
    (key,) = (
        SecretScalar(bytes.fromhex(account["private_key"][2:]))
        for account in FILE["admin_accounts"]
        if account["public"] == case["admin_public"]
    )
    plans: list[SetChangePlan] = [plan_set_change(DOMAIN, old, new)]
    plans += [plan_set_change(DOMAIN, old - {each}, new) for each in new if len(old) > 1]
    for plan in plans:
        request = legacy_request(sign_legacy_order(Wallet(key), plan))
        assert {
            "method": request.method,
            "path": request.path,
            "body": request.body.decode(),
        } == case["request"]


# --- at a node --------------------------------------------------------------------------------


def node_with(changes: ScriptedChanges | None) -> AsgiTransport:
    return AsgiTransport(v1_app_of(ScriptedNode(policy=POLICY), set_changes=changes))


@ORDERS
async def test_a_node_carries_it_out(order: AdministratorOrder) -> None:
    changes = ScriptedChanges()
    await order_set_change(node_with(changes), ONE, order)
    assert changes.orders == [order]


async def refused(order: AdministratorOrder, changes: ScriptedChanges | None) -> ClientError:
    with pytest.raises(ClientError) as refusal:
        await order_set_change(node_with(changes), ONE, order)
    assert refusal.value.advice
    return refusal.value


async def test_nodes_that_take_no_orders() -> None:
    """What every node answers as long as it has no administrator."""
    original = await refused(legacy(), None)
    assert isinstance(original, RefusedOverHttpError)
    assert (original.status, original.error_code) == (403, "ACCESS_DENIED")
    assert "admin_public" in original.advice
    modern = await refused(bound(), None)
    assert isinstance(modern, RefusedOverHttpError)
    assert (modern.status, modern.error_code) == (404, "NOT_FOUND")


@ORDERS
@pytest.mark.parametrize(
    ("state", "kind", "code"),
    [
        ({"seen": view(administrator=None)}, RefusedOverHttpError, "ACCESS_DENIED"),
        ({"all_connected": False}, NodeNotReadyError, "NODE_DISCONNECTED"),
        ({"change_runs": True}, NodeNotReadyError, "DUPLICATE_SESSION_ID"),
        ({"has_sessions": True}, NodeNotReadyError, "HAS_ACTIVE_SESSIONS"),
        (
            {"failure": DeniedError("no", "ConsensusUnreachable")},
            RefusedOverHttpError,
            "CONSENSUS_UNREACHABLE",
        ),
        ({"failure": KeysWouldBeLostError(7)}, NodeFailedError, "INTERNAL"),
    ],
)
async def test_refusals(
    order: AdministratorOrder, state: dict[str, Any], kind: type[ClientError], code: str
) -> None:
    error = await refused(order, ScriptedChanges(**state))
    assert isinstance(error, kind)
    assert getattr(error, "error_code", None) == code


async def test_refusals_of_one_form() -> None:
    disabled = await refused(legacy(), ScriptedChanges(seen=view(strict_admin=True)))
    assert "bound order" in disabled.advice
    lost = await refused(legacy(), ScriptedChanges(failure=KeysWouldBeLostError(7)))
    assert "7 keys" in str(lost)
    stranger = await refused(bound(Wallet(OTHER_KEY)), ScriptedChanges())
    assert isinstance(stranger, RefusedOverHttpError)
    assert stranger.error_code == "UNAUTHENTICATED"


@ORDERS
async def test_answers_that_are_none(order: AdministratorOrder) -> None:
    nodes = ScriptedNodes()
    for unlikely in (said({"done": True}), said([]), text("done", 200)):
        nodes.will(ONE, unlikely)
        with pytest.raises(BadAnswerError):
            await order_set_change(nodes, ONE, order)


def test_what_is_sent() -> None:
    request = bound_request(sign_bound_order(WALLET, PLAN, epoch=1, not_after=NOW + 60))
    assert set(json.loads(request.body)) == {
        "old_set_id",
        "new_set",
        "epoch",
        "not_after",
        "signature",
    }
    assert "/admin" not in repr(legacy_request(sign_legacy_order(WALLET, PLAN)))
