"""The administrator's orders on their way from a request to the nodes.

What is refused in which order: HTTP interface, section 9, (a) to (g); both doors share it.
"""

from collections.abc import Iterable

from keyserver.api.ports import ChangeStanding, SetChangeService
from keyserver.model.identifiers import NodeId, Signature
from keyserver.model.set_change import AdministratorOrder, LegacyOrder, SetChange
from keyserver.model.set_change_rules import administrator_of, judge_order
from keyserver.sessions.core import UnavailableError


def legacy_order(
    new_set: Iterable[NodeId], old_signature: bytes, new_signature: bytes
) -> LegacyOrder:
    """The order in a request of the original's form; order and repetitions do not matter."""
    nodes = tuple(sorted(set(new_set)))
    return LegacyOrder(nodes, Signature(old_signature), Signature(new_signature))


async def carry_out(service: SetChangeService, order: AdministratorOrder) -> None:
    """Check and carry out an order; raises what `check_order` and `SetChangeService.run` raise."""
    check_order(order, await service.standing())
    await service.run(order)


def check_order(order: AdministratorOrder, standing: ChangeStanding) -> SetChange:
    """The change that may start now.

    Raises `OrderRefusedError` for what is wrong with the order, and `UnavailableError` for what
    stands in its way; of several reasons the first of section 9.
    """
    administrator_of(order, standing.view)
    for stands_in_the_way, text, code in (
        (
            not standing.all_connected,
            "not all nodes of the old set are connected",
            "NodeDisconnected",
        ),
        (standing.change_runs, "a change of the node set is running", "DuplicateSessionId"),
        (standing.has_sessions, "other work is in progress", "HasActiveSessions"),
    ):
        if stands_in_the_way:
            raise UnavailableError(text, code)
    return judge_order(order, standing.view)
