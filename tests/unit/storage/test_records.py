"""What only the database store does: boxes, bad rows, cache, erasure, crashes."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import event

from keyserver.crypto.randomness import SystemRandom
from keyserver.errors import StorageError
from keyserver.sealing.keyring import Keyring
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.secret_key import SecretKey
from keyserver.sessions.writes import (
    CastVote,
    PutActive,
    PutDocument,
    PutDocumentCandidate,
    PutDocumentNothing,
    PutNothing,
    PutPrepared,
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
    with pytest.raises(StorageError, match=r"key_shares, row 0{63}1: box: altered"):
        await other.load(key_id(1))


async def test_a_box_moved_to_another_row_does_not_open(
    store: SqlRecordStore, database: Database, path: Path
) -> None:
    await active_key(store, 1)
    await active_key(store, 2)
    one, two = stored_boxes(path)
    change(path, "UPDATE key_shares SET share_box = ? WHERE share_box = ?", two, one)
    with pytest.raises(StorageError, match="key_shares"):
        await fresh(database).load(key_id(1))
    assert (await fresh(database).load(key_id(2))).share == share(2)


async def test_a_share_is_bound_to_its_record(
    store: SqlRecordStore, database: Database, path: Path
) -> None:
    await active_key(store, 1)
    change(path, "UPDATE key_shares SET record_hash = ?", digest("other"))
    with pytest.raises(StorageError, match="not that of the record the row names"):
        await fresh(database).load(key_id(1))


# --- bad rows --------------------------------------------------------------------------------

SPOILS: list[tuple[str, str, Callable[[bytes], Any]]] = [
    ("key_records", "certified", lambda old: old[:-1]),
    ("key_records", "certified", lambda old: b""),
    ("key_records", "certified", lambda old: old + b"\0"),
    ("key_records", "record_hash", lambda old: digest("x")),
    ("key_records", "version", lambda old: 7),
    ("key_shares", "share_box", lambda old: old[:40]),
    ("key_shares", "share_box", lambda old: b"\x09" + old[1:]),
    ("key_shares", "share_box", lambda old: old[:5] + b"\x63" + old[6:]),
    ("key_shares", "share_box", lambda old: old[:-1] + bytes([old[-1] ^ 1])),
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

    where = f"WHERE key_id = ?{' AND version = 3' if table == 'key_shares' else ''}"
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
