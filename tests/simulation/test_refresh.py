"""Shares that are renewed on a schedule, while the key stays in use."""

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest

from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.identifiers import ZERO_HASH, KeyId, NodeId
from keyserver.model.keys import KeyShare
from keyserver.model.requests import OnChainAddress
from keyserver.sessions.agreement import first_proposer
from keyserver.sessions.core import KeyState, SessionError
from keyserver.simulation.cluster import CONTRACT, Cluster, CrashedError, SimulatedNode
from keyserver.simulation.liars import Place, at, honest, in_cluster
from keyserver.simulation.loop import run_virtual
from tests.simulation.story import Story
from tests.support.changing_cluster import ChangingCluster

INTERVAL_S = 3200
"""A node's turn lasts 50 s among four, all turns together 200 s."""


class Refreshing:
    """A cluster that refreshes its keys, and a key with a document key."""

    def __init__(self, nodes: int = 4, threshold: int = 1, *, seed: int = 1) -> None:
        self.cluster = Cluster(nodes, seed=seed)
        self.cluster.refresh_interval_s = INTERVAL_S
        self.nodes = self.cluster.nodes
        self.story = Story(self.cluster, threshold)
        self.seen: list[dict[NodeId, KeyShare]] = []
        """The shares of every version that `take_down` has seen."""

    async def __aenter__(self) -> "Refreshing":
        await self.cluster.__aenter__()
        await self.story.generate()
        await self.story.store()
        await asyncio.sleep(5)
        await self.take_down()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cluster.__aexit__()

    async def states(self) -> list[KeyState]:
        return [await node.store.load(self.story.key_id) for node in self.nodes if node.is_up]

    async def versions(self) -> list[int]:
        return [s.active.record.version for s in await self.states() if s.active is not None]

    async def take_down(self) -> None:
        """Remember the shares as they are: all nodes that are up have one of the same version."""
        shares = {}
        for node in self.nodes:
            state = await node.store.load(self.story.key_id)
            if node.is_up:
                assert state.share is not None
                shares[node.id] = state.share
        assert len(set(await self.versions())) == 1
        self.seen.append(shares)

    async def check_refreshed(self, version: int) -> None:
        """Everybody is on this version; old shares are gone and are worth nothing."""
        before = self.seen[-1]
        await self.take_down()
        after = self.seen[-1]
        for node in self.nodes:
            kept = node.disk.state.keys[self.story.key_id].shares
            assert not node.is_up or len(kept) == 1
        for held in before.keys() & after.keys():
            assert before[held] != after[held]
        assert set(await self.versions()) == {version}
        self.check_mixtures(before, after)
        await self.story.retrieve()

    def check_mixtures(self, before: dict[NodeId, KeyShare], after: dict[NodeId, KeyShare]) -> None:
        """t + 1 of one version are the key; t + 1 of both, at most t of each, are not."""
        needed = self.story.threshold + 1
        for shares in (before, after):
            for chosen in combinations(shares.values(), needed):
                assert self._gives(chosen)
        for old in range(1, needed):
            for a in combinations(before.items(), old):
                for b in combinations(after.items(), needed - old):
                    if not dict(a).keys() & dict(b).keys():
                        assert not self._gives([share for _, share in (*a, *b)])

    def _gives(self, shares: Sequence[KeyShare]) -> bool:
        secret = interpolate_secret([s.x for s in shares], [s.value for s in shares])
        state = self.nodes[-1].disk.state.keys[self.story.key_id]
        assert state.active is not None
        return secret.public() == state.active.record.public

    async def wait_for(self, version: int, within_s: float = INTERVAL_S) -> float:
        """Wait until everybody who is up is on this version; returns how long that took.

        Raises `TimeoutError` if it takes longer than allowed.
        """
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(within_s):
            while set(await self.versions()) != {version}:
                await asyncio.sleep(1)
        await asyncio.sleep(1)
        return asyncio.get_running_loop().time() - began

    def counted(self, what: str) -> int:
        counts = [node.refreshes.counts for node in self.nodes if node.refreshes is not None]
        return sum(int(getattr(each, what)) for each in counts)

    @property
    def order(self) -> list[SimulatedNode]:
        """The nodes in the order in which it is their turn."""
        first = (first_proposer(self.story.key_id, len(self.nodes)) + 1) % len(self.nodes)
        return self.nodes[first:] + self.nodes[:first]


@pytest.mark.parametrize(("nodes", "threshold"), [(4, 1), (4, 2)])
def test_every_interval_the_shares_are_new(nodes: int, threshold: int) -> None:
    async def scenario() -> None:
        async with Refreshing(nodes, threshold) as world:
            for version in (2, 3):
                took_s = await world.wait_for(version)
                assert took_s > 0.8 * INTERVAL_S
                await world.check_refreshed(version)
            assert world.counted("done") == 2
            assert world.counted("failed") == 0
            assert not any(node.recorder.culprits for node in world.nodes)

    run_virtual(scenario())


