"""What services are handed: the current key, earlier ones, and what stands in the way."""

import asyncio
import hashlib
from collections.abc import Callable

import pytest
from sqlalchemy import insert, update

from keyserver.crypto.errors import BoxTagError
from keyserver.sealing.errors import (
    AuditUnavailableError,
    BadNameError,
    ForbiddenError,
    KeyNotFoundError,
    SealedError,
    StaleTermError,
)
from keyserver.sealing.ports import Actor, ActorKind, Caller, Scope
from keyserver.sealing.service_keys.boxes import CorruptKeyError
from keyserver.sealing.service_keys.data import Ciphertext
from keyserver.sealing.service_keys.model import DAY_MS, Pair
from keyserver.sealing.service_keys.rights import Asker
from keyserver.storage.schema import NODE_IDENTITY, SERVICE_KEYS
from tests.support.service_key_desk import NODE, Desk, StoredKeyring

DAY_S = 24 * 60 * 60
ALICE = "svc:alice"


async def test_the_first_call_makes_the_key_and_the_next_gets_the_same(desk: Desk) -> None:
    asker = desk.asker(ALICE)
    first = await desk.keys.current(asker, "mail")
    again = await desk.keys.current(asker, "mail")
    assert (first.made, again.made) == (True, False)
    assert first.key == again.key
    version = first.key.version
    assert first.key.is_current
    assert version.expires_at - version.created_at == 30 * DAY_MS
    assert version.created_at == desk.clock.unix() * 1000
    assert (version.seq, version.origin) == (1, "made")


async def test_keys_differ_by_owner_and_by_service(desk: Desk) -> None:
    keys = [
        (await desk.keys.current(desk.asker(owner), service)).key.key.expose()
        for owner in (ALICE, "svc:bob", "svc:alic")
        for service in ("mail", "e")
    ]
    assert len(set(keys)) == 6


async def test_a_key_is_rotated_when_it_is_asked_for_after_its_last_day(desk: Desk) -> None:
    asker = desk.asker(ALICE)
    old = await desk.keys.current(asker, "mail")
    desk.clock.advance(30 * DAY_S - 1)
    assert (await desk.keys.current(asker, "mail")).key == old.key
    desk.clock.advance(1)
    new = await desk.keys.current(asker, "mail")
    assert new.made
    assert new.key.version.seq == 2
    assert new.key.version.key_id != old.key.version.key_id
    assert new.key.key != old.key.key
    assert desk.audit.actions == ["keys.create", "keys.get", "keys.get", "keys.rotate", "keys.get"]


async def test_an_earlier_key_stays_for_ever_under_its_id(desk: Desk) -> None:
    asker = desk.asker(ALICE)
    old = (await desk.keys.current(asker, "mail")).key
    assert (await desk.keys.by_id(asker, "mail", old.version.key_id)).is_current
    desk.clock.advance(40 * DAY_S)
    # expired, although nothing newer was made yet
    assert not (await desk.keys.by_id(asker, "mail", old.version.key_id)).is_current
    await desk.keys.current(asker, "mail")
    for _ in range(3):
        desk.clock.advance(400 * DAY_S)
        found = await desk.keys.by_id(asker, "mail", old.version.key_id.upper())
        assert found.key == old.key
        assert not found.is_current


async def test_an_id_opens_nothing_for_another_owner_or_service(desk: Desk) -> None:
    key_id = (await desk.keys.current(desk.asker(ALICE), "mail")).key.version.key_id
    for owner, service in ((ALICE, "post"), ("svc:bob", "mail")):
        with pytest.raises(KeyNotFoundError) as refused:
            await desk.keys.by_id(desk.asker(owner), service, key_id)
        unknown = "00000000-0000-4000-8000-000000000000"
        with pytest.raises(KeyNotFoundError) as other:
            await desk.keys.by_id(desk.asker(owner), service, unknown)
        assert str(refused.value) == str(other.value)


