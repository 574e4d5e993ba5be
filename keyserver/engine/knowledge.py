"""What is known of a key: by this node, completed by what its peers can prove.

That something does *not* exist is proven by nobody; a quorum has to say so. A key that was decided
is known to as many nodes that two quorums share an honest one, which would have shown it.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from keyserver.engine.driver import Driver
from keyserver.engine.ports import RecordStore
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord
from keyserver.model.quorums import Quorums
from keyserver.sessions.core import DeniedError, KeyState, UnavailableError


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

    @property
    def answered(self) -> frozenset[NodeId]:
        """Peers that have said what they know of the key, be it nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """A key as far as this node can tell."""

    state: KeyState
    record: CertifiedRecord


class Knowledge:
    """Looks keys up."""

    def __init__(self, driver: Driver, store: RecordStore, catalogue: Catalogue) -> None:
        self._driver = driver
        self._store = store
        self._catalogue = catalogue

    async def record(self, key_id: KeyId) -> CertifiedRecord | None:
        """This node's record, else the highest certified one that a peer shows."""
        state = await self._store.load(key_id)
        return state.active or (await self._catalogue.fetch(key_id)).record

    async def key(self, key_id: KeyId) -> Known:
        """A key that exists, with its document key if there is one.

        Raises `DeniedError` if a quorum says that there is no such key, `UnavailableError` if too
        few nodes could be asked.
        """
        state, _ = await self._look_up(key_id)
        return Known(state, _record_of(state))

    async def key_with_document(self, key_id: KeyId) -> tuple[Known, CertifiedDocumentKey]:
        """A key that exists and its document key; raises as `key` does, for either."""
        state, answered = await self._look_up(key_id)
        record = _record_of(state)
        if state.document is None:
            self._check_quorum(answered, record.record.nodes)
            raise DeniedError("no document key is stored", "DocumentKeyIsNotFound")
        return Known(state, record), state.document

    async def _look_up(self, key_id: KeyId) -> tuple[KeyState, frozenset[NodeId]]:
        """What there is, and who was asked for it."""
        state = await self._store.load(key_id)
        if state.active is not None and state.document is not None:
            return state, frozenset()
        found = await self._catalogue.fetch(key_id)
        state = await self._store.load(key_id)
        state = replace(
            state,
            active=state.active or found.record,
            document=state.document or found.document,
        )
        if state.active is None:
            self._check_quorum(found.answered, self._driver.node_set.nodes)
        return state, found.answered

    def _check_quorum(self, answered: frozenset[NodeId], nodes: tuple[NodeId, ...]) -> None:
        quorum = Quorums.of(len(nodes), self._driver.policy.max_faulty).agreement
        if len((answered | {self._driver.me}) & set(nodes)) < quorum:
            message = "too few nodes can be asked whether it exists"
            raise UnavailableError(message, "ConsensusTemporaryUnreachable")


def _record_of(state: KeyState) -> CertifiedRecord:
    if state.active is None:
        raise DeniedError("the key is not known", "ServerKeyIsNotFound")
    return state.active
