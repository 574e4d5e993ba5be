"""The node key as the transport sees it (engine design, section 3).

The key is the node's name and its static key in the handshake. Only one operation with it is
needed here, so that the key itself can stay in an external signer.
"""

from typing import Protocol

from keyserver.crypto.curve import Point, SecretScalar, ecdh_sha256


class NodeKey(Protocol):
    """Whoever holds the node key."""

    @property
    def public(self) -> Point:
        """The public key: the node itself."""
        ...

    def ecdh(self, point: Point) -> bytes:
        """SHA-256 of the compressed product of the secret key and `point`, 32 bytes."""
        ...


class LocalNodeKey:
    """A node key in this process's memory."""

    __slots__ = ("_public", "_secret")

    def __init__(self, secret: SecretScalar) -> None:
        self._secret = secret
        self._public = secret.public()

    @property
    def public(self) -> Point:
        """The public key: the node itself."""
        return self._public

    def ecdh(self, point: Point) -> bytes:
        """SHA-256 of the compressed product of the secret key and `point`, 32 bytes."""
        return ecdh_sha256(self._secret, point)

    def __repr__(self) -> str:
        return f"LocalNodeKey({self._public!r})"
