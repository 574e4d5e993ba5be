"""Keys and votes in the database (`keyserver.engine.ports.RecordStore`)."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select

from keyserver.engine.ports import CatalogueEntry, StoredVote
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sessions.core import CastVote, KeyState, VoteKind, Write
from keyserver.storage.database import Database
from keyserver.storage.inspection import catalogue, undecided
from keyserver.storage.key_rows import load_key, reading, save_key
from keyserver.storage.schema import VOTES
from keyserver.storage.stored_key import KeyWrite, StoredKey, applied, check_vote, grouped

CACHED_KEYS: Final = 1024

_SELECT_VOTES: Final = select(VOTES).where(VOTES.c.subject == bindparam("subject"))
_INSERT_VOTE: Final = insert(VOTES)


class SqlRecordStore:
    """The store of a node; the only one that writes these tables.

    Keys in use are kept in memory, shares included, so that a hot key costs no query.
    """

    def __init__(
        self, database: Database, boxes: SecretBoxes, *, cached_keys: int = CACHED_KEYS
    ) -> None:
        self._database = database
        self._boxes = boxes
        self._cache = _KeyCache(cached_keys)
        self._committing = asyncio.Lock()

    async def load(self, key_id: KeyId) -> KeyState:
        """All that is stored about a key; raises `StorageError` for a row that does not open."""
        known = self._cache.get(key_id)
        if known is None:
            generation = self._cache.generation
            known = await self._database.read(
                lambda connection: load_key(connection, self._boxes, key_id)
            )
            self._cache.keep(key_id, known, generation)
        return known.state

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all or nothing, durably; raises `VoteConflictError` or `StorageError`.

        A caller that is cancelled meanwhile waits for the end of the transaction, so that what is
        in memory is always what is on disk.
        """
        transaction = asyncio.ensure_future(self._commit(writes))
        try:
            await asyncio.shield(transaction)
        except asyncio.CancelledError:
            await asyncio.wait([transaction])
            if not transaction.cancelled():
                transaction.exception()  # the caller is gone: nobody else will look at it
            raise

    async def catalogue(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        """Active records in ascending order of key id, those after `after`."""
        return await catalogue(self._database, after, limit)

    async def undecided(self) -> Sequence[KeyId]:
        """Keys with a prepared record or a document candidate, in ascending order."""
        return await undecided(self._database)

    async def votes(self, subject: Hash32) -> Sequence[StoredVote]:
        """This node's own votes on a subject, by round and kind."""
        cast = await self._database.read(lambda connection: _votes(connection, subject))
        return [
            StoredVote(vote.round, vote.kind, vote.value, vote.evidence)
            for _, vote in sorted(cast.items())
        ]

    async def _commit(self, writes: Sequence[Write]) -> None:
        votes, by_key = grouped(writes)
        async with self._committing:
            # Taken here, as the cache belongs to the event loop; nobody else writes meanwhile.
            known = {key_id: self._cache.get(key_id) for key_id in by_key}

            def write(connection: Connection) -> tuple[dict[KeyId, StoredKey], bool]:
                for vote in votes:
                    _cast(connection, vote)
                return self._change(connection, known, by_key)

            try:
                after, erased = await self._database.write(write)
            except BaseException:
                self._cache.drop(by_key)  # with a lost connection nobody knows what was written
                raise
            self._cache.put(after)
        if erased or self._database.truncation_due:
            await self._database.forget_erased()

    def _change(
        self,
        connection: Connection,
        known: Mapping[KeyId, StoredKey | None],
        by_key: Mapping[KeyId, Sequence[KeyWrite]],
    ) -> tuple[dict[KeyId, StoredKey], bool]:
        """The keys after their writes, and whether a share was erased."""
        changed, erased = {}, False
        for key_id, writes in by_key.items():
            before = known[key_id] or load_key(connection, self._boxes, key_id)
            after = changed[key_id] = applied(before, writes)
            erased = save_key(connection, self._boxes, key_id, before, after) or erased
        return changed, erased


def _votes(connection: Connection, subject: Hash32) -> Mapping[tuple[int, VoteKind], CastVote]:
    rows = connection.execute(_SELECT_VOTES, {"subject": subject})
    cast = {}
    for row in rows:
        with reading(VOTES, subject):
            kind = VoteKind(row.kind)
            value = Hash32(row.value)
        cast[row.round, kind] = CastVote(subject, row.round, kind, value, row.evidence)
    return cast


def _cast(connection: Connection, vote: CastVote) -> None:
    if not check_vote(_votes(connection, vote.subject), vote):
        return
    connection.execute(
        _INSERT_VOTE,
        {
            "subject": vote.subject,
            "round": vote.round,
            "kind": int(vote.kind),
            "value": vote.value,
            "evidence": vote.evidence,
        },
    )


class _KeyCache:
    """The keys used last, as they are on disk."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._keys: OrderedDict[KeyId, StoredKey] = OrderedDict()
        self.generation = 0
        """Counted up by every change: what was read before it may be out of date."""

    def get(self, key_id: KeyId) -> StoredKey | None:
        known = self._keys.get(key_id)
        if known is not None:
            self._keys.move_to_end(key_id)
        return known

    def keep(self, key_id: KeyId, key: StoredKey, generation: int) -> None:
        """Keep what was read in this generation, unless something was written since."""
        if generation == self.generation:
            self._put(key_id, key)

    def put(self, keys: Mapping[KeyId, StoredKey]) -> None:
        """Keep what was written."""
        self.generation += 1
        for key_id, key in keys.items():
            self._put(key_id, key)

    def drop(self, keys: Iterable[KeyId]) -> None:
        """Forget keys, so that they are read again."""
        self.generation += 1
        for key_id in keys:
            self._keys.pop(key_id, None)

    def _put(self, key_id: KeyId, key: StoredKey) -> None:
        self._keys[key_id] = key
        self._keys.move_to_end(key_id)
        if len(self._keys) > self._size:
            self._keys.popitem(last=False)
