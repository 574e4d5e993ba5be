"""What sessions of a change have performed, in a cluster: refusals, freezes, the last look."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from keyserver.engine.set_change_progress import ChangePhase
from keyserver.errors import StorageError
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.model.set_change import SetChange, encode_order
from keyserver.model.set_change_rules import OrderRefusedError
from keyserver.sessions.core import Refusal, SessionError, UnavailableError
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.set_change.messages import ChangeExecuted, ChangeFrozen
from keyserver.sessions.set_change.works import (
    Accepted,
    Conclude,
    Concluded,
    Counted,
    CountMoved,
    Declined,
    Judge,
    Settle,
    Settled,
    Survey,
    Surveyed,
)
from keyserver.sessions.sharing.messages import Cert, Ready
from keyserver.sessions.wire import LINK_TYPES, message_type
from keyserver.simulation.cluster import CrashedError
from keyserver.simulation.loop import run_virtual
from tests.support.changing_cluster import ChangingCluster

NEW = (1, 2, 3, 4)


def change_of(world: ChangingCluster) -> SetChange:
    return SetChange.ordered(world.configured, world.set_of(NEW))


async def perform(world: ChangingCluster, work: Any, place: int = 1) -> Any:
    """As a session of its own has it performed; if it is not the first work, it has the lock."""
    ended, lock = asyncio.Event(), world.changes(place)._lock
    if isinstance(work, Settle | Conclude):
        assert lock.take(work.change, ended, exclusive=False)
    result = await world.changes(place).perform(work, ended)
    if not isinstance(work, Judge):
        ended.set()
    return result


def withhold(world: ChangingCluster, place: int, kind: type) -> None:
    """A node's messages of a kind do not arrive any more."""

    def tamper(_: Any, __: Any, data: bytes) -> bytes | None:
        if message_type(data) in LINK_TYPES:
            return data
        return None if isinstance(MESSAGE_TABLE.unpack(data)[1], kind) else data

    world.cluster.network.corrupt(world.nodes[place].id, tamper)


# --- judging -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("garbage", Refusal.BAD),
        ("another change", Refusal.DENIED),
        ("wrong epoch", Refusal.DENIED),
        ("not the master", Refusal.DENIED),
        ("a stranger", Refusal.DENIED),
        ("locked", Refusal.EXCLUSIVE),
    ],
)
def test_an_order_is_judged_by_every_node(case: str, code: Refusal) -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            by = world.nodes[0].id
            order, name, place = encode_order(world.bound(NEW)), Hash32(bytes(32)), 1
            match case:
                case "garbage":
                    order = b"\x09"
                case "wrong epoch":
                    order = encode_order(world.bound(NEW, epoch=3))
                case "not the master":
                    order = encode_order(world.migrate(NEW, master=2))
                case "a stranger":
                    place = 4
                    order = encode_order(world.migrate((1, 2, 3), master=0))
                    assert world.migration is not None
                    name = world.migration.id
                case "locked":
                    change = world.migrate(NEW, master=0)
                    assert world.migration is not None
                    name = world.migration.id
                    accepted = await perform(world, Judge(encode_order(change), name, by))
                    assert isinstance(accepted, Accepted)
                    order = encode_order(change)
            declined = await perform(world, Judge(order, name, by), place)
            assert isinstance(declined, Declined)
            assert declined.code is code, declined.why

    run_virtual(story())


def test_who_is_not_the_master_has_no_order_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """To judge one may take a look at every key: no other node may have that done."""

    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            order = world.migrate(NEW, master=2)
            assert world.migration is not None
            judged: list[Any] = []
            monkeypatch.setattr(world.orders[world.nodes[1].id], "judge", judged.append)
            work = Judge(encode_order(order), world.migration.id, world.nodes[0].id)
            declined = await perform(world, work)
            assert declined == Declined(Refusal.DENIED, "a migration is coordinated by its master")
            assert not judged

    run_virtual(story())


