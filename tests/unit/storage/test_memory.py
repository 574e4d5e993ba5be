import pytest

from keyserver.engine.ports import VoteConflictError
from keyserver.errors import StorageError
from keyserver.sessions.core import KeyState
from keyserver.sessions.writes import PutActive, PutPrepared
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore, MemoryWorkStore
from tests.support.stored_values import CHAIN, certified, digest, key_id, record, request, share

T = digest("transcript")


def prepared(key: int, flavour: int = 0) -> PutPrepared:
    return PutPrepared(record(key, flavour=flavour), share(key), T)


async def test_a_chosen_commit_fails_and_writes_nothing() -> None:
    disk = MemoryDisk()
    store = MemoryRecordStore(disk)
    disk.fail_commit(2)
    await store.commit([prepared(1)])
    with pytest.raises(StorageError, match="simulated disk"):
        await store.commit([prepared(2)])
    await store.commit([prepared(3)])
    assert await store.undecided() == [key_id(1), key_id(3)]
    assert disk.commits == 3


async def test_a_commit_may_fail_after_it_was_written() -> None:
    disk = MemoryDisk()
    disk.fail_commit(written=True)
    with pytest.raises(StorageError):
        await MemoryRecordStore(disk).commit([prepared(1)])
    assert await MemoryRecordStore(disk).undecided() == [key_id(1)]


async def test_all_stores_of_a_disk_count_commits() -> None:
    disk = MemoryDisk()
    disk.fail_commit(2)
    await MemoryRecordStore(disk).commit([prepared(1)])
    with pytest.raises(StorageError):
        await MemoryWorkStore(disk, CHAIN).admit([request()])
    assert await MemoryWorkStore(disk, CHAIN).open_tasks() == []


async def test_a_disk_goes_back_to_an_earlier_state() -> None:
    disk = MemoryDisk()
    store = MemoryRecordStore(disk)
    await store.commit([prepared(1)])
    backup = disk.state
    await store.commit([PutActive(certified(record(1))), prepared(2)])
    copy = MemoryDisk(disk.state)
    disk.state = backup
    assert await store.undecided() == [key_id(1)]
    assert (await store.load(key_id(2))) == KeyState()
    assert (await MemoryRecordStore(copy).load(key_id(1))).share == share(1)


async def test_a_conflict_is_no_failing_disk() -> None:
    disk = MemoryDisk()
    store = MemoryRecordStore(disk)
    await store.commit([prepared(1)])
    with pytest.raises(VoteConflictError):
        await store.commit([prepared(2), prepared(1, flavour=1)])
    assert await store.undecided() == [key_id(1)]
