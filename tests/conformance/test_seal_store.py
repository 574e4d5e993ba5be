"""The seal, the node's key and the boxes of all tables, in each database."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Connection, insert, select, text

from keyserver.crypto.boxes import box_term
from keyserver.crypto.randomness import SystemRandom
from keyserver.errors import StorageError
from keyserver.sealing.errors import (
    AlreadyInitialisedError,
    SealConflictError,
    StaleTermError,
    TermInUseError,
)
from keyserver.sealing.making import initialise
from keyserver.sealing.ports import SYSTEM, SealVersion, StoredBox, StoredIdentity, StoredSeal
from keyserver.sealing.rekeys import Rekeys
from keyserver.sealing.upkeep import SETTLED_S, Upkeep
from keyserver.sealing.vault import Vault
from keyserver.sessions.writes import PutPrepared
from keyserver.storage.records import SqlRecordStore
from keyserver.storage.schema import KEY_SHARES, SERVICE_KEYS
from keyserver.storage.sealing import SqlSealStore, require_current_term
from tests.support.manual_clock import ManualClock
from tests.support.sealing import NOW_MS, AuditList, documents
from tests.support.stored_values import NODES, digest, key_id, record, share
from tests.support.stores import SqlSite


def box_of(term: int, content: bytes = b"") -> bytes:
    return b"\x01\x01" + term.to_bytes(4, "big") + bytes(40) + content


SEAL = StoredSeal("{}", 1, 1, 1, b"box")
NEXT = StoredSeal('{"n": 2}', 2, 2, 2, b"next")
IDENTITY = StoredIdentity(NODES[0], box_of(1), 1)


async def put_service_key(site: SqlSite, key: str, box: bytes, owner: str = "eth:0x01") -> None:
    row = {
        "owner": owner,
        "service": "billing",
        "key_id": key,
        "seq": int(key, 16),
        "key_box": box,
        "key_term": box_term(box),
        "created_at": 1,
        "expires_at": 2,
        "origin": "made",
    }
    await site.database.write_shared(
        lambda connection: connection.execute(insert(SERVICE_KEYS).values(row))
    )


# --- the seal ---------------------------------------------------------------------------------


async def test_the_nodes_key_comes_with_the_seal(sql_site: SqlSite) -> None:
    store = SqlSealStore(sql_site.database)
    assert await store.identity() is None
    await store.create(SEAL, IDENTITY)
    await sql_site.reopen()
    store = SqlSealStore(sql_site.database)
    assert await store.identity() == IDENTITY
    assert await store.load() == SEAL
    with pytest.raises(AlreadyInitialisedError):
        await store.create(NEXT, replace(IDENTITY, secret_term=2))
    assert await store.identity() == IDENTITY


async def test_a_seal_is_replaced_by_who_knows_it(sql_site: SqlSite) -> None:
    store = SqlSealStore(sql_site.database)
    await store.create(SEAL)
    for wrong in (SealVersion(2, 1), SealVersion(1, 2), SealVersion(0, 1)):
        with pytest.raises(SealConflictError):
            await store.replace(NEXT, expected=wrong, identity=IDENTITY)
    assert await store.load() == SEAL
    assert await store.identity() is None
    await store.replace(NEXT, expected=SEAL.version, identity=IDENTITY)
    assert await store.load() == NEXT
    assert await store.identity() == IDENTITY
    newer = replace(IDENTITY, secret_box=box_of(2), secret_term=2)
    await store.replace(replace(NEXT, keyring_version=3), expected=NEXT.version, identity=newer)
    assert await store.identity() == newer
    with pytest.raises(SealConflictError):
        await store.replace(NEXT, expected=NEXT.version)


async def test_of_two_replacements_at_once_one_is_done(sql_site: SqlSite) -> None:
    store = SqlSealStore(sql_site.database)
    await store.create(SEAL)
    results = await asyncio.gather(
        *(
            store.replace(replace(NEXT, record=str(number)), expected=SEAL.version)
            for number in range(4)
        ),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, SealConflictError)]
    assert len(refused) == 3
    stored = await store.load()
    assert stored is not None
    assert stored.record == str(results.index(None))


async def test_of_two_first_seals_at_once_one_is_made(sql_site: SqlSite) -> None:
    audit = AuditList()
    results = await asyncio.gather(
        *(
            initialise(
                SqlSealStore(sql_site.database),
                audit,
                node_secret=None,
                shares=2,
                threshold=2,
                source=None,
                random=SystemRandom(),
                now_ms=NOW_MS,
            )
            for _ in range(3)
        ),
        return_exceptions=True,
    )
    made = [result for result in results if not isinstance(result, BaseException)]
    refused = [result for result in results if isinstance(result, AlreadyInitialisedError)]
    assert (len(made), len(refused)) == (1, 2)
    vault = Vault(
        SqlSealStore(sql_site.database), audit, random=SystemRandom(), clock=ManualClock()
    )
    await vault.load()
    for text_of_share in documents(made[0]):
        await vault.submit(text_of_share)
    assert vault.is_open


async def test_a_seal_without_its_service_keys_is_not_made_anew(sql_site: SqlSite) -> None:
    await put_service_key(sql_site, "1", box_of(1))
    with pytest.raises(StorageError, match="the seal is missing"):
        await SqlSealStore(sql_site.database).create(SEAL)


async def test_a_node_id_that_is_none_is_named(sql_site: SqlSite) -> None:
    store = SqlSealStore(sql_site.database)
    await store.create(SEAL, IDENTITY)
    cut = text("UPDATE node_identity SET node_id = substr(node_id, 1, 3)")
    await sql_site.database.write_shared(lambda connection: connection.execute(cut))
    with pytest.raises(StorageError, match="node_identity, node_id"):
        await store.identity()


# --- boxes ------------------------------------------------------------------------------------


async def test_boxes_are_counted_and_listed_in_all_tables(sql_site: SqlSite) -> None:
    store = SqlSealStore(sql_site.database)
    await store.create(SEAL, IDENTITY)
    await sql_site.records.commit([PutPrepared(record(), share(1), digest("t"))])
    for number in range(1, 6):
        await put_service_key(sql_site, str(number), box_of(1 if number < 5 else 2))
    await put_service_key(sql_site, "9", box_of(1), owner="ä ~ü")
    assert await store.boxes_by_term() == {1: 7, 2: 1}
    pages = []
    last: StoredBox | None = None
    while page := await store.boxes_not_of(2, 2, last):
        pages.append(page)
        last = page[-1]
    rows = [(box.table, box.primary_key) for page in pages for box in page]
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert rows == [
        ("key_shares", (key_id(1).hex(), "1")),
        ("node_identity", ("1",)),
        *(("service_keys", ("eth:0x01", "billing", str(number))) for number in range(1, 5)),
        ("service_keys", ("ä ~ü", "billing", "9")),
    ]
    assert len(await store.boxes_not_of(1, 9)) == 1
    assert await store.boxes_not_of(1, 9, (await store.boxes_not_of(1, 9))[0]) == []


async def test_a_box_is_replaced_where_it_is_unchanged(sql_site: SqlSite) -> None:
    store = SqlSealStore(sql_site.database)
    await store.create(SEAL, IDENTITY)
    for number in (1, 2):
        await put_service_key(sql_site, str(number), box_of(1))
    found = await store.boxes_not_of(2, 9)
    assert len(found) == 3
    stale = replace(found[-1], box=box_of(1, b"other"))
    gone = replace(found[-1], primary_key=("eth:0x01", "billing", "7"))
    changes = [(old, box_of(2)) for old in (*found[:-1], stale, gone)]
    assert await store.replace_boxes(changes) == 2
    assert await store.boxes_by_term() == {1: 1, 2: 2}
    assert await store.boxes_not_of(2, 9) == [found[-1]]
    identity = await store.identity()
    assert identity is not None
    assert (identity.secret_box, identity.secret_term) == (box_of(2), 2)
    assert await store.replace_boxes([]) == 0


async def test_a_term_with_boxes_is_not_dropped(sql_site: SqlSite) -> None:
    store = SqlSealStore(sql_site.database)
    await store.create(SEAL, IDENTITY)
    with pytest.raises(TermInUseError):
        await store.replace(NEXT, expected=SEAL.version, without_term=1)
    assert await store.load() == SEAL
    await store.replace(NEXT, expected=SEAL.version, without_term=2)
    assert await store.load() == NEXT


async def test_a_box_of_a_term_that_goes_is_not_stored(sql_site: SqlSite) -> None:
    """Its process may have stood still between making and storing it."""

    def late(term: int) -> Callable[[Connection], None]:
        return lambda connection: require_current_term(connection, term)

    store = SqlSealStore(sql_site.database)
    await sql_site.database.write_shared(late(1))  # there is no node's key: nothing is known
    await store.create(SEAL, IDENTITY)
    await sql_site.database.write_shared(late(1))
    (identity,) = await store.boxes_not_of(2, 1)
    await store.replace_boxes([(identity, box_of(2))])
    with pytest.raises(StaleTermError, match="term 1, which was replaced"):
        await sql_site.database.write_shared(late(1))
    for term in (2, 3):
        await sql_site.database.write_shared(late(term))


# --- a node's life ----------------------------------------------------------------------------


async def test_a_nodes_shares_outlive_rekey_rotation_and_retirement(sql_site: SqlSite) -> None:
    store, audit, clock = SqlSealStore(sql_site.database), AuditList(), ManualClock(NOW_MS // 1000)
    new = await initialise(
        store,
        audit,
        node_secret=None,
        shares=3,
        threshold=2,
        source=None,
        random=SystemRandom(),
        now_ms=NOW_MS,
    )

    async def opened(shares: list[str]) -> Vault:
        vault = Vault(SqlSealStore(sql_site.database), audit, random=SystemRandom(), clock=clock)
        await vault.load()
        for one in shares:
            await vault.submit(one)
        assert vault.is_open
        return vault

    vault = await opened(documents(new)[:2])
    secret = vault.node_secret
    assert secret is not None
    records = SqlRecordStore(sql_site.database, vault.boxes)
    await records.commit([PutPrepared(record(), share(1), digest("t"))])
    rekeys = Rekeys(vault, audit, random=SystemRandom(), clock=clock)
    started = await rekeys.start(2, 2, (), False, SYSTEM)
    await rekeys.prove(started.rekey, documents(new)[2])
    renewed = (await rekeys.prove(started.rekey, documents(new)[1])).new_shares
    assert renewed is not None
    await rekeys.commit(started.rekey, SYSTEM)
    upkeep = Upkeep(vault, store, audit, random=SystemRandom(), clock=clock, rotate_days=0)
    await upkeep.rotate(SYSTEM)
    clock.advance(SETTLED_S)
    await upkeep.rewrap_all()
    await upkeep.retire(1, SYSTEM)
    await sql_site.reopen()
    fresh = await opened(documents(renewed))
    assert fresh.node_secret is not None
    assert fresh.node_secret.expose() == secret.expose()
    loaded = await SqlRecordStore(sql_site.database, fresh.boxes).load(key_id(1))
    assert loaded.prepared is not None
    term = await sql_site.database.read(_share_terms)
    assert term == [2]


def _share_terms(connection: Connection) -> list[int]:
    return list(connection.scalars(select(KEY_SHARES.c.share_term)))


async def test_a_share_in_a_newer_term_is_not_damage(sql_site: SqlSite) -> None:
    """Another replica may have moved it before this one knows the term."""
    store, audit, clock = SqlSealStore(sql_site.database), AuditList(), ManualClock(NOW_MS // 1000)
    new = await initialise(
        store,
        audit,
        node_secret=None,
        shares=1,
        threshold=1,
        source=None,
        random=SystemRandom(),
        now_ms=NOW_MS,
    )
    one, two = (Vault(store, audit, random=SystemRandom(), clock=clock) for _ in range(2))
    for vault in (one, two):
        await vault.load()
        await vault.submit(documents(new)[0])
    await SqlRecordStore(sql_site.database, one.boxes).commit(
        [PutPrepared(record(), share(1), digest("t"))]
    )
    before = await SqlRecordStore(sql_site.database, one.boxes).load(key_id(1))
    upkeep = Upkeep(two, store, audit, random=SystemRandom(), clock=clock, rotate_days=0)
    await upkeep.rotate(SYSTEM)
    clock.advance(SETTLED_S)
    await upkeep.rewrap_all()
    assert one.status().term == 1
    after = await SqlRecordStore(sql_site.database, one.boxes).load(key_id(1))
    assert after == before
    assert one.status().term == 2
