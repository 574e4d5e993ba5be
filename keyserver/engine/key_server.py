"""The one surface through which handlers, HTTP and the command line use the key server.

It finds the record, chooses whom to ask, and retries without those who failed; callers know none
of that (architecture, section 5).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from keyserver.crypto.ecies import encrypt
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.driver import CredentialSource, Driver, Opening
from keyserver.engine.ports import RecordStore
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord, DocumentKey
from keyserver.model.requests import (
    Credential,
    GenerateServerKey,
    RetrieveDocumentKey,
    StoreDocumentKey,
)
from keyserver.sessions.core import DeniedError, KeyState, UnavailableError
from keyserver.sessions.outcomes import PlainResult, ShadowResult
from keyserver.sessions.retrieval import RETRIEVAL
from keyserver.sessions.retrieval import Target as RetrievalTarget
from keyserver.sessions.sharing import GENERATION
from keyserver.sessions.storing import STORING
from keyserver.sessions.storing import Target as StoringTarget


class Catalogue(Protocol):
    """What other nodes have (`keyserver.engine.catalogue`)."""

    async def fetch(self, key_id: KeyId) -> "Found":
        """Ask the connected peers for a key; verified against certificates."""
        ...

    def holders(self, key_id: KeyId) -> frozenset[NodeId]:
        """Nodes that announced a share beyond those in the certificate."""
        ...


class Found(Protocol):
    """The best of what this node and its peers have."""

    @property
    def record(self) -> CertifiedRecord | None:
        """The highest certified record."""
        ...

    @property
    def document(self) -> CertifiedDocumentKey | None:
        """The certified document key."""
        ...


class KeyServerApi(Protocol):
    """What `KeyServer` offers. All methods raise `DeniedError` (final) or `UnavailableError`."""

    async def key_state(self, key_id: KeyId) -> KeyState:
        """What this node itself has stored."""
        ...

    async def find_record(self, key_id: KeyId) -> CertifiedRecord | None:
        """This node's record, else the highest certified one that a peer shows."""
        ...

    async def generate_server_key(
        self, key_id: KeyId, threshold: int, credential: Credential
    ) -> CertifiedRecord:
        """Run a generation as coordinator."""
        ...

    async def store_document_key(
        self, key_id: KeyId, document: DocumentKey, credential: Credential
    ) -> CertifiedDocumentKey:
        """Have the nodes agree on the document key of a server key."""
        ...

    async def retrieve_shadow(self, key_id: KeyId, credential: Credential) -> ShadowResult:
        """Decrypt in shadow form for the requester that the credential names."""
        ...

    async def retrieve_plain(self, key_id: KeyId, credential: Credential) -> bytes:
        """Decrypt; the result is the ECIES message to the requester, 177 bytes."""
        ...

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers with a connection now, and this node."""
        ...


class KeyServer:
    """The engine as its callers see it."""

    def __init__(
        self, driver: Driver, store: RecordStore, catalogue: Catalogue, random: RandomSource
    ) -> None:
        self._driver = driver
        self._store = store
        self._catalogue = catalogue
        self._random = random
        self._busy: set[tuple[str, KeyId]] = set()

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers with a connection now, and this node."""
        return self._driver.connected

    async def key_state(self, key_id: KeyId) -> KeyState:
        """What this node itself has stored."""
        return await self._store.load(key_id)

    async def find_record(self, key_id: KeyId) -> CertifiedRecord | None:
        """This node's record, else the highest certified one that a peer shows."""
        state = await self._store.load(key_id)
        return state.active or (await self._catalogue.fetch(key_id)).record

    async def generate_server_key(
        self, key_id: KeyId, threshold: int, credential: Credential
    ) -> CertifiedRecord:
        """Run a generation as coordinator.

        Raises `DeniedError` (exists already, bad threshold) or `UnavailableError`.
        """
        operation = GenerateServerKey(key_id, threshold)
        with _Exclusive(self._busy, "generation", key_id):
            try:
                result = await self._driver.execute(
                    GENERATION, operation, _always(credential), None
                )
            except UnavailableError as error:
                # a decision that this node missed may be why; the next attempt then has it
                found = await self._catalogue.fetch(key_id)
                if error.code != "ServerKeyAlreadyGenerated" or found.record is None:
                    raise
                raise DeniedError("another node has the key already", error.code) from error
        assert isinstance(result, CertifiedRecord)
        return result

    async def store_document_key(
        self, key_id: KeyId, document: DocumentKey, credential: Credential
    ) -> CertifiedDocumentKey:
        """Have the nodes agree on the document key of a server key.

        Raises `DeniedError` (unknown key, another document key, not the author) or
        `UnavailableError`.
        """
        operation = StoreDocumentKey(key_id, document)
        with _Exclusive(self._busy, "storing", key_id):
            state = await self._known(key_id)
            record = _record_of(state)
            target = StoringTarget(record, state.document_skipped)
            result = await self._driver.execute(STORING, operation, _always(credential), target)
        assert isinstance(result, CertifiedDocumentKey)
        return result

    async def retrieve_shadow(self, key_id: KeyId, credential: Credential) -> ShadowResult:
        """Decrypt in shadow form for the requester that the credential names."""
        result = await self._retrieve(RetrieveDocumentKey(key_id), credential)
        assert isinstance(result, ShadowResult)
        return result

    async def retrieve_plain(self, key_id: KeyId, credential: Credential) -> bytes:
        """Decrypt; the result is the ECIES message to the requester, 177 bytes."""
        result = await self._retrieve(RetrieveDocumentKey(key_id, shadow=False), credential)
        assert isinstance(result, PlainResult)
        return encrypt(result.recipient, result.document_key.raw64, self._random)

    async def _retrieve(self, operation: RetrieveDocumentKey, credential: Credential) -> object:
        state = await self._known(operation.key_id)
        record, document = _record_of(state), state.document
        if document is None:
            raise DeniedError("no document key is stored", "DocumentKeyIsNotFound")
        target = RetrievalTarget(record, document, self._holders_in_order(record, state))
        return await self._driver.execute(RETRIEVAL, operation, _always(credential), target)

    async def _known(self, key_id: KeyId) -> KeyState:
        """What this node has, completed by what its peers can prove."""
        state = await self._store.load(key_id)
        if state.active is not None and state.document is not None:
            return state
        found = await self._catalogue.fetch(key_id)
        state = await self._store.load(key_id)
        return replace(
            state,
            active=state.active or found.record,
            document=state.document or found.document,
        )

    def _holders_in_order(self, certified: CertifiedRecord, state: KeyState) -> tuple[NodeId, ...]:
        """Whom to ask for shares: this node first, the rest at random."""
        record = certified.record
        signers = {entry.node for entry in certified.certificate.holding.signatures}
        holders = (signers | self._catalogue.holders(record.key_id)) & set(record.nodes)
        me = self._driver.me
        others = _shuffled(sorted(holders - {me}), self._random)
        return (me, *others) if me in holders and state.share is not None else tuple(others)


def _record_of(state: KeyState) -> CertifiedRecord:
    if state.active is None:
        raise DeniedError("the key is not known", "ServerKeyIsNotFound")
    return state.active


def _always(credential: Credential) -> CredentialSource:
    def of(_: Opening) -> Credential:
        return credential

    return of


def _shuffled(nodes: Sequence[NodeId], random: RandomSource) -> list[NodeId]:
    keyed = [(random.bytes(8), node) for node in nodes]
    return [node for _, node in sorted(keyed)]


class _Exclusive:
    """One session of a purpose and key at a time, as coordinator."""

    def __init__(self, busy: set[tuple[str, KeyId]], purpose: str, key_id: KeyId) -> None:
        self._busy = busy
        self._key = (purpose, key_id)

    def __enter__(self) -> None:
        if self._key in self._busy:
            raise UnavailableError("a session for this key runs already", "DuplicateSessionId")
        self._busy.add(self._key)

    def __exit__(self, *_: object) -> None:
        self._busy.discard(self._key)


__all__ = ["Catalogue", "Found", "KeyServer", "KeyServerApi", "ShadowResult"]
