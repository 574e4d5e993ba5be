"""Changes of the node set by order, among whole nodes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import pytest

from keyserver.engine.set_change_progress import ChangePhase
from keyserver.model.identifiers import KeyId
from keyserver.model.set_change import CompletedChange, SetChange, SetChangeOrder
from keyserver.model.set_change_rules import KeysWouldBeLostError, OrderRefusedError
from keyserver.sessions.core import DeniedError, SessionError, UnavailableError
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.set_change.messages import (
    ChangeAccept,
    ChangeDone,
    ChangeExecuted,
    ChangeFreeze,
    ChangeFrozen,
    ChangePropose,
)
from keyserver.sessions.set_change.works import (
    Conclude,
    Concluded,
    Moved,
    MoveKeys,
    Settled,
    Survey,
    Surveyed,
)
from keyserver.sessions.sharing.messages import Finalize, Redistribute
from keyserver.sessions.wire import LINK_TYPES, message_type
from keyserver.simulation.cluster import CrashedError, SimulatedNode
from keyserver.simulation.liars import at, in_cluster, silent, to_some
from keyserver.simulation.loop import run_virtual
from keyserver.storage.set_changes import MemorySetChangeStore
from tests.support.changing_cluster import ChangingCluster

NEW = (1, 2, 3, 4)
"""The first of five nodes leaves, the last one joins."""


async def keys_of(world: ChangingCluster) -> list[KeyId]:
    """Keys of the first four nodes, one with a document key."""
    keys = [await world.generate(1, document=True), await world.generate(2)]
    world.be_current(world.configured)
    await world.settle()
    return keys


# --- the whole way -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["bound", "legacy", "migration"])
def test_all_keys_are_with_the_new_nodes_and_nobody_else(form: str) -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            by = 1 if form == "migration" else 0
            orders: dict[str, SetChangeOrder] = {
                "bound": world.bound(NEW),
                "legacy": world.legacy(NEW),
                "migration": world.migrate(NEW, master=by),
            }
            report = await world.carry_out(orders[form], by)
            assert report.executed == frozenset(node.id for node in world.nodes)
            assert report.left == ()
            await world.check_keys(keys, NEW, version=2)
            await world.retrieve(keys[0], by=4)
            for place in range(5):
                assert await world.history(place) == [report.change.id]
                assert world.changes(place).change is None
            progress = world.changes(by).progress
            assert progress is not None
            assert progress.phase is ChangePhase.DONE
            assert (progress.moved, progress.total, progress.keys_kept) == (2, 2, 0)

    run_virtual(story())


def test_the_service_goes_on_and_takes_new_keys_along() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            world.movers[world.nodes[0].id].delay_s = 1.0
            change = asyncio.ensure_future(world.carry_out(world.bound(NEW)))
            made: list[KeyId] = []
            read = 0
            while not change.done():
                by = 1 + len(made) % 4
                made.append(await world.generate(1, by=by, document=True))
                await world.retrieve(keys[0], by=by)
                await world.retrieve(made[-1], by=by)
                read += 1
            await change
            made.append(await world.generate(1))
            await world.settle()
            assert read > 3
            await world.check_keys(keys, NEW, version=2)
            for key_id in made:
                state = await world.nodes[2].store.load(key_id)
                assert state.active is not None
                assert state.active.record.set_id == world.set_of(NEW).id

    run_virtual(story())


def test_one_change_follows_another() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            await world.carry_out(world.bound(NEW))
            await world.carry_out(world.bound((0, 1, 2, 3, 4), epoch=2), by=4)
            await world.check_keys(keys, (0, 1, 2, 3, 4), version=3)
            assert len(await world.history(3)) == 2

    run_virtual(story())


def test_the_same_order_again_changes_nothing() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            for by in (0, 3):
                await world.carry_out(world.legacy(NEW), by)
                await world.check_keys(keys, NEW, version=2)
            assert len(await world.history(0)) == 1

    run_virtual(story())


def test_a_migration_does_without_a_node_that_leaves() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = [await world.generate(1, document=True)]
            await world.settle()
            order = world.migrate(NEW, master=2)
            await world.nodes[0].crash()
            report = await world.carry_out(order, by=2)
            assert world.nodes[0].id not in report.executed
            progress = world.changes(2).progress
            assert progress is not None
            assert progress.missing == {world.nodes[0].id}
            await world.check_keys(keys, NEW, version=2)
            world.nodes[0].boot()
            await world.settle(120)
            await world.check_keys(keys, NEW, version=2)

    run_virtual(story())


def test_who_was_away_is_brought_up_by_a_later_run() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = [await world.generate(1, document=True)]
            await world.settle()
            order = world.migrate(NEW, master=2)
            await world.nodes[4].crash()
            report = await world.carry_out(order, by=2)
            assert world.nodes[4].id not in report.executed
            world.nodes[4].boot()
            world.orders[world.nodes[4].id].migration = world.migration
            await world.settle(60)
            report = await world.carry_out(order, by=2)
            assert world.nodes[4].id in report.executed
            await world.check_keys(keys, NEW, version=2)
            assert {len(await world.history(place)) for place in range(5)} == {1}

    run_virtual(story())


# --- refused before anything is touched ---------------------------------------------------------


async def unmoved(world: ChangingCluster, keys: Iterable[KeyId]) -> None:
    for key_id in keys:
        for node in world.nodes:
            state = await node.store.load(key_id)
            assert state.active is None or state.active.record.version == 1


async def untouched(world: ChangingCluster, keys: Iterable[KeyId]) -> None:
    await unmoved(world, keys)
    for place in range(5):
        assert world.changes(place).change is None
        assert await world.history(place) == []


def test_a_change_that_leaves_too_few_holders_is_refused() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = [*(await keys_of(world)), await world.generate(3), await world.generate(4)]
            with pytest.raises(KeysWouldBeLostError) as refused:
                await world.carry_out(world.bound((1, 2, 3)))
            assert refused.value.keys == 2
            progress = world.changes(0).progress
            assert progress is not None
            assert progress.phase is ChangePhase.FAILED
            assert set(progress.kept) == set(keys[2:])
            await world.settle()
            await untouched(world, keys)

    run_virtual(story())


def test_keys_are_left_behind_where_every_operator_allows_it() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = [*(await keys_of(world)), await world.generate(3)]
            for node in world.nodes:
                world.options[node.id] = type(world.options[node.id])(allow_key_loss=True)
            report = await world.carry_out(world.bound((1, 2, 3)))
            assert report.left == (keys[2],)
            await world.check_keys(keys[:2], (1, 2, 3), version=2)
            for place in (0, 4):
                assert world.erasers[world.nodes[place].id].erased == [keys[2]]

    run_virtual(story())


@pytest.mark.parametrize("wrong", ["other administrator", "unknown to one", "node is down"])
def test_an_order_that_not_every_node_accepts_is_refused(wrong: str) -> None:
    async def story() -> None:
        world = ChangingCluster(5, 4)
        if wrong != "node is down":
            other = world.nodes[0].id if wrong == "other administrator" else None
            world.admins[world.nodes[3].id] = other
        async with world:
            keys = await keys_of(world)
            if wrong == "node is down":
                await world.nodes[3].crash()
            with pytest.raises(SessionError) as refused:
                await world.carry_out(world.bound(NEW))
            down = "NodeDisconnected" if wrong == "node is down" else "ConsensusUnreachable"
            assert refused.value.code == down
            await world.settle()
            await untouched(world, keys)

    run_virtual(story())


def test_an_order_that_the_asked_node_refuses_goes_no_further() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            await world.settle()
            with pytest.raises(OrderRefusedError):
                await world.carry_out(world.bound(NEW, epoch=7))
            assert world.changes(0).progress is None

    run_virtual(story())


def test_only_the_master_coordinates_a_migration() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            order = world.migrate(NEW, master=2)
            await world.settle()
            with pytest.raises(SessionError):
                await world.carry_out(order, by=3)

    run_virtual(story())


# --- one at a time -----------------------------------------------------------------------------


def test_there_is_no_second_change_meanwhile() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            await keys_of(world)
            first = asyncio.ensure_future(world.carry_out(world.bound(NEW)))
            await asyncio.sleep(0.3)
            assert world.changes(0).is_running
            assert world.changes(3).change is not None
            with pytest.raises(UnavailableError) as here:
                await world.carry_out(world.bound((0, 1, 2)))
            assert here.value.code == "DuplicateSessionId"
            await first

    run_virtual(story())


def test_two_coordinators_at_once_do_not_both_get_through() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            results = await asyncio.gather(
                world.carry_out(world.bound(NEW), by=0),
                world.carry_out(world.bound((0, 1, 2)), by=4),
                return_exceptions=True,
            )
            refused = [error for error in results if isinstance(error, UnavailableError)]
            assert refused
            assert {error.code for error in refused} == {"ExclusiveSessionActive"}
            await world.settle()
            if len(refused) == 2:  # each got some nodes: whoever repeats it gets all
                await world.carry_out(world.bound(NEW))
            assert len({tuple(await world.history(place)) for place in range(5)}) == 1
            await world.retrieve(keys[0], by=1)

    run_virtual(story())


def test_a_legacy_order_has_the_nodes_for_itself() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            change = asyncio.ensure_future(world.carry_out(world.legacy(NEW)))
            await asyncio.sleep(0.3)
            for by in range(5):
                for asked in (
                    world.generate(1, by=by),
                    world.retrieve(keys[0], by=by),
                    world.store_document(keys[1], world.nodes[0].id.point, by=by),
                ):
                    with pytest.raises(UnavailableError) as told:
                        await asked
                    assert told.value.code == "ExclusiveSessionActive"
            assert not change.done()
            await change
            await world.retrieve(keys[0], by=4)
            await world.generate(1)

    run_virtual(story())


def test_a_legacy_order_waits_for_sessions_but_not_for_ever() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            for node in world.nodes:
                node.access.delay_s = 8.0
            slow = asyncio.ensure_future(world.retrieve(keys[0], by=2))
            await asyncio.sleep(0.5)
            with pytest.raises(UnavailableError) as refused:
                await world.carry_out(world.legacy(NEW))
            assert refused.value.code == "HasActiveSessions"
            await slow
            for node in world.nodes:
                node.access.delay_s = 2.0
            slow = asyncio.ensure_future(world.retrieve(keys[0], by=2))
            await asyncio.sleep(0.5)
            await world.carry_out(world.legacy(NEW))
            await slow

    run_virtual(story())


def test_a_legacy_order_may_serve_meanwhile() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            for node in world.nodes:
                world.options[node.id] = type(world.options[node.id])(serve_during_change=True)
            change = asyncio.ensure_future(world.carry_out(world.legacy(NEW)))
            await asyncio.sleep(0.3)
            await world.retrieve(keys[0], by=4)
            await change

    run_virtual(story())


# --- nodes that die ----------------------------------------------------------------------------


def die_when(world: ChangingCluster, place: int, kind: type, *, nth: int = 1) -> None:
    """Let a node's process end when it sends its `nth` message of a kind to another node."""
    node, left = world.nodes[place], nth

    def witness(sender: Any, _: Any, data: bytes) -> None:
        nonlocal left
        if sender != node.id or message_type(data) in LINK_TYPES or left == 0:
            return
        left -= isinstance(MESSAGE_TABLE.unpack(data)[1], kind)
        if left == 0:
            node.process.die()

    world.cluster.network.watch(witness)


