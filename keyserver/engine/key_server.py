"""The one surface through which handlers, HTTP and the command line use the key server.

It finds the record, chooses whom to ask, and retries without those who failed; callers know none
of that (architecture, section 5).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.ecies import encrypt
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.credentials import CredentialSource, signer_of, source_of
from keyserver.engine.document_storing import DocumentStoring
from keyserver.engine.driver import Driver
from keyserver.engine.knowledge import Catalogue, Found, Knowledge, Known
from keyserver.engine.ports import RecordStore
from keyserver.engine.presignature_stock import PresignatureStock
from keyserver.engine.signing import Signing
from keyserver.model.identifiers import Address, KeyId, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord, DocumentKey
from keyserver.model.quorums import Quorums
from keyserver.model.requests import (
    Credential,
    GenerateServerKey,
    RetrieveDocumentKey,
    SignMessage,
    StoreDocumentKey,
)
from keyserver.sessions.core import DeniedError, KeyState, SessionKind, StaleError, UnavailableError
from keyserver.sessions.outcomes import EcdsaResult, PlainResult, ShadowResult, SignatureResult
from keyserver.sessions.retrieval import RETRIEVAL
from keyserver.sessions.retrieval import Target as RetrievalTarget
from keyserver.sessions.sharing import GENERATION

R = TypeVar("R")

VERSION_PAUSES_S = (0.0, 0.3, 1.0, 3.0)
"""How long to wait before each further attempt while not all nodes have the same version."""


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

    async def sign(
        self, operation: SignMessage, credential: Credential
    ) -> SignatureResult | EcdsaResult:
        """Have a message signed by the key."""
        ...

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers with a connection now, and this node."""
        ...