def test_only_a_node_of_the_new_set_repeats_a_change() -> None:
    """Whoever has seen an order of the old form has it for ever, and so has who was removed."""

    async def story() -> None:
        async with ChangingCluster(5, 5) as world:
            await world.carry_out(world.legacy(NEW), by=0)
            await world.settle()
            with pytest.raises(OrderRefusedError, match="only a node of the new set"):
                await world.carry_out(world.legacy(NEW), by=0)
            removed, order = world.nodes[0].id, encode_order(world.legacy(NEW))
            declined = await perform(world, Judge(order, change_of(world).id, removed))
            assert isinstance(declined, Declined)
            assert declined.code is Refusal.DENIED
            assert not world.changes(1).is_running
            report = await world.carry_out(world.legacy(NEW), by=1)
            assert report.executed == frozenset(node.id for node in world.nodes)

    run_virtual(story())


def test_who_has_lost_the_lock_ends_nothing() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 5) as world:
            change = change_of(world)
            for work in (Settle(change), Conclude(change, (), (), world.nodes[0].id)):
                declined = await world.changes(1).perform(work, asyncio.Event())
                assert isinstance(declined, Declined)
                assert declined.code is Refusal.EXCLUSIVE
            assert await world.history(1) == []

    run_virtual(story())


def test_the_lock_is_given_back_if_sessions_do_not_end() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            key_id = await world.generate(1, document=True)
            world.be_current(world.configured)
            for node in world.nodes:
                node.access.delay_s = 20.0
            slow = asyncio.ensure_future(world.retrieve(key_id, by=1))
            await asyncio.sleep(1)
            work = Judge(encode_order(world.legacy(NEW)), change_of(world).id, world.nodes[0].id)
            asked = asyncio.ensure_future(perform(world, work))
            await asyncio.sleep(1)
            assert world.changes(1).is_exclusive
            declined = await asked
            assert declined == Declined(Refusal.BUSY, "sessions are in progress")
            assert not world.changes(1).is_running
            slow.cancel()

    run_virtual(story())


# --- freezing ----------------------------------------------------------------------------------


def test_a_request_during_a_freeze_waits_and_gets_a_key_of_the_new_set() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            await world.generate(1)
            world.be_current(world.configured)
            await world.settle()
            late, coordinator = world.nodes[3].id, world.nodes[0].id
            kept: list[bytes] = []

            def tamper(_: Any, __: Any, data: bytes) -> bytes | None:
                if message_type(data) != ChangeFrozen.TYPE:
                    return data
                kept.append(data)
                return None

            world.cluster.network.corrupt(late, tamper)
            change = asyncio.ensure_future(world.carry_out(world.bound(NEW)))
            await asyncio.sleep(3)
            asked = asyncio.ensure_future(world.generate(1, by=2, document=True))
            await asyncio.sleep(10)
            assert kept
            assert not asked.done()
            world.cluster.network.redeem(late)
            world.cluster.network.inject(late, coordinator, kept[0])
            await change
            await world.check_keys([await asked], NEW, version=1)

    run_virtual(story())


def test_a_freeze_that_does_not_end_keeps_nobody_for_ever() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            key_id = await world.generate(1, document=True)
            other = await world.generate(1)
            world.be_current(world.configured)
            await world.settle()
            withhold(world, 3, ChangeFrozen)
            change = asyncio.ensure_future(world.carry_out(world.bound(NEW)))
            await asyncio.sleep(5)
            progress = world.changes(0).progress
            assert progress is not None
            assert progress.phase is ChangePhase.FREEZING
            with pytest.raises(UnavailableError, match="about to end"):
                await world.generate(1)
            await world.retrieve(key_id, by=2)
            state = await world.nodes[1].store.load(other)
            assert state.active is not None
            with pytest.raises(UnavailableError, match="about to end"):
                await world.store_document(other, state.active.record.public)
            with pytest.raises(UnavailableError) as failed:
                await change
            assert failed.value.code in ("NodeDisconnected", "ConsensusTemporaryUnreachable")
            await world.settle()
            assert not any(world.changes(place).is_running for place in range(5))
            await world.generate(1)

    run_virtual(story())


