"""Stores with something of every kind in them, to back up."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, insert, select

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.randomness import SystemRandom
from keyserver.sealing.making import initialise
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.service_keys.boxes import KeyBoxes
from keyserver.sealing.service_keys.model import Pair, Version
from keyserver.sealing.vault import Vault
from keyserver.sessions.writes import PutActive, PutPrepared
from keyserver.storage.backup import LEFT_OUT
from keyserver.storage.database import Database
from keyserver.storage.records import SqlRecordStore
from keyserver.storage.schema import API_TOKENS, METADATA, REQUEST_NONCES
from keyserver.storage.sealing import SqlSealStore
from keyserver.storage.service_keys import SqlServiceKeyStore
from keyserver.storage.work import SqlWorkStore
from tests.support.manual_clock import ManualClock
from tests.support.sealing import NOW_MS, AuditList, mnemonics
from tests.support.stored_values import CHAIN, certified, digest, record, request, share

SERVICE_KEY = keccak256(b"service key")
TOKEN_ID = "t" * 16
BOXES = 4
"""Of a key share, a node's key, a service key, a token."""

KEY_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"


@dataclass
class Filled:
    """What opens a store, and what must not be read in it."""

    words: Sequence[str] = field(repr=False)
    """Of three shares, two of which open it."""
    secrets: Sequence[bytes] = field(repr=False)


async def vault_of(database: Database) -> Vault:
    """The seal of a database, shut."""
    vault = Vault(SqlSealStore(database), AuditList(), random=SystemRandom(), clock=ManualClock())
    await vault.load()
    return vault


async def fill(database: Database) -> Filled:
    """Seal an empty store with shares 2 of 3, and put a few rows into it."""
    node_secret = SecretScalar.random(SystemRandom())
    new = await initialise(
        SqlSealStore(database),
        AuditList(),
        node_secret=node_secret,
        shares=3,
        threshold=2,
        source=None,
        random=SystemRandom(),
        now_ms=NOW_MS,
    )
    words = mnemonics(new)
    secrets = [node_secret.expose(), SERVICE_KEY, share(1).value.expose()]
    vault = await vault_of(database)
    for each in words[:2]:
        await vault.submit(each)
    await add_rows(database, vault)
    secrets += [term.key.expose() for term in vault.boxes._open_keyring().terms.values()]
    vault.shut("filled")
    return Filled(words, secrets)


async def add_rows(database: Database, vault: Vault) -> None:
    boxes = vault.boxes
    records = SqlRecordStore(database, boxes)
    await records.commit([PutPrepared(record(), share(1), digest("t"))])
    await records.commit([PutActive(certified(record()))])
    work = SqlWorkStore(database, CHAIN)
    await work.admit([request(key=1), request(key=2)])
    pair = Pair('Ölwerk\n"1"', "mail")
    version = Version(pair, KEY_ID, 1, NOW_MS, NOW_MS + 1, origin="")
    assert await SqlServiceKeyStore(database).add(
        KeyBoxes(vault).seal(version, SecretKey(SERVICE_KEY))
    )
    proof = boxes.seal("api_tokens", "proof_box", (TOKEN_ID,), b"what the row says")
    rows = [
        insert(API_TOKENS).values(
            token_id=TOKEN_ID,
            secret_hash=bytes(32),
            principal="svc:mail",
            scopes="[]",
            services="[]",
            created_at=NOW_MS,
            expires_at=NOW_MS + 1,
            last_used_at=None,
            proof_box=proof.box,
            proof_term=proof.term,
        ),
        insert(REQUEST_NONCES).values(address=bytes(20), nonce=bytes(16), expires_at=1),
    ]
    await database.write_shared(lambda connection: [connection.execute(row) for row in rows])


async def all_rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Everything that belongs into a backup, by table."""

    def read(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in METADATA.sorted_tables
            if table.name not in LEFT_OUT
        }

    return await database.read(read)
