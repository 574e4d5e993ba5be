"""Orders over a node's own memory: what was completed decides what is valid next."""

import pytest

from keyserver.engine.administrator_orders import AdministratorOptions, AdministratorOrders
from keyserver.model.identifiers import NodeId
from keyserver.model.set_change import AdministratorOrder, CompletedChange, SetChange
from keyserver.model.set_change_rules import OrderRefusedError, Rule
from keyserver.storage.memory import MemoryDisk
from keyserver.storage.set_changes import MemorySetChangeStore
from tests.support.set_changes import ADMIN, ALL, NODES, NOW, bound_order, legacy_order


class Node:
    """The orders of one node, which carries out what it finds valid."""

    def __init__(self, administrator: NodeId | None = ADMIN, *, strict: bool = False) -> None:
        self.now, self.store = NOW, MemorySetChangeStore(MemoryDisk())
        options = AdministratorOptions(administrator, strict_admin=strict)
        self.orders = AdministratorOrders(lambda: ALL, options, self.store, lambda: self.now)

    async def carry_out(self, order: AdministratorOrder) -> SetChange:
        change = await self.orders.judge(order)
        if not change.is_repeat:
            done = list(await self.store.completed())
            latest = CompletedChange(len(done) + 1, change.id, change.old, change.new, self.now)
            await self.store.keep_completed([*done, latest])
        return change


async def rule(node: Node, order: AdministratorOrder) -> Rule:
    with pytest.raises(OrderRefusedError) as refusal:
        await node.carry_out(order)
    return refusal.value.rule


@pytest.mark.parametrize("order", [legacy_order(), bound_order()], ids=["legacy", "bound"])
async def test_an_order_counts_once_and_can_be_repeated_at_once(
    order: AdministratorOrder,
) -> None:
    node = Node()
    assert not (await node.carry_out(order)).is_repeat
    assert (await node.carry_out(order)).is_repeat
    assert [done.epoch for done in await node.store.completed()] == [1]
    await node.carry_out(bound_order(new=NODES, epoch=2))
    assert await rule(node, order) in (Rule.REPEATED, Rule.WRONG_EPOCH)
    assert [done.epoch for done in await node.store.completed()] == [1, 2]


async def test_the_clock_is_asked_anew() -> None:
    node, order = Node(), bound_order(not_after=NOW + 5)
    await node.carry_out(order)
    node.now += 6
    assert await rule(node, order) is Rule.EXPIRED


async def test_the_options_count() -> None:
    assert await rule(Node(None), bound_order()) is Rule.NO_ADMINISTRATOR
    assert await rule(Node(strict=True), legacy_order()) is Rule.LEGACY_FORM
    view = await Node().orders.view()
    assert (view.configured, view.administrator, view.now) == (ALL, ADMIN, NOW)