def test_votes_that_a_dead_coordinator_left_are_decided_before_the_end() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            await world.generate(1)
            world.be_current(world.configured)
            await world.settle()
            withhold(world, 4, Cert)
            with pytest.raises((SessionError, CrashedError, TimeoutError)):
                async with asyncio.timeout(2):
                    await world.generate(1, by=4)
            world.cluster.network.redeem(world.nodes[4].id)
            assert any([await node.store.undecided() for node in world.nodes])
            await world.carry_out(world.bound(NEW))
            for node in world.nodes:
                assert await node.store.undecided() == []

    run_virtual(story())


def test_sessions_that_go_on_for_too_long_are_ended() -> None:
    """Their coordinator waits for a READY that never comes, and the vote is not decided."""

    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            world.be_current(world.configured)
            await world.settle()
            for place in range(5):
                withhold(world, place, Ready)
            slow = asyncio.ensure_future(world.generate(1))
            await asyncio.sleep(1)
            for place in range(5):
                world.cluster.network.redeem(world.nodes[place].id)
            settled = await perform(world, Settle(change_of(world)), 2)
            assert isinstance(settled, Settled | Declined)
            with pytest.raises(SessionError):
                await slow

    run_virtual(story())


# --- the last look -----------------------------------------------------------------------------


async def conclude(world: ChangingCluster, *left: KeyId, place: int = 1) -> Any:
    work = Conclude(change_of(world), (), left, world.nodes[0].id)
    return await perform(world, work, place)


def test_a_node_that_knows_a_key_on_the_old_set_does_not_end_the_change() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            key_id = await world.generate(1)
            await world.settle()
            declined = await conclude(world)
            assert declined == Declined(Refusal.TEMPORARY, "1 keys are on another set here")
            declined = await conclude(world, place=0)
            assert declined == Declined(Refusal.TEMPORARY, "1 keys are on another set here")
            declined = await conclude(world, key_id)
            assert isinstance(declined, Declined)
            assert declined.code is Refusal.DENIED
            assert await world.history(1) == []

    run_virtual(story())


def may_lose(world: ChangingCluster, place: int) -> None:
    node = world.nodes[place].id
    world.options[node] = replace(world.options[node], allow_key_loss=True)


async def hidden(_: Any, after: KeyId | None, __: int) -> list[Any]:
    raise StorageError("no catalogue")


def test_who_leaves_erases_what_is_given_up() -> None:
    """The three other holders cannot be reached any more."""

    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            key_id = await world.generate(1)
            await world.settle()
            leaving = world.nodes[0].id
            may_lose(world, 0)
            for place in (1, 2, 3):
                await world.nodes[place].crash()
            world.erasers[leaving].broken = True
            declined = await conclude(world, key_id, place=0)
            assert declined == Declined(Refusal.TEMPORARY, "the store fails: the disk is gone")
            world.erasers[leaving].broken = False
            assert await conclude(world, key_id, place=0) == Concluded()
            assert world.erasers[leaving].erased == [key_id]
            assert await world.history(0) == [change_of(world).id]

    run_virtual(story())


