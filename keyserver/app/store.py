"""Opens what a node keeps on disk: the database, and the key that its secrets are sealed with."""

import getpass
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from keyserver.app.config import Loaded
from keyserver.app.config.sources import Source
from keyserver.app.interrupting import interrupted_at_once
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.errors import ConfigError, StorageError
from keyserver.model.identifiers import NodeId
from keyserver.model.set_change import CompletedChange
from keyserver.sealing.errors import KeySourceError
from keyserver.sealing.key_sources import (
    PASSPHRASE,
    STATIC,
    KeyFile,
    KeySource,
    KeyText,
    Passphrase,
    read_private_file,
)
from keyserver.sealing.opening import open_or_create
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.storage.database import Database, opened
from keyserver.storage.records import SqlRecordStore
from keyserver.storage.sealing import SqlSealStore
from keyserver.storage.set_changes import SqlSetChangeStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Store:
    """An open database, and the keys in it."""

    database: Database
    records: SqlRecordStore
    set_changes: SqlSetChangeStore
    completed: Sequence[CompletedChange]
    """The completed changes of the node set, as of the opening."""


async def open_store(database: Database, boxes: SecretBoxes) -> Store:
    """What a node reads and writes in an open database; raises `StorageError`."""
    changes = SqlSetChangeStore(database)
    return Store(database, SqlRecordStore(database, boxes), changes, await changes.completed())


@asynccontextmanager
async def opened_store(
    loaded: Loaded, node_id: NodeId, *, random: RandomSource, clock: Clock
) -> AsyncIterator[Store]:
    """Open the database of a node whose key source opens it, sealing it first if it is new.

    For work on a node that does not run. Raises `ConfigError` for a key source that cannot be used,
    `StorageError` for a database that cannot be used or that the key does not open.
    """
    source = key_source(loaded)
    make_data_directory(loaded.config.secretstore.path)
    async with opened(loaded.config.keyserver.database_url) as database:
        seal = await open_or_create(
            SqlSealStore(database),
            node_id=node_id,
            source=source,
            random=random,
            now_ms=clock.unix() * 1000,
        )
        if seal.created:
            log.info("store_sealed", database=database.name, source=type(source).__name__)
        yield await open_store(database, SecretBoxes(seal.keyring, random))


def key_source(loaded: Loaded) -> KeySource:
    """Where the sealing key comes from: a variable, else a passphrase, else a file.

    Raises `KeySourceError` for a variable that is not set or a passphrase that cannot be read.
    """
    seal = loaded.config.keyserver.seal
    if seal.key_env is not None:
        value = os.environ.get(seal.key_env)
        if value is None:
            raise KeySourceError(
                f"[keyserver.seal] key_env: the environment variable {seal.key_env} is not set"
            )
        return KeyText(seal.key_env, value, seal.key_id)
    if seal.passphrase_file is not None:
        return Passphrase(_first_line(seal.passphrase_file))
    if seal.key_file is None:
        raise ConfigError("[keyserver.seal] key_file: no key source is configured")
    is_default = loaded.origin("keyserver.seal.key_file").source is Source.DEFAULT
    return KeyFile(seal.key_file, seal.key_id, make_if_missing=is_default)


def automatic_source(
    loaded: Loaded, record: Mapping[str, Any] | None, *, may_ask: bool = True
) -> KeySource | None:
    """What opens the store without operators; `None` where nothing does but their shares.

    `record`: the seal record, `None` for a store without a seal. A passphrase that stands in no
    file is asked for, if somebody is at a terminal and `may_ask`. Raises `KeySourceError` for a key
    source that cannot be used, unless there are shares.
    """
    kinds = {slot["kind"] for slot in record["slots"]} if record is not None else {STATIC}
    if not kinds & {STATIC, PASSPHRASE}:
        return None
    is_typed = STATIC not in kinds and loaded.config.keyserver.seal.passphrase_file is None
    try:
        if is_typed and may_ask and sys.stdin.isatty():
            return Passphrase(_ask_passphrase())
        return key_source(loaded)
    except KeySourceError as problem:
        if kinds <= {STATIC, PASSPHRASE}:
            raise
        log.warning("key_source_unusable", problem=str(problem))
        return None


def make_data_directory(path: Path) -> None:
    """Make the directory, for its owner only, unless it is there; raises `StorageError`."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise StorageError(f"[secretstore] path: {path}: {problem.strerror}") from problem


def _ask_passphrase() -> str:
    """What is typed, without echo; raises `KeySourceError` for nothing, `KeyboardInterrupt`."""
    try:
        with interrupted_at_once():
            text = getpass.getpass("Passphrase that opens the store: ")
    except EOFError:
        text = ""
    except UnicodeDecodeError:
        raise KeySourceError("the passphrase that was typed is not UTF-8 text") from None
    if not text:
        raise KeySourceError("no passphrase was typed")
    return text


def _first_line(path: Path) -> str:
    try:
        text = read_private_file(path).decode()
    except UnicodeDecodeError:
        raise KeySourceError(f"{path}: the passphrase is not UTF-8 text") from None
    line = text.partition("\n")[0].removesuffix("\r")
    if not line:
        raise KeySourceError(f"{path}: the first line, the passphrase, is empty")
    return line
