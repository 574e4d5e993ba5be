"""Which keys a node refreshes, when it leaves them alone, and in whose refreshes it takes part."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.ports import AgedRecord, Identity, Ports
from keyserver.engine.refresh_tries import MOST_TRIES
from keyserver.engine.refresh_turns import RefreshTurns
from keyserver.engine.refreshes import AT_ONCE, MANY_FAILURES, Refreshes, RefreshRules
from keyserver.engine.set_change_lock import ChangeLock
from keyserver.errors import StorageError
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId, Nonce32
from keyserver.model.node_set import Migration, NodeSet, NodeSetSnapshot
from keyserver.model.set_change import SetChange
from keyserver.sessions.core import KeyState, Policy, UnavailableError
from keyserver.sessions.writes import PutActive
from keyserver.simulation.clock import VirtualClock
from keyserver.simulation.cluster import FixedSets, Recorder, ScriptedAccess
from keyserver.simulation.loop import run_virtual
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore
from tests.unit.engine.played_peers import Peers
from tests.unit.engine.signed_values import NODES, OTHER_SET, SET, SIGNERS, certified, record

ME, OTHER = NODES[0], NODES[1]
INTERVAL_S = 32_000
FIRST = NodeSetSnapshot(SET, SET, None, (), 0, 0)


def key(number: int) -> KeyId:
    return KeyId(number.to_bytes(32, "big"))


class Store(MemoryRecordStore):
    """Fails where it is told to."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(MemoryDisk(), clock.unix)
        self.broken: set[KeyId | None] = set()

    async def load(self, key_id: KeyId) -> KeyState:
        if key_id in self.broken:
            raise StorageError("the row does not parse")
        return await super().load(key_id)

    async def aged(self, after: AgedRecord | None, before: int, limit: int) -> Sequence[AgedRecord]:
        if None in self.broken:
            raise StorageError("the disk is gone")
        return await super().aged(after, before, limit)


