"""What the key servers do for an account, whichever way they are asked.

`KeyServers` (`keyserver.client.requests`) goes through contracts, `HttpKeyServers`
(`keyserver.client.http`) over HTTP. Code that is written against `AnyKeyServers` works with both.
"""

from typing import Protocol, TypeVar

from keyserver.client.results import ServerKey
from keyserver.client.signatures import ServerSignature
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point
from keyserver.crypto.elgamal import EncryptedDocumentKey
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.model.requests import SigningScheme

T_co = TypeVar("T_co", covariant=True)


class Answered(Protocol[T_co]):
    """What came of a request; each way tells more about how."""

    @property
    def value(self) -> T_co:
        """What was asked for."""
        ...


class AnyKeyServers(Protocol):
    """The key servers as one account sees them; all methods raise `ClientError`."""

    @property
    def wallet(self) -> Wallet:
        """The account."""
        ...

    async def generate_server_key(self, key_id: KeyId, threshold: int) -> Answered[ServerKey]:
        """Have a key generated of which `threshold + 1` key servers are needed for any use."""
        ...

    async def retrieve_server_key(self, key_id: KeyId) -> Answered[ServerKey]:
        """Ask for a public server key."""
        ...

    async def store_document_key(
        self, key_id: KeyId, document_key: EncryptedDocumentKey
    ) -> Answered[bool]:
        """Bind a document key to the own server key, once and for all."""
        ...

    async def retrieve_document_key(self, key_id: KeyId) -> Answered[Point]:
        """The document key, in a way that shows it to no key server."""
        ...

    async def sign(
        self,
        key_id: KeyId,
        message: Hash32,
        scheme: SigningScheme,
        *,
        public: Point | None = None,
    ) -> Answered[ServerSignature]:
        """Have 32 bytes signed by a server key; the signature has been checked under it.

        `public`: the server key, where it is known; else the key servers are asked.
        """
        ...

    async def key_to_encrypt_to(self, key_id: KeyId) -> Point:
        """The public server key of this account's own id, to encrypt a document key to.

        Raises `NotAuthorError` if it is another account's.
        """
        ...

    async def chain_id(self) -> int | None:
        """The chain the network is on (0: none), or None where nobody tells."""
        ...
