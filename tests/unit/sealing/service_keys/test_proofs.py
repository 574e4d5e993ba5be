"""Who can write the database can neither make nor change a token or a grant (sealing, C1.3)."""

from typing import Any

import pytest
from sqlalchemy import Table, insert, update

from keyserver.crypto.randomness import SystemRandom
from keyserver.sealing.errors import OwnerNotProvenError, SealedError, UnauthenticatedError
from keyserver.sealing.ports import Actor, ActorKind, Caller, Scope, SignedRequest
from keyserver.sealing.service_keys.rights import asker_for
from keyserver.sealing.tokens import Token
from keyserver.storage.access import Transaction
from keyserver.storage.schema import API_TOKENS, GRANTS
from tests.support.service_key_desk import Desk, StoredKeyring

LOCAL = Caller(Actor(ActorKind.LOCAL), "local", frozenset(Scope))
FAR = 1 << 52


def changing(table: Table, **values: Any) -> Transaction[object]:
    return lambda connection: connection.execute(update(table).values(**values))


def adding(table: Table, **values: Any) -> Transaction[object]:
    return lambda connection: connection.execute(insert(table).values(**values))


async def caller_of(desk: Desk, token: str) -> Caller:
    request = SignedRequest("GET", "/", b"", f"Bearer {token}")
    return await desk.callers.authenticate(request)


async def grants_of(desk: Desk, principal: str, owner: str) -> tuple[str, ...]:
    caller = Caller(Actor(ActorKind.TOKEN, "a" * 16), principal, frozenset({Scope.KEYS_USE}))
    grants = desk.parts.client_needs.grants
    asker = await asker_for(caller, owner, grants, desk.clock.unix() * 1000)
    return asker.granted


async def test_a_token_that_was_put_into_the_database_opens_nothing(desk: Desk) -> None:
    good = await desk.token("svc:victim")
    row = await desk.tokens.find(good[5:21])
    assert row is not None
    assert row.proof is not None
    for box in (b"", row.proof.box):
        forged = Token.new(SystemRandom())
        await desk.database.write_shared(
            adding(
                API_TOKENS,
                token_id=forged.token_id,
                secret_hash=forged.hash(),
                principal="svc:victim",
                scopes='["keys:use"]',
                services='["*"]',
                created_at=0,
                expires_at=FAR,
                proof_box=box,
                proof_term=1,
            )
        )
        with pytest.raises(UnauthenticatedError, match="not known"):
            await caller_of(desk, forged.text())
        # it is seen and can be taken away all the same
        assert forged.token_id in [each.token_id for each in await desk.tokens.page("", 9)]
        assert await desk.parts.credentials.revoke_token(LOCAL, forged.token_id)
    assert (await caller_of(desk, good)).principal == "svc:victim"


@pytest.mark.parametrize(
    "change",
    [
        {"principal": "svc:other"},
        {"scopes": '["keys:admin"]'},
        {"services": '["*", "a"]'},
        {"expires_at": FAR},
        {"expires_at": 1 << 60},
        {"created_at": 0},
        {"secret_hash": b"\x01" * 32},
    ],
)
async def test_a_token_that_was_changed_is_none(desk: Desk, change: dict[str, Any]) -> None:
    token = await desk.token("svc:mail")
    await caller_of(desk, token)
    await desk.database.write_shared(changing(API_TOKENS, last_used_at=7))
    await caller_of(desk, token)
    await desk.database.write_shared(changing(API_TOKENS, **change))
    with pytest.raises(UnauthenticatedError, match="not known"):
        await caller_of(desk, token)


async def test_a_grant_that_was_put_into_the_database_counts_for_nothing(desk: Desk) -> None:
    await desk.database.write_shared(
        adding(
            GRANTS,
            grant_id="x",
            principal="svc:thief",
            owner_pattern="*",
            service_pattern="*",
            granted_by="admin",
            created_at=0,
            expires_at=FAR,
            proof_box=b"box",
            proof_term=1,
        )
    )
    with pytest.raises(OwnerNotProvenError):
        await grants_of(desk, "svc:thief", "svc:victim")
    assert await desk.parts.credentials.revoke_grant(LOCAL, "x")


@pytest.mark.parametrize(
    "change",
    [
        {"principal": "svc:thief"},
        {"owner_pattern": "*"},
        {"service_pattern": "*"},
        {"expires_at": FAR},
        {"granted_by": "eth:0x"},
    ],
)
async def test_a_grant_that_was_changed_is_none(desk: Desk, change: dict[str, str]) -> None:
    await desk.parts.credentials.make_grant(LOCAL, "svc:mail", "imicros:*", "mail", 7)
    assert await grants_of(desk, "svc:mail", "imicros:a") == ("mail",)
    await desk.database.write_shared(changing(GRANTS, **change))
    for principal in ("svc:mail", "svc:thief"):
        with pytest.raises(OwnerNotProvenError):
            await grants_of(desk, principal, "imicros:a")


async def test_what_another_replica_has_made_counts_here(desk: Desk) -> None:
    stored = StoredKeyring()
    here, there = Desk(desk.database, stored=stored), Desk(desk.database, stored=stored)
    stored.rotate()
    await there.vault.refresh()
    token = await there.token("svc:mail")
    await there.parts.credentials.make_grant(LOCAL, "svc:mail", "imicros:*", "*", 7)
    assert (await caller_of(here, token)).principal == "svc:mail"
    assert await grants_of(here, "svc:mail", "imicros:a") == ("*",)
    assert here.vault.refreshed == 1


async def test_tokens_cannot_be_checked_while_sealed(desk: Desk) -> None:
    token = await desk.token("svc:mail")
    desk.vault.is_open = False
    with pytest.raises(SealedError):
        await caller_of(desk, token)
    with pytest.raises(SealedError):
        await desk.token("svc:other")
    assert await desk.parts.credentials.revoke_token(LOCAL, token[5:21])
