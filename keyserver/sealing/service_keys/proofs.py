"""Tokens and grants that only this node can have made (sealing, C1.3).

Who can write the database could otherwise add a token of its own, or a grant to itself, and ask the
running node for every key. So each row has a box with all that counts in it; a row whose box does
not open, or says something else, is none. An old row that was deleted can be brought back like any
older state of a database.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from keyserver.crypto.boxes import canonical_json
from keyserver.crypto.errors import CryptoError
from keyserver.sealing.secret_boxes import SealedValue
from keyserver.sealing.service_keys.boxes import KeyVault, open_anew
from keyserver.sealing.service_keys.rights import Grant, GrantStore
from keyserver.sealing.tokens import StoredToken, TokenStore

COLUMN: Final = "proof_box"

log = structlog.get_logger(__name__)


class ProvenTokens:
    """A `TokenStore` that finds only what was added through it, or another replica's.

    `find` and `add` raise `SealedError` while the node is sealed.
    """

    def __init__(self, store: TokenStore, vault: KeyVault) -> None:
        self._store = store
        self._proofs = _Proofs(vault, "api_tokens")

    async def find(self, token_id: str) -> StoredToken | None:
        """The token of this id, if its row is proven."""
        self._proofs.check_open()
        found = await self._store.find(token_id)
        return found if found and await self._proofs.holds(token_id, found) else None

    async def exists(self, token_id: str) -> bool:
        """Whether there is a row of this id, proven or not."""
        return await self._store.exists(token_id)

    async def used(self, token_id: str, at: int) -> None:
        """Note that it was used; nothing depends on that."""
        await self._store.used(token_id, at)

    async def add(self, token: StoredToken) -> None:
        """Keep a new one, with its proof."""
        proof = self._proofs.of(token.token_id, _said_of(token))
        await self._store.add(replace(token, proof=proof))

    async def delete(self, token_id: str) -> bool:
        """Forget it, proven or not; whether it was there."""
        return await self._store.delete(token_id)

    async def page(self, after: str, limit: int) -> Sequence[StoredToken]:
        """Rows as they stand: an administrator should see what does not belong there."""
        return await self._store.page(after, limit)


class ProvenGrants:
    """A `GrantStore` of the same kind."""

    def __init__(self, store: GrantStore, vault: KeyVault) -> None:
        self._store = store
        self._proofs = _Proofs(vault, "grants")

    async def of_principal(self, principal: str) -> Sequence[Grant]:
        """All grants to somebody whose rows are proven, expired ones too."""
        return [
            grant
            for grant in await self._store.of_principal(principal)
            if await self._proofs.holds(grant.grant_id, grant)
        ]

    async def find(self, grant_id: str) -> Grant | None:
        """The row of this id as it stands: to revoke it."""
        return await self._store.find(grant_id)

    async def add(self, grant: Grant) -> None:
        """Keep a new one, with its proof."""
        proof = self._proofs.of(grant.grant_id, _said_of(grant))
        await self._store.add(replace(grant, proof=proof))

    async def delete(self, grant_id: str) -> bool:
        """Forget it, proven or not; whether it was there."""
        return await self._store.delete(grant_id)

    async def page(self, after: str, limit: int) -> Sequence[Grant]:
        """Rows as they stand."""
        return await self._store.page(after, limit)


@dataclass(frozen=True, slots=True)
class _Proofs:
    """Boxes beside the rows of one table."""

    vault: KeyVault
    table: str

    def check_open(self) -> None:
        _ = self.vault.boxes

    def of(self, row_id: str, said: bytes) -> SealedValue:
        return self.vault.boxes.seal(self.table, COLUMN, (row_id,), said)

    async def holds(self, row_id: str, row: StoredToken | Grant) -> bool:
        try:
            proven = row.proof is not None and _said_of(row) == await open_anew(
                self.vault, self.table, COLUMN, (row_id,), row.proof.box
            )
        except CryptoError:  # the box does not open, or the row says what none of ours can
            proven = False
        if not proven:
            log.error("row_not_of_this_node", table=self.table, row=row_id)
        return proven


def _said_of(row: StoredToken | Grant) -> bytes:
    """Everything in a row that counts."""
    match row:
        case StoredToken():
            said: dict[str, object] = {
                "secret_hash": row.secret_hash.hex(),
                "principal": row.principal,
                "scopes": sorted(scope.value for scope in row.scopes),
                "services": list(row.services),
            }
        case Grant():
            said = {
                "principal": row.principal,
                "owner_pattern": row.owner_pattern,
                "service_pattern": row.service_pattern,
                "granted_by": row.granted_by,
            }
    return canonical_json({**said, "created_at": row.created_at, "expires_at": row.expires_at})
