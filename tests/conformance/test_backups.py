"""Backups out of every kind of database and into every kind."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Connection, func, select, update

from keyserver.app.backup_check import Trial, trial
from keyserver.crypto.randomness import SystemRandom
from keyserver.sealing.errors import ShareUnknownError, ShareWrongSetError
from keyserver.sealing.ports import SealVersion
from keyserver.storage.backup import Contents, _kind, copy_in, copy_out
from keyserver.storage.backup_file import (
    BackupError,
    Manifest,
    Part,
    PartWriter,
    open_archive,
    write_archive,
)
from keyserver.storage.database import Database, opened
from keyserver.storage.schema import (
    KEY_RECORDS,
    KEY_SHARES,
    REQUEST_NONCES,
    SCHEMA_VERSION,
    SEAL,
    SEAL_KEYRING,
    SERVICE_KEYS,
    TASKS,
)
from keyserver.storage.work import SqlWorkStore
from tests.conformance.conftest import SQL_SITES
from tests.conformance.test_store_places import run_meanwhile
from tests.support.backups import BOXES, all_rows, fill, vault_of
from tests.support.known_secrets import KnownSecrets
from tests.support.manual_clock import ManualClock
from tests.support.postgres import PostgresServer
from tests.support.stored_values import CHAIN
from tests.support.stored_values import request as seen
from tests.support.stores import SqlSite


def no_progress(table: str) -> None:
    """Nobody looks."""


def manifest_of(contents: Contents) -> Manifest:
    return Manifest(
        created_at=1_800_000_000_000,
        software="0.1.0",
        schema=contents.schema,
        seal_id=contents.record.seal_id.hex(),
        node_id=contents.record.node_id.hex(),
        epoch=contents.record.epoch,
        keyring_version=contents.keyring_version,
        terms=contents.terms,
        opens_with=tuple(slot.kind for slot in contents.record.slots),
        audit=(),
        parts=contents.parts,
    )


async def make(
    database: Database, folder: Path, change: Callable[[Manifest], Manifest] = lambda same: same
) -> Path:
    """A backup of a database, in a folder that is made for it."""
    folder.mkdir()
    contents = await copy_out(database, folder, no_progress)
    write_archive(folder / "backup", change(manifest_of(contents)), folder, [])
    return folder / "backup"


async def put_back(
    database: Database, backup: Path, *, replace: bool = False
) -> SealVersion | None:
    with open_archive(backup) as archive:
        archive.check()
        return await copy_in(database, archive, no_progress, replace=replace)


@asynccontextmanager
async def tried(backup: Path) -> AsyncIterator[Trial]:
    async with trial(
        backup, (), random=SystemRandom(), clock=ManualClock(), on_table=no_progress
    ) as opened_trial:
        yield opened_trial


# --- out and in -------------------------------------------------------------------------------


@pytest_asyncio.fixture(params=SQL_SITES)
async def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        return await server.new_database()
    return f"sqlite:///{tmp_path / 'target.sqlite'}"


async def test_all_comes_back_and_opens(sql_site: SqlSite, target_url: str, tmp_path: Path) -> None:
    filled = await fill(sql_site.database)
    before = await all_rows(sql_site.database)
    backup = await make(sql_site.database, tmp_path / "made")
    async with opened(target_url) as database:
        assert await put_back(database, backup) is None
        assert await all_rows(database) == before
        nonces = select(func.count()).select_from(REQUEST_NONCES)
        assert await database.read(lambda connection: connection.scalar(nonces)) == 0
        vault = await vault_of(database)
        for words in filled.words[1:]:
            await vault.submit(words)
        assert vault.is_open
        assert vault.node_secret is not None
        # and it goes on where it was: numbers of rows that are there are not used again
        await SqlWorkStore(database, CHAIN).admit([seen(key=3)])
        numbers = select(TASKS.c.id).order_by(TASKS.c.id)
        assert await database.read(lambda connection: connection.scalars(numbers).all()) == [
            1,
            2,
            3,
        ]


async def test_it_is_of_one_moment_and_of_a_store_in_use(sql_site: SqlSite, tmp_path: Path) -> None:
    """Rows that are written while it is made are not in it, of whatever table."""
    await fill(sql_site.database)
    folder = tmp_path / "made"
    folder.mkdir()
    more = [TASKS.name, KEY_RECORDS.name]
    loop = asyncio.get_running_loop()

    async def write_meanwhile() -> None:
        await sql_site.work.admit([seen(key=7)])

    def on_table(table: str) -> None:
        if table in more:
            run_meanwhile(loop, write_meanwhile())

    before = {name: len(rows) for name, rows in (await all_rows(sql_site.database)).items()}
    async with opened(sql_site.url, read_only=True) as reader:
        contents = await copy_out(reader, folder, on_table)
    assert {part.table: part.rows for part in contents.parts} == before
    after = await all_rows(sql_site.database)
    assert len(after[TASKS.name]) == before[TASKS.name] + 1


async def test_no_secret_is_in_it_nor_in_the_database_beside_it(
    sql_site: SqlSite, tmp_path: Path
) -> None:
    filled = await fill(sql_site.database)
    backup = await make(sql_site.database, tmp_path / "made")
    for file in [each for each in tmp_path.rglob("*") if each.is_file()]:
        data = file.read_bytes()
        assert KnownSecrets(filled.secrets).found_in(data) == set(), file
        assert not any(words.encode() in data for words in filled.words), file
    assert b"mail" in backup.read_bytes()  # names are


async def test_a_store_without_a_seal_is_not_backed_up(sql_site: SqlSite, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="never sealed"):
        await make(sql_site.database, tmp_path / "made")


async def test_it_takes_the_place_of_its_own_store_only(sql_site: SqlSite, tmp_path: Path) -> None:
    await fill(sql_site.database)
    backup = await make(sql_site.database, tmp_path / "made")
    before = await all_rows(sql_site.database)
    await sql_site.database.write_shared(
        lambda c: c.execute(update(SEAL_KEYRING).values(version=9))
    )
    await sql_site.work.admit([seen(key=3)])
    with pytest.raises(BackupError, match="--replace"):
        await put_back(sql_site.database, backup)
    assert len((await all_rows(sql_site.database))["tasks"]) == 3
    assert await put_back(sql_site.database, backup, replace=True) == SealVersion(1, 9)
    assert await all_rows(sql_site.database) == before

    async with opened(f"sqlite:///{tmp_path / 'foreign.sqlite'}") as foreign:
        await fill(foreign)
        rows = await all_rows(foreign)
        with pytest.raises(BackupError, match="not of the same seal"):
            await put_back(foreign, backup, replace=True)
        assert await all_rows(foreign) == rows


async def test_a_store_that_is_no_seal_is_not_replaced(sql_site: SqlSite, tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'other.sqlite'}") as other:
        await fill(other)
        backup = await make(other, tmp_path / "made")
    await sql_site.work.admit([seen()])
    with pytest.raises(BackupError, match="it has rows in tasks"):
        await put_back(sql_site.database, backup, replace=True)


async def test_what_fails_leaves_the_store_as_it_was(sql_site: SqlSite, tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'other.sqlite'}") as other:
        await fill(other)
        backup = await make(other, tmp_path / "made", lambda made: replace(made, epoch=2))
    with pytest.raises(BackupError, match="contradict each other"):
        await put_back(sql_site.database, backup)
    assert not any((await all_rows(sql_site.database)).values())
    await fill(sql_site.database)  # the tables are there


# --- tables of another form -------------------------------------------------------------------


async def test_tables_of_an_earlier_form_are_brought_up_to_date(
    sql_site: SqlSite, tmp_path: Path
) -> None:
    async with opened(f"sqlite:///{tmp_path / 'now.sqlite'}") as now:
        await fill(now)
        rows = await all_rows(now)
        await make(now, tmp_path / "now")
        folder = tmp_path / "earlier"
        folder.mkdir()
        parts = await now.read(partial(parts_of_form_0005, folder))
        with open_archive(tmp_path / "now" / "backup") as archive:
            manifest = replace(archive.manifest, schema="0005", parts=parts)
        write_archive(folder / "backup", manifest, folder, [])
    await put_back(sql_site.database, folder / "backup")
    restored = await all_rows(sql_site.database)
    assert restored["seal"] == rows["seal"]
    assert [row[:4] for row in restored["key_records"]] == [row[:4] for row in rows["key_records"]]
    assert restored["service_keys"] == []


def parts_of_form_0005(folder: Path, connection: Connection) -> tuple[Part, ...]:
    """The seal and the records as they were, before records had an age."""
    parts = []
    for table in (SEAL, SEAL_KEYRING, KEY_RECORDS):
        columns = [column for column in table.columns if column.name != "installed_at"]
        writer = PartWriter(folder, table.name, [(each.name, _kind(each)) for each in columns])
        for row in connection.execute(select(*columns)):
            writer.write(tuple(row))
        parts.append(writer.close())
    return tuple(parts)


async def test_tables_of_a_later_form_are_refused(sql_site: SqlSite, tmp_path: Path) -> None:
    await fill(sql_site.database)
    backup = await make(sql_site.database, tmp_path / "made", lambda m: replace(m, schema="9999"))
    with pytest.raises(BackupError, match=f"newer program.*up to {SCHEMA_VERSION}"):
        await put_back(sql_site.database, backup, replace=True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("no_such_table", (("id", "integer"),)), "no such table"),
        (("replicas", (("id", "integer"),)), "no such table"),
        (("seal", (("id", "integer"), ("record", "bytes"), ("epoch", "integer"))), "columns"),
    ],
)
async def test_parts_that_are_no_tables_of_their_form_are_refused(
    tmp_path: Path, wrong: tuple[str, tuple[tuple[str, str], ...]], said: str
) -> None:
    folder = tmp_path / "made"
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite'}") as database:
        await fill(database)
        await make(database, folder)
        with open_archive(folder / "backup") as archive:
            manifest = archive.manifest
        (folder / "backup").unlink()
        (folder / f"{wrong[0]}.jsonl").unlink(missing_ok=True)
        part = PartWriter(folder, *wrong).close()
        write_archive(folder / "backup", replace(manifest, parts=(part,)), folder, [])
        with pytest.raises(BackupError, match=said):
            await put_back(database, folder / "backup", replace=True)


# --- trying one -------------------------------------------------------------------------------


async def test_a_good_backup_is_found_good(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite'}") as database:
        filled = await fill(database)
        backup = await make(database, tmp_path / "made")
    async with tried(backup) as shut:
        assert shut.required == 2
        verdict = await shut.check()
        assert (verdict.boxes, verdict.opened, verdict.damaged) == (BOXES, False, ())
    async with tried(backup) as to_open:
        await to_open.open_with_shares(filled.words)
        verdict = await to_open.check()
        assert (verdict.boxes, verdict.opened, verdict.damaged) == (BOXES, True, ())


async def test_shares_that_do_not_open_it_are_named(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite'}") as database:
        filled = await fill(database)
        backup = await make(database, tmp_path / "made")
    async with opened(f"sqlite:///{tmp_path / 'foreign.sqlite'}") as database:
        foreign = await fill(database)
    async with tried(backup) as shut:
        with pytest.raises(BackupError, match="2 shares open the backup, 1 were given"):
            await shut.open_with_shares(filled.words[:1])
        with pytest.raises((ShareUnknownError, ShareWrongSetError)):
            await shut.open_with_shares(foreign.words)


async def test_a_damaged_box_is_found_with_the_keys_only(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite'}") as database:
        filled = await fill(database)
        box = await database.read(lambda c: c.scalar(select(KEY_SHARES.c.share_box)))
        assert box is not None
        spoilt = update(KEY_SHARES).values(share_box=box[:-1] + bytes([box[-1] ^ 1]))
        await database.write_shared(lambda connection: connection.execute(spoilt))
        backup = await make(database, tmp_path / "made")
    async with tried(backup) as shut:
        assert (await shut.check()).damaged == ()
    async with tried(backup) as to_open:
        await to_open.open_with_shares(filled.words)
        (named,) = (await to_open.check()).damaged
        assert re.match(r"key_shares\.share_box, row [0-9a-f]{64}, 1: ", named)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"key_term": 2}, "the terms that the rows name"),
        ({"key_box": b"short"}, "service_keys.key_box"),
    ],
)
async def test_boxes_that_contradict_their_rows_are_found_without_keys(
    tmp_path: Path, values: dict[str, object], said: str
) -> None:
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite'}") as database:
        await fill(database)
        spoil = update(SERVICE_KEYS).values(**values)
        await database.write_shared(lambda connection: connection.execute(spoil))
        backup = await make(database, tmp_path / "made")
    async with tried(backup) as shut:
        (named,) = (await shut.check()).damaged
        assert said in named