async def test_many_first_calls_at_once_get_one_key(desk: Desk) -> None:
    asker = desk.asker(ALICE)
    for turn in (1, 2):
        handed = await asyncio.gather(*(desk.keys.current(asker, "mail") for _ in range(50)))
        assert len({one.key.version.key_id for one in handed}) == 1
        assert sum(one.made for one in handed) == 1
        versions = await desk.keys.versions(asker, "mail", None, 100)
        assert [version.seq for version in versions] == list(range(turn, 0, -1))
        desk.clock.advance(31 * DAY_S)


@pytest.mark.parametrize(
    "asking",
    [
        lambda desk, asker: desk.keys.current(asker, "mail"),
        lambda desk, asker: desk.keys.by_id(asker, "mail", "0" * 8 + "-0000" * 3 + "-" + "0" * 12),
        lambda desk, asker: desk.keys.versions(asker, "mail", None, 5),
        lambda desk, asker: desk.keys.services(asker, "", 5),
        lambda desk, asker: desk.keys.encrypt(asker, "mail", b"", b""),
    ],
)
async def test_nothing_is_told_while_sealed(desk: Desk, asking: Callable[..., object]) -> None:
    asker = desk.asker(ALICE)
    await desk.keys.current(asker, "mail")
    desk.vault.is_open = False
    before = len(desk.audit.entries)
    with pytest.raises(SealedError):
        await asking(desk, asker)  # type: ignore[misc]
    assert len(desk.audit.entries) == before


async def test_who_may_not_gets_nothing(desk: Desk) -> None:
    actor = Actor(ActorKind.TOKEN, "b" * 16)
    auditor = Asker(Caller(actor, ALICE, frozenset({Scope.AUDIT_READ})), ALICE, ("*",))
    with pytest.raises(ForbiddenError, match="keys:use"):
        await desk.keys.current(auditor, "mail")
    with pytest.raises(ForbiddenError, match="keys:use"):
        await desk.keys.services(auditor, "", 5)
    data_only = Asker(Caller(actor, ALICE, frozenset({Scope.KEYS_DATA})), ALICE, ("*",))
    with pytest.raises(ForbiddenError, match="keys:use"):
        await desk.keys.current(data_only, "mail")
    ciphertext = await desk.keys.encrypt(data_only, "mail", b"hello", b"")
    assert await desk.keys.decrypt(desk.asker(ALICE), "mail", ciphertext, b"") == b"hello"
    narrow = desk.asker(ALICE, ("mail.*", "post"))
    for service in ("mail", "poste", "other"):
        with pytest.raises(ForbiddenError, match="service"):
            await desk.keys.current(narrow, service)
    for service in ("mail.in", "mail.", "post"):
        assert (await desk.keys.current(narrow, service)).made


async def test_lists_show_what_the_asker_may_ask_for(desk: Desk) -> None:
    asker = desk.asker(ALICE)
    for service in ("a", "ä", "b/c", "b"):
        await desk.keys.current(asker, service)
    await desk.keys.current(desk.asker("svc:bob"), "z")
    page = await desk.keys.services(asker, "", 100)
    assert [line.service for line in page.lines] == ["a", "b", "b/c", "ä"]
    assert page.next_after is None
    first = await desk.keys.services(asker, "", 2)
    assert [line.service for line in first.lines] == ["a", "b"]
    rest = await desk.keys.services(asker, first.next_after or "", 2)
    assert [line.service for line in rest.lines] == ["b/c", "ä"]
    narrow = await desk.keys.services(desk.asker(ALICE, ("b*",)), "", 100)
    assert [line.service for line in narrow.lines] == ["b", "b/c"]


