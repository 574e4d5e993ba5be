"""What the stores of service keys and callers promise, in a file and on a server."""

import asyncio
from collections.abc import Sequence

import pytest

from keyserver.crypto.randomness import SystemRandom
from keyserver.errors import StorageError
from keyserver.model.identifiers import Address
from keyserver.sealing.errors import ExportStaleError, OwnerDeletedError, RestoreConflictError
from keyserver.sealing.ports import Scope
from keyserver.sealing.secret_boxes import SealedValue
from keyserver.sealing.service_keys.exports import versions_hash
from keyserver.sealing.service_keys.model import (
    EXPORT_LIFE_MS,
    Deletion,
    Export,
    Pair,
    StoredVersion,
    Version,
)
from keyserver.sealing.service_keys.names import new_key_id
from keyserver.sealing.service_keys.rights import Grant
from keyserver.sealing.tokens import StoredToken
from keyserver.storage.callers import SqlGrantStore, SqlRequestNonces, SqlTokenStore
from keyserver.storage.service_keys import SqlServiceKeyStore
from tests.support.stores import SqlSite

NOW = 1_800_000_000_000
PROOF = SealedValue(b"a box", 3)
NAMES = ("B", "a", "a/b", "aa", "a~b", "größe", "z", "ä", "\U0001f511")
"""In the order of their UTF-8 bytes; a dictionary has another."""


def version(
    owner: str = "a", service: str = "b", seq: int = 1, key_id: str | None = None
) -> StoredVersion:
    name = key_id or new_key_id(SystemRandom())
    found = Version(Pair(owner, service), name, seq, NOW + seq, NOW + 10 + seq, "made")
    return StoredVersion(found, b"box %d" % seq, 3)


def export_of(
    versions: Sequence[StoredVersion], owner: str = "a", made_at: int = NOW, name: str = "e1"
) -> Export:
    return Export(
        name, owner, b"\x01" * 32, versions_hash(each.version for each in versions), made_at
    )


def deletion(owner: str = "a", name: str = "e1", at: int = NOW) -> Deletion:
    return Deletion(owner, name, b"\x01" * 32, "admin", at)


async def test_versions_are_found_by_number_and_by_id(sql_site: SqlSite) -> None:
    store = SqlServiceKeyStore(sql_site.database)
    pair = Pair("a", "b")
    assert await store.latest(pair) is None
    versions = [version(seq=seq) for seq in (1, 2, 10)]
    for stored in versions:
        assert await store.add(stored)
    # the same id in another pair is another key
    elsewhere = version("a~b", "c", 1, versions[0].version.key_id)
    assert await store.add(elsewhere)
    await sql_site.reopen()
    store = SqlServiceKeyStore(sql_site.database)
    assert await store.latest(pair) == versions[2]
    assert await store.find(pair, versions[0].version.key_id) == versions[0]
    assert await store.find(Pair("a~b", "c"), versions[0].version.key_id) == elsewhere
    assert await store.find(Pair("a", "c"), versions[0].version.key_id) is None
    assert [each.seq for each in await store.versions(pair, None, 2)] == [10, 2]
    assert [each.seq for each in await store.versions(pair, 10, 2)] == [2, 1]


async def test_a_number_and_an_id_are_given_once(sql_site: SqlSite) -> None:
    store = SqlServiceKeyStore(sql_site.database)
    first = version()
    assert await store.add(first)
    assert not await store.add(version())
    assert not await store.add(version(seq=2, key_id=first.version.key_id))
    assert await store.all_of("a") == [first]


async def test_names_come_in_the_order_of_their_bytes(sql_site: SqlSite) -> None:
    store = SqlServiceKeyStore(sql_site.database)
    for name in reversed(NAMES):
        await store.add(version(name, "s"))
        await store.add(version("svc:x", name))
    services = await store.services("svc:x", "", 100)
    assert [line.service for line in services] == list(NAMES)
    owners = await store.owners("", 100)
    assert [line.owner for line in owners] == sorted([*NAMES, "svc:x"], key=str.encode)
    assert [line.owner for line in await store.owners("a", 2)] == ["a/b", "aa"]
    assert [line.service for line in await store.services("svc:x", "aa", 2)] == ["a~b", "größe"]
    [many] = [line for line in owners if line.owner == "svc:x"]
    assert (many.services, many.keys) == (len(NAMES), len(NAMES))


async def test_an_owner_is_deleted_with_a_fresh_export_only(sql_site: SqlSite) -> None:
    store = SqlServiceKeyStore(sql_site.database)
    versions = [version(seq=1), version(seq=2), version(service="c")]
    for stored in (*versions, version("b")):
        await store.add(stored)
    await store.keep_export(export_of(versions))
    await store.keep_export(export_of(versions[:2], name="e2"))
    wrong = [
        deletion(name="e2"),
        deletion(name="e3"),
        deletion(owner="b"),
        deletion(at=NOW + EXPORT_LIFE_MS),
        Deletion("a", "e1", b"\x02" * 32, "admin", NOW),
    ]
    for each in wrong:
        with pytest.raises(ExportStaleError):
            await store.delete(each)
    assert len(await store.all_of("a")) == 3
    assert await store.delete(deletion(at=NOW + EXPORT_LIFE_MS - 1)) == 3
    assert await store.all_of("a") == []
    assert len(await store.all_of("b")) == 1
    for asking in (
        store.latest(Pair("a", "b")),
        store.find(Pair("a", "b"), versions[0].version.key_id),
        store.add(version(seq=9)),
        store.delete(deletion()),
    ):
        with pytest.raises(OwnerDeletedError):
            await asking


