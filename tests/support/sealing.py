"""A seal store in memory that can die at any step, an audit log to read, and shares to show."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyserver.crypto.boxes import box_term
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource, SeededRandom
from keyserver.errors import StorageError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.audit_details import check_action, check_details
from keyserver.sealing.errors import (
    AlreadyInitialisedError,
    AuditUnavailableError,
    SealConflictError,
    TermInUseError,
)
from keyserver.sealing.handing_out import NewShares
from keyserver.sealing.key_sources import KeySource
from keyserver.sealing.making import initialise
from keyserver.sealing.opening import create
from keyserver.sealing.ports import (
    Actor,
    ActorKind,
    AuditDetails,
    AuditOutcome,
    SealVersion,
    StoredBox,
    StoredIdentity,
    StoredSeal,
)
from keyserver.sealing.rekeys import Rekeys
from keyserver.sealing.upkeep import Upkeep
from keyserver.sealing.vault import Vault
from tests.support.manual_clock import ManualClock

NOW_MS = 1_800_000_000_000
ADMIN = Actor(ActorKind.ETH, "0x" + "11" * 20)
Row = tuple[str, str, tuple[str, ...]]


class DiedError(StorageError):
    """The process, or its store, was gone."""


@dataclass
class MemorySealStore:
    """`SealStore` with the rows in dictionaries.

    The write of number `dies_at` (from 1) raises, without having been done, or after it was.
    """

    stored: StoredSeal | None = None
    stored_identity: StoredIdentity | None = None
    boxes: dict[Row, bytes] = field(default_factory=dict)
    fails: bool = False
    dies_at: int = 0
    dies_done: bool = False
    writes: int = 0

    async def load(self) -> StoredSeal | None:
        self._answer()
        return self.stored

    async def create(self, seal: StoredSeal, identity: StoredIdentity | None = None) -> None:
        if self.stored is not None:
            raise AlreadyInitialisedError("this store is sealed already")
        if self._write_dies():
            raise DiedError("died before")
        self.stored, self.stored_identity = seal, identity
        self._die_after()

    async def replace(
        self,
        seal: StoredSeal,
        *,
        expected: SealVersion,
        identity: StoredIdentity | None = None,
        without_term: int | None = None,
    ) -> None:
        if self.stored is None or self.stored.version != expected:
            raise SealConflictError("changed meanwhile")
        if without_term is not None and self._terms()[without_term]:
            raise TermInUseError("there are boxes")
        if self._write_dies():
            raise DiedError("died before")
        self.stored = seal
        self.stored_identity = identity or self.stored_identity
        self._die_after()

    async def identity(self) -> StoredIdentity | None:
        self._answer()
        return self.stored_identity

    async def boxes_by_term(self) -> Mapping[int, int]:
        self._answer()
        return self._terms()

    async def boxes_not_of(
        self, term: int, limit: int, after: StoredBox | None = None
    ) -> Sequence[StoredBox]:
        self._answer()
        rows = [
            StoredBox(*row, box)
            for row, box in sorted(self._all().items())
            if box_term(box) != term
        ]
        if after is not None:
            last = (after.table, after.column, after.primary_key)
            rows = [row for row in rows if (row.table, row.column, row.primary_key) > last]
        return rows[:limit]

    async def replace_boxes(self, boxes: Sequence[tuple[StoredBox, bytes]]) -> int:
        if self._write_dies():
            raise DiedError("died before")
        changed = 0
        for old, box in boxes:
            row = (old.table, old.column, old.primary_key)
            if row in self.boxes and self.boxes[row] == old.box:
                self.boxes[row] = box
                changed += 1
            elif old.table == "node_identity" and self.stored_identity is not None:
                node_id = self.stored_identity.node_id
                self.stored_identity = StoredIdentity(node_id, box, box_term(box))
                changed += 1
        self._die_after()
        return changed

    def _all(self) -> dict[Row, bytes]:
        rows = dict(self.boxes)
        if self.stored_identity is not None:
            rows["node_identity", "secret_box", ("1",)] = self.stored_identity.secret_box
        return rows

    def _terms(self) -> Counter[int]:
        return Counter(box_term(box) for box in self._all().values())

    def _answer(self) -> None:
        if self.fails:
            raise StorageError("the database does not answer")

    def _write_dies(self) -> bool:
        self._answer()
        self.writes += 1
        if self.writes != self.dies_at:
            return False
        self.fails = True
        return not self.dies_done

    def _die_after(self) -> None:
        if self.writes == self.dies_at:
            raise DiedError("died after")


@dataclass
class AuditList:
    """An audit log in memory that takes what the real one takes."""

    entries: list[tuple[str, AuditOutcome, Actor, AuditDetails]] = field(default_factory=list)
    fails: bool = False

    async def record(
        self,
        action: str,
        outcome: AuditOutcome,
        actor: Actor,
        details: AuditDetails | None = None,
    ) -> None:
        check_action(action)
        check_details(details or {})
        if self.fails and action != "seal.sealed":
            raise AuditUnavailableError("the disk is full")
        self.entries.append((action, outcome, actor, details or {}))

    def actions(self) -> list[str]:
        return [action for action, _, _, _ in self.entries]


def documents(new: NewShares) -> list[str]:
    """The shares as share documents."""
    return [share.content.decode() for share in new.shares]


def mnemonics(new: NewShares) -> list[str]:
    """The shares as words."""
    found: list[Any] = [json.loads(share.content)["mnemonic"] for share in new.shares]
    return found


@dataclass
class SealScene:
    """A store with shares, and processes over it."""

    store: MemorySealStore
    new: NewShares
    audit: AuditList = field(default_factory=AuditList)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_MS // 1000))
    random: RandomSource = field(default_factory=lambda: SeededRandom("scene"))

    @classmethod
    async def make(
        cls,
        shares: int = 3,
        threshold: int = 2,
        *,
        source: KeySource | None = None,
        seed: object = "scene",
    ) -> "SealScene":
        """With a slot for `source` beside the shares, where one is given."""
        store, random, secret = MemorySealStore(), SeededRandom(str(seed)), None
        if source is not None:
            secret = SecretScalar.random(random)
            node_id = NodeId.of(secret.public())
            await create(store, node_id=node_id, source=source, random=random, now_ms=NOW_MS)
        audit = AuditList()
        new = await initialise(
            store,
            audit,
            node_secret=secret,
            shares=shares,
            threshold=threshold,
            source=source,
            keep_slot=source is not None,
            random=random,
            now_ms=NOW_MS,
        )
        return cls(store, new, audit, random=random)

    @property
    def shares(self) -> list[str]:
        return documents(self.new)

    async def process(self, **options: Any) -> Vault:
        """A process that has just started."""
        vault = Vault(self.store, self.audit, random=self.random, clock=self.clock, **options)
        await vault.load()
        return vault

    async def opened(self, shares: Sequence[str] | None = None) -> Vault:
        """A process that was opened with these shares, else with the first that are enough."""
        vault = await self.process()
        for share in shares or self.shares[: self.new.slot.threshold]:
            await vault.submit(share)
        assert vault.is_open
        return vault

    def upkeep(self, vault: Vault, rotate_days: int = 90) -> Upkeep:
        return Upkeep(
            vault,
            self.store,
            self.audit,
            random=self.random,
            clock=self.clock,
            rotate_days=rotate_days,
        )

    def rekeys(self, vault: Vault, source: KeySource | None = None) -> Rekeys:
        return Rekeys(vault, self.audit, random=self.random, clock=self.clock, source=source)

    def put(self, vault: Vault, row: str, plain: bytes) -> None:
        """Store a record."""
        place = ("service_keys", "key_box", (row,))
        self.store.boxes[place] = vault.boxes.seal(*place, plain).box

    def get(self, vault: Vault, row: str) -> bytes:
        place = ("service_keys", "key_box", (row,))
        return vault.boxes.open(*place, self.store.boxes[place])


async def proved(
    rekeys: Rekeys, shares: list[str], *, threshold: int = 2, count: int = 3, **options: Any
) -> tuple[str, NewShares]:
    """A rekey whose old shares were shown; its id and the new shares."""
    started = await rekeys.start(
        threshold, count, (), options.pop("verify", True), ADMIN, **options
    )
    new: NewShares | None = None
    for share in shares:
        new = (await rekeys.prove(started.rekey, share)).new_shares
    assert new is not None
    return started.rekey, new


async def renewed(rekeys: Rekeys, shares: list[str], **options: Any) -> NewShares:
    """A rekey that was gone through without reading new shares back; the new shares."""
    rekey_id, new = await proved(rekeys, shares, verify=False, **options)
    await rekeys.commit(rekey_id, ADMIN)
    return new
