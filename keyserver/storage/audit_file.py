"""The files of the audit log: appended to, never rewritten, on disk before an answer goes out.

A file is a chain of its own (`keyserver.sealing.audit`) and goes on from its last line at every
start. Where several are configured each has every entry, and one that can be written is enough.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from keyserver.engine.pausing import pause
from keyserver.engine.ports import Clock
from keyserver.errors import ConfigError
from keyserver.sealing.audit import (
    BadEntryError,
    Event,
    Head,
    Signer,
    checkpoint_event,
    next_entry,
    parse_line,
)
from keyserver.sealing.audit_details import CHECKPOINT, SEALED, TORN, Detail
from keyserver.sealing.errors import AuditUnavailableError
from keyserver.sealing.ports import SYSTEM, Actor, AuditLog, AuditOutcome

CHECKPOINT_ENTRIES: Final = 1000
"""After so many entries a checkpoint follows at once, if there is a key."""

CHECKPOINT_S: Final = 3600.0
"""And after so long, if anything was written since the last."""

_BLOCK: Final = 8192
_log = structlog.get_logger(__name__)


class AuditFiles(AuditLog):
    """Writes the audit log of this process."""

    def __init__(
        self, paths: Sequence[Path], *, replica_id: str, clock: Clock, required: bool = True
    ) -> None:
        """`required`: refuse what cannot be written down; else only the process log says so."""
        self._files = tuple(_File(path, replica_id) for path in paths)
        self._clock = clock
        self._required = required
        self._sign: Signer | None = None
        self._waiting: list[Event] = []
        self._next: asyncio.Future[bool] | None = None
        """The write of those that wait: whether a file took it."""
        self._writing = asyncio.Lock()

    async def open(self) -> None:
        """Open the files and read where they end; cut off an incomplete last line.

        Raises `ConfigError` naming a file that cannot be opened, does not end in an entry, or that
        another process writes.
        """
        async with self._writing:
            for file in self._files:
                await asyncio.to_thread(file.open, self._now_ms())

    async def close(self) -> None:
        """Let go of the files, after what waits has been written."""
        if self._next is not None:
            await asyncio.shield(self._next)
        async with self._writing:
            self._sign = None
            for file in self._files:
                file.close()

    def sign_with(self, sign: Signer | None) -> None:
        """From now on sign checkpoints so; `None` while sealed."""
        self._sign = sign

    @property
    def heads(self) -> Mapping[Path, Head]:
        """The last entry of each file that is open."""
        return {file.path: file.head for file in self._files if file.is_open}

    async def record(
        self,
        action: str,
        outcome: AuditOutcome,
        actor: Actor,
        details: Mapping[str, Detail] | None = None,
    ) -> None:
        """Write an entry, durable on return; see `AuditLog.record`.

        A caller that is cancelled meanwhile has written it all the same.
        """
        if action == CHECKPOINT:
            raise ValueError("audit log: checkpoints are made by the log itself")
        event = Event(action, outcome, actor, details or {}, self._now_ms())
        if not await self._append(event) and self._required and action != SEALED:
            raise AuditUnavailableError(
                "the audit log cannot be written, so nothing was done; see the node's own log"
            )

    async def checkpoint(self) -> None:
        """Sign the newest entries now; nothing happens while sealed."""
        await asyncio.shield(asyncio.ensure_future(self._write_checkpoint()))

    async def run(self) -> None:
        """Make a checkpoint every hour, for as long as this task lives."""
        while True:
            await pause(self._clock, CHECKPOINT_S)
            await self.checkpoint()

    async def _append(self, event: Event) -> bool:
        """Write with all others that wait; returns whether a file took it (or there is none)."""
        if not self._files:
            return True
        self._waiting.append(event)
        if self._next is None:
            self._next = asyncio.ensure_future(self._write_waiting())
        return await asyncio.shield(self._next)

    async def _write_waiting(self) -> bool:
        async with self._writing:
            events, self._waiting, self._next = self._waiting, [], None
            return await asyncio.to_thread(self._write, events)

    async def _write_checkpoint(self) -> None:
        async with self._writing:
            await asyncio.to_thread(self._write_checkpoints, 1)

    def _write(self, events: Sequence[Event]) -> bool:
        written = [self._try(file, lambda file: file.append(events)) for file in self._files]
        self._write_checkpoints(CHECKPOINT_ENTRIES)
        return any(written)

    def _write_checkpoints(self, unsigned: int) -> None:
        """Sign every file that has at least so many entries since its last checkpoint."""
        sign, now = self._sign, self._now_ms()
        if sign is None:
            return
        for file in self._files:
            if file.unsigned >= unsigned:
                self._try(file, lambda file: file.append([checkpoint_event(file.head, sign, now)]))

    def _try(self, file: "_File", write: Callable[["_File"], None]) -> bool:
        try:
            write(file)
        except OSError as problem:
            _log.error("audit_log_not_written", file=str(file.path), problem=problem.strerror)
            return False
        return True

    def _now_ms(self) -> int:
        return self._clock.unix() * 1000


class _File:
    """One file: descriptor, length, head of its chain."""

    def __init__(self, path: Path, replica_id: str) -> None:
        self.path = path
        self.head = Head()
        self.unsigned = 0
        """Entries since the last checkpoint; 1 for any number of them from before the start."""
        self._replica_id = replica_id
        self._descriptor: int | None = None
        self._size = 0
        """How long the file is with whole entries only."""
        self._has_failed = False
        """Whether the last write may have left something behind."""

    @property
    def is_open(self) -> bool:
        return self._descriptor is not None

    def open(self, now_ms: int) -> None:
        """Take the file for this process; raises `ConfigError`."""
        try:
            self._open(now_ms)
        except OSError as problem:
            self.close()
            raise ConfigError(f"audit.files: {self.path}: {problem.strerror}") from problem
        except ConfigError:
            self.close()
            raise

    def append(self, events: Sequence[Event]) -> None:
        """Write entries, durable on return; after an `OSError` none of them counts."""
        if self._descriptor is None:
            raise OSError(0, "the file is not open")
        size = os.fstat(self._descriptor).st_size
        if size < self._size:
            raise OSError(0, "somebody has shortened the file")
        head, lines = self.head, []
        for event in events:
            entry = next_entry(head, self._replica_id, event)
            head = entry.head
            lines.append(entry.line)
        data = b"".join(lines)
        if size > self._size:
            if not self._has_failed:
                _log.error("audit_log_altered", file=str(self.path), bytes=size - self._size)
            os.ftruncate(self._descriptor, self._size)
        self._has_failed = True
        _write_all(self._descriptor, data, self._size)
        os.fsync(self._descriptor)
        self.head, self._size, self._has_failed = head, self._size + len(data), False
        is_signed = events[-1].action == CHECKPOINT
        self.unsigned = 0 if is_signed else self.unsigned + len(events)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self, now_ms: int) -> None:
        is_new = not self.path.exists()
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"audit.files: {self.path} is written by another process; every process of a node "
                "needs a file of its own"
            ) from None
        if is_new:
            _sync_directory(self.path.parent)
        self._size = os.fstat(self._descriptor).st_size
        torn = self._tail(self._size)
        self._size -= len(torn)
        if self._size > 0:
            self._go_on_from(self._tail(self._size - 1))
        if torn:
            self._cut(torn, now_ms)

    def _cut(self, torn: bytes, now_ms: int) -> None:
        """Move an incomplete last line into a file beside, and say so in an entry."""
        beside = self.path.with_name(self.path.name + ".torn")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, torn + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.append([Event(TORN, AuditOutcome.OK, SYSTEM, {"bytes": len(torn)}, now_ms)])

    def _go_on_from(self, line: bytes) -> None:
        try:
            entry = parse_line(line)
        except BadEntryError as problem:
            raise ConfigError(
                f"audit.files: {self.path}: the last line cannot be gone on from: {problem}. Keep "
                "the file as evidence under another name; a new one is begun then"
            ) from None
        self.head = entry.head
        self.unsigned = 0 if entry.fields["action"] == CHECKPOINT else 1

    def _tail(self, end: int) -> bytes:
        """What stands before `end`, back to the last line feed before it."""
        assert self._descriptor is not None
        tail = b""
        while end > 0 and b"\n" not in tail:
            start = max(0, end - _BLOCK)
            tail = os.pread(self._descriptor, end - start, start) + tail
            end = start
        return tail.rpartition(b"\n")[2]


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
