"""Stores of nodes that do not run: one is made with shares, and a copy of one is opened with them.

For networks on one machine and for drills, where one program has the shares of all operators.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from keyserver.app.config import Loaded
from keyserver.app.offline_sealing import stopped_store
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource
from keyserver.crypto.slip39 import combine, parse_mnemonic
from keyserver.engine.ports import Clock
from keyserver.sealing.handing_out import Sharing
from keyserver.sealing.making import initialise
from keyserver.sealing.secret_key import SIZE
from keyserver.sealing.vault import Vault
from keyserver.storage.audit_file import AuditFiles
from keyserver.storage.database import Database, opened
from keyserver.storage.schema import GRANT_PROOF, KEY_BOX, SECRET_BOX, SHARE_BOX, TOKEN_PROOF
from keyserver.storage.sealing import SqlSealStore

_PAGE = 500
"""Boxes that are read at once."""

_SECRETS: Final = {
    (SHARE_BOX.table, SHARE_BOX.column): slice(-SIZE, None),
    (SECRET_BOX.table, SECRET_BOX.column): slice(SIZE),
    (KEY_BOX.table, KEY_BOX.column): slice(SIZE),
}
"""Where the secret is in a box: behind the names of a share, before what is said of a service key;
all else in a box is public."""

_PROOFS: Final = {(one.table, one.column) for one in (TOKEN_PROOF, GRANT_PROOF)}
"""Boxes without a secret: what they say stands in their rows as well."""


async def make_sealed_store(
    loaded: Loaded, secret: SecretScalar, sharing: Sharing, *, random: RandomSource, clock: Clock
) -> tuple[str, ...]:
    """Make the store of a new node with this key in it; returns the words of each share.

    Raises `ConfigError`, `AlreadyInitialisedError` and `StorageError`.
    """
    async with stopped_store(loaded, random=random, clock=clock) as stopped:
        made = await initialise(
            stopped.seal,
            stopped.audit,
            node_secret=secret,
            shares=sharing.shares,
            threshold=sharing.threshold,
            source=None,
            random=random,
            now_ms=clock.unix() * 1000,
        )
    return tuple(json.loads(share.content)["mnemonic"] for share in made.shares)


async def secrets_of(
    database_url: str, shares: Sequence[str], *, random: RandomSource, clock: Clock
) -> Mapping[str, bytes]:
    """All that a store hides, 32 bytes each, by what it is: to look whether it stands elsewhere.

    `shares`: exactly as many as open it. The database must be in use by nobody; give that of a
    copy. Raises `StorageError`, and `OperatorError` for shares that do not open it.
    """
    found: dict[str, bytes] = {}
    async with opened(database_url) as database:
        # Nothing happens to the node, so nothing is written into its audit log.
        audit = AuditFiles((), replica_id="", clock=clock)
        vault = Vault(SqlSealStore(database), audit, random=random, clock=clock)
        await vault.load()
        for share in shares:
            await vault.submit(share)
        found["unseal secret"] = combine([parse_mnemonic(share) for share in shares])
        found["root key"] = vault.open_seal.root.expose()
        for number, term in vault.open_seal.keyring.terms.items():
            found[f"key of term {number}"] = term.key.expose()
        found |= await _opened_boxes(database, vault)
        vault.shut("looked at")
    return found


async def _opened_boxes(database: Database, vault: Vault) -> dict[str, bytes]:
    """What is in the boxes of all tables, by table, column and row."""
    store, found = SqlSealStore(database), dict[str, bytes]()
    boxes = await store.boxes_not_of(0, _PAGE)
    while boxes:
        for box in boxes:
            if (box.table, box.column) in _PROOFS:
                continue
            name = f"{box.table}.{box.column} of {', '.join(box.primary_key)}"
            plain = vault.boxes.open(box.table, box.column, box.primary_key, box.box)
            found[name] = plain[_SECRETS[box.table, box.column]]
        boxes = await store.boxes_not_of(0, _PAGE, boxes[-1])
    return found
