"""Lies over a `Delivery`: as a cluster tells them, but without network and engine."""

from collections.abc import Mapping
from typing import Any

from keyserver.model.identifiers import NodeId
from keyserver.sessions.runner import Role
from keyserver.simulation.liars import Lie, Place, role_of
from tests.support.delivery import Delivery, Tamper


def over_delivery(net: Delivery, lies: Mapping[NodeId, Lie]) -> Tamper:
    """Lies for `Delivery.tamper`; a liar lies to its own other role as well."""

    def tamper(sender: NodeId, to: NodeId, message: Any) -> Any:
        if sender not in lies:
            return message
        runner = net.runners[sender, role_of(message)]
        coordinator = net.runners[runner.ctx.coordinator, Role.COORDINATOR]
        return lies[sender](Place(runner.ctx, runner.phase, to, coordinator.phase), message)

    return tamper
