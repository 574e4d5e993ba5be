"""The administrator's bound order through `/v1` (engine design, section 14.4).

The order carries its own signature, so the request needs no credential of its own.
"""

from typing import Annotated, Final

from fastapi import APIRouter
from pydantic import BeforeValidator, Field
from starlette.requests import Request

from keyserver.api.errors import SET_CHANGE_PATH
from keyserver.api.ports import SetChangeService
from keyserver.api.set_change import carry_out
from keyserver.api.v1_admission import ClientRequest, V1Dependencies
from keyserver.api.v1_errors import Problem, ProblemError, problem_of, unauthenticated
from keyserver.api.v1_models import MOST_NODES, Answer, Body, whole
from keyserver.api.v1_routes import errors_of, new_router
from keyserver.api.v1_values import HashHex, NodeIdHex, SignatureHex
from keyserver.model.set_change import BoundOrder
from keyserver.model.set_change_rules import OrderRefusedError, Rule

MOST_EXACT: Final = 2**53 - 1
"""The largest number that all readers of JSON take for the same one (RFC 8259, section 6)."""

NumberField = Annotated[int, Field(ge=0, le=MOST_EXACT), BeforeValidator(whole)]


class OrderedChange(Body):
    """A change of the node set, signed by the administrator."""

    old_set_id: Annotated[
        HashHex, Field(description="the id of all nodes that take part: staying, joining, leaving")
    ]
    new_set: Annotated[
        list[NodeIdHex],
        Field(min_length=1, max_length=MOST_NODES, description="the nodes after the change"),
    ]
    epoch: Annotated[NumberField, Field(description="the number of changes before this one, and 1")]
    not_after: Annotated[NumberField, Field(description="unix time of its last second")]
    signature: Annotated[
        SignatureHex,
        Field(
            description="of the administrator, over the EIP-712 type `SetChange(bytes32 oldSetId,"
            "bytes32 newSetId,uint64 epoch,uint64 notAfter)`; r, s, recovery id"
        ),
    ]

    def order(self) -> BoundOrder:
        """The order; the nodes may be named in any order, and more than once."""
        nodes = tuple(sorted(set(self.new_set)))
        return BoundOrder(self.old_set_id, nodes, self.epoch, self.not_after, self.signature)


class Changed(Answer):
    """Done: every key is on the new set."""


def set_change_router(service: SetChangeService) -> APIRouter:
    """The route; only mounted where orders are taken."""
    router = new_router()

    @router.post(
        SET_CHANGE_PATH,
        summary="Change the node set",
        responses=errors_of(
            {
                401: "`UNAUTHENTICATED`, `SIGNATURE_EXPIRED`: not signed by the administrator for "
                "this change, or too old",
                403: "`ACCESS_DENIED`: the node has no administrator; `CONSENSUS_UNREACHABLE`: "
                "another node refuses",
                503: "`SEALED`, `STANDBY`; `NODE_DISCONNECTED`, `DUPLICATE_SESSION_ID`, "
                "`HAS_ACTIVE_SESSIONS`: repeat later; the same order can be sent again",
            }
        ),
    )
    async def change_node_set(request: Request, body: OrderedChange) -> Changed:
        """Move all keys to other nodes, as the administrator orders; returns when that is done.

        Every node checks the order by its own configuration. The service goes on meanwhile.
        """
        needs: V1Dependencies = request.app.state.needs
        request.state.access.update(operation="change_node_set")
        ClientRequest(needs, request).signing_domain()  # refuses while the node is closed
        try:
            await carry_out(service, body.order())
        except OrderRefusedError as refusal:
            raise ProblemError(_problem_of_order(refusal)) from refusal
        return Changed()

    return router


_OF_FIELDS: Final = frozenset({Rule.UNKNOWN_NODE, Rule.OTHER_SET, Rule.WRONG_EPOCH})
"""What is wrong with one field, which the message begins with."""


def _problem_of_order(refusal: OrderRefusedError) -> Problem:
    """What the administrator is told; the texts say which rule was broken."""
    text = str(refusal)
    match refusal.rule:
        case Rule.NO_ADMINISTRATOR:
            return Problem(403, "ACCESS_DENIED", text)
        case Rule.EXPIRED:
            return Problem(401, "SIGNATURE_EXPIRED", f"{text}; sign again")
        case Rule.UNREADABLE_SIGNATURE | Rule.WRONG_SIGNER:
            return unauthenticated(text)
    if refusal.rule in _OF_FIELDS:
        return Problem(400, "BAD_REQUEST", text)
    return problem_of(refusal)