async def test_a_deletion_that_fails_in_its_last_step_has_done_nothing(sql_site: SqlSite) -> None:
    store = SqlServiceKeyStore(sql_site.database)
    versions = [version(seq=1), version(seq=2)]
    for stored in versions:
        await store.add(stored)
    await store.keep_export(export_of(versions))
    nobody = Deletion("a", "e1", b"\x01" * 32, None, NOW)  # type: ignore[arg-type]
    with pytest.raises(StorageError):
        await store.delete(nobody)
    await sql_site.reopen()
    store = SqlServiceKeyStore(sql_site.database)
    assert await store.all_of("a") == versions
    assert await store.delete(deletion()) == 2


async def test_old_exports_are_forgotten(sql_site: SqlSite) -> None:
    store = SqlServiceKeyStore(sql_site.database)
    stored = version()
    await store.add(stored)
    await store.keep_export(export_of([stored]))
    await store.keep_export(export_of([stored], made_at=NOW + EXPORT_LIFE_MS, name="e2"))
    with pytest.raises(ExportStaleError):
        await store.delete(deletion(at=NOW))
    assert await store.delete(deletion(name="e2", at=NOW + EXPORT_LIFE_MS)) == 1


async def test_an_owner_is_restored_completely_or_not_at_all(sql_site: SqlSite) -> None:
    store = SqlServiceKeyStore(sql_site.database)
    versions = [version(seq=1), version(seq=2)]
    for stored in versions:
        await store.add(stored)
    await store.keep_export(export_of(versions))
    await store.delete(deletion())
    with pytest.raises(RestoreConflictError):
        await store.restore("a", [*versions, version(seq=2)])
    with pytest.raises(OwnerDeletedError):
        await store.latest(Pair("a", "b"))
    with pytest.raises(RestoreConflictError):
        await store.restore("a", versions[1:], present=[versions[0].version])
    with pytest.raises(OwnerDeletedError):
        await store.latest(Pair("a", "b"))
    await store.restore("a", versions)
    await store.restore("a", [], present=[each.version for each in versions])
    assert await store.all_of("a") == versions
    assert await store.all_of("a", ["b"]) == versions
    assert await store.all_of("a", ["c"]) == []
    assert await store.add(version(seq=3))


async def test_a_nonce_is_used_once(sql_site: SqlSite) -> None:
    nonces = SqlRequestNonces(sql_site.database)
    alice, bob, one, two = Address(b"\x01" * 20), Address(b"\x02" * 20), b"\x01" * 16, b"\x02" * 16
    for address, nonce in ((alice, one), (alice, two), (bob, one)):
        assert await nonces.take(address, nonce, now=1000, expires_at=1060)
        assert not await nonces.take(address, nonce, now=1000, expires_at=1060)
    await sql_site.reopen()
    nonces = SqlRequestNonces(sql_site.database)
    assert not await nonces.take(alice, one, now=1360, expires_at=1420)
    # long after it could have been repeated it is not kept any more
    assert await nonces.take(alice, one, now=1361, expires_at=1421)
    taken = await asyncio.gather(
        *(nonces.take(bob, two, now=2000, expires_at=2060) for _ in range(8))
    )
    assert sorted(taken) == [False] * 7 + [True]


async def test_tokens_are_kept_as_they_are(sql_site: SqlSite) -> None:
    tokens = SqlTokenStore(sql_site.database)
    made = [
        StoredToken(
            name * 16, b"\x05" * 32, "svc:größe", scopes, ("a", "b*"), NOW, NOW + 1, None, PROOF
        )
        for name, scopes in (("b", frozenset(Scope)), ("a", frozenset({Scope.KEYS_USE})))
    ]
    for token in made:
        await tokens.add(token)
    with pytest.raises(StorageError):
        await tokens.add(made[0])
    assert await tokens.find("b" * 16) == made[0]
    assert await tokens.find("c" * 16) is None
    assert [await tokens.exists(name * 16) for name in "bc"] == [True, False]
    assert await tokens.page("", 10) == [made[1], made[0]]
    assert await tokens.page("a" * 16, 10) == [made[0]]
    await tokens.used("b" * 16, NOW + 7)
    found = await tokens.find("b" * 16)
    assert found is not None
    assert found.last_used_at == NOW + 7
    assert [await tokens.delete("b" * 16) for _ in range(2)] == [True, False]
    assert await tokens.find("b" * 16) is None


async def test_grants_are_found_by_whom_they_are_given_to(sql_site: SqlSite) -> None:
    grants = SqlGrantStore(sql_site.database)
    made = [
        Grant(name, principal, "imicros:*", "*", "admin", NOW, NOW + 1, PROOF)
        for name, principal in (("2", "svc:a"), ("1", "svc:a"), ("3", "svc:b"))
    ]
    for grant in made:
        await grants.add(grant)
    assert set(await grants.of_principal("svc:a")) == set(made[:2])
    assert await grants.of_principal("svc:") == []
    assert await grants.find("2") == made[0]
    assert await grants.find("4") is None
    assert [grant.grant_id for grant in await grants.page("1", 10)] == ["2", "3"]
    assert [await grants.delete("2") for _ in range(2)] == [True, False]
    assert await grants.of_principal("svc:a") == [made[1]]
