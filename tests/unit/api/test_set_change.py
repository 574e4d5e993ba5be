"""The administrator's orders at both doors: what is refused, how, and in which order."""

import json
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from keyserver.api.ports import Availability, ChangeStanding
from keyserver.api.set_change import check_order
from keyserver.api.set_change import legacy_order as read_legacy_order
from keyserver.errors import KeyServerError, StorageError
from keyserver.model.identifiers import NodeId, Signature
from keyserver.model.set_change import BoundOrder, LegacyOrder
from keyserver.model.set_change_rules import KeysWouldBeLostError, OrderRefusedError, Rule
from keyserver.sessions.core import DeniedError, UnavailableError
from tests.support.asgi import call
from tests.support.bound_requests import POLICY, v1_app_of
from tests.support.raw_http import Answer
from tests.support.scripted_changes import ScriptedChanges
from tests.support.scripted_node import ScriptedNode
from tests.support.set_changes import (
    NODES,
    NOW,
    OTHER_KEY,
    bound_order,
    completed,
    legacy_order,
    set_of,
    view,
)

STRANGER = NodeId.of(OTHER_KEY.public())
NO_KEY = Signature(b"\x01" * 64 + b"\x1b")
DISCONNECTED = "node required for this operation is currently disconnected"
RUNS = "session with the same id is already registered"
BUSY = "Unable to start exclusive session"
PATH = "/v1/set-change"


def path_of(order: LegacyOrder) -> str:
    signatures = f"{order.old_signature.hex()}/{order.new_signature.hex()}"
    return f"/admin/servers_set_change/{signatures}"


def ids(nodes: tuple[NodeId, ...]) -> list[str]:
    return [f"0x{node.hex()}" for node in nodes]


def fields_of(order: BoundOrder) -> dict[str, Any]:
    return {
        "old_set_id": f"0x{order.old_set_id.hex()}",
        "new_set": ids(order.new_nodes),
        "epoch": order.epoch,
        "not_after": order.not_after,
        "signature": f"0x{order.signature.hex()}",
    }


async def send_pair(
    changes: ScriptedChanges | None, order: LegacyOrder, *, node: ScriptedNode | None = None
) -> Answer:
    app = v1_app_of(node or ScriptedNode(policy=POLICY), set_changes=changes)
    return await call(app, "POST", path_of(order), body=json.dumps(ids(order.new_nodes)).encode())


async def send_bound(
    changes: ScriptedChanges | None,
    fields: dict[str, Any] | BoundOrder,
    *,
    node: ScriptedNode | None = None,
) -> Answer:
    app = v1_app_of(node or ScriptedNode(policy=POLICY), set_changes=changes)
    body = fields_of(fields) if isinstance(fields, BoundOrder) else fields
    return await call(app, "POST", PATH, body=json.dumps(body).encode())


def text_of(answer: Answer) -> tuple[int, str]:
    """Status and text of an answer in the original's form."""
    text: str = json.loads(answer.text)
    return answer.status, text.strip('"')


def problem_of(answer: Answer) -> tuple[int, str, bool]:
    error = json.loads(answer.text)["error"]
    return answer.status, error["code"], error["retriable"]


# --- the original's form ----------------------------------------------------------------------


async def test_a_pair_is_carried_out() -> None:
    changes, order = ScriptedChanges(), legacy_order()
    answer = await send_pair(changes, order)
    assert (answer.status, answer.body, answer.header("content-type")) == (200, b"", None)
    assert changes.orders == [order]


def test_the_body_is_a_set() -> None:
    order = legacy_order()
    shuffled = [*reversed(order.new_nodes), order.new_nodes[0]]
    assert read_legacy_order(shuffled, order.old_signature, order.new_signature) == order


BROKEN = LegacyOrder((STRANGER,), NO_KEY, NO_KEY)
FOREIGN = legacy_order(key=OTHER_KEY)
USED = (
    completed(check_order(legacy_order(), ChangeStanding(view(), True, False, False))),
    completed(check_order(legacy_order(new=NODES), ChangeStanding(view(), True, False, False)), 2),
)


