"""Two replicas of a node, each with its own connections to one database (sealing, C23, point 4)."""

import asyncio
from collections.abc import AsyncIterator

import pyrage
import pytest
import pytest_asyncio

from keyserver.sealing.errors import ExportStaleError, NonceUsedError, OwnerDeletedError
from keyserver.sealing.ports import Actor, ActorKind, Caller, Scope, SignedRequest
from keyserver.storage.database import opened
from tests.support.manual_clock import ManualClock
from tests.support.postgres import PostgresServer
from tests.support.service_key_desk import ALICE, Desk, StoredKeyring

pytestmark = pytest.mark.postgres

RECIPIENT = str(pyrage.x25519.Identity.generate().to_public())
ADMIN = Caller(Actor(ActorKind.LOCAL), "local", frozenset(Scope))


@pytest_asyncio.fixture
async def desks(postgres: PostgresServer) -> AsyncIterator[tuple[Desk, Desk]]:
    url, clock, stored = await postgres.new_database(), ManualClock(), StoredKeyring()
    async with opened(url) as here, opened(url) as there:
        yield Desk(here, stored=stored, clock=clock), Desk(there, stored=stored, clock=clock)


async def test_fifty_callers_at_two_replicas_get_one_key(desks: tuple[Desk, Desk]) -> None:
    clock = desks[0].clock
    for turn in (1, 2):
        calls = [desk.keys.current(desk.asker("svc:a"), "mail") for desk in desks * 25]
        handed = await asyncio.gather(*calls)
        assert len({one.key.version.key_id for one in handed}) == 1
        assert len({one.key.key.expose() for one in handed}) == 1
        assert sum(one.made for one in handed) == 1
        assert len(await desks[0].store.all_of("svc:a")) == turn
        clock.advance(31 * 24 * 60 * 60)


async def test_a_term_made_at_one_replica_is_found_by_the_other(desks: tuple[Desk, Desk]) -> None:
    here, there = desks
    here.vault.stored.rotate()
    await here.vault.refresh()
    made = await here.keys.current(here.asker("svc:a"), "mail")
    assert (await there.keys.current(there.asker("svc:a"), "mail")).key == made.key
    assert there.vault.refreshed == 1


async def test_a_signed_request_is_good_at_one_replica_only(desks: tuple[Desk, Desk]) -> None:
    here, there = desks
    target = "/v1/keys/mail/current"
    [(_, header)] = here.signed(ALICE, "POST", target)
    request = SignedRequest("POST", target, b"", header)
    await here.callers.authenticate(request)
    with pytest.raises(NonceUsedError):
        await there.callers.authenticate(request)


async def test_no_key_is_made_beside_a_deletion(desks: tuple[Desk, Desk]) -> None:
    """Either the deletion finds the new key and is refused, or the key finds the tombstone."""
    here, there = desks
    for number in range(8):
        owner = f"svc:{number}"
        await here.keys.current(here.asker(owner), "mail")
        made = await here.parts.owners.export(ADMIN, owner, [RECIPIENT])
        deleting = here.parts.owners.delete(ADMIN, owner, made.export.export_id, made.export.sha256)
        adding = there.keys.current(there.asker(owner), f"post{number}")
        deleted, added = await asyncio.gather(deleting, adding, return_exceptions=True)
        left = await here.store.all_of(owner)
        if isinstance(deleted, BaseException):
            assert isinstance(deleted, ExportStaleError)
            assert len(left) == 2
        else:
            assert isinstance(added, OwnerDeletedError)
            assert left == []