async def repeated(world: ChangingCluster, dead: SimulatedNode, keys: list[KeyId]) -> None:
    """Every key can be used in between; the same order again completes the change."""
    await world.settle(30)
    assert not dead.is_up
    await world.retrieve(keys[0], by=2)
    dead.boot()
    await world.settle(130)
    for place in range(5):
        assert world.changes(place).change is None
    await world.carry_out(world.bound(NEW), by=3)
    await world.settle()
    for key_id in keys:
        for node in world.nodes:
            state = await node.store.load(key_id)
            assert state.active is not None
            assert state.active.record.set_id == world.set_of(NEW).id
            assert (state.share is not None) == (node.id in world.set_of(NEW))
    assert len({tuple(await world.history(place)) for place in range(5)}) == 1
    assert len(await world.history(0)) == 1


@pytest.mark.parametrize(
    ("kind", "nth"),
    [
        (ChangePropose, 2),
        (Redistribute, 1),
        (Finalize, 2),
        (ChangeFreeze, 3),
        (ChangeDone, 2),
        (ChangeDone, 4),
    ],
)
def test_the_coordinator_may_die_at_any_time(kind: type, nth: int) -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            die_when(world, 0, kind, nth=nth)
            with pytest.raises(CrashedError):
                await world.carry_out(world.bound(NEW))
            await repeated(world, world.nodes[0], keys)

    run_virtual(story())


