"""What this node answers when peers ask for what it has (engine design, section 14.3)."""

import structlog

from keyserver.crypto.hashing import tagged_hash
from keyserver.engine.acceptance import facts_of, is_decided, is_empty
from keyserver.engine.links import (
    DOCUMENT_FLAG,
    MAX_ANSWER_BYTES,
    MAX_PAGE,
    SHARE_FLAG,
    Answer,
    CataloguePage,
    CatalogueRequest,
    DecisionRequest,
    Digest,
    DigestRequest,
    Entry,
    HeldRecord,
    Holding,
    HoldingRequest,
    KeyFacts,
    Keys,
    KeysRequest,
    Request,
)
from keyserver.engine.ports import CatalogueEntry, RecordStore
from keyserver.errors import StorageError
from keyserver.model.codec import encode
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.sessions.core import KeyState

log = structlog.get_logger()


class Answerer:
    """Answers from the store; raises `StorageError` when that fails."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store

    async def answer_to(self, question: Request) -> Answer:
        """The answer to a question."""
        store, number = self._store, question.number
        match question:
            case DigestRequest():
                return await self.digest(number)
            case CatalogueRequest(_, after, limit):
                page = await store.catalogue(after, min(limit, MAX_PAGE))
                return CataloguePage(number, tuple(_entry(entry) for entry in page))
            case KeysRequest(_, key_ids):
                return Keys(number, await self._known(key_ids))
            case DecisionRequest(_, subject):
                state = await store.load(subject.key_id)
                decided = is_decided(subject, state)
                return Keys(number, (facts_of(subject.key_id, state),) if decided else ())
            case HoldingRequest(_, key_id, version):
                return Holding(number, _held(await store.load(key_id), version))

    async def _known(self, key_ids: tuple[KeyId, ...]) -> tuple[KeyFacts, ...]:
        """Facts about those keys that this node knows, as many as have room in an answer."""
        found: list[KeyFacts] = []
        size = 0
        for key_id in key_ids:
            try:
                facts = facts_of(key_id, await self._store.load(key_id))
            except StorageError as problem:
                log.error("key_unusable", key_id=key_id, problem=str(problem))
                continue
            if is_empty(facts):
                continue
            size += len(encode(facts))
            if found and size > MAX_ANSWER_BYTES:
                break
            found.append(facts)
        return tuple(found)

    async def digest(self, number: int) -> Digest:
        """What this node's catalogue comes to."""
        keys, documents = bytearray(), bytearray()
        after: KeyId | None = None
        while page := await self._store.catalogue(after, MAX_PAGE):
            for entry in page:
                keys += entry.key_id + entry.version.to_bytes(4, "big") + entry.record_hash
                documents += entry.key_id if entry.has_document else b""
            after = page[-1].key_id
        return Digest(number, _digest(keys), _digest(documents))

    async def between(self, after: KeyId | None, last: KeyId) -> dict[KeyId, CatalogueEntry]:
        """This node's own entries after one key id, up to and with another."""
        found: dict[KeyId, CatalogueEntry] = {}
        while page := await self._store.catalogue(after, MAX_PAGE):
            found |= {entry.key_id: entry for entry in page if entry.key_id <= last}
            after = page[-1].key_id
            if after >= last:
                break
        return found


def _digest(lines: bytearray) -> Hash32:
    return Hash32(tagged_hash("tks/1/catalogue", bytes(lines)))


def _entry(entry: CatalogueEntry) -> Entry:
    flags = (SHARE_FLAG if entry.has_share else 0) | (DOCUMENT_FLAG if entry.has_document else 0)
    return Entry(entry.key_id, entry.version, entry.record_hash, flags)


def _held(state: KeyState, version: int) -> HeldRecord | None:
    active, prepared = state.active, state.prepared
    if active is not None and active.record.version == version:
        return HeldRecord(active.record, active.certificate.holding)
    if prepared is None or prepared.holding is None or prepared.record.version != version:
        return None
    return HeldRecord(prepared.record, prepared.holding)
