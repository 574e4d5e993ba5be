"""A node that lacks its share, donors, and whoever of them lies, over a `Delivery`."""

from collections.abc import Mapping
from typing import Any

from keyserver.model.identifiers import NodeId
from keyserver.model.keys import CertifiedRecord
from keyserver.sessions.runner import Role
from keyserver.simulation.liars import Lie, Place, role_of
from tests.support.delivery import Delivery, Tamper
from tests.support.key_life import generate, lose_share

LATE, DONORS = 0, (1, 2, 4)
"""Of five nodes with threshold 2."""


def telling(net: Delivery, lies: Mapping[NodeId, Lie]) -> Tamper:
    """Lies for `Delivery.tamper`."""

    def tamper(sender: NodeId, to: NodeId, message: Any) -> Any:
        if sender not in lies:
            return message
        runner = net.runners[sender, role_of(message)]
        coordinator = net.runners[runner.ctx.coordinator, Role.COORDINATOR]
        return lies[sender](Place(runner.ctx, runner.phase, to, coordinator.phase), message)

    return tamper


def quarrel(lie: Lie | None = None, liar: int = DONORS[1]) -> tuple[Delivery, CertifiedRecord]:
    """Five nodes with a key; node 0 lacks its share, one node lies from now on."""
    net = Delivery(5)
    record = generate(net, 2)
    lose_share(net, LATE)
    net.moments.clear()
    if lie is not None:
        net.tamper = telling(net, {net.members[liar].id: lie})
    return net, record
