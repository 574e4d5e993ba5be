"""Sending an administrator's order to a node (HTTP interface, section 9)."""

import json
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any, Final

from keyserver.client.node_answers import bad_answer, read_object
from keyserver.client.node_http import HttpRequest, Transport
from keyserver.client.node_refusals import Advice
from keyserver.client.original_door import original_refusal
from keyserver.client.v1_door import v1_refusal
from keyserver.errors import ConfigError
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.set_change import AdministratorOrder, BoundOrder, LegacyOrder

LEGACY_PATH: Final = "/admin/servers_set_change"
BOUND_PATH: Final = "/v1/set-change"

_ADVICE: Final[Advice] = MappingProxyType(
    {
        "ACCESS_DENIED": "The node takes no orders: [secretstore] admin_public must be set there.",
        "CONSENSUS_UNREACHABLE": "A node refuses. Is admin_public the same on all nodes, does each "
        "configure exactly the nodes of the old set, and was this change not done before?",
        "NODE_DISCONNECTED": "All nodes of the old set must be running and connected, and the new "
        "set may name no others.",
        "DUPLICATE_SESSION_ID": "A change is running already: wait until it is done.",
        "HAS_ACTIVE_SESSIONS": "The node is at work for clients: try again soon.",
        "OPERATION_DISABLED": "Sign a bound order instead; [keyserver] strict_admin wants that.",
        "UNAUTHENTICATED": "Is this the administrator's key, and the network that was signed for?",
        "SIGNATURE_EXPIRED": "Sign again; if that does not help, compare the clocks.",
        "ETH_KEY": "The signatures are damaged: sign again.",
        "INTERNAL": "Nothing is lost: every key is with its old holders or with its new ones.",
        "NOT_FOUND": "The node takes no orders of this form.",
    }
)


def legacy_request(order: LegacyOrder) -> HttpRequest:
    """The original's request; whoever sees it can repeat it."""
    signatures = f"{order.old_signature.hex()}/{order.new_signature.hex()}"
    body = new_set_body(order.new_nodes).encode()
    return HttpRequest("POST", f"{LEGACY_PATH}/{signatures}", body=body)


def new_set_body(nodes: Iterable[NodeId]) -> str:
    """The body of the original's request: the ids of the new set as a JSON array."""
    return json.dumps(_ids(nodes))


def bound_request(order: BoundOrder) -> HttpRequest:
    """The same of `/v1`, for an order that counts once."""
    fields: dict[str, Any] = {
        "old_set_id": f"0x{order.old_set_id.hex()}",
        "new_set": _ids(order.new_nodes),
        "epoch": order.epoch,
        "not_after": order.not_after,
        "signature": f"0x{order.signature.hex()}",
    }
    headers = {"Content-Type": "application/json"}
    return HttpRequest("POST", BOUND_PATH, headers, json.dumps(fields).encode())


def order_of_request(path: str, body: str) -> AdministratorOrder:
    """The order in a request as `legacy_request` and `bound_request` make it.

    Raises `ConfigError` for what is none; whether the signatures are good, the nodes say.
    """
    try:
        fields = json.loads(body)
        if path == BOUND_PATH:
            return BoundOrder(
                Hash32(_from_hex(fields["old_set_id"])),
                _nodes(fields["new_set"]),
                fields["epoch"],
                fields["not_after"],
                Signature(_from_hex(fields["signature"])),
            )
        before, old, new = path.rsplit("/", 2)
        if before == LEGACY_PATH:
            signatures = Signature(bytes.fromhex(old)), Signature(bytes.fromhex(new))
            return LegacyOrder(_nodes(fields), *signatures)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"order: cannot be read: {error}") from None
    raise ConfigError(f"order: its path is neither {LEGACY_PATH}/… nor {BOUND_PATH}")


def _nodes(texts: Iterable[str]) -> tuple[NodeId, ...]:
    return tuple(sorted({NodeId(_from_hex(text)) for text in texts}))


def _from_hex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


async def order_set_change(transport: Transport, node: str, order: AdministratorOrder) -> None:
    """Have the node at a URL carry out an order; returns when all keys are on the new set.

    That may take long, and the node says nothing meanwhile: `transport` must be patient
    (`http_transport(answer_s=None)`). After an error of this kind the same order may be sent again:
    it goes on where it stopped. Raises `NodeError` of all kinds and `BadAnswerError`.
    """
    if isinstance(order, LegacyOrder):
        answer = await transport.exchange(node, legacy_request(order))
        if answer.status != 200:
            raise original_refusal(answer, _ADVICE)
        if answer.body:
            raise bad_answer(answer, "the answer to a change of the node set is not empty")
        return
    answer = await transport.exchange(node, bound_request(order))
    if answer.status != 200:
        raise v1_refusal(answer, _ADVICE)
    if read_object(answer):
        raise bad_answer(answer, "the answer to a change of the node set is not empty")


def _ids(nodes: Iterable[NodeId]) -> list[str]:
    return [f"0x{node.hex()}" for node in nodes]