class KeyServer:
    """The engine as its callers see it."""

    def __init__(
        self,
        driver: Driver,
        store: RecordStore,
        catalogue: Catalogue,
        random: RandomSource,
        presignatures: int = 0,
    ) -> None:
        """`presignatures`: how many to have ready for each key that ECDSA is signed with."""
        self._driver = driver
        self._store = store
        self._catalogue = catalogue
        self._random = random
        self._knowledge = Knowledge(driver, store, catalogue)
        self._storing = DocumentStoring(driver, store, self._knowledge)
        self._busy: set[tuple[SessionKind, KeyId]] = set()
        self.signing = Signing(
            driver,
            store,
            self._knowledge,
            holders=self._holders_of,
            stock=PresignatureStock(time_of_loop),
            in_advance=presignatures,
        )
        """Its `keep_stocked` is for whoever runs this node's tasks."""

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers with a connection now, and this node."""
        return self._driver.connected

    async def key_state(self, key_id: KeyId) -> KeyState:
        """What this node itself has stored."""
        return await self._store.load(key_id)

    async def find_record(self, key_id: KeyId) -> CertifiedRecord | None:
        """This node's record, else the highest certified one that a peer shows."""
        return await self._knowledge.record(key_id)

    async def generate_server_key(
        self, key_id: KeyId, threshold: int, credential: Credential | CredentialSource
    ) -> CertifiedRecord:
        """Run a generation as coordinator.

        Raises `DeniedError` (exists already, bad threshold) or `UnavailableError`. Which of two
        failures that coincide is told: the HTTP interface, section 6.
        """
        return await self._generate(GenerateServerKey(key_id, threshold), credential)

    async def generate_both(
        self,
        key_id: KeyId,
        threshold: int,
        credential: Credential | CredentialSource,
        recipient: Point,
    ) -> bytes:
        """Generate a server key and a document key of this node's making (op 3).

        The result is the document key in an ECIES message to the requester, 177 bytes. Raises as
        the two steps do; if only the second fails, the server key stays.
        """
        operation = GenerateServerKey(key_id, threshold, with_document_key=True)
        certified = await self._generate(operation, credential)
        document_key = SecretScalar.random(self._random).public()
        sealed = encrypt_document_key(certified.record.public, document_key, self._random)
        document = DocumentKey(sealed.common, sealed.encrypted)
        await self._store_document(operation, credential, document)
        return encrypt(recipient, document_key.raw64, self._random)

    async def store_document_key(
        self, key_id: KeyId, document: DocumentKey, credential: Credential | CredentialSource
    ) -> CertifiedDocumentKey:
        """Have the nodes agree on the document key of a server key.

        Raises `DeniedError` (unknown key, another document key, not the author) or
        `UnavailableError`.
        """
        return await self._store_document(StoreDocumentKey(key_id, document), credential, None)

    async def check_storing(self, key_id: KeyId, requester: Address) -> None:
        """Raise what storing under this id would raise for the requester, whatever the points."""
        self._check_connected()
        self._check_idle(SessionKind.STORING, key_id)
        target = await self._storing.target(key_id)
        _check_author(target.record, requester)

    async def retrieve_server_key(self, key_id: KeyId, requester: Address) -> CertifiedRecord:
        """The key of an author, if enough connected nodes hold it for using it.

        Raises `DeniedError` (unknown, not the author) or `UnavailableError`.
        """
        self._check_admitted()
        known = await self._knowledge.key(key_id)
        certified = known.record
        holders = self._holders_in_order(certified, known.state)
        reachable = sum(node in self.connected for node in holders)
        if reachable < certified.record.required_nodes:
            raise UnavailableError("too few holders are connected", "ConsensusUnreachable")
        _check_author(certified, requester)
        return certified

    async def retrieve_shadow(
        self,
        key_id: KeyId,
        credential: Credential | CredentialSource,
        exclude: frozenset[NodeId] = frozenset(),
    ) -> ShadowResult:
        """Decrypt in shadow form for the requester that the credential names.

        Nodes in `exclude` are not asked: the requester has found their shadows to be wrong.
        """
        result = await self._retrieve(RetrieveDocumentKey(key_id), credential, exclude)
        assert isinstance(result, ShadowResult)
        return result

    async def retrieve_plain(
        self, key_id: KeyId, credential: Credential | CredentialSource
    ) -> bytes:
        """Decrypt; the result is the ECIES message to the requester, 177 bytes."""
        result = await self._retrieve(RetrieveDocumentKey(key_id, shadow=False), credential)
        assert isinstance(result, PlainResult)
        return encrypt(result.recipient, result.document_key.raw64, self._random)

    async def sign(
        self, operation: SignMessage, credential: Credential | CredentialSource
    ) -> SignatureResult | EcdsaResult:
        """Have a message signed by the key; a contract's signature is for everybody.

        Where the requester asks over HTTP: `sign_sealed`.
        """
        source = source_of(credential)
        with self.signing.counts.counted(operation.scheme):
            self._check_admitted()
            return await self._with_version_in_force(
                operation.key_id, lambda: self.signing.sign(operation, source)
            )

    async def sign_sealed(
        self, operation: SignMessage, credential: Credential | CredentialSource
    ) -> bytes:
        """The same; the result is an ECIES message to the requester, 113 bytes longer.

        Within: `c || s` (64 bytes), `R || z` (65) or `r || s || v` (65).
        """
        result = await self.sign(operation, credential)
        assert result.recipient is not None, "only a contract names no key"
        if isinstance(result, EcdsaResult):
            return encrypt(result.recipient, bytes(result.signature), self._random)
        return encrypt(result.recipient, result.signature.encode(), self._random)

    # --- the operations with their checks in order ------------------------------------------------

    async def _generate(
        self, operation: GenerateServerKey, credential: Credential | CredentialSource
    ) -> CertifiedRecord:
        key_id = operation.key_id
        self._driver.changes.check_open()
        await self._driver.changes.wait_until_thawed()
        self._check_connected()
        with _Exclusive(self._busy, SessionKind.GENERATION, key_id):
            await self._check_not_generated(key_id)
            if operation.threshold >= len(self._driver.node_set):
                raise DeniedError("too few nodes for the threshold", "NotEnoughNodesForThreshold")
            try:
                result = await self._driver.execute(
                    GENERATION, operation, source_of(credential), None
                )
            except UnavailableError as error:
                raise await self._generation_error(key_id, error) from error
        assert isinstance(result, CertifiedRecord)
        return result

    async def _check_not_generated(self, key_id: KeyId) -> None:
        """Another node may be generating it here, too: if that is all but done, see its end."""
        if self._driver.is_occupied(key_id):
            prepared = (await self._store.load(key_id)).prepared
            if prepared is None or prepared.holding is None:
                raise _duplicate()
            await self._driver.settle(SessionKind.GENERATION, key_id)
        if (await self._store.load(key_id)).active is not None:
            raise DeniedError("the key exists", "ServerKeyAlreadyGenerated")

    async def _generation_error(
        self, key_id: KeyId, error: UnavailableError
    ) -> UnavailableError | DeniedError:
        """Say what stands behind a failure: the key exists, or another generation is under way.

        Final only if a node refused because of the key: else it may be the one asked for, decided
        although this session failed, and whoever asks again gets it.
        """
        exists = "ServerKeyAlreadyGenerated"
        if await self._knowledge.record(key_id) is not None:
            kind = DeniedError if error.code == exists else UnavailableError
            return kind("another node has the key already", exists)
        state = await self._store.load(key_id)
        if state.prepared is not None or self._driver.is_occupied(key_id):
            return _duplicate()
        return error

    async def _store_document(
        self,
        operation: StoreDocumentKey | GenerateServerKey,
        credential: Credential | CredentialSource,
        made_here: DocumentKey | None,
    ) -> CertifiedDocumentKey:
        key_id = operation.key_id
        self._driver.changes.check_open()
        await self._driver.changes.wait_until_thawed()
        self._check_connected()
        await self._turn_strangers_away(key_id, credential)
        with _Exclusive(self._busy, SessionKind.STORING, key_id):
            return await self._storing.store(operation, source_of(credential), made_here)

    async def _turn_strangers_away(
        self, key_id: KeyId, credential: Credential | CredentialSource
    ) -> None:
        """Raise for whoever is not the author: strangers must not keep the author waiting."""
        signer = signer_of(credential)
        if signer is None:
            return
        known = (await self._store.load(key_id)).active
        if known is None or known.record.author != signer:
            await self.check_storing(key_id, signer)

    async def _retrieve(
        self,
        operation: RetrieveDocumentKey,
        credential: Credential | CredentialSource,
        exclude: frozenset[NodeId] = frozenset(),
    ) -> object:
        self._check_admitted()
        source = source_of(credential)

        async def attempt() -> object:
            target = await self._target(operation.key_id, exclude)
            return await self._attempts(operation, source, target)

        return await self._with_version_in_force(operation.key_id, attempt)

    async def _with_version_in_force(self, key_id: KeyId, attempt: Callable[[], Awaitable[R]]) -> R:
        """Use a key, again where a new version of it comes into force meanwhile."""
        for pause_s in VERSION_PAUSES_S:
            try:
                return await attempt()
            except StaleError:
                await asyncio.sleep(pause_s)
                await self._catalogue.fetch(key_id)
        return await attempt()

    async def _target(self, key_id: KeyId, exclude: frozenset[NodeId]) -> RetrievalTarget:
        known, document = await self._knowledge.key_with_document(key_id)
        holders = self._holders_in_order(known.record, known.state)
        return RetrievalTarget(known.record, document, holders, exclude)

    async def _attempts(
        self, operation: RetrieveDocumentKey, credential: CredentialSource, target: RetrievalTarget
    ) -> object:
        """At most f + 1 sessions, each without the nodes that failed in those before."""
        record = target.record.record
        faulty = Quorums.of(len(record.committee), self._driver.policy.max_faulty).faulty
        for _ in range(faulty):
            try:
                return await self._driver.execute(RETRIEVAL, operation, credential, target)
            except UnavailableError as error:
                target = replace(target, excluded=target.excluded | error.failed)
                left = set(target.holders) & self.connected - target.excluded
                if not error.failed or len(left) < record.required_nodes:
                    raise
        return await self._driver.execute(RETRIEVAL, operation, credential, target)

    def _check_admitted(self) -> None:
        """A node that is in none of the sets it knows is isolated: it serves nothing.

        One that joins, or has left but is configured still, may ask for others.
        """
        self._driver.changes.check_open()
        if not self._driver.is_admitted:
            raise UnavailableError("this node is not in the node set", "NodeDisconnected")

    def _check_connected(self) -> None:
        """For what all nodes have to take part in, or as many as the operator asks for."""
        self._check_admitted()
        if self._driver.me not in self._driver.node_set:
            raise UnavailableError("this node is not in the current set", "NodeDisconnected")
        nodes, wanted = self._driver.node_set.nodes, self._driver.policy.generation_quorum
        needed = len(nodes) if wanted is None else min(wanted, len(nodes))
        if sum(node in self.connected for node in nodes) < needed:
            raise UnavailableError("not all nodes of the set are connected", "NodeDisconnected")

    def _check_idle(self, kind: SessionKind, key_id: KeyId) -> None:
        if (kind, key_id) in self._busy:
            raise _duplicate()

    # --- what is known --------------------------------------------------------------------------

    def _holders_of(self, known: Known, needed: int) -> tuple[NodeId, ...]:
        return self._holders_in_order(known.record, known.state, needed)

    def _holders_in_order(
        self, certified: CertifiedRecord, state: KeyState, needed: int | None = None
    ) -> tuple[NodeId, ...]:
        """Whom to ask for shares: this node first, the rest at random.

        Members that are not known to hold one come last, and only where the others are too few:
        they may have got it since, and have said so before this node was there to hear it.
        """
        record, me = certified.record, self._driver.me
        signers = {entry.node for entry in certified.certificate.holding.signatures}
        known = (signers | self._catalogue.holders(record.key_id)) & set(record.nodes)
        asked = [me] if state.share is not None else []
        asked += _shuffled(sorted(known - {me}), self._random)
        wanted = record.required_nodes if needed is None else needed
        if sum(node in self.connected for node in asked) < wanted:
            asked += _shuffled(sorted(set(record.nodes) - known - {me}), self._random)
        return tuple(asked)


def _check_author(certified: CertifiedRecord, requester: Address) -> None:
    if requester != certified.record.author:
        raise DeniedError("the requester is not the author of the key", "AccessDenied")


def time_of_loop() -> float:
    """Seconds that never go back, by the event loop."""
    return asyncio.get_running_loop().time()


def _duplicate() -> UnavailableError:
    return UnavailableError("a session for this key runs already", "DuplicateSessionId")


def _shuffled(nodes: Sequence[NodeId], random: RandomSource) -> list[NodeId]:
    keyed = [(random.bytes(8), node) for node in nodes]
    return [node for _, node in sorted(keyed)]


class _Exclusive:
    """One session of a purpose and key at a time, as coordinator."""

    def __init__(
        self, busy: set[tuple[SessionKind, KeyId]], kind: SessionKind, key_id: KeyId
    ) -> None:
        self._busy = busy
        self._key = (kind, key_id)

    def __enter__(self) -> None:
        if self._key in self._busy:
            raise _duplicate()
        self._busy.add(self._key)

    def __exit__(self, *_: object) -> None:
        self._busy.discard(self._key)


__all__ = ["Catalogue", "Found", "KeyServer", "KeyServerApi", "ShadowResult"]
