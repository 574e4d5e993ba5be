"""The one surface through which handlers, HTTP and the command line use the key server.

It finds the record, chooses whom to ask, and retries without those who failed; callers know none
of that (architecture, section 5).
"""

from typing import Protocol

from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord, DocumentKey
from keyserver.model.requests import Credential
from keyserver.sessions.core import KeyState
from keyserver.sessions.outcomes import ShadowResult


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
        """Peers with a connection now."""
        ...


__all__ = ["KeyServerApi", "ShadowResult"]
