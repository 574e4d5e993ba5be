import ast
import importlib
import pkgutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, text

from keyserver.model.identifiers import ZERO_HASH
from keyserver.storage.database import opened
from keyserver.storage.migrations import configuration, upgrade
from keyserver.storage.schema import METADATA, OPEN_TASK, SCHEMA_VERSION, SEALED_COLUMNS
from keyserver.storage.tasks import find_tasks
from keyserver.tasks.model import TaskState


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'node.sqlite'}"


def differences(connection: Connection) -> object:
    """Between what the steps have made and what the program expects."""
    migrated = MigrationContext.configure(connection, opts={"compare_type": True})
    return compare_metadata(migrated, METADATA)


async def test_the_steps_lead_to_the_schema(url: str) -> None:
    wanted = (
        "SELECT sql FROM sqlite_master WHERE sql LIKE '%CHECK%' OR sql LIKE '%WHERE%' "
        "OR sql LIKE '%AUTOINCREMENT%'"
    )
    async with opened(url) as database:
        assert await database.read(differences) == []
        statements = await database.read(lambda connection: connection.execute(text(wanted)).all())
        written = " ".join(row.sql for row in statements)
    for rule in ("seal_is_one_row", "seal_keyring_is_one_row", OPEN_TASK):
        assert rule in written
    assert written.count("AUTOINCREMENT") == 2


def test_the_newest_step_is_the_version_of_the_schema() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    assert scripts.get_heads() == [SCHEMA_VERSION]
    for script in scripts.walk_revisions():
        assert len(script.revision) == 4
        assert script.revision.isdigit()


async def test_alembic_is_loaded_only_to_migrate(url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from keyserver.storage.database import opened\n"
        "async def main():\n"
        "    async with opened(sys.argv[1]): pass\n"
        "asyncio.run(main())\n"
        "print('alembic' in sys.modules)\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program, url], check=True, capture_output=True, text=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert said == ["True", "False"]


async def test_a_migration_that_dies_leaves_no_half_schema(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import op

    real = op.create_index

    def dies(*arguments: object, **options: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(op, "create_index", dies)
    with pytest.raises(RuntimeError):
        async with opened(url):
            pass
    monkeypatch.setattr(op, "create_index", real)
    connection = sqlite3.connect(tmp_path / "node.sqlite")
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    async with opened(url):
        pass


async def test_records_from_before_their_age_was_kept_count_from_the_upgrade_on(
    url: str, tmp_path: Path
) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        upgrade(connection, "0005")
        connection.execute(text("INSERT INTO key_records VALUES (x'01', 1, x'02', x'03')"))
    engine.dispose()
    began = int(time.time())
    async with opened(url) as database:
        installed_at = await database.read(
            lambda connection: connection.scalar(text("SELECT installed_at FROM key_records"))
        )
    assert began <= installed_at <= time.time()


async def test_tasks_from_before_messages_were_told_apart_are_about_none(
    url: str, tmp_path: Path
) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        upgrade(connection, "0006")
        connection.execute(
            text(
                "INSERT INTO tasks VALUES (7, 1, zeroblob(20), 1, zeroblob(32), zeroblob(20),"
                " x'', 'pending', 3, zeroblob(32), 0, 3, zeroblob(32), 0, 0, 0, x'', '', NULL, 0)"
            )
        )
    engine.dispose()
    async with opened(url) as database:
        (task,) = await database.read(find_tasks)
    assert (task.id, task.key.message) == (7, ZERO_HASH)


def test_every_box_column_is_listed_with_its_key() -> None:
    boxes = {
        (table.name, column.name)
        for table in METADATA.tables.values()
        for column in table.columns
        if column.name.endswith("_box")
    }
    assert boxes == {(sealed.table, sealed.column) for sealed in SEALED_COLUMNS}
    for sealed in SEALED_COLUMNS:
        table = METADATA.tables[sealed.table]
        assert tuple(column.name for column in table.primary_key) == sealed.key_columns
        assert sealed.column.removesuffix("_box") + "_term" in table.columns


def test_there_is_one_set_of_tables() -> None:
    import keyserver.storage

    for module in pkgutil.iter_modules(keyserver.storage.__path__, "keyserver.storage."):
        found = importlib.import_module(module.name)
        for value in vars(found).values():
            assert not isinstance(value, MetaData) or value is METADATA


def test_the_rule_of_one_open_task_names_all_open_states() -> None:
    listed = ast.literal_eval(OPEN_TASK.removeprefix("state IN "))
    assert set(listed) == {state.value for state in TaskState if state.is_open}