@pytest.mark.parametrize(
    ("order", "state", "status", "text"),
    [
        pytest.param(
            legacy_order(), {"seen": view(administrator=None)}, 403, "Access denied", id="a"
        ),
        pytest.param(legacy_order(), {"all_connected": False}, 500, DISCONNECTED, id="b"),
        pytest.param(legacy_order(), {"change_runs": True}, 500, RUNS, id="c"),
        pytest.param(legacy_order(), {"has_sessions": True}, 500, BUSY, id="d"),
        pytest.param(BROKEN, {}, 500, DISCONNECTED, id="e"),
        pytest.param(
            replace(FOREIGN, new_signature=NO_KEY),
            {},
            500,
            "cryptographic error invalid EC signature",
            id="f",
        ),
        pytest.param(FOREIGN, {}, 403, "Consensus unreachable", id="g"),
        pytest.param(
            legacy_order(old=set_of(NODES[:4])), {}, 403, "Consensus unreachable", id="forgotten"
        ),
        pytest.param(
            legacy_order(), {"seen": view(*USED)}, 403, "Consensus unreachable", id="done before"
        ),
    ],
)
async def test_what_is_refused(
    order: LegacyOrder, state: dict[str, Any], status: int, text: str
) -> None:
    changes = ScriptedChanges(**state)
    answer = await send_pair(changes, order)
    assert text_of(answer) == (status, text)
    assert changes.orders == [], "nothing was started"


async def test_ids_that_are_no_points() -> None:
    """The grammar lets them pass; no node has such an id."""
    order = legacy_order(new=[*NODES, NodeId(b"\x55" * 64)])
    assert text_of(await send_pair(ScriptedChanges(), order)) == (500, DISCONNECTED)


async def test_the_old_form_that_is_switched_off() -> None:
    changes = ScriptedChanges(seen=view(strict_admin=True), all_connected=False)
    status, text = text_of(await send_pair(changes, BROKEN))
    assert status == 403
    assert text.startswith("Operation is disabled: servers_set_change ([keyserver] strict_admin)")
    assert PATH in text


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"seen": view(administrator=None)}, "AccessDenied"),
    ({"all_connected": False}, "NodeDisconnected"),
    ({"change_runs": True}, "DuplicateSessionId"),
    ({"has_sessions": True}, "HasActiveSessions"),
]


@pytest.mark.parametrize(("first", "second"), list(combinations(range(4), 2)))
@pytest.mark.parametrize("order", [legacy_order(), BROKEN, FOREIGN])
async def test_of_two_reasons_the_earlier_one_is_told(
    first: int, second: int, order: LegacyOrder
) -> None:
    (one, code), (other, _) = FAULTS[first], FAULTS[second]
    standing = await ScriptedChanges(**one, **other).standing()
    with pytest.raises(KeyServerError) as refusal:
        check_order(order, standing)
    assert refusal.value.code == code


async def test_of_two_reasons_in_the_order_itself() -> None:
    standing = await ScriptedChanges().standing()
    unreadable = replace(FOREIGN, old_signature=NO_KEY)
    for order, rule in ((BROKEN, Rule.UNKNOWN_NODE), (unreadable, Rule.UNREADABLE_SIGNATURE)):
        with pytest.raises(OrderRefusedError) as refusal:
            check_order(order, standing)
        assert refusal.value.rule is rule


@pytest.mark.parametrize(
    ("failure", "status", "text"),
    [
        (DeniedError("a node refuses", "ConsensusUnreachable"), 403, "Consensus unreachable"),
        (UnavailableError("a node is gone", "NodeDisconnected"), 500, DISCONNECTED),
        (UnavailableError("a session", "HasActiveSessions"), 500, BUSY),
        (
            KeysWouldBeLostError(12),
            500,
            "Internal error: 12 keys would be left with too few holders",
        ),
        (
            StorageError("disk full"),
            500,
            "Database error: stored data cannot be read or written",
        ),
    ],
)
async def test_what_goes_wrong_on_the_way(failure: KeyServerError, status: int, text: str) -> None:
    changes = ScriptedChanges(failure=failure)
    assert text_of(await send_pair(changes, legacy_order())) == (status, text)
    assert len(changes.orders) == 1


async def test_while_the_node_is_closed() -> None:
    node = ScriptedNode(policy=POLICY, availability=Availability.SEALED)
    changes = ScriptedChanges()
    assert text_of(await send_pair(changes, legacy_order(), node=node)) == (503, "Node is sealed")
    answer = await send_bound(changes, bound_order(), node=node)
    assert problem_of(answer) == (503, "SEALED", True)
    assert changes.orders == []


async def test_a_body_that_is_no_set() -> None:
    changes, order = ScriptedChanges(), legacy_order()
    app = v1_app_of(ScriptedNode(policy=POLICY), set_changes=changes)
    for body in (b"", b"[]", b"{}", b'["0x00"]', b"\xff"):
        answer = await call(app, "POST", path_of(order), body=body)
        assert (answer.status, answer.body) == (400, b"")
    assert changes.orders == []