@pytest.mark.parametrize("at_once", [1, 2, 3, 1000])
async def test_no_page_tells_of_services_that_the_asker_may_not_ask_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("keyserver.sealing.service_keys.keys.LINES_AT_ONCE", at_once)
    for service in ("a secret", "mail", "mail.in", "other", "post", "zeta"):
        await desk.keys.current(desk.asker(ALICE), service)
    narrow = desk.asker(ALICE, ("mail*", "post"))
    told, after = [], ""
    while True:
        page = await desk.keys.services(narrow, after, 1)
        told += [line.service for line in page.lines]
        if page.next_after is None:
            break
        assert page.next_after == told[-1]
        after = page.next_after
    assert told == ["mail", "mail.in", "post"]
    nothing = await desk.keys.services(desk.asker(ALICE, ("x",)), "", 1)
    assert (nothing.lines, nothing.next_after) == ([], None)


async def test_versions_come_in_pages_the_newest_first(desk: Desk) -> None:
    asker = desk.asker(ALICE)
    for _ in range(5):
        await desk.keys.current(asker, "mail")
        desk.clock.advance(31 * DAY_S)
    newest = await desk.keys.versions(asker, "mail", None, 2)
    assert [version.seq for version in newest] == [5, 4]
    rest = await desk.keys.versions(asker, "mail", 4, 10)
    assert [version.seq for version in rest] == [3, 2, 1]


async def test_data_opens_after_a_rotation_for_the_same_owner_and_service(desk: Desk) -> None:
    asker = desk.asker(ALICE)
    ciphertext = await desk.keys.encrypt(asker, "mail", b"\x00 function f() {}", b"row 7")
    desk.clock.advance(31 * DAY_S)
    await desk.keys.current(asker, "mail")
    assert await desk.keys.decrypt(asker, "mail", ciphertext, b"row 7") == b"\x00 function f() {}"
    with pytest.raises(BadNameError, match="does not open"):
        await desk.keys.decrypt(asker, "mail", ciphertext, b"row 8")
    for other, service in ((asker, "post"), (desk.asker("svc:bob"), "mail")):
        with pytest.raises(KeyNotFoundError):
            await desk.keys.decrypt(other, service, ciphertext, b"row 7")
    box = bytearray(ciphertext.box)
    box[-1] ^= 1
    with pytest.raises(BadNameError, match="does not open"):
        await desk.keys.decrypt(asker, "mail", Ciphertext(ciphertext.key_id, bytes(box)), b"row 7")


async def test_a_key_sealed_under_a_new_term_opens_after_one_look_at_the_keyring(
    desk: Desk,
) -> None:
    stored = StoredKeyring()
    here, there = Desk(desk.database, stored=stored), Desk(desk.database, stored=stored)
    stored.rotate()
    await there.vault.refresh()
    made = await there.keys.current(there.asker(ALICE), "mail")
    found = await here.keys.current(here.asker(ALICE), "mail")
    assert found.key == made.key
    assert here.vault.refreshed == 1
    await here.keys.current(here.asker(ALICE), "mail")
    assert here.vault.refreshed == 1


async def test_a_key_is_never_kept_in_a_term_that_was_replaced(desk: Desk) -> None:
    stored = StoredKeyring()
    here = Desk(desk.database, stored=stored)
    stored.rotate()  # elsewhere, where the node's key was moved to the new term at once
    moved = insert(NODE_IDENTITY).values(id=1, node_id=NODE, secret_box=b"x", secret_term=2)
    await here.database.write_shared(lambda connection: connection.execute(moved))
    made = await here.keys.current(here.asker(ALICE), "mail")
    assert here.vault.refreshed == 1
    [kept] = await here.store.all_of(ALICE)
    assert (kept.version, kept.key_term) == (made.key.version, 2)
    # one that does not find the new term keeps nothing
    other = Desk(desk.database)
    with pytest.raises(StaleTermError, match="term 1"):
        await other.keys.current(other.asker("svc:bob"), "mail")
    assert await other.store.all_of("svc:bob") == []


