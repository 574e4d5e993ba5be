"""Keys and votes in the database (`keyserver.engine.ports.RecordStore`)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from keyserver.engine.ports import AgedRecord, CatalogueEntry, Offence, StoredVote
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.model.keys import CertifiedRecord
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sessions.core import KeyState
from keyserver.sessions.writes import Write
from keyserver.storage.commits import CommitQueue
from keyserver.storage.database import Database
from keyserver.storage.evidence_rows import add_evidence, load_evidence, load_offences
from keyserver.storage.inspection import absent, aged, catalogue, records, undecided
from keyserver.storage.key_cache import KeyCache
from keyserver.storage.key_rows import load_key
from keyserver.storage.stored_key import StoredKey
from keyserver.storage.vote_rows import load_votes

CACHED_KEYS: Final = 1024

MOST_DAMAGED: Final = 1024
"""Damaged shares that are looked for at a time."""


def _unix() -> int:
    return int(time.time())


class SqlRecordStore:
    """The store of a node; the only one that writes these tables.

    Keys in use are kept in memory, shares included, so that a hot key costs no query.
    """

    def __init__(
        self,
        database: Database,
        boxes: SecretBoxes,
        *,
        cached_keys: int = CACHED_KEYS,
        unix: Callable[[], int] = _unix,
    ) -> None:
        """`unix`: Unix seconds, for the age of records."""
        self._database = database
        self._boxes = boxes
        self._unix = unix
        self._cache = KeyCache(cached_keys)
        self._damaged: set[KeyId] = set()
        """Keys in force whose share was found to be unusable."""
        self._commits = CommitQueue(database, boxes, self._cache, unix)

    async def load(self, key_id: KeyId) -> KeyState:
        """All that is stored about a key; raises `StorageError` for a row that does not parse.

        A share that does not open is as good as absent.
        """
        return (await self._known(key_id)).state

    async def _known(self, key_id: KeyId) -> StoredKey:
        known = self._cache.get(key_id)
        if known is None:
            known = await self._read(key_id)
            if known.damaged and await self._boxes.refresh():
                # A share in a term of another process is not damaged: its term is known now.
                self._cache.drop([key_id])
                known = await self._read(key_id)
        if known.has_damage:
            self._damaged.add(key_id)
        else:
            self._damaged.discard(key_id)
        return known

    async def _read(self, key_id: KeyId) -> StoredKey:
        with self._cache.reading(key_id) as read:
            known = await self._database.read(
                lambda connection: load_key(connection, self._boxes, key_id)
            )
            self._cache.keep(read, known)
        return known

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all or nothing, durably; raises `VoteConflictError` or `StorageError`.

        A caller that is cancelled meanwhile waits for the end of the transaction.
        """
        await self._commits.commit(writes)

    async def catalogue(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        """Active records in ascending order of key id, those after `after`."""
        entries = await catalogue(self._database, after, limit)
        return [self._corrected(entry) for entry in entries]

    async def undecided(self) -> Sequence[KeyId]:
        """Keys with a prepared record, a document candidate or a promise, in ascending order."""
        return await undecided(self._database)

    async def records(self, after: KeyId | None, limit: int) -> Sequence[CertifiedRecord]:
        """The records of the catalogue, in the same order."""
        return await records(self._database, after, limit)

    async def absent(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        """Those of the catalogue of which there is no share here that can be used."""
        for key_id in sorted(self._damaged):
            await self._known(key_id)
        known = sorted(self._damaged)[:MOST_DAMAGED]
        entries = await absent(self._database, after, limit, known)
        return [self._corrected(entry) for entry in entries]

    def _corrected(self, entry: CatalogueEntry) -> CatalogueEntry:
        """A damaged share is no share."""
        return replace(entry, has_share=entry.has_share and entry.key_id not in self._damaged)

    async def aged(self, after: AgedRecord | None, before: int, limit: int) -> Sequence[AgedRecord]:
        """Active records in force since before that time, or in the future; the oldest first."""
        return await aged(self._database, after, before, self._unix(), limit)

    async def votes(self, subject: Hash32) -> Sequence[StoredVote]:
        """This node's own votes on a subject, by round and kind."""
        cast = await self._database.read(lambda connection: load_votes(connection, subject))
        return [
            StoredVote(vote.round, vote.kind, vote.value, vote.evidence)
            for _, vote in sorted(cast.items())
        ]

    async def offences(self) -> Sequence[Offence]:
        """What other nodes were convicted of, the oldest first."""
        return await self._database.read(load_offences)

    async def evidence(self, name: Hash32) -> bytes | None:
        """An encoded record of evidence by its hash."""
        return await self._database.read(lambda connection: load_evidence(connection, name))

    async def keep_evidence(self, offence: Offence, record: bytes) -> None:
        """Keep an offence with its evidence, unless the same one is kept already."""
        await self._database.write(lambda connection: add_evidence(connection, offence, record))
