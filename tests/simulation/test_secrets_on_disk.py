"""Real database files under nodes that die at every commit: what stands in them, and what follows.

The nodes and their network are simulated, the stores are files. At any commit of a node its process
ends, before the commit or right after it. Whatever is on its disk then contains no secret in the
clear, and the node goes on when it starts again, without anybody's help.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog

from keyserver.model.identifiers import KeyId
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sessions.writes import Write
from keyserver.simulation import cluster as cluster_module
from keyserver.simulation.cluster import Cluster, SimulatedNode
from keyserver.simulation.loop import VirtualLoop
from keyserver.simulation.process import Process, never
from keyserver.storage.database import Database
from keyserver.storage.records import SqlRecordStore
from tests.simulation.story import Story, check_agreement
from tests.support.known_secrets import KnownSecrets
from tests.support.stored_values import boxes

T = TypeVar("T")

NODES, THRESHOLD = 4, 1
COMMITS = 5
"""So many a participant makes at least while a key is generated and a document key stored."""


class _InlineLoop(VirtualLoop):
    """Virtual time, and no threads: what would run in one is done on the spot."""

    def run_in_executor(  # type: ignore[override]
        self, executor: object, act: Callable[..., T], *arguments: Any
    ) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(act(*arguments))
        except Exception as error:
            done.set_exception(error)
        return done


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run what never waits on a loop without threads."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits")


class _File:
    """The database file of a node, opened anew by each of its processes."""

    def __init__(self, path: Path, sealed_with: SecretBoxes) -> None:
        self.path = path
        self._boxes = sealed_with
        self._database: Database | None = None
        self.commits = 0
        self.fatal: tuple[int, bool] | None = None
        """In which commit the process ends, and whether it is on disk then."""

    def open(self, process: Process) -> "_FileStore":
        self.close()
        self._database = _at_once(Database.open(f"sqlite:///{self.path}"))
        return _FileStore(self, self._database, self._boxes, process)

    def close(self) -> None:
        if self._database is not None:
            _at_once(self._database.close())
            self._database = None

    def everything(self) -> bytes:
        """The file and its write-ahead log as they are on disk now."""
        return b"".join(file.read_bytes() for file in sorted(self.path.parent.iterdir()))


class _FileStore(SqlRecordStore):
    """Keys in the file; the process may end at a commit."""

    def __init__(
        self, file: _File, database: Database, sealed_with: SecretBoxes, process: Process
    ) -> None:
        super().__init__(database, sealed_with)
        self._file = file
        self._process = process

    async def commit(self, writes: Sequence[Write]) -> None:
        if not self._process.alive:
            await never()
        file = self._file
        file.commits += 1
        dies, is_written = file.fatal or (0, False)
        if file.commits != dies:
            await super().commit(writes)
            return
        if is_written:
            await super().commit(writes)
        self._process.die()
        await never()


class _Files:
    """Gives every node of a cluster a file."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._nodes: dict[int, SimulatedNode] = {}
        self.of: dict[int, _File] = {}
        """By the identity of the simulated disk that a file takes the place of."""
        self._boxes = boxes()
        monkeypatch.setattr(cluster_module, "SimulatedRecordStore", self._store)

    def _store(self, disk: object, process: Process, *_: object) -> _FileStore:
        store = self.of[id(disk)].open(process)
        self._nodes[id(disk)].store = store  # type: ignore[assignment] # what the story looks into
        return store

    def give(self, node: SimulatedNode) -> None:
        place = self._directory / node.id.hex()[:8]
        place.mkdir()
        self.of[id(node.disk)] = _File(place / "node.sqlite", self._boxes)
        self._nodes[id(node.disk)] = node


def _run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_InlineLoop) as runner:
        runner.run(main)


CRASHES = [(nth, is_written) for nth in range(1, COMMITS + 1) for is_written in (False, True)]


@pytest.mark.parametrize("leads", [True, False], ids=["coordinator", "participant"])
@pytest.mark.parametrize(("nth", "is_written"), CRASHES)
def test_a_crash_at_any_commit(
    nth: int,
    is_written: bool,
    leads: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    structlog.reset_defaults()  # everything is logged, to standard output
    secrets = KnownSecrets()
    secrets.watch(monkeypatch)
    seen: list[bytes] = []
    survivors: list[KeyId] = []

    async def scenario() -> None:
        files = _Files(tmp_path, monkeypatch)
        cluster = Cluster(NODES, seed=nth)
        for node in cluster.nodes:
            files.give(node)
        async with cluster:
            await asyncio.sleep(1)
            victim = cluster.nodes[0 if leads else 2]
            file = files.of[id(victim.disk)]
            file.fatal = file.commits + nth, is_written
            story = Story(cluster, THRESHOLD)
            told = asyncio.ensure_future(story.run())
            await victim.down.wait()
            await asyncio.sleep(0)
            seen.append(file.everything())
            await asyncio.sleep(20)
            victim.boot()
            await told
            await asyncio.sleep(600)
            for node in cluster.nodes:
                assert await node.store.undecided() == []
                state = await node.store.load(story.key_id)
                assert state.active is not None
                assert state.document is not None
            await check_agreement(story)
            survivors.append(story.key_id)
            secrets.values.update(_shares(await victim.store.load(story.key_id)))
        seen.extend(each.everything() for each in files.of.values())

    _run(scenario())
    assert survivors
    assert len(secrets.values) > 50
    assert not secrets.found_in(b"|".join(seen))
    logged = capfd.readouterr().out
    assert "session_started" in logged
    assert not secrets.found_in(logged.encode())


def _shares(state: Any) -> list[bytes]:
    return [] if state.share is None else [state.share.value.expose()]
