"""Shares that move to another node set while the key stays, and stays in use."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId
from keyserver.model.keys import CertifiedRecord, KeyRecord
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import OnChainPublic
from keyserver.sessions.core import KeyState, SessionError
from keyserver.sessions.messages import Refuse
from keyserver.simulation.adversary import dealing
from keyserver.simulation.cluster import CONTRACT, Cluster, CrashedError, SimulatedNode
from keyserver.simulation.liars import (
    OTHER_POINT,
    Lie,
    Place,
    at,
    garbage,
    honest,
    in_cluster,
    silent,
    unsigned,
    with_field,
)
from keyserver.simulation.loop import run_virtual
from tests.simulation.story import Story

CHANGE = Hash32(b"\xcc" * 32)
SETTLED_S = 400.0
"""By then everything is decided, and whoever is up knows it."""


class Changing:
    """A key of some nodes of a cluster, and a change to others."""

    def __init__(
        self, cluster: Cluster, old: Sequence[int], threshold: int, new: Sequence[int]
    ) -> None:
        self.cluster = cluster
        self.old = [cluster.nodes[i] for i in old]
        self.new = [cluster.nodes[i] for i in new]
        self.story = Story(cluster, threshold)
        self._aim()
        self._be_current(self._set_of(self.old))

    def aim_at(self, new: Sequence[int]) -> None:
        """The next change: to these nodes, from those of the last one."""
        self.old, self.new = self.new, [self.cluster.nodes[i] for i in new]
        self._aim()

    def _aim(self) -> None:
        self.target = self._set_of(self.new)
        self.cluster.successions.targets = {CHANGE: self.target, ZERO_HASH: self.target}

    def _set_of(self, nodes: list[SimulatedNode]) -> NodeSet:
        current = self.cluster.sets.snapshot.current
        return NodeSet(current.chain_id, current.contract, tuple(node.id for node in nodes))

    def _be_current(self, nodes: NodeSet) -> None:
        snapshot = self.cluster.sets.snapshot
        self.cluster.sets.snapshot = replace(snapshot, current=nodes, new=nodes)

    async def make(self, *, document: bool = True) -> None:
        """Generate, and store."""
        credential = self.story.author_credential
        record = await self.old[0].api.generate_server_key(
            self.story.key_id, self.story.threshold, credential
        )
        if document:
            made = self.story.document_under(record.record.public)
            await self.old[0].api.store_document_key(self.story.key_id, made, credential)
        await asyncio.sleep(5)

    async def move(self, by: SimulatedNode, change: Hash32 = CHANGE) -> CertifiedRecord:
        """Redistribute; raises `SessionError` or `CrashedError`."""
        key_id, target = self.story.key_id, self.target

        async def work(_: object) -> CertifiedRecord:
            assert by.redistributions is not None
            return await by.redistributions.redistribute(key_id, change, target)

        return await by.call(work)

    def finish(self) -> None:
        """The change is over: the target is the current set."""
        self._be_current(self.target)

    async def retrieve(self, by: SimulatedNode) -> None:
        """The document key comes out right."""
        credential = OnChainPublic(CONTRACT, self.story.requester.public())
        result = await by.api.retrieve_shadow(self.story.key_id, credential)
        assert self.story.opened(result) == self.story.document_key

    async def states(self, nodes: list[SimulatedNode]) -> list[KeyState]:
        return [await node.store.load(self.story.key_id) for node in nodes]

    async def check_moved(self, version: int) -> None:
        """All that are up are on this version; the shares are its committee's and nobody else's."""
        everybody = [node for node in self.cluster.nodes if node.is_up]
        concerned = [node for node in everybody if node in self.old or node in self.new]
        shares = []
        for node, state in zip(concerned, await self.states(concerned), strict=True):
            assert state.active is not None
            assert state.active.record.version == version
            assert state.promise is None
            assert state.prepared is None
            assert (state.share is not None) == (node in self.new)
            if state.share is not None:
                shares.append(state.share)
            record = state.active.record
        for chosen in combinations(shares, record.required_nodes):
            secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
            assert secret.public() == record.public
        assert not self.blamed()

    async def check_one_version(self) -> CertifiedRecord:
        """Whatever happened, the nodes that are up agree on one version, and it can be used."""
        known = [s.active for s in await self.states(self.old + self.new) if s.active is not None]
        last = max(known, key=lambda certified: certified.record.version)
        record = last.record
        records = {c.record.hash for c in known if c.record.version == record.version}
        assert records == {record.hash}, "nodes disagree about a version"
        shares = []
        for node in self.cluster.nodes:
            state = await node.store.load(self.story.key_id)
            if state.active is not None and state.active.record == record and state.share:
                shares.append(state.share)
        assert len(shares) >= record.required_nodes, "nobody can use the key"
        chosen = shares[: record.required_nodes]
        secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
        assert secret.public() == record.public
        return last

    def blamed(self) -> set[object]:
        return {culprit for node in self.cluster.nodes for culprit in node.recorder.culprits}


CHANGES = {
    "add": (5, [0, 1, 2], 1, [0, 1, 2, 3, 4]),
    "remove": (4, [0, 1, 2, 3], 1, [1, 2, 3]),
    "replace": (5, [0, 1, 2, 3], 1, [1, 2, 3, 4]),
    "disjoint": (7, [0, 1, 2], 1, [3, 4, 5, 6]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_key_moves_and_is_used_before_during_and_after(name: str) -> None:
    """By every node of the old set, however far each of them is."""
    nodes, old, threshold, new = CHANGES[name]

    async def scenario() -> None:
        async with Cluster(nodes, seed=nodes) as cluster:
            changing = Changing(cluster, old, threshold, new)
            await changing.make()
            moving = asyncio.ensure_future(changing.move(changing.old[0]))
            using = [asyncio.ensure_future(_use(changing, by, moving)) for by in changing.old]
            record = (await moving).record
            assert (record.version, record.set_id) == (2, changing.target.id)
            assert min(await asyncio.gather(*using)) > 2
            await asyncio.sleep(5)
            await changing.check_moved(2)
            changing.finish()
            for node in changing.new:
                await changing.retrieve(node)
            again = await changing.move(changing.new[0])
            assert again.record == record, "a key that has moved stays as it is"

    run_virtual(scenario())


async def _use(changing: Changing, by: SimulatedNode, moving: asyncio.Task[Any]) -> int:
    """Retrieve at short intervals, from before the change until a second after; how often."""
    times = 0
    after = 0
    while after < 20:
        await changing.retrieve(by)
        await asyncio.sleep(0.05)
        times += 1
        after += moving.done()
    return times


def test_a_refresh_makes_a_new_version_every_time() -> None:
    async def scenario() -> None:
        async with Cluster(4, seed=4) as cluster:
            changing = Changing(cluster, range(4), 1, range(4))
            await changing.make()
            old = await changing.states(changing.old)
            for version in (2, 3):
                record = (await changing.move(cluster.nodes[version], ZERO_HASH)).record
                assert record.version == version
                await asyncio.sleep(5)
                await changing.check_moved(version)
                await changing.retrieve(cluster.nodes[0])
            new = await changing.states(changing.old)
            for before, after in zip(old, new, strict=True):
                assert before.share != after.share

    run_virtual(scenario())


def test_a_key_moves_on_and_on() -> None:
    """Who is in none of two sets in a row misses versions, and catches up when it is back."""

    async def scenario() -> None:
        async with Cluster(8, seed=8) as cluster:
            changing = Changing(cluster, range(3), 1, range(3))
            await changing.make()
            sets = [[0, 1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 5, 6, 7], [1, 2, 3, 4, 6]]
            away = cluster.nodes[4]
            for version, new in enumerate(sets, 2):
                if version == 4:
                    await away.crash()
                elif version == 5:
                    away.boot()
                    await asyncio.sleep(1)
                changing.aim_at(new)
                await changing.move(changing.old[1])
                await asyncio.sleep(5)
                await changing.check_moved(version)
                changing.finish()
                for node in changing.new:
                    await changing.retrieve(node)

    run_virtual(scenario())


def test_a_document_key_is_stored_after_the_change() -> None:
    async def scenario() -> None:
        async with Cluster(5, seed=2) as cluster:
            changing = Changing(cluster, range(4), 1, [1, 2, 3, 4])
            await changing.make(document=False)
            await changing.move(cluster.nodes[0])
            changing.finish()
            await asyncio.sleep(5)
            states = await changing.states(changing.new)
            assert states[0].active is not None
            made = changing.story.document_under(states[0].active.record.public)
            credential = changing.story.author_credential
            await changing.new[0].api.store_document_key(changing.story.key_id, made, credential)
            await asyncio.sleep(5)
            await changing.retrieve(changing.new[-1])

    run_virtual(scenario())


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_a_document_key_is_stored_during_the_change(delay_s: float) -> None:
    """Before or after the new version comes into force; in between it waits."""

    async def scenario() -> None:
        async with Cluster(5, seed=3) as cluster:
            changing = Changing(cluster, range(4), 1, [1, 2, 3, 4])
            await changing.make(document=False)
            (state, *_) = await changing.states(changing.old)
            assert state.active is not None
            made = changing.story.document_under(state.active.record.public)
            moving = asyncio.ensure_future(changing.move(cluster.nodes[1]))
            await asyncio.sleep(delay_s)
            credential = changing.story.author_credential
            await cluster.nodes[2].api.store_document_key(changing.story.key_id, made, credential)
            assert (await moving).record.set_id == changing.target.id
            changing.finish()
            await asyncio.sleep(5)
            for node in changing.new:
                await changing.retrieve(node)

    run_virtual(scenario())


@pytest.mark.parametrize("other", range(4))
def test_several_coordinators_at_once(other: int) -> None:
    """An old member promises one of them; in the end all have the same new version."""

    async def scenario() -> None:
        async with Cluster(5, seed=other) as cluster:
            changing = Changing(cluster, range(4), 1, [1, 2, 3, 4])
            await changing.make()
            nodes = cluster.nodes[other:]
            moved = await asyncio.gather(*(changing.move(node) for node in nodes))
            assert len({certified.record.hash for certified in moved}) == 1
            await asyncio.sleep(5)
            await changing.check_moved(moved[0].record.version)

    run_virtual(scenario())


def test_who_was_away_learns_of_it_and_loses_or_gets_its_share() -> None:
    """One that leaves, and one that comes."""

    async def scenario() -> None:
        async with Cluster(8, seed=5) as cluster:
            changing = Changing(cluster, [0, 1, 2, 3], 1, [1, 2, 3, 4, 5, 6, 7])
            await changing.make()
            leaver, comer = cluster.nodes[0], cluster.nodes[7]
            await leaver.crash()
            await comer.crash()
            await changing.move(cluster.nodes[1])
            changing.finish()
            leaver.boot()
            comer.boot()
            await asyncio.sleep(SETTLED_S)
            await changing.check_moved(2)

    run_virtual(scenario())


# --- crashes ---------------------------------------------------------------------------------


async def _crash_in(
    changing: Changing, victim: SimulatedNode, effect: int, by: SimulatedNode
) -> bool:
    """Let a node die at an effect of the change; whether it did, and all came to one version."""
    victim.process.die_at_effect(effect)
    with contextlib.suppress(SessionError, CrashedError):
        await changing.move(by)
    died = not victim.process.alive
    if not died:
        victim.process.spare()
        return False
    await asyncio.sleep(1)
    victim.boot()
    await asyncio.sleep(SETTLED_S)
    await changing.check_one_version()
    record = (await changing.move(changing.old[1])).record
    assert record.set_id == changing.target.id
    changing.finish()
    await asyncio.sleep(SETTLED_S)
    await changing.check_moved(record.version)
    await changing.retrieve(changing.new[0])
    return True


@pytest.mark.parametrize(
    ("victim", "by", "stride"), [(0, 0, 7), (1, 0, 3), (4, 0, 3), (0, 4, 3), (4, 4, 7)]
)
def test_any_node_may_die_at_any_effect(victim: int, by: int, stride: int) -> None:
    """Leaving, staying or joining, coordinator or not; afterwards the change is completed."""

    async def scenario(effect: int) -> bool:
        async with Cluster(5, seed=effect) as cluster:
            changing = Changing(cluster, [0, 1, 2, 3], 1, [1, 2, 3, 4])
            await changing.make()
            return await _crash_in(changing, cluster.nodes[victim], effect, cluster.nodes[by])

    deaths = 0
    for effect in range(1, 200, stride):
        if not run_virtual(scenario(effect)):
            break
        deaths += 1
    assert deaths > 2


# --- liars -----------------------------------------------------------------------------------


def _refusing(code: int) -> Lie:
    return lambda _, __: Refuse(code)


PROVEN: dict[str, Lie] = {
    "another constant": at("Deal", dealing.rogue_constant),
    "a false share": at("Deal", dealing.false_share_for_one),
    "two polynomials": at("Deal", dealing.two_polynomials),
    "too long a polynomial": at("Deal", dealing.other_degree(1)),
}
VOTES = ("Accept", "Ok", "Ready", "Prepare", "Commit")
UNPROVEN: dict[str, Lie] = {
    "silence": silent,
    "garbage": garbage,
    "unsigned shares": at("Deal", dealing.badly_signed_share_for_one),
    "the deal of a generation": at("Deal", with_field("possession", lambda _: bytes(64))),
    "a foreign key": at("Accept", dealing.foreign_key),
    **{f"no {name}": at(name, silent) for name in ("Deal", *VOTES)},
    **{f"unsigned {name}": at(name, unsigned) for name in VOTES if name != "Ok"},
    **{
        f"refused {name}": at(name, _refusing(code))
        for name, code in zip(VOTES, (1, 5, 7, 10, 9), strict=True)
    },
}
SETS = {
    "four": (5, [0, 1, 2, 3], 1, [1, 2, 3, 4], [[1], [4], [0]]),
    "seven": (9, list(range(7)), 2, list(range(2, 9)), [[2, 4]]),
}


async def _play(name: str, lie: Lie, which: int, seed: int) -> tuple[set[NodeId], set[object]]:
    """A change with f liars among old and new nodes; returns them and whom anybody blames."""
    nodes, old, threshold, new, choices = SETS[name]
    async with Cluster(nodes, seed=seed) as cluster:
        changing = Changing(cluster, old, threshold, new)
        await changing.make()
        liars = [cluster.nodes[i] for i in choices[which]]
        for liar in liars:
            in_cluster(cluster, liar, lie)
        record = (await changing.move(cluster.nodes[3])).record
        assert record.set_id == changing.target.id
        blamed = changing.blamed()
        for liar in liars:
            in_cluster(cluster, liar, honest)
        await asyncio.sleep(SETTLED_S)
        await changing.check_one_version()
        for node, state in zip(changing.new, await changing.states(changing.new), strict=True):
            assert state.active is not None
            assert state.active.record == record, node.id.short
        changing.finish()
        await changing.retrieve(cluster.nodes[3])
        return {liar.id for liar in liars}, blamed


PLAYED = [("four", lie) for lie in (*PROVEN, *UNPROVEN)]
PLAYED += [("seven", lie) for lie in ("a false share", "silence")]


@pytest.mark.parametrize(("name", "lie"), PLAYED)
def test_liars_among_old_and_new_nodes_only_cost_time(name: str, lie: str) -> None:
    """Who deals is chosen at random: a proven lie is told in one of some changes."""
    told = PROVEN.get(lie) or UNPROVEN[lie]
    named: set[object] = set()
    for seed in range(8 if lie in PROVEN else 2):
        which = seed % len(SETS[name][4])
        liars, blamed = run_virtual(_play(name, told, which, seed))
        assert blamed <= liars, "an honest node was blamed"
        named |= blamed
        if named:
            break
    assert bool(named) == (lie in PROVEN)


def _one_fewer(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return items[1:]


def _to_one_only(place: Place, message: Any) -> Any:
    return message if place.to == place.ctx.node_set.nodes[1] else None


def _of_another_key(record: KeyRecord) -> KeyRecord:
    return replace(record, public=OTHER_POINT, commitments=(OTHER_POINT, *record.commitments[1:]))


def _with_a_document(record: KeyRecord) -> KeyRecord:
    return replace(record, document=CHANGE)


SENT = ("Redistribute", "Handover", "Shares", "Finalize", "Certified", "Prepared", "Installed")
COORDINATORS: dict[str, Lie] = {
    **{f"no {name}": at(name, silent) for name in SENT},
    **{f"{name} to one only": at(name, _to_one_only) for name in SENT},
    "a promise fewer": at("Handover", with_field("promised", _one_fewer)),
    "a member fewer": at("Handover", with_field("accepted", _one_fewer)),
    "a deal fewer": at("Shares", with_field("deals", _one_fewer)),
    "other sums": at("Shares", with_field("commitments", lambda sums: (OTHER_POINT, *sums[1:]))),
    "another key": at("Finalize", with_field("record", _of_another_key)),
    "another document key": at("Finalize", with_field("record", _with_a_document)),
    "another key certified": at("Certified", with_field("record", _of_another_key)),
    "another document key certified": at("Certified", with_field("record", _with_a_document)),
    "a holder fewer": at("Certified", with_field("signatures", lambda all_: all_[:2])),
    "a voter fewer": at("Prepared", with_field("signatures", lambda all_: all_[:2])),
    "the decision of nobody": at(
        "Installed", with_field("decision", lambda d: replace(d, signatures=()))
    ),
    "no inheritance": at("Redistribute", with_field("inheritance", lambda _: None)),
    "another request": at("Redistribute", with_field("counter", lambda n: n + 1)),
}


@pytest.mark.parametrize("name", COORDINATORS)
def test_a_lying_coordinator_only_costs_time(name: str) -> None:
    """What it leaves undecided is decided, and an honest one completes the change."""

    async def scenario() -> None:
        async with Cluster(5, seed=21) as cluster:
            changing = Changing(cluster, [0, 1, 2, 3], 1, [1, 2, 3, 4])
            await changing.make()
            liar = cluster.nodes[0]
            in_cluster(cluster, liar, COORDINATORS[name])
            with contextlib.suppress(SessionError):
                await changing.move(liar)
            in_cluster(cluster, liar, honest)
            await changing.retrieve(cluster.nodes[2])
            await asyncio.sleep(SETTLED_S)
            await changing.check_one_version()
            record = (await changing.move(cluster.nodes[1])).record
            assert record.set_id == changing.target.id
            changing.finish()
            await asyncio.sleep(SETTLED_S)
            await changing.check_moved(record.version)
            await changing.retrieve(cluster.nodes[4])

    run_virtual(scenario())
