"""Set changes over a `Delivery`, with an engine that says what the test wants it to say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyserver.model.identifiers import ZERO_HASH, KeyId, NodeId
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import ChangeSet, NodeCredential
from keyserver.model.set_change import MigrationOrder, SetChange, encode_order
from keyserver.sessions.core import Completed, Failed
from keyserver.sessions.set_change import SET_CHANGE, Target
from keyserver.sessions.set_change.messages import PastChange
from keyserver.sessions.set_change.works import (
    Accepted,
    Conclude,
    Concluded,
    Counted,
    CountMoved,
    Judge,
    Moved,
    MoveKeys,
    Settle,
    Settled,
    Survey,
    Surveyed,
    Work,
)
from tests.support.delivery import Delivery
from tests.support.set_changes import NODES, legacy_order

ORDER = encode_order(legacy_order())
MIGRATION = encode_order(MigrationOrder(ZERO_HASH, NODES, NODES[0]))
"""Only the kind of an order matters to the session; engines judge what is in it."""


@dataclass
class ScriptedEngine:
    """One node's engine: an obliging one, but for what is scripted otherwise."""

    change: SetChange
    may_lose_keys: bool = False
    past: tuple[PastChange, ...] = ()
    losing: int = 0
    left: tuple[KeyId, ...] = ()
    script: dict[type, Callable[[Any], Any]] = field(default_factory=dict)
    works: list[Work] = field(default_factory=list)

    def __call__(self, work: Work) -> Any:
        self.works.append(work)
        scripted = self.script.get(type(work))
        return self._obliging(work) if scripted is None else scripted(work)

    def _obliging(self, work: Work) -> Any:
        match work:
            case Judge():
                return Accepted(self.change, self.may_lose_keys)
            case Survey():
                return Surveyed(5, self.losing)
            case MoveKeys():
                return Moved(5, self.left)
            case Settle():
                return Settled(self.past)
            case CountMoved():
                return Counted(0)
            case Conclude():
                return Concluded()


def set_of(net: Delivery, places: Sequence[int]) -> NodeSet:
    nodes = {net.members[i].id for i in places}
    return NodeSet.of(net.node_set.chain_id, net.node_set.contract, nodes)


def change_of(net: Delivery, new: Sequence[int]) -> SetChange:
    """From all members to these."""
    return SetChange.ordered(net.node_set, set_of(net, new))


def engines(net: Delivery, change: SetChange) -> dict[NodeId, ScriptedEngine]:
    """Give every member an engine of its own."""
    found = {}
    for member in net.members:
        found[member.id] = ScriptedEngine(change)
        member.perform = found[member.id]
    return found


def carry_out(
    net: Delivery, change: SetChange, *, needs_all: bool = True, coordinator: int = 0
) -> Completed | Failed:
    nodes = tuple(member.id for member in net.members)
    target = Target(change, nodes, needs_all)
    operation = ChangeSet(change.id, ORDER if needs_all else MIGRATION)
    return net.run(SET_CHANGE, operation, NodeCredential(), target, coordinator=coordinator)
