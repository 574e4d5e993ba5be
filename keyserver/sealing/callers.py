"""Who sent a request: the account that signed it, or the principal of its token (sealing, C16)."""

from collections.abc import Iterable
from typing import Final, Protocol

from keyserver.engine.ports import Clock
from keyserver.errors import StorageError
from keyserver.model.identifiers import Address, NodeId
from keyserver.sealing.errors import NonceUsedError, SignatureExpiredError, UnauthenticatedError
from keyserver.sealing.ports import Actor, ActorKind, Caller, Scope, SignedRequest
from keyserver.sealing.signed_requests import FORM, SCHEME, read_signature, signer_of
from keyserver.sealing.tokens import Token, TokenLookup

MAX_SKEW_S: Final = 60
"""How far the time of a signed request may be from this node's."""

TOKEN_SCHEME: Final = "Bearer"  # noqa: S105 - the name of a scheme (RFC 6750)

CHALLENGE: Final = f"{SCHEME}, {TOKEN_SCHEME}"
"""What a 401 asks for (RFC 9110, section 11.6.1)."""

NOTED_EVERY_MS: Final = 60_000
"""How exact it is when a token was last used."""

ALL_SCOPES: Final = frozenset(Scope)
ACCOUNT_SCOPES: Final = frozenset({Scope.KEYS_USE, Scope.KEYS_DATA})
"""What any account may do with keys of its own."""


class RequestNonces(Protocol):
    """Remembers which signed requests were seen, for all replicas of the node."""

    async def take(self, address: Address, nonce: bytes, *, now: int, expires_at: int) -> bool:
        """Use a nonce up; false if it was before.

        `expires_at`: when the request would be refused anyway; both in Unix seconds. Raises
        `StorageError`.
        """
        ...


class CallerRegistry:
    """Tells who sent a request to this node (`keyserver.sealing.ports.Callers`)."""

    def __init__(
        self,
        node_id: NodeId,
        admins: Iterable[Address],
        nonces: RequestNonces,
        tokens: TokenLookup,
        clock: Clock,
    ) -> None:
        """`admins`: the accounts that have every scope."""
        self._node_id = node_id
        self._admins = frozenset(admins)
        self._nonces = nonces
        self._tokens = tokens
        self._clock = clock

    @property
    def has_administrators(self) -> bool:
        """Whether accounts are configured as such."""
        return bool(self._admins)

    async def authenticate(
        self, request: SignedRequest, *, admins_only: bool = False, may_repeat: bool = False
    ) -> Caller:
        """Who has signed it, or whose token it shows.

        With `admins_only` other accounts have no scopes, and nothing is remembered of them. With
        `may_repeat` a signature counts also while its nonce cannot be stored.

        Raises `UnauthenticatedError`, `SignatureExpiredError`, `NonceUsedError`; `SealedError` for
        a token while the node is sealed, `StorageError` if nonces and tokens cannot be looked up.
        """
        scheme, _, credential = (request.authorization or "").partition(" ")
        match scheme.lower():
            case "keyserver-eth":
                return await self._signer(request, credential.strip(), admins_only, may_repeat)
            case "bearer":
                return await self._holder(Token.read(credential.strip()))
        raise UnauthenticatedError(f"authorization: must be {FORM} or {TOKEN_SCHEME} <token>")

    async def _signer(
        self, request: SignedRequest, parameters: str, admins_only: bool, may_repeat: bool
    ) -> Caller:
        signed, now = read_signature(parameters), self._clock.unix()
        if abs(signed.timestamp - now) > MAX_SKEW_S:
            raise SignatureExpiredError(
                f"ts: {signed.timestamp} is more than {MAX_SKEW_S} s from the clock of this node, "
                f"{now}; sign again"
            )
        address = signer_of(self._node_id, request, signed)
        name = f"0x{address.hex()}"
        actor, principal = Actor(ActorKind.ETH, name), f"eth:{name}"
        is_admin = address in self._admins
        if admins_only and not is_admin:
            return Caller(actor, principal, frozenset())  # may do nothing, and so repeat nothing
        # The last check: what is wrong in another way uses up nobody's nonce.
        expires_at = signed.timestamp + MAX_SKEW_S
        try:
            is_new = await self._nonces.take(address, signed.nonce, now=now, expires_at=expires_at)
        except StorageError:
            if not may_repeat:
                raise
            is_new = True
        if not is_new:
            raise NonceUsedError("nonce: was used; sign again with another")
        return Caller(actor, principal, ALL_SCOPES if is_admin else ACCOUNT_SCOPES)

    async def _holder(self, token: Token) -> Caller:
        stored, now_ms = await self._tokens.find(token.token_id), self._clock.unix() * 1000
        if stored is None or not token.matches(stored.secret_hash):
            raise UnauthenticatedError("token: not known here")
        if stored.expires_at <= now_ms:
            raise UnauthenticatedError("token: has expired")
        if stored.last_used_at is None or stored.last_used_at <= now_ms - NOTED_EVERY_MS:
            await self._tokens.used(stored.token_id, now_ms)
        actor = Actor(ActorKind.TOKEN, stored.token_id)
        return Caller(actor, stored.principal, stored.scopes, stored.services, stored.expires_at)
