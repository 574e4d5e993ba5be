"""What only the database store does: boxes, bad rows, cache, erasure, crashes."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import event

from keyserver.crypto.curve import Scalar, SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.engine.ports import AgedRecord
from keyserver.errors import StorageError
from keyserver.model.keys import KeyShare
from keyserver.sealing.keyring import Keyring
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.secret_key import SecretKey
from keyserver.sessions.writes import (
    CastVote,
    DropShares,
    PutActive,
    PutDocument,
    PutDocumentCandidate,
    PutDocumentNothing,
    PutNothing,
    PutPrepared,
    PutShare,
    VoteKind,
)
from keyserver.storage.database import Database, opened
from keyserver.storage.records import SqlRecordStore
from tests.support.stored_values import (
    boxes,
    certified,
    certified_document,
    decision,
    digest,
    document,
    key_id,
    record,
    share,
    share_bytes,
)

T = digest("transcript")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


@pytest_asyncio.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with opened(f"sqlite:///{path}") as database:
        yield database


@pytest.fixture
def store(database: Database) -> SqlRecordStore:
    return SqlRecordStore(database, boxes())


def fresh(database: Database) -> SqlRecordStore:
    """A store that remembers nothing."""
    return SqlRecordStore(database, boxes())


def on_disk(path: Path) -> bytes:
    """The bytes of all files of the database."""
    files = sorted(path.parent.glob(path.name + "*"))
    return b"".join(file.read_bytes() for file in files)


def change(path: Path, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


async def active_key(store: SqlRecordStore, key: int) -> None:
    await store.commit([PutPrepared(record(key), share(key), T)])
    await store.commit([PutActive(certified(record(key)))])


# --- secrets at rest -------------------------------------------------------------------------


async def test_no_file_holds_a_share_in_the_clear(store: SqlRecordStore, path: Path) -> None:
    for key in range(1, 6):
        await active_key(store, key)
        await store.commit([PutPrepared(record(key, version=2), share(100 + key), T)])
    content = on_disk(path)
    assert bytes(key_id(3)) in content
    for number in (*range(1, 6), *range(101, 106)):
        assert share_bytes(number) not in content
        assert share_bytes(number).hex().encode() not in content


def stored_boxes(path: Path) -> list[bytes]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT share_box FROM key_shares").fetchall()
    connection.close()
    return [row[0] for row in rows]


async def test_an_erased_share_leaves_no_box_behind(store: SqlRecordStore, path: Path) -> None:
    await store.commit([PutPrepared(record(), share(1), T)])
    (prepared_box,) = stored_boxes(path)
    assert prepared_box in on_disk(path)
    await store.commit([PutNothing(key_id(1), 1, decision())])
    assert prepared_box not in on_disk(path)

    await store.commit([PutPrepared(record(version=2), share(2), T)])
    await store.commit([PutActive(certified(record(version=2)))])
    (first_box,) = stored_boxes(path)
    await store.commit([PutPrepared(record(version=3), share(3), T)])
    await store.commit([PutActive(certified(record(version=3)))])
    content = on_disk(path)
    assert first_box not in content
    assert first_box[30:62] not in content
    (second_box,) = stored_boxes(path)
    assert second_box in content


async def test_another_keyring_opens_no_share(store: SqlRecordStore, database: Database) -> None:
    await active_key(store, 1)
    ring = Keyring.first(bytes(16), SecretKey(bytes(32)), 0)
    other = SqlRecordStore(database, SecretBoxes(ring, SystemRandom()))
    state = await other.load(key_id(1))
    assert state.active == certified(record())
    assert state.share is None


async def test_a_box_moved_to_another_row_does_not_open(
    store: SqlRecordStore, database: Database, path: Path
) -> None:
    await active_key(store, 1)
    await active_key(store, 2)
    one, two = stored_boxes(path)
    change(path, "UPDATE key_shares SET share_box = ? WHERE share_box = ?", two, one)
    assert (await fresh(database).load(key_id(1))).share is None
    assert (await fresh(database).load(key_id(2))).share == share(2)


async def test_a_share_is_bound_to_its_record(
    store: SqlRecordStore, database: Database, path: Path
) -> None:
    await active_key(store, 1)
    change(path, "UPDATE key_shares SET record_hash = ?", digest("other"))
    assert (await fresh(database).load(key_id(1))).share is None


# --- shares that cannot be used ---------------------------------------------------------------

SPOILED_BOXES: list[Callable[[bytes], bytes]] = [
    lambda old: old[:40],
    lambda old: b"\x09" + old[1:],
    lambda old: old[:5] + b"\x63" + old[6:],
    lambda old: old[:-1] + bytes([old[-1] ^ 1]),
]


def spoil_share(
    path: Path, key: int, spoil: Callable[[bytes], bytes] = SPOILED_BOXES[0], version: int = 1
) -> None:
    where, values = "WHERE key_id = ? AND version = ?", (bytes(key_id(key)), version)
    connection = sqlite3.connect(path)
    ((old,),) = connection.execute(f"SELECT share_box FROM key_shares {where}", values)
    connection.close()
    change(path, f"UPDATE key_shares SET share_box = ? {where}", spoil(old), *values)


@pytest.mark.parametrize("spoil", SPOILED_BOXES)
async def test_a_damaged_share_is_absent_until_it_is_there_again(
    store: SqlRecordStore, database: Database, path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    await active_key(store, 1)
    await active_key(store, 2)
    spoil_share(path, 1, spoil)
    again = fresh(database)
    assert (await again.load(key_id(1))).share is None
    assert [entry.key_id for entry in await again.absent(None, 9)] == [key_id(1)]
    assert [entry.has_share for entry in await again.catalogue(None, 9)] == [False, True]
    regained = KeyShare(Scalar(2), SecretScalar.from_int(1001 + 2000 * 2))
    await again.commit([PutShare(key_id(1), record().hash, regained)])
    assert await again.absent(None, 9) == []
    assert (await fresh(database).load(key_id(1))).share == regained


async def test_a_damaged_share_is_erased_like_any_other(
    store: SqlRecordStore, database: Database, path: Path
) -> None:
    await active_key(store, 1)
    (box,) = stored_boxes(path)
    spoil_share(path, 1, lambda old: old[:-1] + bytes([old[-1] ^ 1]))
    again = fresh(database)
    await again.commit([PutPrepared(record(version=2), share(2), T)])
    assert (await again.load(key_id(1))).share is None
    assert len(stored_boxes(path)) == 2
    await again.commit([PutActive(certified(record(version=2)))])
    assert (await again.load(key_id(1))).share == share(2)
    assert await again.absent(None, 9) == []
    assert len(stored_boxes(path)) == 1
    assert box[30:62] not in on_disk(path)


async def test_damaged_shares_of_a_node_that_leaves_are_dropped(
    store: SqlRecordStore, database: Database, path: Path
) -> None:
    await active_key(store, 1)
    spoil_share(path, 1)
    again = fresh(database)
    await again.commit([DropShares(key_id(1))])
    assert stored_boxes(path) == []
    assert [entry.key_id for entry in await again.absent(None, 9)] == [key_id(1)]


async def test_a_damaged_share_of_an_undecided_record(
    store: SqlRecordStore, database: Database, path: Path
) -> None:
    for key in (1, 2, 3):
        await store.commit([PutPrepared(record(key), share(key), T)])
        spoil_share(path, key)
    again = fresh(database)
    prepared = (await again.load(key_id(1))).prepared
    assert prepared is not None
    assert prepared.share is None
    await again.commit([PutNothing(key_id(1), 1, decision())])
    await again.commit([PutPrepared(record(2), share(2), T)])
    await again.commit([PutActive(certified(record(2))), PutActive(certified(record(3)))])
    assert (await fresh(database).load(key_id(2))).share == share(2)
    assert (await again.load(key_id(3))).share is None
    assert [entry.key_id for entry in await again.absent(None, 9)] == [key_id(3)]
    assert len(stored_boxes(path)) == 2


# --- records that cannot be used --------------------------------------------------------------

SPOILED_RECORDS: list[tuple[str, Callable[[bytes], Any]]] = [
    ("certified", lambda old: old[:-1]),
    ("certified", lambda old: b""),
    ("certified", lambda old: old + b"\0"),
    ("record_hash", lambda old: digest("x")),
    ("version", lambda old: 7),
]


@pytest.mark.parametrize(("column", "spoil"), SPOILED_RECORDS)
async def test_a_damaged_record_is_unknown_until_it_is_there_again(
    store: SqlRecordStore,
    database: Database,
    path: Path,
    column: str,
    spoil: Callable[[bytes], Any],
) -> None:
    await active_key(store, 1)
    await store.commit([PutDocument(key_id(1), certified_document())])
    healthy = await store.load(key_id(1))
    connection = sqlite3.connect(path)
    ((old,),) = connection.execute(f"SELECT {column} FROM key_records")
    connection.close()
    change(path, f"UPDATE key_records SET {column} = ?", spoil(old))
    again = fresh(database)
    lost = await again.load(key_id(1))
    assert (lost.active, lost.share) == (None, None)
    assert lost.document == healthy.document
    assert [entry.key_id for entry in await again.catalogue(None, 9)] == [key_id(1)]
    await again.commit([PutPrepared(record(1, version=3), share(9), T)])
    assert (await fresh(database).load(key_id(1))).active is None
    await again.commit([PutNothing(key_id(1), 3, decision())])
    await again.commit([PutActive(certified(record()))])
    found = await fresh(database).load(key_id(1))
    assert (found.active, found.share) == (healthy.active, healthy.share)


# --- how old records are ----------------------------------------------------------------------


async def test_the_oldest_records_come_first(database: Database) -> None:
    now = [100]
    store = SqlRecordStore(database, boxes(), unix=lambda: now[0])
    for key, at in ((3, 100), (1, 200), (2, 200), (4, 300)):
        now[0] = at
        await active_key(store, key)
    assert (await fresh(database).load(key_id(3))).installed_at == 100

    async def aged(before: int, limit: int = 9, after: AgedRecord | None = None) -> list[int]:
        found = await store.aged(after, before, limit)
        return [int.from_bytes(each.key_id, "big") for each in found]

    assert await aged(100) == []
    assert await aged(301) == [3, 1, 2, 4]
    assert await aged(300, 2) == [3, 1]
    (_, first, *_) = await store.aged(None, 300, 9)
    assert first == AgedRecord(200, key_id(1), record(1).hash)
    assert await aged(301, 9, first) == [2, 4]
    now[0] = 250
    assert await aged(0) == [4]  # its time is in the future
    await store.commit([PutActive(certified(record(3, version=2)))])
    assert await aged(251) == [1, 2, 3, 4]


# --- bad rows --------------------------------------------------------------------------------

SPOILS: list[tuple[str, str, Callable[[bytes], Any]]] = [
    ("open_records", "record", lambda old: old[:50]),
    ("open_records", "record_hash", lambda old: digest("x")),
    ("open_records", "transcript", lambda old: b"short"),
    ("open_records", "holding", lambda old: b"junk"),
    ("skipped_versions", "decision", lambda old: b"junk"),
    ("document_keys", "certified", lambda old: b"junk"),
    ("document_candidates", "document", lambda old: old[:-1] + bytes([old[-1] ^ 1])),
    ("document_candidates", "record_hash", lambda old: b"x"),
    ("skipped_attempts", "decision", lambda old: b"junk"),
]


@pytest.mark.parametrize(("table", "column", "spoil"), SPOILS)
async def test_a_bad_row_is_named_and_the_rest_goes_on(
    store: SqlRecordStore,
    database: Database,
    path: Path,
    table: str,
    column: str,
    spoil: Callable[[bytes], Any],
) -> None:
    await active_key(store, 1)
    await active_key(store, 2)
    bad = record(1, version=3)
    await store.commit([PutNothing(key_id(1), 2, decision()), PutPrepared(bad, share(9), T)])
    await store.commit([PutDocumentNothing(key_id(1), 1, decision())])
    if table == "document_keys":
        await store.commit([PutDocument(key_id(1), certified_document(attempt=2))])
    else:
        await store.commit([PutDocumentCandidate(key_id(1), 2, record().hash, document())])
    healthy = await fresh(database).load(key_id(1))
    assert healthy == await store.load(key_id(1))

    where = "WHERE key_id = ?"
    connection = sqlite3.connect(path)
    ((old,),) = connection.execute(
        f"SELECT {column} FROM {table} {where}", [bytes(key_id(1))]
    ).fetchall()
    connection.close()
    change(path, f"UPDATE {table} SET {column} = ? {where}", spoil(old), bytes(key_id(1)))

    again = fresh(database)
    with pytest.raises(StorageError, match=f"{table}, row {key_id(1).hex()}") as caught:
        await again.load(key_id(1))
    for secret in (share_bytes(1), share_bytes(9)):
        assert secret.hex() not in str(caught.value)
    with pytest.raises(StorageError):
        await again.commit([PutNothing(key_id(1), 9, decision())])
    assert (await again.load(key_id(2))).share == share(2)
    await active_key(again, 3)


async def test_a_bad_vote_is_named(store: SqlRecordStore, database: Database, path: Path) -> None:
    subject = digest("subject")
    await store.commit([CastVote(subject, 0, VoteKind.PREPARE, digest("a"))])
    change(path, "UPDATE votes SET kind = 9")
    with pytest.raises(StorageError, match=f"votes, row {subject.hex()}"):
        await store.votes(subject)


async def test_a_bad_key_id_in_the_catalogue_is_named(store: SqlRecordStore, path: Path) -> None:
    await active_key(store, 1)
    change(path, "UPDATE key_records SET key_id = ?", b"\x01\x02")
    with pytest.raises(StorageError, match="key_records, row 0102"):
        await store.catalogue(None, 5)


# --- cache -----------------------------------------------------------------------------------


class Statements:
    """Counts what is sent to the database."""

    def __init__(self, database: Database) -> None:
        self.count = 0
        event.listen(database._access.engine, "before_cursor_execute", self._note)

    def _note(self, *_: object) -> None:
        self.count += 1


async def test_a_hot_key_needs_no_query(store: SqlRecordStore, database: Database) -> None:
    await active_key(store, 1)
    expected = await store.load(key_id(1))
    statements = Statements(database)
    assert await store.load(key_id(1)) == expected
    assert statements.count == 0
    cold = fresh(database)
    assert await cold.load(key_id(1)) == expected
    used = statements.count
    assert used > 0
    assert await cold.load(key_id(1)) == expected
    assert statements.count == used


async def test_the_cache_keeps_the_keys_used_last(database: Database) -> None:
    store = SqlRecordStore(database, boxes(), cached_keys=2)
    for key in (1, 2):
        await active_key(store, key)
    await store.load(key_id(1))
    await active_key(store, 3)
    statements = Statements(database)
    await store.load(key_id(1))
    await store.load(key_id(3))
    assert statements.count == 0
    assert (await store.load(key_id(2))).share == share(2)
    assert statements.count > 0


async def test_a_read_that_a_commit_overtook_is_not_remembered(
    store: SqlRecordStore, database: Database
) -> None:
    await active_key(store, 1)
    cold = fresh(database)
    commit = PutDocument(key_id(1), certified_document())
    await asyncio.gather(*(cold.load(key_id(1)) for _ in range(5)), cold.commit([commit]))
    assert (await cold.load(key_id(1))).document == certified_document()


async def test_a_failed_commit_forgets_what_was_remembered(
    store: SqlRecordStore, database: Database
) -> None:
    await active_key(store, 1)
    before = await store.load(key_id(1))

    def fail(connection: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    event.listen(database._access.engine, "commit", fail)
    with pytest.raises((StorageError, sqlite3.OperationalError)):
        await store.commit([PutDocument(key_id(1), certified_document())])
    event.remove(database._access.engine, "commit", fail)
    statements = Statements(database)
    assert await store.load(key_id(1)) == before
    assert statements.count > 0


async def test_a_cancelled_caller_waits_for_the_end_of_a_conflict(store: SqlRecordStore) -> None:
    await store.commit([PutPrepared(record(), share(1), T)])
    committing = asyncio.ensure_future(store.commit([PutPrepared(record(flavour=1), share(2), T)]))
    await asyncio.sleep(0)
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing
