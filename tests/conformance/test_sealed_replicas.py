"""Two processes of one node on one database: what one does to the seal, the other notices."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, delete, insert, select

from keyserver.crypto.randomness import SystemRandom
from keyserver.sealing.errors import SealConflictError, SealedError, ShareWrongSetError
from keyserver.sealing.ports import SYSTEM
from keyserver.sealing.rekeys import Rekeys
from keyserver.sealing.upkeep import SETTLED_S, Upkeep
from keyserver.sealing.vault import Vault
from keyserver.sessions.writes import PutActive, PutPrepared
from keyserver.storage.database import Database, opened
from keyserver.storage.records import SqlRecordStore
from keyserver.storage.schema import SEAL, SEAL_KEYRING
from keyserver.storage.sealing import SqlSealStore
from tests.support.backups import fill
from tests.support.manual_clock import ManualClock
from tests.support.sealing import AuditList, mnemonics
from tests.support.stored_values import certified, digest, key_id, record, share

pytestmark = pytest.mark.postgres


@dataclass
class Process:
    """A process whose seal is open."""

    database: Database
    vault: Vault
    upkeep: Upkeep
    rekeys: Rekeys
    clock: ManualClock

    @classmethod
    async def open(cls, database: Database, words: Sequence[str]) -> "Process":
        store, audit, clock, random = (
            SqlSealStore(database),
            AuditList(),
            ManualClock(),
            SystemRandom(),
        )
        vault = Vault(store, audit, random=random, clock=clock)
        await vault.load()
        for each in words[:2]:
            await vault.submit(each)
        assert vault.is_open
        upkeep = Upkeep(vault, store, audit, random=random, clock=clock, rotate_days=0)
        return cls(database, vault, upkeep, Rekeys(vault, audit, random=random, clock=clock), clock)

    async def shut_for(self) -> str:
        """Compare with the store; why it seals itself, and let it."""
        await self.upkeep.compare()
        reason = await asyncio.wait_for(self.vault.must_shut(), 10)
        self.vault.shut(reason)
        return reason


@asynccontextmanager
async def two(postgres_url: str) -> AsyncIterator[tuple[Process, Process, list[str]]]:
    async with opened(postgres_url) as one, opened(postgres_url) as other:
        words = list((await fill(one)).words)
        yield await Process.open(one, words), await Process.open(other, words), words


async def test_new_shares_at_one_seal_the_other(postgres_url: str) -> None:
    async with two(postgres_url) as (one, other, words):
        rekey = await one.rekeys.start(2, 3, (), False, SYSTEM)
        for each in words[:2]:
            answer = await one.rekeys.prove(rekey.rekey, each)
        await one.rekeys.commit(rekey.rekey, SYSTEM)
        assert answer.new_shares is not None
        new = mnemonics(answer.new_shares)
        assert one.vault.is_open
        assert await other.shut_for() == "epoch_changed"
        await other.vault.load()
        with pytest.raises(ShareWrongSetError):
            await other.vault.submit(words[0])
        for each in new[1:]:
            await other.vault.submit(each)
        assert other.vault.is_open
        assert (await SqlRecordStore(other.database, other.vault.boxes).load(key_id(1))).share


async def test_of_two_rotations_at_once_none_is_lost(postgres_url: str) -> None:
    async with two(postgres_url) as (one, other, words):
        results = await asyncio.gather(
            one.upkeep.rotate(SYSTEM), other.upkeep.rotate(SYSTEM), return_exceptions=True
        )
        assert {2} <= {each for each in results if isinstance(each, int)} <= {2, 3}
        assert all(isinstance(each, int | SealConflictError) for each in results)
        for each in (one, other):
            await each.upkeep.compare()
        terms = {one.vault.status().term, other.vault.status().term}
        assert terms == {max(each for each in results if isinstance(each, int))}
        place = ("service_keys", "key_box", ("owner", "service", "id"))
        for maker, reader in ((one, other), (other, one)):
            sealed = maker.vault.boxes.seal(*place, b"made after the rotations")
            fresh = await Process.open(reader.database, words)
            for opener in (maker, reader, fresh):
                assert opener.vault.boxes.open(*place, sealed.box) == b"made after the rotations"


async def test_a_store_that_goes_back_seals_both(postgres_url: str) -> None:
    async with two(postgres_url) as (one, other, words):
        tables = (SEAL, SEAL_KEYRING)

        def rows(connection: Connection) -> list[dict[str, object]]:
            return [dict(connection.execute(select(table)).one()._mapping) for table in tables]

        earlier = await one.database.read(rows)
        await one.upkeep.rotate(SYSTEM)
        await other.upkeep.compare()

        def go_back(connection: Connection) -> None:
            for table, row in zip(tables, earlier, strict=True):
                connection.execute(delete(table))
                connection.execute(insert(table).values(**row))

        await one.database.write_shared(go_back)
        for each in (one, other):
            assert await each.shut_for() == "rollback_detected"
            with pytest.raises(SealedError):
                await each.vault.submit(words[0])


async def test_records_are_moved_to_a_new_term_while_another_process_writes(
    postgres_url: str,
) -> None:
    async with two(postgres_url) as (one, other, _):
        records = SqlRecordStore(one.database, one.vault.boxes)
        await one.upkeep.rotate(SYSTEM)
        await other.upkeep.compare()
        other.clock.advance(SETTLED_S)

        async def write() -> None:
            for number in range(2, 22):
                await records.commit([PutPrepared(record(number), share(number), digest("t"))])
                await records.commit([PutActive(certified(record(number)))])

        await other.upkeep.rewrap(SYSTEM)
        await asyncio.gather(write(), other.upkeep.rewrap_all())
        assert set(await SqlSealStore(one.database).boxes_by_term()) == {2}
        fresh = SqlRecordStore(other.database, other.vault.boxes)
        for number in range(2, 22):
            assert (await fresh.load(key_id(number))).share == share(number)
