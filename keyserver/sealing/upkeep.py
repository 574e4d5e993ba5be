"""What an open seal needs as time passes, and what moves its records (sealing, C9).

Shares that nobody completes are dropped; the seal is compared with what is stored, every 5 s; the
active term is replaced when it is old; on request records are moved to the active term and empty
terms are dropped.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from keyserver.crypto.errors import BoxError
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.pausing import pause
from keyserver.engine.ports import Clock
from keyserver.errors import KeyServerError, StorageError
from keyserver.sealing.errors import (
    AuditUnavailableError,
    NoSuchTermError,
    SealConflictError,
    SealedError,
    TermInUseError,
)
from keyserver.sealing.opening import OpenSeal
from keyserver.sealing.ports import (
    SYSTEM,
    Actor,
    AuditDetails,
    AuditLog,
    AuditOutcome,
    ReplicaFacts,
    SealStore,
    StoredBox,
)
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.secret_key import SIZE, SecretKey
from keyserver.sealing.vault import Vault

COMPARE_EVERY_S: Final = 5.0
SETTLED_S: Final = 3 * COMPARE_EVERY_S
"""How old a term must be before records are moved to it: every live replica has it then."""

BATCH: Final = 500
"""Rows that are moved in one transaction."""

_DAY_MS: Final = 86_400_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RewrapProgress:
    """How far records have been moved to the active term."""

    done: int = 0
    left: int = 0
    """Boxes of other terms, as counted last."""
    running: bool = False
    problem: str | None = None
    """Why it has stopped, if not because nothing is left."""


class Upkeep:
    """Keeps the seal of one process up to date."""

    def __init__(
        self,
        vault: Vault,
        store: SealStore,
        audit: AuditLog,
        *,
        random: RandomSource,
        clock: Clock,
        rotate_days: int,
    ) -> None:
        """`rotate_days`: how old the active term may become; 0: it is never replaced by itself."""
        self._vault = vault
        self._store = store
        self._audit = audit
        self._random = random
        self._clock = clock
        self._rotate_days = rotate_days
        self._wanted = asyncio.Event()
        self._progress = RewrapProgress()

    @property
    def progress(self) -> RewrapProgress:
        """How far records have been moved."""
        return self._progress

    async def run(self) -> None:
        """Keep at it until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._compare_forever())
            tasks.create_task(self._rewrap_forever())

    async def rotate(self, actor: Actor) -> int:
        """Make a new active term; returns its number.

        Raises `SealedError`, `SealConflictError` if another process was faster, `StorageError`
        and `AuditUnavailableError`.
        """
        key, now_ms = SecretKey(self._random.bytes(SIZE)), self._now_ms()
        before = self._vault.open_seal.keyring
        details: AuditDetails = {"from_term": before.active_term, "term": max(before.terms) + 1}
        await self._audit.record("seal.rotate", AuditOutcome.OK, actor, details)

        def rotated(seal: OpenSeal) -> OpenSeal:
            return replace(seal, keyring=seal.keyring.rotated(key, now_ms))

        seal = await self._audited("seal.rotate", actor, rotated)
        return seal.keyring.active_term

    async def rewrap(self, actor: Actor) -> None:
        """Begin to move all records to the active term, see `progress`.

        May be asked again, after a restart or a problem: it goes on with what is left. Raises
        `SealedError` and `AuditUnavailableError`.
        """
        details: AuditDetails = {"term": self._vault.open_seal.keyring.active_term}
        await self._audit.record("seal.rewrap", AuditOutcome.OK, actor, details)
        self._progress = RewrapProgress(running=True)
        self._wanted.set()

    async def retire(self, term: int, actor: Actor, replicas: Sequence[ReplicaFacts] = ()) -> None:
        """Drop a term that no record has.

        `replicas`: the processes of this node. Raises `NoSuchTermError`; `TermInUseError` for the
        active term, for one that a live replica still uses, or may use because it was replaced a
        moment ago, and while records have it; `SealedError`, `SealConflictError`, `StorageError`,
        `AuditUnavailableError`.
        """
        active = self._vault.open_seal.keyring.active_term
        self._require_unused(self._vault.open_seal, term)
        if any(one.live and 0 < one.term < active for one in replicas):
            raise TermInUseError(f"term {term}: a replica still makes boxes of an earlier term")
        if (await self._store.boxes_by_term()).get(term):
            raise TermInUseError(f"term {term}: there are boxes of it; run a rewrap first")
        await self._audit.record("seal.retire", AuditOutcome.OK, actor, {"term": term})

        def retired(seal: OpenSeal) -> OpenSeal:
            self._require_unused(seal, term)
            return replace(seal, keyring=seal.keyring.without(term))

        await self._audited("seal.retire", actor, retired, without_term=term)

    async def compare(self) -> None:
        """Drop shares that ran out, follow the stored seal, and rotate if it is time.

        `run` does this every `COMPARE_EVERY_S`. Raises `StorageError` and `AuditUnavailableError`.
        """
        try:
            await self._vault.drop_expired()
        finally:
            await self._follow()

    async def _follow(self) -> None:
        try:
            await self._vault.refresh()
            if self._vault.is_open and self._rotation_is_due():
                await self.rotate(SYSTEM)
        except (SealedError, SealConflictError) as problem:
            # Sealing is due and others see to it; or another replica has rotated.
            log.info("seal_not_kept_up", problem=str(problem))

    async def rewrap_all(self) -> None:
        """Move all records to the active term, now; `run` does so when asked to.

        Records that another process writes meanwhile are met in another pass. Raises `SealedError`
        and `StorageError`; `progress` tells how far it came.
        """
        await self._wait_until_settled()
        while True:
            moved, bad = await self._pass()
            left = await self._left()
            problem = f"{bad} boxes do not open" if bad else None
            self._progress = replace(self._progress, left=left, problem=problem)
            if not moved:
                return

    async def _compare_forever(self) -> None:
        while True:
            try:
                await self.compare()
            except (StorageError, AuditUnavailableError) as problem:
                log.warning("seal_upkeep_failed", problem=str(problem))
            await pause(self._clock, COMPARE_EVERY_S)

    async def _rewrap_forever(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.rewrap_all()
            except KeyServerError as problem:
                log.warning("rewrap_stopped", problem=str(problem))
                self._progress = replace(self._progress, problem=str(problem))
            self._progress = replace(self._progress, running=False)

    async def _pass(self) -> tuple[int, int]:
        """Go through all records of other terms once: how many were moved, how many are bad."""
        term, boxes = self._vault.open_seal.keyring.active_term, self._vault.boxes
        moved = bad = 0
        last: StoredBox | None = None
        while found := await self._store.boxes_not_of(term, BATCH, last):
            last = found[-1]
            renewed = await asyncio.to_thread(_renewed, boxes, found)
            count = await self._store.replace_boxes(renewed)
            moved, bad = moved + count, bad + len(found) - len(renewed)
            done = self._progress.done + count
            self._progress = replace(self._progress, done=done, left=await self._left())
        return moved, bad

    async def _left(self) -> int:
        active = self._vault.open_seal.keyring.active_term
        counts = await self._store.boxes_by_term()
        return sum(count for term, count in counts.items() if term != active)

    async def _audited(
        self,
        action: str,
        actor: Actor,
        change: Callable[[OpenSeal], OpenSeal],
        *,
        without_term: int | None = None,
    ) -> OpenSeal:
        """Change the seal; a change that fails after it was announced is in the log, too."""
        try:
            return await self._vault.change(change, without_term=without_term)
        except KeyServerError as problem:
            failed: AuditDetails = {"code": problem.code.upper()}
            await self._audit.record(action, AuditOutcome.ERROR, actor, failed)
            raise

    def _require_unused(self, seal: OpenSeal, term: int) -> None:
        if term not in seal.keyring.terms:
            raise NoSuchTermError(f"term {term}: the keyring has none of this number")
        if term == seal.keyring.active_term:
            raise TermInUseError(f"term {term}: it is the active one; rotate first")
        if self._age_s(seal) < SETTLED_S:
            raise TermInUseError(
                f"term {term}: replaced a moment ago; other replicas may still use it"
            )

    async def _wait_until_settled(self) -> None:
        while (age := self._age_s(self._vault.open_seal)) < SETTLED_S:
            await pause(self._clock, max(1.0, SETTLED_S - age))

    def _age_s(self, seal: OpenSeal) -> float:
        """How old the active term is at least; another replica's clock may have dated it ahead."""
        active = seal.keyring.terms[seal.keyring.active_term]
        return max((self._now_ms() - active.created_at) / 1000, self._vault.term_known_s)

    def _rotation_is_due(self) -> bool:
        age_ms = 1000 * self._age_s(self._vault.open_seal)
        return self._rotate_days > 0 and age_ms > self._rotate_days * _DAY_MS

    def _now_ms(self) -> int:
        return self._clock.unix() * 1000


def _renewed(boxes: SecretBoxes, found: Sequence[StoredBox]) -> list[tuple[StoredBox, bytes]]:
    """The boxes of the active term; those that do not open are left out."""
    renewed = []
    for one in found:
        try:
            plain = boxes.open(one.table, one.column, one.primary_key, one.box)
        except BoxError as problem:
            log.error("box_unusable", table=one.table, row=one.primary_key, problem=str(problem))
        else:
            renewed.append((one, boxes.seal(one.table, one.column, one.primary_key, plain).box))
    return renewed