async def test_a_box_that_was_moved_or_lost_its_term_is_corrupt(desk: Desk) -> None:
    asker = desk.asker(ALICE)
    await desk.keys.current(asker, "mail")
    await desk.keys.current(asker, "post")
    moved = await desk.store.latest(Pair(ALICE, "mail"))
    assert moved is not None
    change = update(SERVICE_KEYS).where(SERVICE_KEYS.c.service == "post")
    await desk.database.write_shared(
        lambda connection: connection.execute(change.values(key_box=moved.key_box))
    )
    with pytest.raises(CorruptKeyError) as refused:
        await desk.keys.current(asker, "post")
    assert isinstance(refused.value.__cause__, BoxTagError)
    assert refused.value.code == "STORAGE_CORRUPT"
    lost = moved.key_box[:2] + (9).to_bytes(4, "big") + moved.key_box[6:]
    await desk.database.write_shared(
        lambda connection: connection.execute(change.values(key_box=lost))
    )
    with pytest.raises(CorruptKeyError, match="term 9"):
        await desk.keys.current(asker, "post")
    assert desk.vault.refreshed == 1
    assert (await desk.keys.current(asker, "mail")).key.version.key_id


async def spoil(desk: Desk, key_id: str, column: str, by: int | str) -> None:
    """Change a row of service keys as somebody would who writes to the database."""
    changed = SERVICE_KEYS.c[column] + by if isinstance(by, int) else by
    row = update(SERVICE_KEYS).where(SERVICE_KEYS.c.key_id == key_id)
    await desk.database.write_shared(
        lambda connection: connection.execute(row.values({column: changed}))
    )


@pytest.mark.parametrize(
    ("column", "by"),
    [("seq", 2), ("created_at", -1), ("expires_at", 90 * DAY_MS), ("origin", "imicros")],
)
async def test_what_a_row_says_is_what_was_sealed(desk: Desk, column: str, by: int | str) -> None:
    asker = desk.asker(ALICE)
    version = (await desk.keys.current(asker, "mail")).key.version
    await spoil(desk, version.key_id, column, by)
    with pytest.raises(CorruptKeyError, match="says not what was sealed"):
        await desk.keys.by_id(asker, "mail", version.key_id)


async def test_no_version_is_made_the_current_one_again(desk: Desk) -> None:
    """Neither by living longer, nor by another number."""
    asker = desk.asker(ALICE)
    old = (await desk.keys.current(asker, "mail")).key.version
    await spoil(desk, old.key_id, "expires_at", 90 * DAY_MS)
    desk.clock.advance(31 * DAY_S)
    with pytest.raises(CorruptKeyError):
        await desk.keys.current(asker, "mail")
    await spoil(desk, old.key_id, "expires_at", -90 * DAY_MS)
    assert (await desk.keys.current(asker, "mail")).made
    await spoil(desk, old.key_id, "seq", 2)
    await spoil(desk, old.key_id, "expires_at", 90 * DAY_MS)
    with pytest.raises(CorruptKeyError):
        await desk.keys.current(asker, "mail")


async def test_everything_is_written_down_and_nothing_secret(desk: Desk) -> None:
    asker = desk.asker(ALICE)
    key = (await desk.keys.current(asker, "mail")).key
    await desk.keys.encrypt(asker, "mail", b"hello", b"")
    assert desk.audit.actions == ["keys.create", "keys.get", "keys.encrypt"]
    for _, outcome, actor, details in desk.audit.entries:
        assert outcome == "ok"
        assert actor == asker.caller.actor
        assert details["owner"] == details["principal"] == ALICE
        assert details["service"] == "mail"
        assert details["key_id"] == key.version.key_id
    text = repr(desk.audit.entries) + repr(key)
    assert key.key.expose().hex() not in text
    assert hashlib.sha256(key.key.expose()).hexdigest() not in text


async def test_nothing_is_handed_out_that_cannot_be_written_down(desk: Desk) -> None:
    asker = desk.asker(ALICE)
    desk.audit.is_broken = True
    with pytest.raises(AuditUnavailableError):
        await desk.keys.current(asker, "mail")
    desk.audit.is_broken = False
    handed = await desk.keys.current(asker, "mail")
    assert handed.key.version.seq == 1
