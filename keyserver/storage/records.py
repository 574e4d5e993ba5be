"""Keys and votes in the database (`keyserver.engine.ports.RecordStore`)."""

from collections.abc import Sequence
from typing import Final

from keyserver.engine.ports import CatalogueEntry, Offence, StoredVote
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sessions.core import KeyState
from keyserver.sessions.writes import Write
from keyserver.storage.commits import CommitQueue
from keyserver.storage.database import Database
from keyserver.storage.evidence_rows import add_evidence, load_evidence, load_offences
from keyserver.storage.inspection import absent, catalogue, undecided
from keyserver.storage.key_cache import KeyCache
from keyserver.storage.key_rows import load_key
from keyserver.storage.vote_rows import load_votes

CACHED_KEYS: Final = 1024


class SqlRecordStore:
    """The store of a node; the only one that writes these tables.

    Keys in use are kept in memory, shares included, so that a hot key costs no query.
    """

    def __init__(
        self, database: Database, boxes: SecretBoxes, *, cached_keys: int = CACHED_KEYS
    ) -> None:
        self._database = database
        self._boxes = boxes
        self._cache = KeyCache(cached_keys)
        self._commits = CommitQueue(database, boxes, self._cache)

    async def load(self, key_id: KeyId) -> KeyState:
        """All that is stored about a key; raises `StorageError` for a row that does not open."""
        known = self._cache.get(key_id)
        if known is None:
            with self._cache.reading(key_id) as read:
                known = await self._database.read(
                    lambda connection: load_key(connection, self._boxes, key_id)
                )
                self._cache.keep(read, known)
        return known.state

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all or nothing, durably; raises `VoteConflictError` or `StorageError`.

        A caller that is cancelled meanwhile waits for the end of the transaction.
        """
        await self._commits.commit(writes)

    async def catalogue(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        """Active records in ascending order of key id, those after `after`."""
        return await catalogue(self._database, after, limit)

    async def undecided(self) -> Sequence[KeyId]:
        """Keys with a prepared record, a document candidate or a promise, in ascending order."""
        return await undecided(self._database)

    async def absent(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        """Those of the catalogue of which there is no share here."""
        return await absent(self._database, after, limit)

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
