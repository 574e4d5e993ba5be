"""Orders that reach this node, over a cluster that carries them out."""

import asyncio

import pytest
import structlog
from structlog.testing import capture_logs

from keyserver.api.set_change import carry_out
from keyserver.app.set_changes import AdministratorsChanges, OrderJudges
from keyserver.model.set_change_rules import OrderRefusedError, Rule
from keyserver.sessions.core import UnavailableError
from keyserver.simulation.loop import run_virtual
from tests.support.changing_cluster import ChangingCluster

NEW = (1, 2, 3, 4)


def service(world: ChangingCluster, place: int = 0) -> AdministratorsChanges:
    node = world.nodes[place]
    orders = world.orders[node.id].administrator
    return AdministratorsChanges(orders, world.changes(place), lambda: node.api.connected)


@pytest.mark.parametrize("form", ["legacy", "bound"])
def test_an_administrator_changes_the_set(form: str) -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            key_id = await world.generate(1)
            world.be_current(world.configured)
            await world.settle()
            order = world.legacy(NEW) if form == "legacy" else world.bound(NEW)
            await carry_out(service(world), order)
            await world.check_keys([key_id], NEW, version=2)

    run_virtual(story())


def test_everybody_has_to_be_there() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            await world.settle()
            await world.nodes[4].crash()
            with pytest.raises(UnavailableError) as refused:
                await carry_out(service(world), world.legacy(NEW))
            assert refused.value.code == "NodeDisconnected"

    run_virtual(story())


def test_two_requests_at_once_are_one_too_many() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            world.be_current(world.configured)
            await world.settle()
            first = asyncio.ensure_future(carry_out(service(world), world.legacy(NEW)))
            await asyncio.sleep(0.1)
            with pytest.raises(UnavailableError) as refused:
                await carry_out(service(world), world.legacy(NEW))
            assert refused.value.code == "DuplicateSessionId"
            await first

    run_virtual(story())


def test_work_in_progress_is_in_the_way_of_a_legacy_order_only() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            key_id = await world.generate(1, document=True)
            world.be_current(world.configured)
            await world.settle()
            for node in world.nodes:
                node.access.delay_s = 12.0
            slow = asyncio.ensure_future(world.retrieve(key_id, by=1))
            await asyncio.sleep(0.5)
            with pytest.raises(UnavailableError) as refused:
                await carry_out(service(world), world.legacy(NEW))
            assert refused.value.code == "HasActiveSessions"
            await carry_out(service(world), world.bound(NEW))
            await slow

    run_virtual(story())


async def test_orders_that_nobody_here_can_judge_are_refused() -> None:
    world = ChangingCluster(5, 4)
    async with world:
        judges = OrderJudges(None, None)
        structlog.reset_defaults()
        with pytest.raises(OrderRefusedError) as refused, capture_logs() as logged:
            await judges.judge(world.bound(NEW))
        assert refused.value.rule is Rule.NO_ADMINISTRATOR
        assert [(entry["event"], entry["rule"]) for entry in logged] == [
            ("order_refused", Rule.NO_ADMINISTRATOR)
        ]
        order = world.migrate(NEW, master=1)
        with pytest.raises(OrderRefusedError) as refused:
            await judges.judge(order)
        assert refused.value.rule is Rule.NO_MIGRATION
        orders = world.orders[world.nodes[0].id]
        judges = OrderJudges(orders.administrator, orders)
        assert await judges.judge(order) == world.migration
        assert (await judges.judge(world.bound(NEW))).new == world.set_of(NEW)
