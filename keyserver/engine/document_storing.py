"""Having the nodes agree on a document key, also where another one is wanted at the same time.

A node votes for the first document key that it is asked to store, so of two that are stored in the
same moment each may have too few votes. Then both coordinators give up, which has the attempt
decided at once (section 7.6), and try again: the better one for the key at once, the others later,
when there is something stored already.

A request in a contract is every node's: what any of them had stored for it is a success for all. A
client's own request is one node's, and what was stored through another node is stored already.
"""

import asyncio
from dataclasses import replace

from keyserver.engine.credentials import CredentialSource, signer_of
from keyserver.engine.driver import Driver
from keyserver.engine.knowledge import Knowledge
from keyserver.engine.ports import RecordStore
from keyserver.engine.turns import rank
from keyserver.model.identifiers import KeyId
from keyserver.model.keys import CertifiedDocumentKey, DocumentKey
from keyserver.model.requests import GenerateServerKey, StoreDocumentKey
from keyserver.sessions.core import (
    DeniedError,
    SessionError,
    SessionKind,
    UnavailableError,
)
from keyserver.sessions.storing import STORING, Target

ATTEMPTS = 3
"""Sessions in all where others store something else."""

DECIDED_WITHIN_S = 8.0
"""How long to wait for the decision about an attempt that came to nothing."""

LOOK_EVERY_S = 0.1
"""How often to look whether it is there."""

LAST_RANK_WAITS_S = 2.0
"""How long the worst coordinator for a key lets the others go first; better ones wait less."""

STORED = "DocumentKeyAlreadyStored"
CONTENDED = "DuplicateSessionId"


class DocumentStoring:
    """Runs storing sessions as coordinator, one document key after another."""

    def __init__(self, driver: Driver, store: RecordStore, knowledge: Knowledge) -> None:
        self._driver = driver
        self._store = store
        self._knowledge = knowledge

    async def target(self, key_id: KeyId) -> Target:
        """What a storing begins from; raises `DeniedError` if it cannot."""
        known = await self._knowledge.key(key_id)
        if known.state.document is not None:
            raise DeniedError("a document key is stored already", STORED)
        return Target(known.record, known.state.document_skipped)

    async def store(
        self,
        operation: StoreDocumentKey | GenerateServerKey,
        credential: CredentialSource,
        made_here: DocumentKey | None,
    ) -> CertifiedDocumentKey:
        """Have the nodes agree; raises the `SessionError` that stands behind a failure."""
        key_id = operation.key_id
        asked_of_all = signer_of(credential) is None
        wanted = operation.document if isinstance(operation, StoreDocumentKey) else made_here
        others_began = self._driver.takes_part(SessionKind.STORING, key_id)
        await self._driver.settle(SessionKind.STORING, key_id)
        for attempt in range(1, ATTEMPTS + 1):
            may_be_mine = asked_of_all or attempt > 1
            stored = await self._stored(key_id, wanted) if others_began and may_be_mine else None
            if stored is not None:
                return stored
            target = replace(await self.target(key_id), made_here=made_here)
            await self._driver.changes.wait_until_thawed()  # it took a while to know the target
            try:
                result = await self._driver.execute(STORING, operation, credential, target)
            except SessionError as error:
                if isinstance(error, DeniedError) and not may_be_mine:
                    raise
                stored = await self._stored_all_the_same(key_id, wanted, error)
                if stored is not None:
                    return stored
                failure = self._named(key_id, error)
                if attempt == ATTEMPTS or not await self._is_decided(key_id, target, failure):
                    raise failure from error
                others_began = True
            else:
                assert isinstance(result, CertifiedDocumentKey)
                return result
        raise AssertionError("the last attempt has returned or raised")

    async def _stored_all_the_same(
        self, key_id: KeyId, wanted: DocumentKey | None, error: SessionError
    ) -> CertifiedDocumentKey | None:
        """What was decided although this session failed; raises what stands behind the failure."""
        if isinstance(error, DeniedError) and error.code != STORED:
            raise error
        stored = await self._stored(key_id, wanted)
        if stored is None and isinstance(error, DeniedError):
            raise error
        return stored

    def _named(self, key_id: KeyId, error: SessionError) -> SessionError:
        if self._driver.takes_part(SessionKind.STORING, key_id):
            return UnavailableError("another session stores under this key", CONTENDED)
        return error

    async def _stored(
        self, key_id: KeyId, wanted: DocumentKey | None
    ) -> CertifiedDocumentKey | None:
        """The document key if there is one; raises `DeniedError` if it is another."""
        found = (await self._knowledge.key(key_id)).state.document
        if found is not None and found.document != wanted:
            raise DeniedError("another document key was stored", STORED)
        return found

    async def _is_decided(self, key_id: KeyId, target: Target, error: SessionError) -> bool:
        """Wait for what becomes of an attempt in which others wanted something else.

        False if nobody did, or if it takes too long.
        """
        if error.code != CONTENDED:
            return False
        for _ in range(round(DECIDED_WITHIN_S / LOOK_EVERY_S)):
            state = await self._store.load(key_id)
            if state.document is not None or state.next_document_attempt > target.attempt:
                await self._let_better_ones_go_first(key_id)
                return True
            await asyncio.sleep(LOOK_EVERY_S)
        return False

    async def _let_better_ones_go_first(self, key_id: KeyId) -> None:
        nodes = self._driver.node_set.nodes
        place, _ = rank(key_id, self._driver.me, nodes)
        await asyncio.sleep(LAST_RANK_WAITS_S * place / len(nodes))
        await self._driver.settle(SessionKind.STORING, key_id)
