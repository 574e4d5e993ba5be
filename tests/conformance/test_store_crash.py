"""A process killed with signal 9 in the middle of commits leaves a consistent store."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from keyserver.sessions.core import KeyState
from keyserver.sessions.writes import CastVote, PutActive, PutPrepared, VoteKind
from keyserver.storage.database import opened
from keyserver.storage.records import SqlRecordStore
from tests.support.stored_values import boxes, certified, digest, key_id, record, share

T = digest("transcript")

WRITER = """
import asyncio, sys
from tests.conformance.test_store_crash import write_rounds
asyncio.run(write_rounds(sys.argv[1], int(sys.argv[2])))
"""


async def write_rounds(url: str, first: int) -> None:
    async with opened(url) as database:
        await rounds(SqlRecordStore(database, boxes()), first)


async def rounds(store: SqlRecordStore, first: int) -> None:
    """Take keys through their life, saying after each commit what is on disk now."""
    for key in range(first, first + 10_000):
        await store.commit(
            [
                CastVote(digest(f"{key}"), 0, VoteKind.PREPARE, record(key).hash),
                PutPrepared(record(key), share(key), T),
            ]
        )
        print(f"prepared {key}", flush=True)
        await store.commit([PutActive(certified(record(key)))])
        print(f"active {key}", flush=True)
        await store.commit([PutPrepared(record(key, 2), share(key + 50_000), T)])
        await store.commit([PutActive(certified(record(key, 2)))])
        print(f"second {key}", flush=True)


def killed_writer(url: str, first: int, after_lines: int) -> list[str]:
    """What a writer said until it was killed, at some moment after so many lines."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(first)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert writer.stdout is not None
    said = [writer.stdout.readline() for _ in range(after_lines)]
    os.kill(writer.pid, signal.SIGKILL)
    rest, _ = writer.communicate()
    return [*said, *rest.splitlines()]


async def test_kill_9_between_any_two_commits_leaves_a_consistent_store(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    url = f"sqlite:///{path}"
    chance = random.Random(7)
    for attempt in range(6):
        first = 1 + attempt * 1000
        said = await asyncio.to_thread(killed_writer, url, first, chance.randrange(1, 40))
        async with opened(url) as database:
            store = SqlRecordStore(database, boxes())
            reached: dict[int, str] = {}
            for line in said:
                word, _, key = line.strip().partition(" ")
                if key.isdigit():
                    reached[int(key)] = word
            assert reached
            for number, word in reached.items():
                check_survivor(await store.load(key_id(number)), number, word)
            last = max(reached)
            await check_unannounced(store, last + 1)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def check_survivor(state: KeyState, key: int, word: str) -> None:
    """What was said to be on disk is there; the commits after it are there as a whole or not."""
    version = state.active.record.version if state.active else 0
    assert version >= {"prepared": 0, "active": 1, "second": 2}[word]
    if version:
        assert state.share == share(key if version == 1 else key + 50_000)
    if state.prepared is not None:
        assert state.prepared.record.version == version + 1
        assert state.prepared.share == share(key if version == 0 else key + 50_000)
    assert version or state.prepared


async def check_unannounced(store: SqlRecordStore, key: int) -> None:
    votes = await store.votes(digest(f"{key}"))
    state = await store.load(key_id(key))
    assert bool(votes) == (state.prepared is not None or state.active is not None)
