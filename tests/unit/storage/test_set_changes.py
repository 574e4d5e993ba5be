"""Rows of completed changes that were damaged, and commits that fail."""

from pathlib import Path

import pytest
from sqlalchemy import update

from keyserver.errors import StorageError
from keyserver.model.set_change import SetChange
from keyserver.storage.database import opened
from keyserver.storage.memory import MemoryDisk
from keyserver.storage.schema import SET_CHANGES
from keyserver.storage.set_changes import MemorySetChangeStore, SqlSetChangeStore
from tests.support.set_changes import ALL, NODES, completed, set_of

CHANGE = completed(SetChange.ordered(ALL, set_of(NODES[:4])))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("change_id", b"\x01" * 31),
        ("contract", b""),
        ("old_nodes", b"\0\0\0\x01"),
        ("new_nodes", b"\0\0\0\x01" + b"\x05" * 33),
    ],
)
async def test_a_damaged_row_is_named(tmp_path: Path, column: str, value: bytes) -> None:
    async with opened(f"sqlite:///{tmp_path / 'node.sqlite'}") as database:
        store = SqlSetChangeStore(database)
        await store.keep_completed([CHANGE])
        damaged = update(SET_CHANGES).values({column: value})
        await database.write(lambda connection: connection.execute(damaged))
        with pytest.raises(StorageError, match="set_changes, row 0000000000000001"):
            await store.completed()


async def test_a_failing_disk_keeps_what_was_there() -> None:
    disk = MemoryDisk()
    store = MemorySetChangeStore(disk)
    disk.fail_commit()
    with pytest.raises(StorageError):
        await store.keep_completed([CHANGE])
    assert await store.completed() == ()
    await store.keep_completed([CHANGE])
    assert await store.completed() == (CHANGE,)
