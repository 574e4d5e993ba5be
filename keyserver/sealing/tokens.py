"""Tokens: a secret that stands for a principal, with scopes, services and an end.

    kst1_<id: 10 bytes in base32, lower case>_<secret: 32 bytes in base64url, no padding>

The store has the hash only, so a token is shown once (sealing, C16.2).
"""

import base64
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from keyserver.crypto.hashing import sha256
from keyserver.crypto.randomness import RandomSource
from keyserver.sealing.errors import UnauthenticatedError
from keyserver.sealing.ports import Scope
from keyserver.sealing.secret_boxes import SealedValue

PREFIX: Final = "kst1"
ID_SIZE: Final = 10
"""Bytes of a token's id; 16 characters as text."""

SECRET_SIZE: Final = 32
LONGEST_LIFE_DAYS: Final = 366
"""At most a year, a leap year included."""

_LABEL: Final = b"keyserver.token.v1\0"
_FORM: Final = re.compile(r"kst1_([a-z2-7]{16})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as its owner shows it."""

    token_id: str
    """16 characters of base32, lower case."""
    secret: bytes = field(repr=False)
    """32 bytes."""

    @classmethod
    def new(cls, random: RandomSource) -> "Token":
        """A fresh one."""
        token_id = base64.b32encode(random.bytes(ID_SIZE)).decode().lower()
        return cls(token_id, random.bytes(SECRET_SIZE))

    @classmethod
    def read(cls, text: str) -> "Token":
        """Read a token; raises `UnauthenticatedError`, which does not repeat it."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise UnauthenticatedError("token: not of the form kst1_<id>_<secret>")
        token = cls(match[1], base64.urlsafe_b64decode(f"{match[2]}="))
        if token.text() != text:  # the last character has two bits that say nothing
            raise UnauthenticatedError("token: not of the form kst1_<id>_<secret>")
        return token

    def text(self) -> str:
        """The token as its owner keeps it: secret."""
        secret = base64.urlsafe_b64encode(self.secret).decode().rstrip("=")
        return f"{PREFIX}_{self.token_id}_{secret}"

    def hash(self) -> bytes:
        """What the store keeps instead of the secret: 32 bytes."""
        return sha256(_LABEL + base64.b32decode(self.token_id.upper()) + self.secret)

    def matches(self, stored_hash: bytes) -> bool:
        """Whether this is the token of a stored hash, compared in constant time."""
        return hmac.compare_digest(self.hash(), stored_hash)


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token as the store knows it; times in milliseconds since 1970."""

    token_id: str
    secret_hash: bytes = field(repr=False)
    principal: str
    """Whose keys it opens: `svc:<name>`, `imicros:<old id>` or another name."""
    scopes: frozenset[Scope]
    services: tuple[str, ...]
    """Patterns: a name, or a beginning and `*`."""
    created_at: int
    expires_at: int
    last_used_at: int | None = None
    """Within a minute; `None` if it never was."""
    proof: SealedValue | None = field(default=None, repr=False)
    """What the row says, in a box (`keyserver.sealing.service_keys.proofs`)."""


class TokenLookup(Protocol):
    """Where tokens are looked up; every method raises `StorageError`."""

    async def find(self, token_id: str) -> StoredToken | None:
        """The token of this id."""
        ...

    async def used(self, token_id: str, at: int) -> None:
        """Note that it was used; `at` in milliseconds since 1970."""
        ...


class TokenStore(TokenLookup, Protocol):
    """Where tokens are kept; every method raises `StorageError` for trouble with the database."""

    async def exists(self, token_id: str) -> bool:
        """Whether there is a row of this id, whatever it says."""
        ...

    async def add(self, token: StoredToken) -> None:
        """Keep a new one, with its proof."""
        ...

    async def delete(self, token_id: str) -> bool:
        """Forget it; whether it was there."""
        ...

    async def page(self, after: str, limit: int) -> Sequence[StoredToken]:
        """Tokens in the order of their ids, those after `after`; `""` for the first."""
        ...
