"""A seal store in memory that can die at any step, an audit log to read, and shares to show."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyserver.crypto.boxes import box_term
from keyserver.errors import StorageError
from keyserver.sealing.audit_details import check_action, check_details
from keyserver.sealing.errors import (
    AlreadyInitialisedError,
    AuditUnavailableError,
    SealConflictError,
    TermInUseError,
)
from keyserver.sealing.handing_out import NewShares
from keyserver.sealing.ports import (
    Actor,
    AuditDetails,
    AuditOutcome,
    SealVersion,
    StoredBox,
    StoredIdentity,
    StoredSeal,
)

NOW_MS = 1_800_000_000_000
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
