"""Commits of sessions that run at the same time share transactions."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import event

from keyserver.engine.ports import VoteConflictError
from keyserver.errors import StorageError
from keyserver.sessions.writes import CastVote, PutActive, PutPrepared, VoteKind
from keyserver.storage.database import Database, opened
from keyserver.storage.records import SqlRecordStore
from tests.support.stored_values import boxes, certified, digest, key_id, record, share

T = digest("transcript")


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(f"sqlite:///{tmp_path / 'node.sqlite'}") as database:
        yield database


@pytest.fixture
def store(database: Database) -> SqlRecordStore:
    return SqlRecordStore(database, boxes())


def vote(value: str, kind: VoteKind = VoteKind.PREPARE) -> CastVote:
    return CastVote(digest("subject"), 0, kind, digest(value))


async def test_what_waits_is_written_together(store: SqlRecordStore, database: Database) -> None:
    transactions: list[object] = []
    event.listen(database._access.engine, "commit", lambda each: transactions.append(each))
    prepared = [[PutPrepared(record(key), share(key), T)] for key in range(1, 21)]
    await asyncio.gather(*(store.commit(writes) for writes in prepared))
    assert 1 <= len(transactions) <= 2
    again = SqlRecordStore(database, boxes())
    for key in range(1, 21):
        state = await again.load(key_id(key))
        assert state == await store.load(key_id(key))
        assert state.prepared is not None
        assert state.prepared.share == share(key)


async def test_a_refused_commit_leaves_nothing_and_the_others_alone(
    store: SqlRecordStore, database: Database
) -> None:
    results = await asyncio.gather(
        store.commit([vote("a"), PutPrepared(record(1), share(1), T)]),
        store.commit([vote("a", VoteKind.COMMIT), vote("b"), PutPrepared(record(2), share(2), T)]),
        store.commit([PutPrepared(record(3), share(3), T)]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), VoteConflictError, type(None)]
    for each in (store, SqlRecordStore(database, boxes())):
        prepared = [(await each.load(key_id(key))).prepared is not None for key in (1, 2, 3)]
        assert prepared == [True, False, True]
    assert [cast.kind for cast in await store.votes(digest("subject"))] == [VoteKind.PREPARE]


async def test_commits_on_one_key_build_on_each_other(
    store: SqlRecordStore, database: Database
) -> None:
    results = await asyncio.gather(
        store.commit([PutPrepared(record(1), share(1), T)]),
        store.commit([PutActive(certified(record(1)))]),
        store.commit([PutPrepared(record(1), share(1), T)]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), type(None), VoteConflictError]
    expected = await store.load(key_id(1))
    assert expected.active == certified(record(1))
    assert await SqlRecordStore(database, boxes()).load(key_id(1)) == expected


async def test_two_votes_of_one_commit_may_not_contradict_each_other(store: SqlRecordStore) -> None:
    with pytest.raises(VoteConflictError):
        await store.commit([vote("a"), vote("b")])
    assert await store.votes(digest("subject")) == []


async def test_a_failing_disk_fails_all_who_wait(store: SqlRecordStore, database: Database) -> None:
    def fail(_: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    event.listen(database._access.engine, "commit", fail)
    commits = [store.commit([PutPrepared(record(key), share(key), T)]) for key in (1, 2)]
    results = await asyncio.gather(*commits, return_exceptions=True)
    assert all(isinstance(each, StorageError | sqlite3.OperationalError) for each in results)
    event.remove(database._access.engine, "commit", fail)
    for key in (1, 2):
        assert (await store.load(key_id(key))).prepared is None
        await store.commit([PutPrepared(record(key), share(key), T)])


async def test_a_cancelled_caller_does_not_disturb_the_others(store: SqlRecordStore) -> None:
    first, second = (
        asyncio.ensure_future(store.commit([PutPrepared(record(key), share(key), T)]))
        for key in (1, 2)
    )
    await asyncio.sleep(0)  # both have asked
    first.cancel()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await store.load(key_id(1))).prepared is not None
    assert (await store.load(key_id(2))).prepared is not None


async def test_other_keys_that_are_written_do_not_spoil_a_read(database: Database) -> None:
    await SqlRecordStore(database, boxes()).commit([PutPrepared(record(1), share(1), T)])
    cold = SqlRecordStore(database, boxes())
    _, expected = await asyncio.gather(
        cold.commit([PutPrepared(record(2), share(2), T)]), cold.load(key_id(1))
    )
    statements: list[object] = []
    event.listen(
        database._access.engine, "before_cursor_execute", lambda *each: statements.append(each)
    )
    assert await cold.load(key_id(1)) == expected
    assert not statements