def test_many_keys_are_spread_over_time_and_over_the_nodes() -> None:
    async def scenario() -> None:
        async with Refreshing() as world:
            credential = OnChainAddress(CONTRACT, world.story.author)
            ids = [KeyId(bytes([n]) * 32) for n in range(5, 250, 25)]
            for key_id in ids:
                await world.nodes[0].api.generate_server_key(key_id, 1, credential)
            await asyncio.sleep(INTERVAL_S)
            times = set()
            for key_id in ids:
                state = await world.nodes[1].store.load(key_id)
                assert state.active is not None
                assert state.active.record.version == 2
                times.add(state.installed_at)
            assert max(times) - min(times) > INTERVAL_S / 20
            begun = [n.refreshes.counts.done for n in world.nodes if n.refreshes is not None]
            assert sum(begun) == len(ids) + 1
            assert min(begun) > 0

    run_virtual(scenario())


def test_who_is_away_is_done_without_and_catches_up() -> None:
    """It was its turn; the next one takes it over."""

    async def scenario() -> None:
        async with Refreshing() as world:
            away = world.order[0]
            await away.crash()
            await world.wait_for(2)
            await world.check_refreshed(2)
            kept = await away.store.load(world.story.key_id)
            assert kept.share == world.seen[0][away.id]
            away.boot()
            await asyncio.sleep(60)
            await world.take_down()
            assert world.seen[-1][away.id] != kept.share
            assert len(away.disk.state.keys[world.story.key_id].shares) == 1
            world.check_mixtures(world.seen[0], world.seen[-1])

    run_virtual(scenario())


def test_too_few_nodes_leave_the_old_shares_in_use() -> None:
    async def scenario() -> None:
        async with Refreshing() as world:
            for node in world.nodes[2:]:
                await node.crash()
            await asyncio.sleep(1.2 * INTERVAL_S)
            assert set(await world.versions()) == {1}
            await world.story.retrieve()
            assert world.counted("failed") > 0
            assert world.nodes[0].refreshes is not None
            assert "too few" in str(world.nodes[0].refreshes.last_failure)
            for node in world.nodes[2:]:
                node.boot()
            await world.wait_for(2)
            await world.check_refreshed(2)

    run_virtual(scenario())


# --- liars ------------------------------------------------------------------------------------


def gives_up(place: Place, message: Any) -> Any:
    """A coordinator that has all promises, and does no more."""
    return None if type(message).__name__ == "Handover" else message


async def propose_for_ever(liar: SimulatedNode, key_id: KeyId) -> None:
    """Coordinate one refresh after the other, whatever the own rules say."""
    assert liar.refreshes is not None
    rules = liar.refreshes._rules
    rules.target = lambda *_: rules.current  # type: ignore[method-assign]

    async def propose(_: object) -> None:
        assert liar.redistributions is not None
        await liar.redistributions.redistribute(key_id, ZERO_HASH, rules.current)

    while liar.is_up:
        with contextlib.suppress(SessionError, CrashedError):
            await liar.call(propose)
        await asyncio.sleep(5)


@pytest.mark.parametrize("place", [1])
def test_nobody_can_have_keys_refreshed_all_the_time(place: int) -> None:
    """Honest but for its haste: at most once in half an interval."""

    async def scenario() -> None:
        async with Refreshing() as world:
            liar = world.order[place]
            first = [s.active.record.hash for s in await world.states() if s.active is not None]
            proposing = asyncio.ensure_future(propose_for_ever(liar, world.story.key_id))
            await asyncio.sleep(0.45 * INTERVAL_S)
            assert set(await world.versions()) == {1}
            assert max(len(state.skipped) for state in await world.states()) < 6
            await asyncio.sleep(0.5 * INTERVAL_S)
            states = await world.states()
            assert [s.active.record.previous for s in states if s.active is not None] == first
            await world.story.retrieve()
            proposing.cancel()

    run_virtual(scenario())


@pytest.mark.parametrize("place", [0])
def test_nobody_can_keep_keys_from_being_refreshed(place: int) -> None:
    """It proposes all the time, and gives up when it has the promises of the others."""

    async def scenario() -> None:
        async with Refreshing() as world:
            liar = world.order[place]
            in_cluster(world.cluster, liar, gives_up)
            await asyncio.sleep(0.7 * INTERVAL_S)
            proposing = asyncio.ensure_future(propose_for_ever(liar, world.story.key_id))
            while world.counted("done") == 0:
                assert asyncio.get_running_loop().time() < 1.5 * INTERVAL_S
                await asyncio.sleep(100)
                await world.story.retrieve()
            proposing.cancel()
            last = max(await world.versions())
            assert 1 < last < 40
            await world.wait_for(last, within_s=120)
            await world.check_refreshed(last)

    run_virtual(scenario())


