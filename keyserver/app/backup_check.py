"""Tries a backup: it is restored into a database that is thrown away, where shares may open it."""

import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keyserver.crypto.boxes import box_term
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.model.identifiers import NodeId
from keyserver.sealing.key_sources import KeySource
from keyserver.sealing.ports import Actor, AuditDetails, AuditOutcome, StoredBox
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.vault import Vault
from keyserver.storage.backup import OnTable, copy_in
from keyserver.storage.backup_file import BackupUnopenedError, Manifest, open_archive
from keyserver.storage.database import opened
from keyserver.storage.sealing import SqlSealStore

BOXES_AT_A_TIME: Final = 500

NAMED: Final = 10
"""How many boxes that do not open are named."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What trying a backup has shown."""

    manifest: Manifest
    boxes: int
    opened: bool
    """Whether the boxes were opened, not only counted."""
    damaged: tuple[str, ...]
    """The first boxes that are none, or do not open: table, column, row."""


class Trial:
    """A backup restored into a database of its own, shut."""

    def __init__(self, manifest: Manifest, store: SqlSealStore, vault: Vault) -> None:
        self._manifest = manifest
        self._store = store
        self._vault = vault

    @property
    def node_id(self) -> NodeId:
        """Whose backup it is."""
        return NodeId(bytes.fromhex(self._manifest.node_id))

    @property
    def required(self) -> int:
        """How many shares open it; 0 where none do."""
        return self._vault.status().required

    async def open_with_shares(self, shares: Iterable[str]) -> None:
        """Take shares until it is open.

        Raises `ShareMalformedError`, `ShareWrongSetError` and `ShareUnknownError`, and
        `BackupUnopenedError` if they are too few.
        """
        for share in shares:
            if not (await self._vault.submit(share)).sealed:
                return
        progress = self._vault.status().progress
        raise BackupUnopenedError(f"{self.required} shares open the backup, {progress} were given")

    async def open_with(self, source: KeySource) -> None:
        """Open it by a slot that needs no operators; raises as `Vault.open_with` does."""
        await self._vault.open_with(source)

    async def check(self) -> Verdict:
        """Look at every box, and open it where the keys are at hand."""
        boxes = self._vault.boxes if self._vault.is_open else None
        damaged: list[str] = []
        number = 0
        terms: Counter[int] = Counter()
        async for box in self._boxes():
            number += 1
            try:
                terms[box_term(box.box)] += 1
                _open(boxes, box)
            except CryptoError as problem:
                if len(damaged) < NAMED:
                    row = ", ".join(box.primary_key)
                    damaged.append(f"{box.table}.{box.column}, row {row}: {problem}")
        if not damaged and terms != await self._store.boxes_by_term():
            damaged.append("the terms that the rows name are not those of their boxes")
        return Verdict(self._manifest, number, boxes is not None, tuple(damaged))

    async def _boxes(self) -> AsyncIterator[StoredBox]:
        last: StoredBox | None = None
        while some := await self._store.boxes_not_of(0, BOXES_AT_A_TIME, last):
            for box in some:
                yield box
            last = some[-1]


def _open(boxes: SecretBoxes | None, box: StoredBox) -> None:
    if boxes is not None:
        boxes.open(box.table, box.column, box.primary_key, box.box)


class _Unrecorded:
    """The audit log of a seal that is nobody's."""

    async def record(
        self,
        action: str,
        outcome: AuditOutcome,
        actor: Actor,
        details: AuditDetails | None = None,
    ) -> None:
        """Nothing is kept: what is done to a copy is not done to the node."""


@asynccontextmanager
async def trial(
    path: Path,
    identities: Sequence[Any],
    *,
    random: RandomSource,
    clock: Clock,
    on_table: OnTable,
) -> AsyncIterator[Trial]:
    """Restore a backup into a folder that is deleted at the end.

    `identities`: keys of age, for an encrypted one. Raises `BackupError` for one that is damaged,
    and `SealRecordDamagedError`.
    """
    with (
        open_archive(path, identities) as archive,
        tempfile.TemporaryDirectory(prefix="keyserver-backup-") as folder,
    ):
        archive.check()
        async with opened(f"sqlite:///{folder}/trial.sqlite") as database:
            await copy_in(database, archive, on_table)
            store = SqlSealStore(database)
            vault = Vault(store, _Unrecorded(), random=random, clock=clock)
            await vault.load()
            try:
                yield Trial(archive.manifest, store, vault)
            finally:
                vault.shut("tried")
