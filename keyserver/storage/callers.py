"""Tokens, grants and used nonces in the database (sealing, C16 and C17)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Executable, Row, Table, delete, insert, select, update

from keyserver.errors import StorageError
from keyserver.model.identifiers import Address
from keyserver.sealing.json_text import read_json
from keyserver.sealing.ports import Scope
from keyserver.sealing.secret_boxes import SealedValue
from keyserver.sealing.service_keys.rights import Grant
from keyserver.sealing.tokens import StoredToken
from keyserver.storage.access import Transaction
from keyserver.storage.database import Database
from keyserver.storage.inserting import insert_if_new
from keyserver.storage.schema import API_TOKENS, GRANTS, REQUEST_NONCES
from keyserver.storage.sealing import require_current_term

KEPT_LONGER_S: Final = 300
"""How long used nonces are remembered after they are of no use: clocks of replicas differ."""


class SqlRequestNonces:
    """Used nonces (`keyserver.sealing.callers.RequestNonces`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, address: Address, nonce: bytes, *, now: int, expires_at: int) -> bool:
        """Use a nonce up, false if it was before; what is long over is forgotten."""
        row = {"address": bytes(address), "nonce": nonce, "expires_at": expires_at}

        def work(connection: Connection) -> bool:
            old = REQUEST_NONCES.c.expires_at < now - KEPT_LONGER_S
            connection.execute(delete(REQUEST_NONCES).where(old))
            return insert_if_new(connection, REQUEST_NONCES, row)

        return await self._database.write_shared(work)


class SqlTokenStore:
    """Tokens (`keyserver.sealing.tokens.TokenStore`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, token_id: str) -> StoredToken | None:
        """The token of this id; raises `StorageError` for a row that cannot be read."""
        query = select(API_TOKENS).where(API_TOKENS.c.token_id == token_id)

        def work(connection: Connection) -> StoredToken | None:
            row = connection.execute(query).one_or_none()
            return None if row is None else _token_of(row)

        return await self._database.read(work)

    async def exists(self, token_id: str) -> bool:
        """Whether there is a row of this id, whatever it says."""
        query = select(API_TOKENS.c.token_id).where(API_TOKENS.c.token_id == token_id)
        return await self._database.read(lambda connection: connection.scalar(query) is not None)

    async def used(self, token_id: str, at: int) -> None:
        """Note that it was used."""
        change = update(API_TOKENS).where(API_TOKENS.c.token_id == token_id)
        await self._database.write_shared(_doing(change.values(last_used_at=at)))

    async def add(self, token: StoredToken) -> None:
        """Keep a new one."""
        row = {
            "token_id": token.token_id,
            "secret_hash": token.secret_hash,
            "principal": token.principal,
            "scopes": json.dumps(sorted(scope.value for scope in token.scopes)),
            "services": json.dumps(token.services),
            "created_at": token.created_at,
            "expires_at": token.expires_at,
            "last_used_at": token.last_used_at,
        }
        await self._database.write_shared(_adding(API_TOKENS, row, token.proof))

    async def delete(self, token_id: str) -> bool:
        """Forget it; whether it was there."""
        statement = delete(API_TOKENS).where(API_TOKENS.c.token_id == token_id)
        return await self._database.write_shared(
            lambda connection: connection.execute(statement).rowcount > 0
        )

    async def page(self, after: str, limit: int) -> Sequence[StoredToken]:
        """Tokens in the order of their ids, those after `after`."""
        query = select(API_TOKENS).where(API_TOKENS.c.token_id > after)
        query = query.order_by(API_TOKENS.c.token_id).limit(limit)
        return await self._database.read(
            lambda connection: [_token_of(row) for row in connection.execute(query)]
        )


class SqlGrantStore:
    """Grants (`keyserver.sealing.service_keys.rights.GrantStore`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_principal(self, principal: str) -> Sequence[Grant]:
        """All grants to somebody, expired ones too."""
        query = select(GRANTS).where(GRANTS.c.principal == principal)
        return await self._database.read(
            lambda connection: [_grant_of(row) for row in connection.execute(query)]
        )

    async def find(self, grant_id: str) -> Grant | None:
        """The grant of this id."""
        query = select(GRANTS).where(GRANTS.c.grant_id == grant_id)

        def work(connection: Connection) -> Grant | None:
            row = connection.execute(query).one_or_none()
            return None if row is None else _grant_of(row)

        return await self._database.read(work)

    async def add(self, grant: Grant) -> None:
        """Keep a new one."""
        row = {
            "grant_id": grant.grant_id,
            "principal": grant.principal,
            "owner_pattern": grant.owner_pattern,
            "service_pattern": grant.service_pattern,
            "granted_by": grant.granted_by,
            "created_at": grant.created_at,
            "expires_at": grant.expires_at,
        }
        await self._database.write_shared(_adding(GRANTS, row, grant.proof))

    async def delete(self, grant_id: str) -> bool:
        """Forget it; whether it was there."""
        statement = delete(GRANTS).where(GRANTS.c.grant_id == grant_id)
        return await self._database.write_shared(
            lambda connection: connection.execute(statement).rowcount > 0
        )

    async def page(self, after: str, limit: int) -> Sequence[Grant]:
        """Grants in the order of their ids, those after `after`."""
        query = select(GRANTS).where(GRANTS.c.grant_id > after)
        query = query.order_by(GRANTS.c.grant_id).limit(limit)
        return await self._database.read(
            lambda connection: [_grant_of(row) for row in connection.execute(query)]
        )


def _doing(statement: Executable) -> Transaction[None]:
    """A transaction of one statement."""

    def work(connection: Connection) -> None:
        connection.execute(statement)

    return work


def _adding(table: Table, row: Mapping[str, Any], proof: SealedValue | None) -> Transaction[None]:
    """A transaction that adds a row with its proof."""
    assert proof is not None, "rows that say what somebody may do are proven"

    def work(connection: Connection) -> None:
        require_current_term(connection, proof.term)
        proven = {**row, "proof_box": proof.box, "proof_term": proof.term}
        connection.execute(insert(table).values(proven))

    return work


def _grant_of(row: Row[Any]) -> Grant:
    return Grant(
        grant_id=row.grant_id,
        principal=row.principal,
        owner_pattern=row.owner_pattern,
        service_pattern=row.service_pattern,
        granted_by=row.granted_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        proof=SealedValue(row.proof_box, row.proof_term),
    )


def _token_of(row: Row[Any]) -> StoredToken:
    try:
        scopes = frozenset(Scope(value) for value in read_json(row.scopes))
        services = tuple(read_json(row.services))
        if not all(isinstance(service, str) for service in services):
            raise ValueError("services must be texts")
    except (ValueError, TypeError) as problem:
        raise StorageError(f"api_tokens: token {row.token_id} cannot be read") from problem
    return StoredToken(
        token_id=row.token_id,
        secret_hash=row.secret_hash,
        principal=row.principal,
        scopes=scopes,
        services=services,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        proof=SealedValue(row.proof_box, row.proof_term),
    )