@pytest.mark.parametrize("place", [0, 4])
@pytest.mark.parametrize("kind", [ChangeAccept, ChangeFrozen, ChangeExecuted])
def test_a_participant_may_die_at_any_time(place: int, kind: type) -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            die_when(world, place, kind)
            with pytest.raises((UnavailableError, DeniedError)):
                await world.carry_out(world.bound(NEW), by=1)
            await repeated(world, world.nodes[place], keys)

    run_virtual(story())


@pytest.mark.parametrize("place", [0, 1, 4])
@pytest.mark.parametrize("nth", [3, 20, 45, 80, 130])
def test_any_node_may_die_at_any_effect(place: int, nth: int) -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4, seed=nth) as world:
            keys = await keys_of(world)
            dying = world.nodes[place]
            dying.process.die_at_effect(nth)
            with contextlib.suppress(CrashedError, SessionError):
                await world.carry_out(world.bound(NEW))
            dying.process.spare()
            if dying.is_up:
                await dying.crash()
            await repeated(world, dying, keys)

    run_virtual(story())


# --- liars -------------------------------------------------------------------------------------


def test_a_coordinator_that_lies_about_the_end_ends_nothing() -> None:
    """It says that all keys have moved; nobody who knows one writes that down or erases it."""

    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            liar = world.changes(0)
            honest = liar.perform

            async def perform(work: Any, ended: asyncio.Event) -> Any:
                lies = isinstance(work, MoveKeys | Conclude)
                if not lies:
                    return await honest(work, ended)
                return Moved(2, ()) if isinstance(work, MoveKeys) else Concluded()

            liar.perform = perform  # type: ignore[method-assign]
            with pytest.raises(SessionError):
                await world.carry_out(world.bound(NEW))
            await world.settle()
            await unmoved(world, keys)
            for place in (1, 2, 3):
                assert await world.history(place) == []
            await world.retrieve(keys[0], by=1)
            liar.perform = honest  # type: ignore[method-assign]
            # the last node has no keys, so it is done: only to a member it repeats the change
            await world.carry_out(world.bound(NEW), by=1)
            await world.check_keys(keys, NEW, version=2)
            assert {len(await world.history(place)) for place in range(5)} == {1}

    run_virtual(story())