# --- bound orders -----------------------------------------------------------------------------


async def test_a_bound_order_is_carried_out() -> None:
    order = bound_order()
    for seen in (view(), view(strict_admin=True)):
        changes = ScriptedChanges(seen=seen)
        fields = fields_of(order)
        fields["new_set"] = [*reversed(fields["new_set"]), fields["new_set"][0]]
        answer = await send_bound(changes, fields)
        assert (answer.status, answer.text) == (200, "{}")
        assert changes.orders == [order]


async def test_nobody_takes_orders() -> None:
    """As it is while no service is there: the paths answer as they always did."""
    assert text_of(await send_pair(None, legacy_order())) == (403, "Access denied")
    assert problem_of(await send_bound(None, bound_order())) == (404, "NOT_FOUND", False)
    app = v1_app_of(ScriptedNode(policy=POLICY))
    assert PATH not in (await call(app, "GET", "/v1/openapi.json")).text


@pytest.mark.parametrize(
    ("order", "state", "status", "code"),
    [
        (bound_order(), {"seen": view(administrator=None)}, 403, "ACCESS_DENIED"),
        (bound_order(), {"all_connected": False}, 503, "NODE_DISCONNECTED"),
        (bound_order(), {"change_runs": True}, 503, "DUPLICATE_SESSION_ID"),
        (bound_order(), {"has_sessions": True}, 503, "HAS_ACTIVE_SESSIONS"),
        (bound_order(new=[*NODES, STRANGER]), {}, 400, "BAD_REQUEST"),
        (bound_order(old=set_of(NODES[:4])), {}, 400, "BAD_REQUEST"),
        (bound_order(epoch=2), {}, 400, "BAD_REQUEST"),
        (replace(bound_order(), signature=NO_KEY), {}, 401, "UNAUTHENTICATED"),
        (bound_order(key=OTHER_KEY), {}, 401, "UNAUTHENTICATED"),
        (bound_order(not_after=NOW - 1), {}, 401, "SIGNATURE_EXPIRED"),
        (
            bound_order(),
            {"failure": DeniedError("a node refuses", "ConsensusUnreachable")},
            403,
            "CONSENSUS_UNREACHABLE",
        ),
        (bound_order(), {"failure": KeysWouldBeLostError(3)}, 500, "INTERNAL"),
        (
            bound_order(),
            {"failure": OrderRefusedError(Rule.REPEATED, "done before")},
            403,
            "CONSENSUS_UNREACHABLE",
        ),
    ],
)
async def test_bound_orders_that_are_refused(
    order: BoundOrder, state: dict[str, Any], status: int, code: str
) -> None:
    changes = ScriptedChanges(**state)
    answer = await send_bound(changes, order)
    assert problem_of(answer) == (status, code, status == 503)
    assert len(changes.orders) == ("failure" in state)


@pytest.mark.parametrize(
    ("order", "field"),
    [
        (bound_order(new=[*NODES, STRANGER]), "new_set"),
        (bound_order(old=set_of(NODES[:4])), "old_set_id"),
        (bound_order(epoch=2), "epoch"),
    ],
)
async def test_the_field_that_is_wrong_is_named(order: BoundOrder, field: str) -> None:
    answer = await send_bound(ScriptedChanges(), order)
    assert json.loads(answer.text)["error"]["message"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("old_set_id", "0x00"),
        ("new_set", []),
        ("new_set", ids(NODES) * 60),
        ("new_set", ["0x" + "55" * 64]),
        ("epoch", -1),
        ("epoch", 2**53),
        ("epoch", "1"),
        ("epoch", 1.5),
        ("not_after", None),
        ("signature", "0x" + "00" * 64),
        ("more", 1),
    ],
)
async def test_malformed_fields(field: str, value: object) -> None:
    changes = ScriptedChanges()
    answer = await send_bound(changes, {**fields_of(bound_order()), field: value})
    assert problem_of(answer) == (400, "BAD_REQUEST", False)
    assert field in json.loads(answer.text)["error"]["message"]
    assert changes.orders == []


async def test_the_description_names_the_route_where_it_is() -> None:
    app = v1_app_of(ScriptedNode(policy=POLICY), set_changes=ScriptedChanges())
    found = json.loads((await call(app, "GET", "/v1/openapi.json")).text)
    assert found["paths"][PATH]["post"]["operationId"] == "change_node_set"
    assert PATH in (await call(app, "GET", "/v1/docs")).text
    refused = await call(app, "GET", PATH)
    assert (refused.status, refused.header("allow")) == (405, "POST")
