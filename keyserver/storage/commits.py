"""What sessions write, gathered: all that waits for a transaction goes into the next one together.

A transaction waits for the disk, which takes longer than everything else in it; sessions that run
at the same time wait together.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from keyserver.engine.ports import VoteConflictError
from keyserver.errors import StorageError
from keyserver.model.identifiers import KeyId
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sessions.writes import CastVote, Write
from keyserver.storage.database import Database
from keyserver.storage.key_cache import KeyCache
from keyserver.storage.key_rows import load_key, save_key
from keyserver.storage.stored_key import KeyWrite, StoredKey, applied, grouped
from keyserver.storage.vote_rows import insert_vote, new_votes


@dataclass(frozen=True, slots=True, eq=False)
class _Commit:
    """What one caller wants to be written, all or nothing."""

    votes: Sequence[CastVote]
    writes_by_key: Mapping[KeyId, Sequence[KeyWrite]]


@dataclass(slots=True)
class _Batch:
    """A transaction with the commits of several callers."""

    keys: dict[KeyId, StoredKey]
    """Known at first, and changed in the end."""
    refused: dict[_Commit, VoteConflictError | StorageError] = field(default_factory=dict)
    erased: bool = False
    """Whether a share was erased."""


class CommitQueue:
    """The only writer of keys and votes."""

    def __init__(
        self, database: Database, boxes: SecretBoxes, cache: KeyCache, unix: Callable[[], int]
    ) -> None:
        """`unix`: Unix seconds."""
        self._database = database
        self._boxes = boxes
        self._cache = cache
        self._unix = unix
        self._waiting: list[_Commit] = []
        self._next: asyncio.Future[_Batch] | None = None
        """The transaction of those that wait."""
        self._writing = asyncio.Lock()

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all or nothing, durably; raises `VoteConflictError` or `StorageError`.

        A caller that is cancelled meanwhile waits for the end of the transaction, so that what is
        in memory is always what is on disk.
        """
        wanted = _Commit(*grouped(writes))
        self._waiting.append(wanted)
        if self._next is None:
            self._next = asyncio.ensure_future(self._write_waiting())
        transaction = self._next
        try:
            batch = await asyncio.shield(transaction)
        except asyncio.CancelledError:
            await asyncio.wait([transaction])
            if not transaction.cancelled():
                transaction.exception()  # the caller is gone: nobody else will look at it
            raise
        if wanted in batch.refused:
            raise batch.refused[wanted]

    async def _write_waiting(self) -> _Batch:
        async with self._writing:
            commits, self._waiting, self._next = self._waiting, [], None
            keys = {key_id for each in commits for key_id in each.writes_by_key}
            # Looked up here, as the cache belongs to the event loop; nobody else writes meanwhile.
            found = {key_id: self._cache.get(key_id) for key_id in keys}
            known = {key_id: key for key_id, key in found.items() if key is not None}
            try:
                if len(known) < len(keys):
                    await self._boxes.refresh()  # what is read now may be in a newer term
                batch = await self._database.write(
                    lambda connection: self._write(connection, commits, known)
                )
            except BaseException:
                self._cache.drop(keys)  # with a lost connection nobody knows what was written
                raise
            self._cache.put(batch.keys)
            if batch.erased or self._database.truncation_due:
                await self._database.forget_erased_soon()
        return batch

    def _write(
        self, connection: Connection, commits: Sequence[_Commit], known: Mapping[KeyId, StoredKey]
    ) -> _Batch:
        """One commit after the other; one that is refused leaves nothing, and the others alone."""
        batch = _Batch(dict(known))
        for commit in commits:
            try:
                votes = new_votes(connection, commit.votes)
                changes = self._changes(connection, commit, batch)
            except (VoteConflictError, StorageError) as problem:
                batch.refused[commit] = problem
                continue
            for vote in votes:
                insert_vote(connection, vote)
            for key_id, (before, after) in changes.items():
                erased = save_key(connection, self._boxes, key_id, before, after)
                batch.erased = batch.erased or erased
                batch.keys[key_id] = after
        return batch

    def _changes(
        self, connection: Connection, commit: _Commit, batch: _Batch
    ) -> dict[KeyId, tuple[StoredKey, StoredKey]]:
        """Every key before and after the commit; nothing is written yet."""
        changes = {}
        for key_id, writes in commit.writes_by_key.items():
            if key_id not in batch.keys:
                batch.keys[key_id] = load_key(connection, self._boxes, key_id)
            before = batch.keys[key_id]
            changes[key_id] = before, applied(before, writes, now=self._unix())
        return changes
