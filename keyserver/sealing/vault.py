"""The seal of one process: shut at first, opened by operators' shares or by a key source.

It ties the pure machine of `unsealing` to the store, the audit log and the clock, one step at a
time. An entry of the audit log is written before what it tells of takes effect (sealing, C6 to
C10).
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from keyserver.crypto import slip39
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.errors import StorageError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import (
    NotInitialisedError,
    SealConflictError,
    SealedError,
    ShareWrongSetError,
)
from keyserver.sealing.key_sources import KeySource
from keyserver.sealing.opening import (
    OpenSeal,
    find_node_secret,
    matching_slot,
    open_keyring,
    open_root,
    read_record,
    root_by_shares,
)
from keyserver.sealing.ports import (
    SYSTEM,
    Actor,
    ActorKind,
    AuditDetails,
    AuditLog,
    AuditOutcome,
    SealStatus,
    SealStore,
    ShareAnswer,
    StoredSeal,
)
from keyserver.sealing.record import SealRecord
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.seen import SeenSeal, is_older
from keyserver.sealing.shares import SHAMIR, ShareSlot, find_share
from keyserver.sealing.unsealing import Unsealing

ALREADY_UNSEALED: Final = "already_unsealed"
REQUESTED: Final = "requested"
ROLLBACK_DETECTED: Final = "rollback_detected"
EPOCH_CHANGED: Final = "epoch_changed"

AUDIT_WAIT_S: Final = 1.0
"""How long sealing waits for its entry in the audit log."""

HOLDER: Final = Actor(ActorKind.SHARE)
"""Whoever has a good share."""


class Vault:
    """The seal of this process, and its secrets while it is open."""

    def __init__(
        self,
        store: SealStore,
        audit: AuditLog,
        *,
        random: RandomSource,
        clock: Clock,
        share_minutes: int = 15,
        node_id: NodeId | None = None,
        reason: str | None = None,
        seen: SeenSeal | None = None,
    ) -> None:
        """`node_id`: whose the store must be, where the configuration says that.

        `reason`: why it is sealed, where that is not the start. After a rollback the process that
        took the place of the one that saw it opens nothing either: unseal daemons would not ask.
        `seen`: the seal that the process had open whose place this one took.
        """
        self._store = store
        self._audit = audit
        self._random = random
        self._clock = clock
        self._node_id = node_id
        self._machine = Unsealing(keep_s=60.0 * share_minutes)
        self._lock = asyncio.Lock()
        self._shutting = asyncio.Lock()
        """Held while sealing becomes due, with or without the other one."""
        self._stored: StoredSeal | None = None
        self._record: SealRecord | None = None
        self._seal: OpenSeal | None = None
        self._unsure: OpenSeal | None = None
        """What was to be stored last, where the store did not say whether it was."""
        self._boxes: SecretBoxes | None = None
        self._node_secret: SecretScalar | None = None
        self._reason = reason
        self._seen = seen
        self._store_went_back = reason == ROLLBACK_DETECTED
        self._opened = asyncio.Event()
        self._due: str | None = None
        self._due_set = asyncio.Event()
        self._memory_locked = False
        self._term_since = 0.0

    async def load(self) -> None:
        """Read what is stored: afterwards the state is `SEALED` or `UNINITIALISED`.

        Raises `StorageError`, `SealRecordDamagedError`, `ForeignSealError` (another node's store).
        """
        async with self._lock:
            stored = await self._store.load()
            if stored is not None and not self.is_open:
                if self._went_back(stored):
                    self._take_rollback()
                self._take(stored)

    # --- what is known without a key ----------------------------------------------------------

    def status(self) -> SealStatus:
        """What anybody may know."""
        machine, _ = self._machine.passed(self._clock.monotonic())
        record, slot = self._record, self._slot
        return SealStatus(
            state=machine.state,
            seal_id=record.seal_id if record else None,
            node_id=record.node_id if record else self._node_id,
            epoch=record.epoch if record else 0,
            identifier=slot.identifier if slot else None,
            progress=machine.progress,
            required=slot.threshold if slot else 0,
            shares=slot.count if slot else 0,
            reason=self._reason,
            opens_itself=bool(record and any(one.kind != SHAMIR for one in record.slots)),
            term=self._seal.keyring.active_term if self._seal else 0,
        )

    def record(self) -> Mapping[str, Any]:
        """The seal record without the wrapped keys; raises `NotInitialisedError`."""
        return self._known_record().public()

    @property
    def is_open(self) -> bool:
        """Whether the secrets are at hand."""
        return self._seal is not None

    @property
    def seen(self) -> SeenSeal | None:
        """The seal that was open here last, or in the process before; for the one after."""
        return self._seen

    @property
    def memory_locked(self) -> bool:
        """Whether the platform keeps the keys of the open seal out of swap."""
        return self._memory_locked

    # --- opening ------------------------------------------------------------------------------

    async def open_with(self, source: KeySource) -> None:
        """Open by a slot that needs no operators; does nothing where it is open.

        Raises `NotInitialisedError`, `KeySourceError`, `SealError` (foreign, no slot, wrong key,
        damaged), `StorageError`, `SealedError` after a rollback, and `AuditUnavailableError`.
        """
        async with self._lock:
            if self.is_open:
                return
            stored, record = await self._load()
            root = await open_root(record, source)
            seal = open_keyring(stored, record, root)
            await self._use(seal, matching_slot(record, source).kind)

    async def submit(self, text: str) -> ShareAnswer:
        """Take a share, words or a share document; the one that is enough opens (sealing, C6.2).

        Who sends the same share again and again fills no log: only shares that count are in it.

        Raises `ShareMalformedError`, `ShareWrongSetError` and `ShareUnknownError`, after which
        nothing has changed; `NotInitialisedError`; `SealedError` after a rollback;
        `AuditUnavailableError`; `StorageError` for trouble while opening: then the shares stay,
        and any of them tries again.
        """
        async with self._lock:
            if self.is_open:
                return self._machine.answer(ALREADY_UNSEALED, sealed=False)
            share = self._find(text)
            await self._drop_expired()
            machine, reason = self._machine.submitted(share, self._clock.monotonic())
            if reason is None:
                await self._audit_share("seal.unseal.share", HOLDER, share.member_index, machine)
            self._machine = machine
            if machine.enough:
                await self._open_with_shares()
            return machine.answer(reason, sealed=not self.is_open)

    async def withdraw(self, text: str, admit: Callable[[], None] = lambda: None) -> ShareAnswer:
        """Take one's own share back; raises as `submit` does, but for opening.

        `admit` may raise: it is called where there is a share to be taken back.
        """
        async with self._lock:
            if self.is_open:
                return self._machine.answer(ALREADY_UNSEALED, sealed=False)
            share = self._find(text)
            await self._drop_expired()
            machine, reason = self._machine.withdrawn(share)
            if reason is None:
                admit()
                await self._audit_share("seal.share.withdrawn", HOLDER, share.member_index, machine)
            self._machine = machine
            return machine.answer(reason, sealed=not self.is_open)

    async def clear(self, actor: Actor) -> int:
        """Drop all shares collected; returns how many. Raises `AuditUnavailableError`."""
        async with self._lock:
            await self._drop_expired()
            count = self._machine.progress
            await self._audit.record(
                "seal.shares.cleared", AuditOutcome.OK, actor, {"count": count}
            )
            self._machine = self._machine.cleared()
            return count

    async def drop_expired(self) -> None:
        """Drop the shares whose time has run out; raises `AuditUnavailableError` afterwards."""
        async with self._lock:
            await self._drop_expired()

    async def opened(self) -> None:
        """Return once the seal is open."""
        await self._opened.wait()

    # --- while it is open ---------------------------------------------------------------------

    @property
    def boxes(self) -> SecretBoxes:
        """What seals and opens rows; it follows the keyring. Raises `SealedError`."""
        if self._boxes is None:
            raise SealedError("the node is sealed")
        return self._boxes

    @property
    def unopened(self) -> int:
        """How often the box of a row did not open, since the seal was opened."""
        return self._boxes.unopened if self._boxes is not None else 0

    @property
    def node_secret(self) -> SecretScalar | None:
        """The node's key; `None` where the configuration has it. Raises `SealedError`."""
        self.open_seal  # noqa: B018 - raises while sealed
        return self._node_secret

    @property
    def open_seal(self) -> OpenSeal:
        """All there is of the open seal, for those who change it; raises `SealedError`."""
        if self._seal is None:
            raise SealedError("the node is sealed")
        return self._seal

    @property
    def term_known_s(self) -> float:
        """For how many seconds this process has had the active term; raises `SealedError`."""
        self.open_seal  # noqa: B018 - raises while sealed
        return self._clock.monotonic() - self._term_since

    async def change(
        self, change: Callable[[OpenSeal], OpenSeal], *, without_term: int | None = None
    ) -> OpenSeal:
        """Store another record, root key or keyring, and use it from then on.

        `change` gets the present seal; the version that it returns is not looked at: it is the
        next one. With `without_term` no box of this term may be there. Raises `SealedError`;
        `SealConflictError` if another process was faster, whose change is then in use here;
        `TermInUseError`; `StorageError`.
        """
        async with self._lock:
            if self._unsure is not None:
                await self._follow()
            before = self.open_seal
            after = replace(change(before), keyring_version=before.keyring_version + 1)
            stored = after.stored(self._random)
            await self._replace(stored, after, before, without_term)
            self._follow_own(stored, after)
            return after

    async def refresh(self) -> None:
        """Look whether another process has changed the seal, and follow it (sealing, C9).

        A newer keyring is opened with the root key at hand. A new set of shares, and anything
        older than what was seen, make sealing due: then raises `SealedError`. Raises
        `StorageError`.
        """
        async with self._lock:
            await self._follow()
        if self._due is not None:
            raise SealedError(f"the node is being sealed: {self._due}")

    # --- shutting -----------------------------------------------------------------------------

    async def request_seal(self, actor: Actor) -> None:
        """Make sealing due; does nothing where it is sealed already.

        It waits for nothing that goes on: a store that hangs keeps no seal open.
        """
        await self._ask_to_shut(REQUESTED, actor)

    async def must_shut(self) -> str:
        """Return, once anything asks for sealing, what: it is the reason for `shut`."""
        await self._due_set.wait()
        assert self._due is not None
        return self._due

    def shut(self, reason: str) -> None:
        """Forget all keys. Those that a running call still has are wiped when it ends."""
        if self._boxes is not None:
            self._boxes.shut()
        self._seal = self._unsure = self._boxes = self._node_secret = None
        self._memory_locked = False
        self._machine = self._machine.shut()
        self._reason = reason
        self._opened.clear()
        self._due = None
        self._due_set.clear()

    # --- inside; the lock is held -------------------------------------------------------------

    @property
    def _slot(self) -> ShareSlot | None:
        return self._machine.collected.slot if self._machine.collected else None

    def _known_record(self) -> SealRecord:
        if self._record is None:
            raise NotInitialisedError("the store has no seal yet; run: keyserver seal init")
        return self._record

    def _find(self, text: str) -> slip39.Share:
        record = self._known_record()
        self._refuse_after_rollback()
        if self._slot is None:
            raise ShareWrongSetError("share: this store does not open with shares")
        return find_share(text, record, self._slot)

    def _take(self, stored: StoredSeal) -> SealRecord:
        """Know this seal, while sealed; shares of another slot are dropped."""
        record = read_record(stored, self._node_id)
        slot = ShareSlot.of(record)
        self._stored, self._record = stored, record
        self._machine = self._machine.initialised(slot)
        return record

    async def _load(self) -> tuple[StoredSeal, SealRecord]:
        """The seal as it is stored now; raises for none, and for one older than was seen."""
        stored = await self._store.load()
        if self._went_back(stored):
            self._take_rollback()
        self._refuse_after_rollback()
        if stored is None:
            raise NotInitialisedError("the store has no seal yet; run: keyserver seal init")
        return stored, self._take(stored)

    async def _open_with_shares(self) -> None:
        collected = self._machine.collected
        assert collected is not None
        self._machine = self._machine.opening()
        try:
            stored, record = await self._load()
            if self._slot != collected.slot:
                raise ShareWrongSetError(
                    "share: of a set that has just been replaced", collected.slot.epoch
                )
            root = root_by_shares(record, collected.secret)
            await self._use(open_keyring(stored, record, root), SHAMIR)
        finally:
            if not self.is_open:
                self._machine = self._machine.failed()

    async def _use(self, seal: OpenSeal, kind: str) -> None:
        """Make an opened seal the one in use."""
        own = SecretBoxes(seal.keyring, self._random)
        secret = find_node_secret(await self._store.identity(), seal, own, kind)
        details: AuditDetails = {
            "kind": kind,
            "epoch": seal.record.epoch,
            "version": seal.keyring_version,
            "term": seal.keyring.active_term,
        }
        await self._audit.record("seal.unsealed", AuditOutcome.OK, SYSTEM, details)
        self._boxes = SecretBoxes(seal.keyring, self._random, self.refresh)
        self._node_secret = secret
        self._adopt(seal)
        self._machine = self._machine.opened()
        self._reason = None
        self._opened.set()

    def _adopt(self, seal: OpenSeal) -> None:
        assert self._boxes is not None
        before, self._seal, self._seen = self._seal, seal, SeenSeal.of(seal)
        if before is None or before.keyring.active_term != seal.keyring.active_term:
            self._term_since = self._clock.monotonic()
        self._boxes.use(seal.keyring)
        keys = [seal.root, *(term.key for term in seal.keyring.terms.values())]
        locked = [key.lock() for key in keys]
        self._memory_locked = all(locked)

    def _follow_own(self, stored: StoredSeal, seal: OpenSeal) -> None:
        """Use what this process has stored itself."""
        self._stored, self._record = stored, seal.record
        self._machine = self._machine.initialised(ShareSlot.of(seal.record))
        self._unsure = None
        self._adopt(seal)

    async def _replace(
        self, stored: StoredSeal, after: OpenSeal, before: OpenSeal, without_term: int | None
    ) -> None:
        try:
            await self._store.replace(stored, expected=before.version, without_term=without_term)
        except SealConflictError:
            await self._follow()
            raise
        except StorageError:
            # The answer may be lost of something that was done, or is done yet.
            self._unsure = after
            if await self._store.load() != stored:
                raise

    async def _follow(self) -> None:
        stored = await self._store.load()
        if self._went_back(stored):
            await self._ask_to_shut(ROLLBACK_DETECTED, SYSTEM)
            self._take_rollback()
        elif stored is None or self._due is not None:
            return
        elif self._seal is None:
            if stored != self._stored and not self._store_went_back:
                self._take(stored)
        elif self._unsure is not None and stored.record == self._unsure.record.to_json():
            self._follow_own(stored, open_keyring(stored, self._unsure.record, self._unsure.root))
        elif stored.epoch > self._seal.record.epoch:
            await self._ask_to_shut(EPOCH_CHANGED, SYSTEM)
        elif stored.keyring_version > self._seal.keyring_version:
            seal = open_keyring(stored, self._seal.record, self._seal.root)
            self._stored = stored
            self._adopt(seal)

    def _went_back(self, stored: StoredSeal | None) -> bool:
        """Whether the store has an older seal than was seen here, or another one."""
        if self._stored is not None and is_older(stored, self._stored.version):
            return True
        return self._seen is not None and not self._seen.allows(stored)

    def _take_rollback(self) -> None:
        """What is stored is not what was seen: nothing is opened by this process again."""
        self._store_went_back = True
        if not self.is_open:
            self._reason = ROLLBACK_DETECTED

    def _refuse_after_rollback(self) -> None:
        if self._store_went_back:
            raise SealedError("the store went back to an earlier state; look why, then restart")

    async def _ask_to_shut(self, reason: str, actor: Actor) -> None:
        async with self._shutting:
            if not self.is_open or self._due is not None:
                return
            self._due = reason
            try:
                async with asyncio.timeout(AUDIT_WAIT_S):
                    details = {"reason": reason}
                    await self._audit.record("seal.sealed", AuditOutcome.OK, actor, details)
            except TimeoutError:
                pass  # it is written when the disk answers; nothing that hangs keeps a seal open
            finally:
                self._due_set.set()

    async def _drop_expired(self) -> None:
        self._machine, members = self._machine.passed(self._clock.monotonic())
        for member in members:  # they are wiped, whether or not that can be written down
            await self._audit_share("seal.share.expired", SYSTEM, member, self._machine)

    async def _audit_share(
        self, action: str, actor: Actor, member: int, machine: Unsealing
    ) -> None:
        details: AuditDetails = {
            "member": member,
            "epoch": self._known_record().epoch,
            "progress": machine.progress,
        }
        await self._audit.record(action, AuditOutcome.OK, actor, details)
