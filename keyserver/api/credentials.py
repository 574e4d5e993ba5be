"""The signature in a path: who asks, and how the other nodes are shown that without seeing it.

HTTP interface, section 4; engine design, section 6.1. The signature is checked here and stays in
memory until the request ends.
"""

from keyserver.crypto.credentials import (
    OpenedSignature,
    credential_statement,
    legacy_context,
    open_signature,
)
from keyserver.crypto.curve import ORDER, Point
from keyserver.crypto.hashing import address_of
from keyserver.crypto.proofs import prove
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.credentials import Opening
from keyserver.model.identifiers import Address, KeyId
from keyserver.model.requests import LegacyCredential, Proof


class PathCredential:
    """A checked signature over a bare key id; a `CredentialSource`, called once a session."""

    def __init__(self, key_id: KeyId, opened: OpenedSignature, random: RandomSource) -> None:
        self._key_id = key_id
        self._opened = opened
        self._random = random

    def __repr__(self) -> str:
        return f"PathCredential({self.address!r})"

    @property
    def public(self) -> Point:
        """The requester's key: answers are encrypted to it."""
        return self._opened.requester

    @property
    def address(self) -> Address:
        """The requester's account: it decides what is allowed."""
        return Address(address_of(self.public.raw64))

    def __call__(self, opening: Opening) -> LegacyCredential:
        """Prove to the nodes of one session that the signature is known."""
        opened, operation = self._opened, opening.operation
        context = legacy_context(
            coordinator=opening.coordinator.point,
            boot_nonce=opening.boot_nonce,
            counter=opening.counter,
            operation=operation.number,
            key_id=operation.key_id,
            payload=operation.payload(),
        )
        statement = credential_statement(
            context, self._key_id, opened.requester, opened.nonce_point
        )
        proof = prove(statement, [opened.response], self._random)
        return LegacyCredential(opened.requester, opened.nonce_point, Proof(proof))


def open_path_credential(key_id: KeyId, signature: bytes, random: RandomSource) -> PathCredential:
    """Check the signature of a path; raises `InvalidSignatureError` if it belongs to nobody."""
    return PathCredential(key_id, open_signature(key_id, signature), random)


def proves_something(key_id: KeyId) -> bool:
    """Whether a signature of this id can come from its key only.

    For 0 and numbers from the group order on, anybody can make one for every key.
    """
    return 0 < int.from_bytes(key_id, "big") < ORDER