def test_a_coordinator_has_no_share_erased_of_a_key_that_can_be_moved() -> None:
    """It moves none, lists all as left behind, and says so only to nodes that allow losses."""

    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            leaving = {world.nodes[place].id for place in (0, 1)}
            for node in leaving:
                world.options[node] = replace(world.options[node], allow_key_loss=True)
            liar = world.changes(4)
            honest = liar.perform

            async def lie(work: Any, ended: asyncio.Event) -> Any:
                match work:
                    case Survey():
                        return Surveyed(2, 0)
                    case MoveKeys():
                        return Moved(0, tuple(sorted(keys)))
                    case Conclude():
                        await asyncio.sleep(30)
                return await honest(work, ended)

            liar.perform = lie  # type: ignore[method-assign]
            others = {node.id for node in world.nodes} - leaving
            hushed = at("ChangeDone", to_some(lambda _: frozenset(others), silent))
            in_cluster(world.cluster, world.nodes[4], hushed)
            with pytest.raises(SessionError):
                await world.carry_out(world.bound((2, 3, 4)), by=4)
            await world.settle()
            assert not any(eraser.erased for eraser in world.erasers.values())
            await unmoved(world, keys)

    run_virtual(story())


def test_a_member_that_tells_another_past_changes_nothing_for_the_others() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            await keys_of(world)
            await world.carry_out(world.bound(NEW))
            liar = world.changes(2)
            honest = liar.perform

            async def perform(work: Any, ended: asyncio.Event) -> Any:
                result = await honest(work, ended)
                return Settled(()) if isinstance(result, Settled) else result

            liar.perform = perform  # type: ignore[method-assign]
            await world.carry_out(world.bound((0, 1, 2, 3), epoch=2))
            assert {len(await world.history(place)) for place in range(5)} == {2}

    run_virtual(story())


# --- what one node alone has completed -----------------------------------------------------------


