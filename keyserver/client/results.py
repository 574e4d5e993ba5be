"""What requests give, whichever way they were made; plain computation."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.client.errors import BadAnswerError, LyingNodesError
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point, SecretScalar, sum_secrets
from keyserver.crypto.elgamal import recover_document_key
from keyserver.crypto.errors import CryptoError
from keyserver.model.identifiers import Address, NodeId

ASK_AGAIN = "Ask again; if it stays like this, a key server is faulty."


@dataclass(frozen=True, slots=True)
class ServerKey:
    """The public half of a server key."""

    public: Point
    threshold: int | None
    """None from originally published contracts and from the original's HTTP interface, which do not
    tell it."""
    author: Address | None = None
    """Who had it generated, where the answer tells."""


@dataclass(frozen=True, slots=True)
class ShadowCommitment:
    """What a shadow must be, without telling it."""

    node: NodeId
    """Who made the shadow."""
    point: Point
    """The shadow times the generator."""


@dataclass(frozen=True, slots=True)
class ShadowAnswer:
    """The shadow of a document key: what only the requester can open."""

    common_point: Point
    decrypted_secret: Point
    shadows: tuple[bytes, ...]
    """`threshold + 1` ECIES messages to the requester, in any order."""
    commitments: tuple[ShadowCommitment, ...] = ()
    """One for each shadow, in the same order; empty where the key servers do not tell."""

    def open(self, wallet: Wallet) -> Point:
        """The document key.

        Raises `BadAnswerError` if a shadow is not what it should be, and `LyingNodesError` where it
        is known who made it.
        """
        if self.commitments:
            return self._recover(self._checked_shadows(wallet))
        try:
            return self._recover([_open_shadow(wallet, sealed) for sealed in self.shadows])
        except CryptoError as error:
            raise BadAnswerError(f"the answers do not open: {error}", advice=ASK_AGAIN) from error

    def _checked_shadows(self, wallet: Wallet) -> list[SecretScalar]:
        shadows, liars = [], set()
        for sealed, commitment in zip(self.shadows, self.commitments, strict=True):
            try:
                shadow = _open_shadow(wallet, sealed)
            except CryptoError:
                liars.add(commitment.node)
                continue
            if shadow.public() != commitment.point:
                liars.add(commitment.node)
            shadows.append(shadow)
        if liars:
            raise LyingNodesError(frozenset(liars))
        return shadows

    def _recover(self, shadows: Sequence[SecretScalar]) -> Point:
        if sum_secrets(shadows) is None:
            raise BadAnswerError("the shadows hide nothing: their sum is zero", advice=ASK_AGAIN)
        try:
            return recover_document_key(self.decrypted_secret, self.common_point, shadows)
        except CryptoError as error:
            raise BadAnswerError(f"the answers do not open: {error}", advice=ASK_AGAIN) from error


def _open_shadow(wallet: Wallet, sealed: bytes) -> SecretScalar:
    """A shadow in the clear; raises `CryptoError`."""
    return SecretScalar(wallet.decrypt(sealed))
