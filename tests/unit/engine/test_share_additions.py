"""When a node asks for shares it lacks, whom, and when it leaves it be."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.links import Have, unpack_link
from keyserver.engine.ports import CatalogueEntry, Identity, Ports
from keyserver.engine.share_additions import AT_ONCE, LONGEST_REST_S, ShareAdditions
from keyserver.errors import StorageError
from keyserver.model.identifiers import ZERO_HASH, Address, KeyId, NodeId, Nonce32, Signature
from keyserver.model.keys import (
    Certificate,
    CertifiedRecord,
    Decision,
    HoldingCertificate,
    KeyRecord,
    KeyShare,
    NodeSignature,
)
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.model.requests import AddShare
from keyserver.sessions.core import DeniedError, KeyState, Policy, SessionError, UnavailableError
from keyserver.sessions.share_addition import Target
from keyserver.sessions.writes import PutActive, PutShare
from keyserver.simulation.clock import VirtualClock
from keyserver.simulation.cluster import FixedSets, Recorder, ScriptedAccess
from keyserver.simulation.loop import run_virtual
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore
from tests.support.delivery import KeySigner
from tests.support.keys import node_secrets, nodes_of, record_of

NODES = nodes_of(7)
ME, OTHERS = NODES[0], NODES[1:]
SET = NodeSet(1, Address(bytes(20)), tuple(NODES))
THRESHOLD = 2
UNSIGNED = Signature(bytes(65))
POLYNOMIAL = SecretPolynomial.random(THRESHOLD, SeededRandom(b"record"))
"""That of `record_of`."""


def key(number: int) -> KeyId:
    return KeyId(number.to_bytes(32, "big"))


def record(number: int, *, nodes: Sequence[NodeId] = NODES, version: int = 1) -> KeyRecord:
    return record_of(nodes, threshold=THRESHOLD, key_id=key(number), version=version)


def certified(known: KeyRecord, signers: Sequence[NodeId] = OTHERS) -> CertifiedRecord:
    signatures = tuple(NodeSignature(node, UNSIGNED) for node in signers)
    decision = Decision(0, known.hash, signatures)
    return CertifiedRecord(known, Certificate(HoldingCertificate(ZERO_HASH, signatures), decision))


class Peers:
    """Connected nodes, and what they were told."""

    def __init__(self) -> None:
        self.connected: frozenset[NodeId] = frozenset(OTHERS)
        self.told: list[tuple[NodeId, object]] = []

    def send(self, to: NodeId, message: bytes) -> bool:
        self.told.append((to, unpack_link(message)))
        return True

    def boot_nonce(self, peer: NodeId) -> bytes | None:
        return None


class WatchedStore(MemoryRecordStore):
    """Counts what is asked of it; fails where it is told to."""

    def __init__(self) -> None:
        super().__init__(MemoryDisk())
        self.looks = 0
        self.loads: list[KeyId] = []
        self.unusable: set[KeyId] = set()
        self.lost: set[KeyId] = set()
        """Of which the record does not parse."""
        self.failing = False
        self.reading_s = 0.0

    async def absent(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        self.looks += after is None
        if self.failing:
            raise StorageError("the disk is gone")
        await asyncio.sleep(self.reading_s)
        return await super().absent(after, limit)

    async def load(self, key_id: KeyId) -> KeyState:
        self.loads.append(key_id)
        if key_id in self.unusable:
            raise StorageError("the row does not open")
        return KeyState() if key_id in self.lost else await super().load(key_id)


Outcome = Callable[[KeyId, Target], SessionError | None]


@dataclass
class Scene:
    """A node with absent keys; its sessions end as the test says, a second later."""

    store: WatchedStore = field(default_factory=WatchedStore)
    peers: Peers = field(default_factory=Peers)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    avoided: frozenset[NodeId] = frozenset()
    announced: frozenset[NodeId] = frozenset()
    outcome: Outcome = lambda _key, _target: None
    asked: list[tuple[float, KeyId, Target]] = field(default_factory=list)
    fetched: list[KeyId] = field(default_factory=list)
    to_find: set[KeyId] = field(default_factory=set)
    running: int = 0
    most_running: int = 0

    def __post_init__(self) -> None:
        self.sets = FixedSets(NodeSetSnapshot(SET, SET, None, (), 0, 0))
        ports = Ports(
            self.peers,
            self.store,
            ScriptedAccess(),
            self.sets,
            VirtualClock(),
            Recorder(),
            Recorder(),
        )
        signer = KeySigner(node_secrets(7)[0])
        nonce = Nonce32(bytes(32))
        identity = Identity(ME, signer, nonce, SeededRandom(b"me"), Policy)
        self.additions = ShareAdditions(identity, ports, self, self)

    def holders(self, key_id: KeyId) -> frozenset[NodeId]:
        return self.announced

    async def fetch(self, key_id: KeyId) -> None:
        self.fetched.append(key_id)
        if key_id in self.to_find:
            self.store.lost.discard(key_id)

    async def execute(
        self, session_type: Any, operation: Any, credential: Any, argument: Any
    ) -> KeyShare:
        assert session_type.name == "share_addition"
        assert isinstance(operation, AddShare)
        now = asyncio.get_running_loop().time()
        self.asked.append((now, operation.key_id, argument))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(1)
        self.running -= 1
        error = self.outcome(operation.key_id, argument)
        if error is not None:
            raise error
        state = await MemoryRecordStore.load(self.store, operation.key_id)
        assert state.active is not None
        x = state.active.record.coordinates[ME]
        share = KeyShare(x, POLYNOMIAL.evaluate(x))
        await self.store.commit([PutShare(operation.key_id, argument.record_hash, share)])
        return share

    async def knows(self, *records: CertifiedRecord) -> None:
        await self.store.commit([PutActive(one) for one in records])

    @property
    def asked_keys(self) -> list[KeyId]:
        return [key_id for _, key_id, _ in self.asked]

    @property
    def asked_at(self) -> list[float]:
        return [round(at) for at, _, _ in self.asked]


def scene(play: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        site = Scene()
        task = asyncio.ensure_future(site.additions.run())
        try:
            await play(site)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run_virtual(main())


def fails_at_first_donor(_: KeyId, target: Target) -> SessionError:
    return UnavailableError("no", failed=frozenset(target.donors[:1]))


def test_every_key_without_a_share_gets_one_and_all_peers_hear_of_it() -> None:
    async def play(site: Scene) -> None:
        await site.knows(*(certified(record(number)) for number in (1, 2)))
        await asyncio.sleep(30)
        assert sorted(site.asked_keys) == [key(1), key(2)]
        told = {(to, message.key_id) for to, message in site.peers.told}  # type: ignore[attr-defined]
        assert told == {(node, key(n)) for node in OTHERS for n in (1, 2)}
        have = Have(0, key(1), record(1).hash)
        assert have in [message for _, message in site.peers.told]
        assert site.additions.running == 0

    scene(play)


def test_donors_are_holders_that_are_there() -> None:
    """Those of the certificate and those who said so since; never this node, never a stranger."""

    async def play(site: Scene) -> None:
        stranger = next(node for node in nodes_of(8) if node not in NODES)
        site.peers.connected = frozenset({OTHERS[0], OTHERS[2], OTHERS[4], stranger})
        site.announced = frozenset({OTHERS[4], stranger, ME})
        await site.knows(certified(record(1), OTHERS[:4]))
        await asyncio.sleep(30)
        ((_, _, target),) = site.asked
        assert target == Target(record(1).hash, (OTHERS[0], OTHERS[2], OTHERS[4]))

    scene(play)


def test_avoided_nodes_are_asked_only_if_there_must_be_more() -> None:
    async def play(site: Scene) -> None:
        site.avoided = frozenset(OTHERS[:4])
        await site.knows(*(certified(record(number)) for number in range(1, 9)))
        await asyncio.sleep(30)
        for _, _, target in site.asked:
            assert set(OTHERS[4:]) < set(target.donors)
        assert len({target.donors for _, _, target in site.asked}) > 1

    scene(play)


def test_too_few_holders_mean_no_session_until_there_are_more() -> None:
    async def play(site: Scene) -> None:
        site.peers.connected = frozenset(OTHERS[:2])
        await site.knows(certified(record(1)))
        await asyncio.sleep(100)
        assert site.asked == []
        site.peers.connected = frozenset(OTHERS[:3])
        await asyncio.sleep(LONGEST_REST_S + 5)
        assert site.asked_keys == [key(1)]

    scene(play)


def test_an_attempt_leaves_out_whoever_failed_before() -> None:
    async def play(site: Scene) -> None:
        site.outcome = lambda _key, target: UnavailableError(
            "", failed=frozenset(target.donors[:1])
        )
        await site.knows(certified(record(1)))
        await asyncio.sleep(4)
        assert len(site.asked) == 3, "f + 1 attempts"
        failed: set[NodeId] = set()
        for _, _, target in site.asked:
            assert not failed & set(target.donors)
            failed.add(target.donors[0])

    scene(play)


def test_attempts_end_when_too_few_are_left() -> None:
    async def play(site: Scene) -> None:
        site.peers.connected = frozenset(OTHERS[:3])
        site.outcome = lambda _key, target: UnavailableError(
            "", failed=frozenset(target.donors[:1])
        )
        await site.knows(certified(record(1)))
        await asyncio.sleep(4)
        assert len(site.asked) == 1

    scene(play)


def test_failures_are_tried_again_later_and_later() -> None:
    async def play(site: Scene) -> None:
        site.outcome = lambda _key, _target: DeniedError("no", "AccessDenied")
        await site.knows(certified(record(1)))
        await asyncio.sleep(400)
        starts = site.asked_at[::3]
        waits = [later - earlier for earlier, later in pairwise(starts)]
        assert waits == sorted(waits)
        assert waits[0] <= 10
        assert LONGEST_REST_S <= waits[-1] <= LONGEST_REST_S + 5

    scene(play)


def test_a_new_version_is_asked_for_at_once() -> None:
    async def play(site: Scene) -> None:
        site.outcome = fails_at_first_donor
        await site.knows(certified(record(1)))
        await asyncio.sleep(200)
        site.outcome = lambda _key, _target: None
        before = len(site.asked)
        await site.knows(certified(replace(record(1, version=2), previous=record(1).hash)))
        site.news.set()
        await asyncio.sleep(2)
        assert len(site.asked) == before + 1
        assert site.asked[-1][2].record_hash != record(1).hash

    scene(play)


def test_keys_of_other_committees_are_passed_over_for_good() -> None:
    async def play(site: Scene) -> None:
        await site.knows(certified(record(1, nodes=OTHERS)))
        for _ in range(20):
            site.news.set()
            await asyncio.sleep(5)
        assert site.asked == []
        assert site.store.loads == [key(1)] * 2  # once whether it is sound, once for its share

    scene(play)


def test_so_many_keys_at_a_time() -> None:
    async def play(site: Scene) -> None:
        await site.knows(*(certified(record(number)) for number in range(1, 41)))
        await asyncio.sleep(10)
        assert len(site.asked) == 40
        assert site.most_running == AT_ONCE

    scene(play)


def test_pages_are_worked_off_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyserver.engine.share_additions.PAGE", 3)

    async def play(site: Scene) -> None:
        await site.knows(*(certified(record(number)) for number in range(1, 8)))
        await asyncio.sleep(10)
        assert sorted(site.asked_keys) == [key(number) for number in range(1, 8)]

    scene(play)


def test_without_absent_keys_the_store_is_left_alone() -> None:
    async def play(site: Scene) -> None:
        await asyncio.sleep(3600)
        assert site.store.looks == 1
        await site.knows(certified(record(1)))
        site.news.set()
        await asyncio.sleep(3600)
        assert site.asked_keys == [key(1)]
        assert site.store.looks <= 3

    scene(play)


def test_news_without_end_is_no_busy_loop() -> None:
    async def play(site: Scene) -> None:
        for _ in range(1000):
            site.news.set()
            await asyncio.sleep(0.01)
        assert site.store.looks <= 12

    scene(play)


def test_reading_costs_a_small_part_of_the_time_whatever_peers_tell() -> None:
    """A peer brings news every second; with very many keys a look takes seconds."""

    async def play(site: Scene) -> None:
        site.store.reading_s = 2.0
        before = site.store.looks
        for _ in range(840):
            site.news.set()
            await asyncio.sleep(1)
        assert 15 <= site.store.looks - before <= 21

    scene(play)


def test_a_key_that_cannot_be_read_stands_in_nobodys_way() -> None:
    async def play(site: Scene) -> None:
        site.store.unusable = {key(1)}
        await site.knows(*(certified(record(number)) for number in (1, 2)))
        await asyncio.sleep(10)
        assert site.asked_keys == [key(2)]
        site.store.unusable = set()
        site.news.set()
        await asyncio.sleep(5)
        assert site.asked_keys == [key(2), key(1)]

    scene(play)


def test_a_store_that_fails_is_asked_again() -> None:
    async def play(site: Scene) -> None:
        site.store.failing = True
        await site.knows(certified(record(1)))
        await asyncio.sleep(10)
        assert site.asked == []
        site.store.failing = False
        site.news.set()
        await asyncio.sleep(5)
        assert site.asked_keys == [key(1)]

    scene(play)


def test_a_share_that_came_meanwhile_is_not_asked_for() -> None:
    """Two looks may overlap with what is written between them."""

    async def play(site: Scene) -> None:
        await site.knows(certified(record(1)))
        await asyncio.sleep(5)
        assert site.asked_keys == [key(1)]
        await site.additions._obtain(key(1))
        await site.additions._obtain(key(2))
        assert site.asked_keys == [key(1)]

    scene(play)


def test_a_key_that_has_its_share_rests_no_longer() -> None:
    async def play(site: Scene) -> None:
        site.outcome = fails_at_first_donor
        await site.knows(certified(record(1)))
        await asyncio.sleep(100)
        x = record(1).coordinates[ME]
        share = KeyShare(x, POLYNOMIAL.evaluate(x))
        await site.store.commit([PutShare(key(1), record(1).hash, share)])
        asked, looks = len(site.asked), site.store.looks
        await asyncio.sleep(3600)
        assert len(site.asked) == asked
        assert site.store.looks <= looks + 1

    scene(play)


def test_a_node_outside_the_set_asks_for_nothing_until_it_is_in_it_again() -> None:
    async def play(site: Scene) -> None:
        others = NodeSet(1, Address(bytes(20)), tuple(OTHERS))
        site.sets.snapshot = NodeSetSnapshot(others, SET, None, (), 0, 0)
        await site.knows(certified(record(1)))
        await asyncio.sleep(100)
        assert site.asked == []
        site.sets.snapshot = NodeSetSnapshot(SET, SET, None, (), 0, 0)
        await asyncio.sleep(10)
        assert site.asked_keys == [key(1)], "though nobody tells that the set has changed"

    scene(play)


# --- shares that are there, but cannot be used ----------------------------------------------------


class DamagedStore(WatchedStore):
    """Finds out that shares are damaged only when they are opened."""

    def __init__(self, damaged: set[KeyId]) -> None:
        super().__init__()
        self.damaged = damaged
        self.found: set[KeyId] = set()

    async def load(self, key_id: KeyId) -> KeyState:
        state = await super().load(key_id)
        self.found |= {key_id} & self.damaged
        return replace(state, share=None) if key_id in self.damaged else state

    async def absent(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        found = [e for e in await super().catalogue(after, 1000) if e.key_id in self.found]
        return found[:limit]

    async def commit(self, writes: Any) -> None:
        await super().commit(writes)
        self.damaged = self.damaged - {w.key_id for w in writes if isinstance(w, PutShare)}
        self.found = self.found & self.damaged


async def with_shares(store: WatchedStore, *numbers: int) -> None:
    x = record(1).coordinates[ME]
    for number in numbers:
        known, share = record(number), KeyShare(x, POLYNOMIAL.evaluate(x))
        put = PutShare(key(number), known.hash, share)
        await WatchedStore.commit(store, [PutActive(certified(known)), put])


def test_damaged_shares_are_found_after_the_start_and_asked_for() -> None:
    store = DamagedStore({key(2), key(300)})
    run_virtual(with_shares(store, 1, 2, *range(250, 301)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keyserver.engine.share_additions.PAGE", 8)

        async def main() -> None:
            site = Scene(store=store)
            task = asyncio.ensure_future(site.additions.run())
            await asyncio.sleep(60)
            assert sorted(site.asked_keys) == [key(2), key(300)]
            assert site.store.damaged == set()  # type: ignore[attr-defined]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run_virtual(main())


def test_a_store_that_cannot_be_checked_is_no_reason_to_stop() -> None:
    class Broken(WatchedStore):
        async def catalogue(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
            raise StorageError("the disk is gone")

    async def main() -> None:
        site = Scene(store=Broken())
        await site.knows(certified(record(1)))
        task = asyncio.ensure_future(site.additions.run())
        await asyncio.sleep(30)
        assert site.asked_keys == [key(1)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtual(main())


def test_a_row_that_cannot_be_read_does_not_end_the_check() -> None:
    store = DamagedStore({key(3)})
    run_virtual(with_shares(store, 1, 2, 3))
    store.unusable = {key(1)}

    async def main() -> None:
        site = Scene(store=store)
        task = asyncio.ensure_future(site.additions.run())
        await asyncio.sleep(30)
        assert site.asked_keys == [key(3)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtual(main())


def test_records_that_cannot_be_used_are_asked_for_until_they_are_found() -> None:
    store = WatchedStore()
    run_virtual(with_shares(store, 1, 2, 3))
    store.lost = {key(2), key(3)}

    async def main() -> None:
        site = Scene(store=store, to_find={key(2)})
        task = asyncio.ensure_future(site.additions.run())
        await asyncio.sleep(10)
        assert site.fetched == [key(2), key(3)]
        assert store.lost == {key(3)}
        site.to_find = {key(3)}
        site.news.set()
        await asyncio.sleep(10)
        assert site.fetched == [key(2), key(3), key(3)]
        site.news.set()
        await asyncio.sleep(10)
        assert len(site.fetched) == 3
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtual(main())