@pytest.mark.parametrize("catalogues", ["read", "hidden"])
def test_nobody_gives_up_a_key_that_can_be_moved(
    catalogues: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator lists it as left behind, and this node allows losses: it looks for itself."""

    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            keys = [await world.generate(1), await world.generate(2)]
            await world.settle()
            if catalogues == "hidden":
                for place in (1, 2, 3):
                    monkeypatch.setattr(world.nodes[place].store, "catalogue", hidden)
            may_lose(world, 0)
            declined = await conclude(world, *keys, place=0)
            assert declined == Declined(Refusal.TEMPORARY, "2 keys left behind can be moved")
            assert world.erasers[world.nodes[0].id].erased == []
            assert await world.history(0) == []

    run_virtual(story())


def test_nothing_ends_while_a_vote_is_undecided() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 5) as world:
            withhold(world, 4, Cert)
            with pytest.raises((SessionError, TimeoutError)):
                async with asyncio.timeout(2):
                    await world.generate(1, by=4)
            undecided = [await node.store.undecided() for node in world.nodes]
            place = next(place for place, keys in enumerate(undecided) if keys)
            declined = await conclude(world, place=place)
            assert declined == Declined(Refusal.TEMPORARY, "votes of this node are not decided")

    run_virtual(story())


def test_keys_on_the_target_are_counted() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            await world.generate(1)
            world.be_current(world.set_of(NEW))
            await world.generate(1)
            await world.settle()
            assert await perform(world, CountMoved(change_of(world))) == Counted(1)

    run_virtual(story())


def test_the_own_keys_are_looked_at_a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """To load each one takes ten times as long, and everybody waits for the last look."""

    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            kept = [await world.generate(1) for _ in range(5)]
            await world.settle()
            monkeypatch.setattr("keyserver.engine.set_changes.PAGE", 2)
            monkeypatch.setattr(type(world.nodes[1].store), "load", None)
            assert await perform(world, CountMoved(change_of(world))) == Counted(0)
            declined = await conclude(world)
            assert declined == Declined(
                Refusal.TEMPORARY, f"{len(kept)} keys are on another set here"
            )

    run_virtual(story())


def test_how_many_keys_there_are_is_known_when_they_have_been_looked_at() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            await world.generate(1)
            await world.generate(1)
            world.be_current(world.set_of(NEW))
            await world.generate(1)
            await world.settle()
            world.be_current(world.configured)
            found: list[Any] = []
            perform = world.changes(0)._perform

            async def noting(work: Any, ended: asyncio.Event) -> Any:
                result = await perform(work, ended)
                if isinstance(work, Survey):
                    found.append(result)
                return result

            world.changes(0)._perform = noting  # type: ignore[method-assign]
            await world.carry_out(world.bound(NEW))
            assert found == [Surveyed(to_move=2, losing=0, keys=3)]

    run_virtual(story())


def test_a_disk_that_cannot_be_read_stops_the_work() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            await world.generate(1)
            world.be_current(world.configured)
            await world.settle()
            world.nodes[2].disk.fail(reads=True)
            declined = await perform(world, CountMoved(change_of(world)), 2)
            assert isinstance(declined, Declined)
            assert declined.code is Refusal.TEMPORARY
            world.nodes[2].disk.recover()
            failing = world.movers[world.nodes[0].id]

            async def break_disk(*_: object) -> None:
                world.nodes[0].disk.fail(reads=True)
                await world.nodes[0].changes._ports.store.undecided()  # type: ignore[union-attr]

            failing.instead = break_disk
            with pytest.raises(UnavailableError, match="the store fails"):
                await world.carry_out(world.bound(NEW))

    run_virtual(story())


# --- who asks ----------------------------------------------------------------------------------


def test_a_change_goes_on_when_whoever_asked_for_it_goes_away() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            key_id = await world.generate(1)
            world.be_current(world.configured)
            await world.settle()
            asked = asyncio.ensure_future(world.changes(0).carry_out(world.bound(NEW)))
            await asyncio.sleep(0.2)
            asked.cancel()
            await world.settle()
            assert not world.changes(0).is_running
            await world.check_keys([key_id], NEW, version=2)

    run_virtual(story())


def test_a_change_that_fails_with_nobody_waiting_is_only_logged() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            world.be_current(world.configured)
            withhold(world, 3, ChangeExecuted)
            asked = asyncio.ensure_future(world.changes(0).carry_out(world.bound(NEW)))
            await asyncio.sleep(0.5)
            asked.cancel()
            await world.settle(100)
            progress = world.changes(0).progress
            assert progress is not None
            assert progress.phase is ChangePhase.FAILED
            assert progress.missing == {world.nodes[3].id}

    run_virtual(story())


def test_a_process_that_stops_gives_its_change_up() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            world.be_current(world.configured)
            await world.settle()
            world.movers[world.nodes[0].id].delay_s = 1000
            await world.generate(1)
            asked = asyncio.ensure_future(world.changes(0).carry_out(world.bound(NEW)))
            await asyncio.sleep(1)
            await world.changes(0).stop()
            await world.settle()
            assert asked.cancelled()
            assert not any(world.changes(place).is_running for place in range(5))
            await world.changes(0).stop()

    run_virtual(story())


def test_nobody_else_has_this_node_survey_its_keys() -> None:
    async def story() -> None:
        async with ChangingCluster(5, 4) as world:
            survey = Survey(change_of(world), frozenset(), may_lose_keys=False)
            with pytest.raises(AssertionError):
                await perform(world, survey)

    run_virtual(story())