# --- crashes and clocks -----------------------------------------------------------------------


STEPS = [
    (0, "Handover"),
    (0, "Finalize"),
    (0, "Installed"),
    (1, "Accept"),
    (1, "Ready"),
    (1, "Commit"),
]


@pytest.mark.parametrize(("who", "instead_of"), STEPS)
def test_a_crash_in_the_middle_costs_one_attempt(who: int, instead_of: str) -> None:
    """Of the coordinator, or of a participant."""

    async def scenario() -> None:
        async with Refreshing() as world:
            victim = world.order[who]

            def dies(_: Place, message: Any) -> Any:
                victim.process.die()
                return message

            in_cluster(world.cluster, victim, at(instead_of, dies))
            await victim.down.wait()
            in_cluster(world.cluster, victim, honest)
            await asyncio.sleep(30)
            victim.boot()
            await asyncio.sleep(0.2 * INTERVAL_S)
            last = max(await world.versions())
            assert last > 1
            await world.check_refreshed(last)

    run_virtual(scenario())


@pytest.mark.parametrize("skew", [10, -10])
def test_a_clock_that_is_wrong_refreshes_nothing_too_early(skew: int) -> None:
    async def scenario() -> None:
        async with Refreshing() as world:
            wrong = world.nodes[0]
            wrong.clock.skew_s = skew * INTERVAL_S
            await asyncio.sleep(0.45 * INTERVAL_S)
            assert set(await world.versions()) == {1}
            await asyncio.sleep(0.55 * INTERVAL_S)
            last = max(await world.versions())
            assert 1 < last < 50
            await world.check_refreshed(last)
            wrong.clock.skew_s = 0
            await asyncio.sleep(INTERVAL_S)
            assert last < max(await world.versions()) < 50
            await world.check_refreshed(max(await world.versions()))

    run_virtual(scenario())


# --- changes of the node set ------------------------------------------------------------------


async def refresh_under_way(cluster: Cluster) -> None:
    """Return when any node has begun a refresh, and has the promises of the others."""
    begun = asyncio.Event()

    def noted(_: Place, message: Any) -> Any:
        begun.set()
        return message

    for node in cluster.nodes:
        in_cluster(cluster, node, at("Handover", noted))
    await begun.wait()
    for node in cluster.nodes:
        in_cluster(cluster, node, honest)


def test_a_change_of_the_set_does_not_wait_for_refreshes() -> None:
    """It comes in the middle of them; the keys are refreshed on the new set, an interval later."""

    async def scenario() -> None:
        world = ChangingCluster(5, 4)
        world.cluster.refresh_interval_s = INTERVAL_S
        new = (1, 2, 3, 4)
        async with world:
            keys = [await world.generate(1) for _ in range(8)]
            world.be_current(world.configured)
            await world.carry_out(world.bound(range(5)))
            await refresh_under_way(world.cluster)
            began = asyncio.get_running_loop().time()
            await world.carry_out(world.bound(new, epoch=2))
            assert asyncio.get_running_loop().time() - began < 15
            await world.settle()
            moved = [await world.nodes[4].store.load(key) for key in keys]
            assert {s.active.record.set_id for s in moved if s.active} == {world.set_of(new).id}
            for version in [s.active.record.version for s in moved if s.active]:
                assert version > 2
            await world.settle(INTERVAL_S)
            for key, before in zip(keys, moved, strict=True):
                after = await world.nodes[4].store.load(key)
                assert after.active is not None
                assert before.active is not None
                assert after.active.record.previous == before.active.record.hash
                assert after.active.record.set_id == before.active.record.set_id

    run_virtual(scenario())


def test_a_node_that_has_left_has_nothing_refreshed() -> None:
    """Though it is connected still, and its own rules allow it."""

    async def story() -> None:
        world = ChangingCluster(5, 5)
        world.cluster.refresh_interval_s = 10_000
        async with world:
            key_id = await world.generate(1)
            await world.settle()
            stay = (1, 2, 3, 4)
            await world.carry_out(world.bound(stay), by=1)
            await world.settle(6_000)
            removed, target = world.nodes[0], world.set_of(stay)
            assert removed.refreshes is not None
            assert removed.redistributions is not None
            removed.refreshes._rules.target = lambda *_: target  # type: ignore[method-assign]
            with pytest.raises(SessionError):
                await removed.redistributions.redistribute(key_id, ZERO_HASH, target)
            await world.check_keys([key_id], stay, version=2)

    run_virtual(story())
