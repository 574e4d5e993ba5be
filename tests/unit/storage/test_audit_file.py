"""The audit log's files: durable, gone on from, one process each, refusing what they lose."""

import asyncio
import errno
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.ecdsa import sign_alone
from keyserver.engine.ports import TimerCallback
from keyserver.errors import ConfigError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.audit_verification import Verdict, verify
from keyserver.sealing.errors import AuditUnavailableError
from keyserver.sealing.ports import SYSTEM, AuditOutcome
from keyserver.storage.audit_file import CHECKPOINT_ENTRIES, CHECKPOINT_S, AuditFiles
from tests.support.manual_clock import ManualClock, ManualTimer

KEY = SecretScalar.from_int(7)
NODE = NodeId.of(KEY.public())


def sign(digest: bytes) -> bytes:
    return sign_alone(KEY, digest)


def checked(path: Path) -> Verdict:
    with path.open("rb") as lines:
        return verify(lines, node_id=NODE)


def entries(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def record(log: AuditFiles, action: str = "seal.rotate", **details: int) -> None:
    await log.record(action, AuditOutcome.OK, SYSTEM, details)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest_asyncio.fixture
async def log(path: Path) -> AsyncIterator[AuditFiles]:
    opened = AuditFiles([path], replica_id="r1", clock=ManualClock())
    await opened.open()
    yield opened
    await opened.close()


async def test_entries_are_there_when_the_call_returns(log: AuditFiles, path: Path) -> None:
    await record(log, term=2)
    (entry,) = entries(path)
    assert (entry["action"], entry["details"], entry["seq"]) == ("seal.rotate", {"term": 2}, 1)
    assert entry["actor"] == {"kind": "system", "id": None}
    assert (entry["replica"], entry["ts"]) == ("r1", 1_800_000_000_000)
    assert path.stat().st_mode & 0o777 == 0o600
    assert log.heads[path].digest.hex() == entry["hash"]


async def test_what_may_not_be_in_it_is_refused(log: AuditFiles, path: Path) -> None:
    with pytest.raises(ValueError, match="not on the list"):
        await record(log, share=1)
    with pytest.raises(ValueError, match="made by the log itself"):
        await record(log, "audit.checkpoint")
    assert entries(path) == []


async def test_entries_that_wait_together_are_flushed_together(
    log: AuditFiles, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    await asyncio.gather(*(record(log, term=term) for term in range(50)))
    assert len(flushed) <= 2
    assert [entry["details"]["term"] for entry in entries(path)] == list(range(50))
    assert checked(path).is_good


async def test_a_caller_that_is_cancelled_has_written(log: AuditFiles, path: Path) -> None:
    caller = asyncio.ensure_future(record(log))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    await log.close()
    assert len(entries(path)) == 1


async def test_a_start_goes_on_from_the_last_line(path: Path) -> None:
    for replica in ("r1", "r2", "r3"):
        log = AuditFiles([path], replica_id=replica, clock=ManualClock())
        await log.open()
        # The last line of the second is longer than what is read at once.
        service = "x" * 300
        await log.record("keys.get", AuditOutcome.OK, SYSTEM, {"service": service})
        await record(log)
        await log.close()
    assert [entry["replica"] for entry in entries(path)] == ["r1"] * 2 + ["r2"] * 2 + ["r3"] * 2
    assert checked(path).is_good


async def test_a_torn_last_line_is_cut_off_and_told(path: Path) -> None:
    log = AuditFiles([path], replica_id="r1", clock=ManualClock())
    await log.open()
    await record(log)
    await log.close()
    torn = b'{"action":"seal.' + b"x" * 10_000
    with path.open("ab") as file:
        file.write(torn)
    await log.open()
    await record(log)
    await log.close()
    assert [entry["action"] for entry in entries(path)] == [
        "seal.rotate",
        "audit.torn",
        "seal.rotate",
    ]
    assert entries(path)[1]["details"] == {"bytes": len(torn)}
    beside = path.with_name("audit.jsonl.torn")
    assert beside.read_bytes() == torn + b"\n"
    assert beside.stat().st_mode & 0o777 == 0o600
    assert checked(path).is_good


async def test_only_a_torn_line(path: Path) -> None:
    path.write_bytes(b"{")
    log = AuditFiles([path], replica_id="r1", clock=ManualClock())
    await log.open()
    await log.close()
    assert [entry["action"] for entry in entries(path)] == ["audit.torn"]


async def test_an_altered_last_line_is_not_gone_on_from(log: AuditFiles, path: Path) -> None:
    await record(log, term=1)
    await log.close()
    path.write_bytes(path.read_bytes().replace(b'"term":1', b'"term":2'))
    with pytest.raises(ConfigError, match=r"audit\.files: .*hash does not fit.*Keep"):
        await log.open()


async def test_two_processes_never_share_a_file(log: AuditFiles, path: Path) -> None:
    await record(log)
    program = f"""
import asyncio, pathlib
from keyserver.app.clock import SystemClock
from keyserver.storage.audit_file import AuditFiles
log = AuditFiles([pathlib.Path({str(path)!r})], replica_id="r2", clock=SystemClock())
asyncio.run(log.open())
"""
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert "written by another process" in ran.stderr
    assert len(entries(path)) == 1


async def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "audit.jsonl"
    log = AuditFiles([path], replica_id="r", clock=ManualClock())
    with pytest.raises(ConfigError, match=r"audit\.files: .*missing.*No such file"):
        await log.open()


class FullDisk:
    """`os.pwrite` that writes some bytes, then finds the disk full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, accepted: int = 40) -> None:
        self.is_full = True
        self._accepted = accepted
        self._write = os.pwrite
        monkeypatch.setattr(os, "pwrite", self)

    def __call__(self, descriptor: int, data: bytes, offset: int) -> int:
        if not self.is_full:
            return self._write(descriptor, data, offset)
        if self._accepted == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        accepted, self._accepted = self._accepted, 0
        return self._write(descriptor, data[:accepted], offset)


async def test_what_cannot_be_written_is_refused(
    log: AuditFiles, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(log, term=1)
    disk = FullDisk(monkeypatch)
    with pytest.raises(AuditUnavailableError, match="nothing was done"):
        await record(log, term=2)
    await record(log, "seal.sealed")  # closing is always allowed
    disk.is_full = False
    await record(log, term=3)
    assert [entry["details"].get("term") for entry in entries(path)] == [1, 3]
    assert checked(path).is_good, "the half of the line that failed is gone"


async def test_an_operator_may_do_without(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditFiles([path], replica_id="r", clock=ManualClock(), required=False)
    await log.open()
    FullDisk(monkeypatch)
    await record(log)
    await log.close()


async def test_without_files_nothing_is_written() -> None:
    log = AuditFiles([], replica_id="r", clock=ManualClock())
    await log.open()
    await record(log)
    await log.checkpoint()
    await log.close()


async def test_a_closed_log_takes_nothing(path: Path) -> None:
    log = AuditFiles([path], replica_id="r", clock=ManualClock())
    with pytest.raises(AuditUnavailableError):
        await record(log)


async def test_a_shortened_file_is_noticed(log: AuditFiles, path: Path) -> None:
    await record(log)
    os.truncate(path, 10)
    with pytest.raises(AuditUnavailableError):
        await record(log)


async def test_one_of_several_files_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    log = AuditFiles(paths, replica_id="r", clock=ManualClock())
    await log.open()
    await record(log, term=1)
    os.truncate(paths[0], 10)
    await record(log, term=2)
    await log.close()
    assert [entry["details"]["term"] for entry in entries(paths[1])] == [1, 2]
    assert checked(paths[1]).is_good


async def test_the_node_signs_every_thousandth_entry(log: AuditFiles, path: Path) -> None:
    log.sign_with(sign)
    await asyncio.gather(*(record(log) for _ in range(CHECKPOINT_ENTRIES)))
    await record(log)
    verdict = checked(path)
    assert (verdict.checkpoints, verdict.unsigned, verdict.node_id) == (1, 1, NODE)


class Hours(ManualClock):
    """Tells when somebody begins to wait for the next hour."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Semaphore(0)

    def call_later(self, seconds: float, callback: TimerCallback) -> ManualTimer:
        self.begun.release()
        return super().call_later(seconds, callback)


async def test_the_node_signs_every_hour_while_it_can(path: Path) -> None:
    clock = Hours()
    log = AuditFiles([path], replica_id="r", clock=clock)
    await log.open()
    running = asyncio.ensure_future(log.run())
    await record(log)
    made = []
    await clock.begun.acquire()
    for is_sealed in (True, False, False):
        log.sign_with(None if is_sealed else sign)
        clock.advance(CHECKPOINT_S)
        await clock.begun.acquire()
        made.append(checked(path).checkpoints)
    assert made == [0, 1, 1], "none while sealed, none of nothing new"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await log.close()


async def test_what_was_written_before_the_start_is_signed_too(path: Path) -> None:
    log = AuditFiles([path], replica_id="r", clock=ManualClock())
    await log.open()
    await record(log)
    await log.close()
    await log.open()
    log.sign_with(sign)
    await log.checkpoint()
    await log.checkpoint()
    await log.close()
    assert [entry["action"] for entry in entries(path)] == ["seal.rotate", "audit.checkpoint"]
    await log.open()
    log.sign_with(sign)
    await log.checkpoint()
    await log.close()
    assert len(entries(path)) == 2
