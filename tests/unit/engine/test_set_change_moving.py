"""Passes over keys that move, fail, or are made meanwhile; redistribution itself is scripted."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.links import SHARE_FLAG, Entry
from keyserver.engine.ports import Identity, Ports
from keyserver.engine.set_change_moving import AT_ONCE, TRIES, Moving
from keyserver.engine.set_change_progress import MOST_TOLD, ChangePhase, ChangeProgress
from keyserver.engine.set_change_walk import TooSlowError, UnreliableError
from keyserver.errors import StorageError
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId, Nonce32
from keyserver.model.keys import CertifiedRecord
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import SetChange
from keyserver.sessions.core import (
    KeyState,
    Policy,
    Refusal,
    UnavailableError,
)
from keyserver.sessions.set_change.works import (
    Declined,
    Moved,
    MoveKeys,
    Survey,
    Surveyed,
)
from keyserver.sessions.writes import (
    PutActive,
)
from keyserver.simulation.clock import VirtualClock
from keyserver.simulation.cluster import KeySigner, Recorder, ScriptedAccess
from keyserver.simulation.loop import run_virtual
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore
from tests.support.fake_cluster import certified_record, secret_of
from tests.support.set_changes import ALL, NODES, set_of

ME = NODES[0]
CHANGE = SetChange.ordered(ALL, set_of(NODES[1:]))
EVERYBODY = frozenset(NODES)


def key(number: int) -> KeyId:
    return KeyId(number.to_bytes(32, "big"))


def on(target: NodeSet, number: int, threshold: int, version: int) -> CertifiedRecord:
    made = certified_record(key(number), Address(bytes(20)), threshold, target.nodes)
    record = replace(made.record, set_id=target.id, version=version)
    return replace(made, record=record)


class Damaged(MemoryRecordStore):
    """One key has a row that does not parse."""

    broken: KeyId | None = None

    async def load(self, key_id: KeyId) -> KeyState:
        if key_id == self.broken:
            raise StorageError("its row does not parse")
        return await super().load(key_id)

    async def records(self, after: KeyId | None, limit: int) -> Sequence[CertifiedRecord]:
        found = await super().records(after, limit)
        return [each for each in found if each.record.key_id != self.broken]


@dataclass
class World:
    """One coordinator; all its peers have what it has, but those that are silent."""

    store: MemoryRecordStore = field(
        default_factory=lambda: MemoryRecordStore(MemoryDisk(), VirtualClock().unix)
    )
    connected: frozenset[NodeId] = EVERYBODY
    elsewhere: list[CertifiedRecord] = field(default_factory=list)
    """Keys that only a peer knows before this node catches up with it."""
    caught_up: list[frozenset[NodeId]] = field(default_factory=list)
    silent: set[NodeId] = field(default_factory=set)
    """Peers whose catalogues cannot be read."""
    once: set[NodeId] = field(default_factory=set)
    """The same, for the first time only."""
    slow: set[NodeId] = field(default_factory=set)
    read: Counter[NodeId] = field(default_factory=Counter)
    failures: Counter[KeyId] = field(default_factory=Counter)
    disk_is_full: set[KeyId] = field(default_factory=set)
    """Keys whose next version cannot be written down."""
    tries: Counter[KeyId] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0
    while_moving: Callable[[KeyId], Iterable[CertifiedRecord]] = lambda _: ()
    """Keys that are made meanwhile."""
    while_reading: Callable[[], Iterable[CertifiedRecord]] = lambda: ()
    """Keys that are made before a pass comes to them."""
    moves: bool = True

    def __post_init__(self) -> None:
        identity = Identity(
            ME, KeySigner(secret_of(1)), Nonce32(bytes(32)), SeededRandom(1), Policy
        )
        ports = Ports(
            self,  # type: ignore[arg-type]
            self.store,
            ScriptedAccess(),
            self,  # type: ignore[arg-type]
            VirtualClock(),
            Recorder(),
            Recorder(),
        )
        progress = ChangeProgress(CHANGE.id)
        self.moving = Moving(identity, ports, self, self, self, progress)

    async def pages(self, peer: NodeId) -> AsyncIterator[Sequence[Entry]]:
        self.read[peer] += 1
        if peer == NODES[1]:
            await self.store.commit([PutActive(made) for made in self.while_reading()])
        if peer in self.slow:
            raise TooSlowError("slow")
        if peer in self.silent or peer in self.once:
            self.once.discard(peer)
            raise UnreliableError("silent")
        page = await self.store.catalogue(None, 4096)
        yield [Entry(each.key_id, each.version, each.record_hash, SHARE_FLAG) for each in page]

    async def catch_up(
        self, peers: Iterable[NodeId], is_enough: Callable[[frozenset[NodeId]], bool]
    ) -> frozenset[NodeId]:
        read = frozenset(peers)
        self.caught_up.append(read)
        assert is_enough(read)
        assert not is_enough(frozenset(NODES[1:3])), "with this node there are three of five"
        await self.store.commit([PutActive(made) for made in self.elsewhere])
        return read - self.silent

    async def redistribute(self, key_id: KeyId, change_id: Hash32, target: NodeSet) -> None:
        assert (change_id, target) == (CHANGE.id, CHANGE.new)
        self.tries[key_id] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.1)
        self.at_once -= 1
        for made in self.while_moving(key_id):
            await self.store.commit((PutActive(made),))
        if key_id in self.disk_is_full:
            raise StorageError("no space left")
        if self.failures[key_id]:
            self.failures[key_id] -= 1
            raise UnavailableError("a dealer is gone")
        state = await self.store.load(key_id)
        assert state.active is not None
        if self.moves:
            threshold = state.active.record.threshold
            moved = on(target, int.from_bytes(key_id, "big"), threshold, 2)
            await self.store.commit((PutActive(moved),))

    async def put(self, *numbers: int, threshold: int = 1) -> None:
        for number in numbers:
            await self.store.commit((PutActive(on(ALL, number, threshold, 1)),))

    async def survey(self, *, may_lose_keys: bool = False) -> Surveyed:
        return await self.moving.survey(Survey(CHANGE, EVERYBODY, may_lose_keys))

    async def move(self, *, frozen: bool = True, may_lose_keys: bool = False) -> Moved | Declined:
        return await self.moving.move(MoveKeys(CHANGE, EVERYBODY, may_lose_keys, frozen))

    async def left(self) -> list[KeyId]:
        page = await self.store.catalogue(None, 4096)
        return [each.key_id for each in page if each.version == 1]


def test_all_keys_move_so_many_at_a_time() -> None:
    async def story() -> None:
        world = World()
        await world.put(*range(1, 151))
        assert await world.survey() == Surveyed(150, 0)
        assert world.moving.progress.total == 150
        assert await world.move() == Moved(150, ())
        assert world.most_at_once == AT_ONCE
        assert await world.left() == []
        assert world.moving.progress.moved == world.moving.progress.total == 150
        assert await world.survey() == Surveyed(0, 0)

    run_virtual(story())


def test_keys_that_are_made_meanwhile_move_too() -> None:
    async def story() -> None:
        world = World()
        await world.put(10, 20)
        world.while_moving = lambda key_id: {  # one before the place of the walk, one behind it
            key(10): [on(ALL, 5, 1, 1), on(ALL, 30, 1, 1)],
            key(5): [on(ALL, 40, 1, 1)],
        }.get(key_id, [])
        assert await world.move() == Moved(5, ())
        assert await world.left() == []

    run_virtual(story())


def test_before_a_freeze_the_last_keys_are_not_chased() -> None:
    """There is always another one: with a stream of new keys no pass would be the last."""

    async def story() -> None:
        world = World()
        await world.put(*range(1, 101))
        numbers = iter(range(1000, 2000))
        world.while_moving = lambda key_id: (
            [on(ALL, next(numbers), 1, 1)] if int.from_bytes(key_id, "big") % 2 else []
        )
        assert isinstance(await world.move(frozen=False), Moved)
        assert 0 < len(await world.left()) <= AT_ONCE
        world.while_moving = lambda _: ()
        await world.move(frozen=True)
        assert await world.left() == []

    run_virtual(story())


def _make(numbers: Iterator[int], counts: Iterator[int]) -> list[CertifiedRecord]:
    return [on(ALL, next(numbers), 1, 1) for _ in range(next(counts, 0))]


def test_clients_that_make_keys_all_the_time_do_not_put_off_the_freeze() -> None:
    """More of them in every pass than may be left to the frozen ones."""

    async def story() -> None:
        for made_in_pass, passes in (((150,) * 9, 2), ((150, 110, 80, 76, 74), 3), ((60,), 1)):
            world = World()
            world.while_reading = partial(_make, iter(range(1000, 9999)), iter(made_in_pass))
            assert isinstance(await world.move(frozen=False), Moved)
            assert world.read[NODES[1]] == passes

    run_virtual(story())


def test_keys_that_fail_at_first_do_not_put_off_the_freeze() -> None:
    async def story() -> None:
        world = World()
        numbers = iter(range(1000, 9999))

        def make() -> Iterable[CertifiedRecord]:
            number = next(numbers)
            world.failures[key(number)] = 1
            return [on(ALL, number, 1, 1)]

        world.while_reading = make
        assert isinstance(await world.move(frozen=False), Moved)
        assert world.read[NODES[1]] == TRIES

    run_virtual(story())


def test_with_the_nodes_frozen_only_new_keys_are_looked_at() -> None:
    async def story() -> None:
        world = World()
        await world.put(*range(1, 11))
        await world.put(11, threshold=4)
        await asyncio.sleep(60)
        world.slow = {NODES[4]}
        world.while_moving = lambda moved: [on(ALL, 20, 1, 1)] if moved == key(9) else []
        moved = await world.move(frozen=False, may_lose_keys=True)
        assert moved == Moved(10, (key(11),))
        assert await world.left() == [key(11), key(20)]
        assert world.moving.progress.moved == 10
        world.elsewhere = [on(ALL, 21, 1, 1)]
        world.read.clear()
        assert await world.move(may_lose_keys=True) == Moved(2, (key(11),))
        assert await world.left() == [key(11)]
        assert world.caught_up == [frozenset(NODES[1:4])], "who was slow is not waited for"
        assert not world.read, "nothing is looked at once more"
        assert (world.moving.progress.moved, world.moving.progress.total) == (12, 12)
        assert world.moving.progress.keys_kept == 1

    run_virtual(story())


def test_without_a_quorum_that_has_shown_its_new_keys_all_are_looked_at() -> None:
    async def story() -> None:
        world = World()
        await world.put(1)
        await world.move(frozen=False)
        world.silent = set(NODES[2:])
        assert isinstance(await world.move(), Declined)
        assert world.read[NODES[1]] == 2

    run_virtual(story())


def test_a_new_key_that_fails_or_stays_is_looked_at_with_all_others() -> None:
    async def story() -> None:
        world = World()
        await world.move(frozen=False)
        await world.put(1)
        world.failures[key(1)] = 1
        assert await world.move() == Moved(1, ())
        assert world.read[NODES[1]] == 3
        world = World()
        await world.move(frozen=False)
        await world.put(1, threshold=4)
        assert await world.move(may_lose_keys=True) == Moved(0, (key(1),))
        assert world.read[NODES[1]] == 2
        world = World(moves=False)
        await world.move(frozen=False)
        await world.put(1)
        assert isinstance(await world.move(), Declined)
        assert world.moving.progress.kept == {key(1): "it does not arrive"}

    run_virtual(story())


def test_a_key_that_fails_is_tried_again_later() -> None:
    async def story() -> None:
        world = World()
        await world.put(1, 2)
        world.failures[key(1)] = TRIES - 1
        moved = await world.move()
        assert isinstance(moved, Moved)
        assert world.tries == {key(1): TRIES, key(2): 1}
        assert world.moving.progress.kept == {}

    run_virtual(story())


def test_a_key_that_goes_on_failing_ends_the_change_and_is_named() -> None:
    async def story() -> None:
        world = World()
        await world.put(1, 2)
        world.failures[key(1)] = 100
        declined = await world.move(frozen=False)
        assert isinstance(declined, Declined)
        assert declined.code is Refusal.TEMPORARY
        assert world.tries[key(1)] == TRIES
        assert world.moving.progress.kept == {key(1): "a dealer is gone"}
        assert (world.moving.progress.moved, world.moving.progress.total) == (1, 2)

    run_virtual(story())


def test_a_key_that_this_node_cannot_read_is_named_and_the_others_move() -> None:
    async def story() -> None:
        world = World(store=Damaged(MemoryDisk()))
        await world.put(1, 2, 3)
        world.store.broken = key(2)  # type: ignore[attr-defined]
        assert await world.survey() == Surveyed(2, 0)
        assert world.moving.progress.kept == {key(2): "its row does not parse"}
        assert world.moving.progress.total == 2
        assert isinstance(await world.move(frozen=False), Declined)
        assert await world.left() == [key(2)]
        assert world.moving.progress.kept == {key(2): "its row does not parse"}
        assert (world.moving.progress.moved, world.moving.progress.total) == (2, 3)

    run_virtual(story())


def test_a_store_that_fails_key_after_key_ends_the_change() -> None:
    async def story() -> None:
        world = World()
        await world.put(*range(1, 40))
        world.disk_is_full = {key(1)}
        assert isinstance(await world.move(frozen=False), Declined)
        assert await world.left() == [key(1)]
        assert world.moving.progress.kept == {key(1): "no space left"}
        world = World()
        await world.put(*range(1, 40))
        world.disk_is_full = {key(number) for number in range(1, 40)}
        with pytest.raises(ExceptionGroup) as several:
            await world.move(frozen=False)
        assert several.group_contains(StorageError)

    run_virtual(story())


def test_a_key_that_never_arrives_ends_the_change() -> None:
    async def story() -> None:
        world = World(moves=False)
        await world.put(1)
        assert isinstance(await world.move(), Declined)
        assert world.moving.progress.kept == {key(1): "it does not arrive"}

    run_virtual(story())


def test_a_key_that_cannot_move_is_seen_before_anything_is_touched() -> None:
    async def story() -> None:
        world = World()
        await world.put(1)
        await world.put(2, 3, threshold=4)
        assert await world.survey() == Surveyed(1, 2)
        assert world.moving.losing == 2
        assert set(world.moving.progress.kept) == {key(2), key(3)}
        assert world.moving.progress.total == 1
        assert not world.tries
        assert await world.survey(may_lose_keys=True) == Surveyed(1, 2)
        assert world.moving.losing == 0
        assert await world.move(may_lose_keys=True) == Moved(1, (key(2), key(3)))

    run_virtual(story())


def test_of_many_keys_that_stay_the_first_are_named() -> None:
    async def story() -> None:
        world = World()
        await world.put(*range(1, MOST_TOLD + 11), threshold=4)
        await world.survey()
        assert list(world.moving.progress.kept) == [key(n) for n in range(1, MOST_TOLD + 1)]
        assert world.moving.progress.keys_kept == MOST_TOLD + 10

    run_virtual(story())


def test_nodes_that_are_lost_meanwhile_keep_keys_from_moving() -> None:
    async def story() -> None:
        world = World()
        await world.put(1)
        world.connected = frozenset(NODES[:3])
        declined = await world.move()
        assert isinstance(declined, Declined)
        assert not world.tries
        assert "too few" in world.moving.progress.kept[key(1)]

    run_virtual(story())


def test_a_catalogue_that_cannot_be_read_at_first_is_read_again() -> None:
    async def story() -> None:
        world = World()
        await world.put(1)
        world.once = set(NODES[1:])
        assert await world.survey() == Surveyed(1, 0)

    run_virtual(story())


def test_without_a_quorum_of_catalogues_nobody_knows_what_is_left() -> None:
    async def story() -> None:
        world = World()
        world.silent = set(NODES[2:])
        declined = await world.move()
        assert isinstance(declined, Declined)
        assert "too few catalogues" in declined.why
        world.silent = set(NODES[4:])
        assert await world.move() == Moved(0, ())

    run_virtual(story())


def test_who_has_been_too_slow_is_not_waited_for_again() -> None:
    async def story() -> None:
        world = World()
        await world.put(1, 2)
        world.slow = {NODES[4]}
        assert await world.survey() == Surveyed(2, 0)
        assert world.read[NODES[4]] == 1
        world.read.clear()
        assert await world.move() == Moved(2, ())
        assert (world.read[NODES[4]], world.read[NODES[3]]) == (1, 2)
        world.slow = set(NODES[2:])
        declined = await world.move()
        assert isinstance(declined, Declined)
        assert "too few catalogues" in declined.why

    run_virtual(story())


def test_the_end_says_who_was_missing() -> None:
    async def story() -> None:
        world = World()
        world.moving.end(ChangePhase.FAILED, frozenset(NODES[:1]), "not there")
        progress = world.moving.progress
        assert (progress.phase, progress.missing, progress.why) == (
            ChangePhase.FAILED,
            frozenset(NODES[:1]),
            "not there",
        )

    run_virtual(story())
