"""Going through many catalogues at once, with peers that stop in the middle."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from keyserver.engine import set_change_walk
from keyserver.engine.links import DOCUMENT_FLAG, SHARE_FLAG, Entry
from keyserver.engine.set_change_walk import KeyView, TooSlowError, UnreliableError, Walk
from keyserver.errors import StorageError
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, KeyId, NodeId
from keyserver.model.keys import CertifiedRecord
from keyserver.sessions.core import KeyState
from keyserver.sessions.writes import (
    PutActive,
)
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore
from tests.support.fake_cluster import certified_record
from tests.support.set_changes import NODES

ME, A, B = NODES[:3]


def key(number: int) -> KeyId:
    return KeyId(number.to_bytes(32, "big"))


def record(number: int) -> CertifiedRecord:
    return certified_record(key(number), Address(bytes(20)), 1, NODES)


def line(number: int, *, share: bool = True, record_hash: Hash32 | None = None) -> Entry:
    known = record(number).record.hash if record_hash is None else record_hash
    return Entry(key(number), 1, known, SHARE_FLAG if share else DOCUMENT_FLAG)


@dataclass
class Catalogues:
    """Pages of every peer; one that ends with `None` is not read to its end."""

    pages_of: dict[NodeId, list[list[Entry] | None]] = field(default_factory=dict)
    slow: NodeId | None = None
    read: Counter[NodeId] = field(default_factory=Counter)

    async def pages(self, peer: NodeId) -> AsyncIterator[Sequence[Entry]]:
        for page in self.pages_of.get(peer, []):
            if page is None:
                raise TooSlowError("late") if peer == self.slow else UnreliableError("it stops")
            self.read[peer] += 1
            yield page

    async def catch_up(
        self, peers: Iterable[NodeId], is_enough: Callable[[frozenset[NodeId]], bool]
    ) -> frozenset[NodeId]:
        raise NotImplementedError


async def store_of(*numbers: int) -> MemoryRecordStore:
    store = MemoryRecordStore(MemoryDisk())
    for number in numbers:
        await store.commit((PutActive(record(number)),))
    return store


async def walked(walk: Walk, *peers: NodeId) -> dict[int, frozenset[NodeId]]:
    views: list[KeyView] = [view async for view in walk.keys(peers)]
    numbers = [int.from_bytes(view.key_id, "big") for view in views]
    assert numbers == sorted(set(numbers))
    return dict(zip(numbers, (view.holders for view in views), strict=True))


async def test_every_key_comes_once_in_order_with_all_who_hold_it() -> None:
    catalogues = Catalogues(
        {A: [[line(1), line(2)], [line(5)]], B: [[line(2), line(3, share=False)], [line(6)]]}
    )
    walk = Walk(ME, await store_of(1, 2, 3, 4, 5, 6), catalogues)
    assert await walked(walk, B, A) == {
        1: {A},
        2: {A, B},
        3: set(),
        4: set(),
        5: {A},
        6: {B},
    }
    assert not walk.unreliable


async def test_what_this_node_cannot_prove_is_no_key() -> None:
    catalogues = Catalogues({A: [[line(1), line(9)]]})
    assert await walked(Walk(ME, await store_of(1), catalogues), A) == {1: {A}}


async def test_a_share_of_another_version_does_not_count() -> None:
    catalogues = Catalogues({A: [[line(1, record_hash=ZERO_HASH)]], B: [[line(1)]]})
    assert await walked(Walk(ME, await store_of(1), catalogues), A, B) == {1: {B}}


async def test_a_peer_that_stops_is_named_and_the_walk_goes_on() -> None:
    catalogues = Catalogues({A: [[line(1)], None], B: [[line(1)], [line(2)]]})
    walk = Walk(ME, await store_of(1, 2, 3), catalogues)
    assert await walked(walk, A, B) == {1: {A, B}, 2: {B}, 3: set()}
    assert walk.unreliable == {A}


async def test_a_peer_that_is_too_slow_is_told_apart() -> None:
    catalogues = Catalogues({A: [[line(1)], None], B: [[line(1)], None]}, slow=B)
    walk = Walk(ME, await store_of(1), catalogues)
    assert await walked(walk, A, B) == {1: {A, B}}
    assert (walk.unreliable, walk.slow) == ({A, B}, {B})


async def test_who_goes_on_naming_keys_that_nobody_can_prove_is_not_read_to_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(set_change_walk, "MOST_UNPROVEN", 3)
    catalogues = Catalogues(
        {
            A: [[line(n), line(n + 1)] for n in range(10, 1000, 2)],
            B: [[line(5), line(7), line(9)], [line(2000)]],
        }
    )
    walk = Walk(ME, await store_of(2000), catalogues)
    assert await walked(walk, A, B) == {2000: {B}}
    assert walk.unreliable == {A}
    assert catalogues.read[A] == 2


async def test_without_peers_the_own_keys_are_walked_page_by_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(set_change_walk, "OWN_PAGE", 2)
    walk = Walk(ME, await store_of(*range(1, 8)), Catalogues())
    assert list(await walked(walk)) == [1, 2, 3, 4, 5, 6, 7]


async def test_there_may_be_no_keys_at_all() -> None:
    assert await walked(Walk(ME, await store_of(), Catalogues()), A) == {}


class CountingStore(MemoryRecordStore):
    """Takes down which keys are loaded whole; of some it has no record to read by the page."""

    def __init__(self, disk: MemoryDisk, unreadable: frozenset[int] = frozenset()) -> None:
        super().__init__(disk)
        self.loaded: list[int] = []
        self.unreadable = {key(number) for number in unreadable}
        self.broken = frozenset[KeyId]()

    async def load(self, key_id: KeyId) -> KeyState:
        self.loaded.append(int.from_bytes(key_id, "big"))
        if key_id in self.broken:
            raise StorageError("a row does not parse")
        return await super().load(key_id)

    async def records(self, after: KeyId | None, limit: int) -> Sequence[CertifiedRecord]:
        found = await super().records(after, limit)
        return [one for one in found if one.record.key_id not in self.unreadable]


async def test_only_keys_about_which_nodes_disagree_are_loaded() -> None:
    store = CountingStore(MemoryDisk(), frozenset({4}))
    for number in (1, 2, 3, 4, 5):
        await store.commit((PutActive(record(number)),))
    other = [line(1), line(2, record_hash=ZERO_HASH), line(5)]
    catalogues = Catalogues({A: [other], B: [[line(1)], [line(5), line(9)]]})
    walk = Walk(ME, store, catalogues)
    views = {view.key_id: view async for view in walk.keys((A, B))}
    assert store.loaded == [2, 4, 9]
    assert [view.state.active for view in views.values()] == [record(n) for n in (1, 2, 3, 4, 5)]
    assert views[key(5)].holders == {A, B}


async def test_a_key_that_cannot_be_read_does_not_stop_the_walk() -> None:
    store = CountingStore(MemoryDisk(), frozenset(range(2, 20)))
    for number in range(1, 20):
        await store.commit((PutActive(record(number)),))
    store.broken = frozenset({key(2), key(4)})
    walk = Walk(ME, store, Catalogues({A: [[line(2), line(3)]]}))
    assert 2 not in await walked(walk, A)
    assert walk.unreadable == {key(2): "a row does not parse", key(4): "a row does not parse"}
    assert not walk.unreliable
    store.broken = frozenset(key(number) for number in range(2, 20))
    with pytest.raises(StorageError):
        await walked(Walk(ME, store, Catalogues()))