async def alone(world: ChangingCluster, place: int, new: Iterable[int]) -> None:
    """A node has heard DONE, and the others have not."""
    change = SetChange.ordered(world.configured, world.set_of(new))
    completed = CompletedChange(1, change.id, change.old, change.new, 1)
    await MemorySetChangeStore(world.nodes[place].disk).keep_completed([completed])


@pytest.mark.parametrize("by", [1, 2])
def test_a_migration_after_a_change_that_one_node_alone_has_completed(by: int) -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = await keys_of(world)
            await alone(world, 1, (0, 1, 2))
            report = await world.carry_out(world.migrate(NEW, master=by), by)
            assert report.executed == frozenset(node.id for node in world.nodes)
            await world.check_keys(keys, NEW, version=2)
            assert [len(await world.history(place)) for place in range(5)] == [1, 2, 1, 1, 1]

    run_virtual(story())


@pytest.mark.parametrize("by", [1, 2])
def test_an_order_after_a_change_that_one_node_alone_has_completed(by: int) -> None:
    """The error says what to do, and that helps."""

    async def story() -> None:
        async with ChangingCluster(5, 5) as world:
            await keys_of(world)
            first = (0, 1, 2, 3)
            await alone(world, 1, first)
            with pytest.raises(DeniedError, match="repeat that order first") as failed:
                await world.carry_out(world.legacy(NEW), by)
            assert world.nodes[1].id.short in str(failed.value)
            with pytest.raises((DeniedError, OrderRefusedError)) as refused:
                await world.carry_out(world.bound(NEW), by)
            assert "repeated first" in str(refused.value) or "DENIED" in str(refused.value)
            await world.settle(70)
            await world.carry_out(world.legacy(first), by)
            await world.carry_out(world.bound(NEW, epoch=2), by)
            assert [len(await world.history(place)) for place in range(5)] == [2] * 5

    run_virtual(story())


# --- who keeps clients waiting -----------------------------------------------------------------


async def asking(world: ChangingCluster, by: int) -> None:
    """A client that has a key made every five seconds, for ever; none takes it half a minute.

    It may have to ask again: its node may be past a change when others are about to be.
    """
    while True:
        async with asyncio.timeout(30):
            while not await _made(world, by):
                await asyncio.sleep(5)
        await asyncio.sleep(5)


async def _made(world: ChangingCluster, by: int) -> bool:
    with contextlib.suppress(UnavailableError):
        await world.generate(1, by=by)
        return True
    return False


@contextlib.asynccontextmanager
async def served(world: ChangingCluster, by: int) -> AsyncIterator[None]:
    """Raises what the client is told that could not be served meanwhile."""
    client = asyncio.ensure_future(asking(world, by))
    yield
    client.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await client


@pytest.mark.parametrize("place", [0, 4])
def test_a_node_that_never_says_that_it_froze_stops_no_client(place: int) -> None:
    """The first node leaves, the last one joins; the migration is run again to bring it up."""

    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            await keys_of(world)
            order = world.migrate(NEW, master=1)
            in_cluster(world.cluster, world.nodes[place], at("ChangeFrozen", silent))
            async with served(world, by=2):
                for _ in range(3):
                    report = await world.carry_out(order, by=1)
                    assert world.nodes[place].id not in report.executed
                    assert not any(
                        world.changes(other).is_running for other in range(5) if other != place
                    )
                    await asyncio.sleep(100)

    run_virtual(story())


def test_a_completed_order_in_the_hands_of_a_member_stops_nothing() -> None:
    """An order of the old form is good for ever; the member freezes everybody, and goes no further.

    Clients are served, and the next order is carried out.
    """

    async def story() -> None:
        async with ChangingCluster(5, 5) as world:
            await keys_of(world)
            await world.carry_out(world.legacy(NEW), by=1)
            await world.settle()
            liar = world.changes(1)
            honest = liar._perform

            async def hold(work: Any, ended: asyncio.Event) -> Any:
                if isinstance(work, MoveKeys) and work.frozen:
                    await asyncio.sleep(10**6)
                return await honest(work, ended)

            liar._perform = hold  # type: ignore[method-assign]
            async with served(world, by=2):
                repeat = asyncio.ensure_future(world.carry_out(world.legacy(NEW), by=1))
                await world.settle(100)
                assert not repeat.done()
                await world.carry_out(world.bound((1, 2, 3), epoch=2), by=2)
                with pytest.raises(SessionError):
                    await repeat

    run_virtual(story())
