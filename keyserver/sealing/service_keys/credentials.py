"""What administrators give to callers: tokens and grants (sealing, C16.2 and C16.3)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.sealing.errors import BadNameError, ForbiddenError
from keyserver.sealing.ports import AuditLog, Caller, Scope
from keyserver.sealing.service_keys.model import DAY_MS
from keyserver.sealing.service_keys.names import (
    ACCOUNT_PREFIX,
    ANY,
    check_name,
    check_pattern,
    new_key_id,
)
from keyserver.sealing.service_keys.rights import Grant, GrantStore
from keyserver.sealing.service_keys.trail import Trail
from keyserver.sealing.tokens import LONGEST_LIFE_DAYS, StoredToken, Token, TokenStore

MOST_PATTERNS: Final = 64
"""Of services, in one token."""

_FOR_ALL: Final = frozenset({Scope.KEYS_ADMIN, Scope.SEAL_ADMIN})
"""Scopes that no pattern of services narrows."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made, and what the store keeps of it."""

    token: Token = field(repr=False)
    stored: StoredToken


class Credentials:
    """Tokens and grants; who may give them is checked before, save for what they contain.

    Every method raises `StorageError`, and those that change something `AuditUnavailableError`;
    those that make something `SealedError`, too.
    """

    def __init__(
        self,
        tokens: TokenStore,
        grants: GrantStore,
        audit: AuditLog,
        *,
        random: RandomSource,
        clock: Clock,
    ) -> None:
        self._tokens = tokens
        self._grants = grants
        self._trail = Trail(audit)
        self._random = random
        self._clock = clock

    async def make_token(
        self,
        caller: Caller,
        principal: str,
        scopes: Collection[Scope],
        services: Sequence[str],
        days: int,
    ) -> NewToken:
        """Make a token for a principal, good for some services and days.

        It ends with the token of the caller at the latest. Raises `BadNameError`, also for patterns
        beside a scope that knows no services, and `ForbiddenError` for a scope that the caller does
        not have.
        """
        check_name("principal", principal)
        if principal.startswith(ACCOUNT_PREFIX):
            raise BadNameError("principal: an account proves itself by signing, not by a token")
        if not scopes or not set(scopes) <= caller.scopes:
            raise ForbiddenError("scopes: name at least one, and none that you do not have")
        if not 1 <= len(services) <= MOST_PATTERNS:
            raise BadNameError(f"services: 1 to {MOST_PATTERNS} patterns are needed")
        patterns = tuple(check_pattern("services", pattern) for pattern in services)
        if _FOR_ALL & set(scopes) and patterns != (ANY,):
            raise BadNameError("services: must be * alone beside the scopes keys:admin, seal:admin")
        now, expires_at = self._life(days)
        if caller.expires_at is not None:
            expires_at = min(expires_at, caller.expires_at)
        token = Token.new(self._random)
        stored = StoredToken(
            token_id=token.token_id,
            secret_hash=token.hash(),
            principal=principal,
            scopes=frozenset(scopes),
            services=patterns,
            created_at=now,
            expires_at=expires_at,
        )
        details: dict[str, str | int | bool | None] = {
            "token": token.token_id,
            "principal": principal,
            "scopes": ", ".join(sorted(scope.value for scope in scopes)),
            "expires_at": expires_at,
        }
        async with self._trail.of("token.create", caller, details):
            await self._tokens.add(stored)
        return NewToken(token, stored)

    async def tokens(self, after: str, limit: int) -> Sequence[StoredToken]:
        """Tokens in the order of their ids, those after `after`."""
        return await self._tokens.page(after, limit)

    async def revoke_token(self, caller: Caller, token_id: str) -> bool:
        """Forget a token at once; whether it was there."""
        if not await self._tokens.exists(token_id):
            return False
        async with self._trail.of("token.revoke", caller, {"token": token_id}):
            return await self._tokens.delete(token_id)

    async def make_grant(
        self,
        caller: Caller,
        principal: str,
        owner_pattern: str,
        service_pattern: str,
        days: int,
    ) -> Grant:
        """Let a principal act for owners, for some services and days; raises `BadNameError`."""
        check_name("principal", principal)
        now, expires_at = self._life(days)
        grant = Grant(
            grant_id=new_key_id(self._random),
            principal=principal,
            owner_pattern=check_pattern("owner", owner_pattern),
            service_pattern=check_pattern("service", service_pattern),
            granted_by=caller.principal,
            created_at=now,
            expires_at=expires_at,
        )
        details: dict[str, str | int | bool | None] = {
            "grant": grant.grant_id,
            "principal": principal,
            "owner_pattern": owner_pattern,
            "service_pattern": service_pattern,
            "expires_at": expires_at,
        }
        async with self._trail.of("grant.create", caller, details):
            await self._grants.add(grant)
        return grant

    async def grants(self, after: str, limit: int) -> Sequence[Grant]:
        """Grants in the order of their ids, those after `after`."""
        return await self._grants.page(after, limit)

    async def revoke_grant(self, caller: Caller, grant_id: str) -> bool:
        """Forget a grant at once; whether it was there."""
        if await self._grants.find(grant_id) is None:
            return False
        async with self._trail.of("grant.revoke", caller, {"grant": grant_id}):
            return await self._grants.delete(grant_id)

    def _life(self, days: int) -> tuple[int, int]:
        if not 1 <= days <= LONGEST_LIFE_DAYS:
            raise BadNameError(f"days: must be a whole number from 1 to {LONGEST_LIFE_DAYS}")
        now = self._clock.unix() * 1000
        return now, now + days * DAY_MS
