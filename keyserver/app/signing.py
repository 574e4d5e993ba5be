"""The node key's use inside sessions (engine design, section 3)."""

from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.model.identifiers import Hash32, Signature


class LocalSigner:
    """A node key in this process's memory, for signing tagged hashes."""

    __slots__ = ("_secret",)

    def __init__(self, secret: SecretScalar) -> None:
        self._secret = secret

    def sign(self, digest: Hash32) -> Signature:
        """Sign a tagged hash."""
        return Signature(sign_digest(self._secret, digest))