@dataclass
class Scene:
    """A node; its redistributions take a second and end as the test says."""

    interval_s: int = INTERVAL_S
    fails: Callable[[KeyId], bool] = lambda _: False
    asked: list[tuple[float, KeyId]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    def __post_init__(self) -> None:
        self.clock, self.lock, self.sets = VirtualClock(), ChangeLock(), FixedSets(FIRST)
        self.store = Store(self.clock)
        access, recorder = ScriptedAccess(), Recorder()
        ports = Ports(
            Peers(), self.store, access, self.sets, self.clock, recorder, recorder, self.lock
        )
        identity = Identity(ME, SIGNERS[ME], Nonce32(bytes(32)), SeededRandom(b"r"), Policy)
        turns = RefreshTurns(self.interval_s)
        self.rules = RefreshRules(ME, self.lock, self.sets, self.clock, turns)
        self.refreshes = Refreshes(identity, ports, self, self.rules, turns)

    async def redistribute(self, key_id: KeyId, change_id: Hash32, target: NodeSet) -> None:
        assert change_id == ZERO_HASH
        assert target == self.sets.snapshot.current
        self.asked.append((self.clock.monotonic(), key_id))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(1)
        self.running -= 1
        if self.fails(key_id):
            raise UnavailableError("too few nodes")
        state = await MemoryRecordStore.load(self.store, key_id)
        assert state.active is not None
        before = state.active.record
        following = replace(before, version=before.version + 1, previous=before.hash)
        await self.store.commit([PutActive(certified(following, by=NODES))])

    async def knows(self, *numbers: int, on: NodeSet = SET) -> None:
        known = [record(key_id=key(number), nodes=on) for number in numbers]
        await self.store.commit([PutActive(certified(each, by=NODES)) for each in known])

    @property
    def keys(self) -> list[KeyId]:
        return [key_id for _, key_id in self.asked]

    def change(self) -> asyncio.Event:
        ended = asyncio.Event()
        assert self.lock.take(SetChange.ordered(SET, OTHER_SET), ended, exclusive=False)
        return ended


def play(scene: Scene, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(scene.refreshes.run())
        try:
            await story()
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run_virtual(main())


def test_every_key_once_in_an_interval_a_few_at_a_time() -> None:
    scene = Scene()

    async def story() -> None:
        await scene.knows(*range(1, 600))
        await asyncio.sleep(0.8 * INTERVAL_S)
        assert scene.asked == []
        await asyncio.sleep(0.2 * INTERVAL_S)
        assert sorted(scene.keys) == [key(number) for number in range(1, 600)]
        assert scene.most_running == AT_ONCE
        assert scene.refreshes.counts.done == 599
        assert scene.refreshes.counts.running == 0

    play(scene, story)


def test_a_slot_rests_as_long_as_it_has_worked() -> None:
    scene = Scene()

    async def story() -> None:
        await scene.knows(*range(1, 41))
        scene.clock.skew_s = INTERVAL_S
        await asyncio.sleep(100)
        times = [at for at, _ in scene.asked]
        assert max(times) - min(times) == pytest.approx(2 * (40 / AT_ONCE - 1))

    play(scene, story)


def test_an_interval_of_0_means_never() -> None:
    scene = Scene(interval_s=0)

    async def story() -> None:
        await scene.knows(1)
        await asyncio.sleep(10 * INTERVAL_S)
        assert scene.asked == []
        assert scene.refreshes.obstacle == "refresh_interval_days is 0"

    play(scene, story)


Obstacle = Callable[[Scene], Any]
OBSTACLES: dict[str, Obstacle] = {
    "a change holds the lock": lambda scene: scene.change(),
    "a migration runs": lambda scene: setattr(
        scene.sets,
        "snapshot",
        replace(FIRST, migration=Migration(ZERO_HASH, frozenset(NODES), ME, False)),
    ),
    "the set is stale": lambda scene: setattr(scene.sets, "snapshot", replace(FIRST, stale=True)),
    "this node is not in the set": lambda scene: setattr(
        scene.sets, "snapshot", replace(FIRST, current=replace(SET, nodes=NODES[1:]))
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_is_in_the_way_of_all_refreshes(name: str) -> None:
    scene = Scene()

    async def story() -> None:
        await scene.knows(1)
        await asyncio.sleep(0.79 * INTERVAL_S)
        state = await scene.store.load(key(1))
        assert scene.rules.target(ZERO_HASH, key(1), state, OTHER) == SET
        held = OBSTACLES[name](scene)
        assert scene.rules.target(ZERO_HASH, key(1), state, OTHER) is None
        await asyncio.sleep(INTERVAL_S)
        assert scene.asked == []
        assert scene.refreshes.obstacle is not None
        scene.sets.snapshot = FIRST
        if held is not None:
            held.set()
        await asyncio.sleep(100)
        assert scene.keys == [key(1)]

    play(scene, story)


def test_a_change_that_begins_stops_a_look() -> None:
    scene = Scene()

    async def story() -> None:
        await scene.knows(*range(1, 41))
        scene.clock.skew_s = INTERVAL_S
        while len(scene.asked) < 6:
            await asyncio.sleep(0.1)
        ended = scene.change()
        await asyncio.sleep(1000)
        assert len(scene.asked) <= 6 + AT_ONCE
        ended.set()
        await asyncio.sleep(1000)
        assert len(set(scene.keys)) == 40

    play(scene, story)


def test_keys_of_other_sets_are_left_to_changes_and_counted() -> None:
    scene = Scene()

    async def story() -> None:
        await scene.knows(1)
        await scene.knows(2, 3, on=OTHER_SET)
        await asyncio.sleep(INTERVAL_S)
        assert scene.keys == [key(1)]
        assert scene.refreshes.counts.elsewhere == 2
        state = await scene.store.load(key(2))
        assert scene.rules.target(ZERO_HASH, key(2), state, OTHER) is None

    play(scene, story)


def test_a_key_that_fails_rests_and_is_tried_again() -> None:
    scene = Scene()
    scene.fails = lambda key_id: key_id == key(1) and len(scene.keys) < 8

    async def story() -> None:
        await scene.knows(1, 2)
        await asyncio.sleep(1.4 * INTERVAL_S)
        times = [at for at, key_id in scene.asked if key_id == key(1)]
        assert scene.refreshes.counts.failed == len(times) - 1 > 2
        assert all(b - a >= INTERVAL_S / 32 for a, b in pairwise(times))
        assert scene.refreshes.counts.done == 2
        assert scene.refreshes.last_failure is None

    play(scene, story)


def test_where_everything_fails_less_and_less_is_tried() -> None:
    scene = Scene(fails=lambda _: True)

    async def story() -> None:
        await scene.knows(*range(1, 400))
        scene.clock.skew_s = INTERVAL_S
        await asyncio.sleep(1000)
        early = len(scene.asked)
        await asyncio.sleep(1000)
        assert MANY_FAILURES <= early < 10 * (MANY_FAILURES + AT_ONCE)
        assert len(scene.asked) - early < early
        assert scene.refreshes.last_failure == "too few nodes"
        scene.fails = lambda _: False
        await asyncio.sleep(INTERVAL_S / 4)
        assert scene.refreshes.counts.done == 399

    play(scene, story)


def test_what_cannot_be_read_stands_in_nobodys_way() -> None:
    scene = Scene()

    async def story() -> None:
        await scene.knows(1, 2)
        scene.store.broken = {key(1), None}
        await asyncio.sleep(INTERVAL_S)
        assert scene.asked == []
        scene.store.broken = {key(1)}
        await asyncio.sleep(100)
        assert scene.keys == [key(2)]

    play(scene, story)


# --- refreshes of others ----------------------------------------------------------------------


def test_others_are_let_in_from_half_the_interval_on_and_not_for_ever() -> None:
    scene = Scene()

    async def story() -> None:
        await scene.knows(1)

        async def is_let_in(by: NodeId = OTHER) -> bool:
            state = await scene.store.load(key(1))
            return scene.rules.target(ZERO_HASH, key(1), state, by) is not None

        assert not await is_let_in()
        await asyncio.sleep(INTERVAL_S / 2)
        assert [await is_let_in() for _ in range(MOST_TRIES + 1)] == [True] * MOST_TRIES + [False]
        assert await is_let_in(NODES[2])
        assert all([await is_let_in(ME) for _ in range(4 * MOST_TRIES)])
        await asyncio.sleep(INTERVAL_S / 16)
        assert await is_let_in()

    play(scene, story)


def test_tries_that_led_to_a_new_version_are_forgotten() -> None:
    scene = Scene()

    async def story() -> None:
        await scene.knows(1, 2)
        await asyncio.sleep(INTERVAL_S / 2)
        for number in (1, 2):
            state = await scene.store.load(key(number))
            assert scene.rules.target(ZERO_HASH, key(number), state, OTHER) is not None
        await asyncio.sleep(100)
        assert len(set(scene.rules.tries.open)) == 2
        await scene.redistribute(key(1), ZERO_HASH, SET)
        await asyncio.sleep(100)
        assert set(scene.rules.tries.open) == {(key(2), 1)}

    play(scene, story)


def test_changes_are_the_locks_business() -> None:
    scene = Scene()
    ended = scene.change()
    change = scene.lock.change
    assert change is not None
    state = KeyState()
    assert scene.rules.target(change.id, key(1), state, OTHER) == OTHER_SET
    assert scene.rules.target(Hash32(b"\x01" * 32), key(1), state, OTHER) is None
    ended.set()
    assert scene.rules.target(change.id, key(1), state, OTHER) is None


def test_an_unknown_key_is_not_refreshed() -> None:
    async def main() -> None:
        assert Scene().rules.target(ZERO_HASH, key(1), KeyState(), OTHER) is None

    run_virtual(main())
