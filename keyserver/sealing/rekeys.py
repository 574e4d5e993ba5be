"""Replaces operators' shares: one rekey at a time, in the memory of this process (sealing, C8)."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from keyserver.crypto import slip39
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock, TimerHandle
from keyserver.errors import KeyServerError
from keyserver.sealing.errors import (
    KeySourceError,
    NotInitialisedError,
    RekeyInProgressError,
    RekeyNotFoundError,
    SealConflictError,
    SealError,
    SealRecordDamagedError,
    ShareWrongSetError,
    SlotUnavailableError,
)
from keyserver.sealing.handing_out import NewShares, Sharing
from keyserver.sealing.key_sources import KeySource
from keyserver.sealing.making import kept_slot
from keyserver.sealing.opening import OpenSeal, matching_slot, open_root, root_by_shares
from keyserver.sealing.ports import Actor, AuditDetails, AuditLog, AuditOutcome
from keyserver.sealing.rekeying import KeptSlot, Rekey, RekeyStage, Renewal, renew
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.shares import SHAMIR, ShareSlot, find_share
from keyserver.sealing.unsealing import Collected
from keyserver.sealing.vault import HOLDER, Vault

REKEY_S: Final = 3600.0
"""How long a rekey may take."""

UNSURE: Final = "unsure"
"""The state of a rekey whose new set may be in force or not: the store did not say."""

_ID_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class RekeyStatus:
    """How far a rekey is."""

    rekey: str
    """Its id: 16 hexadecimal digits."""
    state: str
    """`proving`, `verifying`, `staged`, `done`; `unsure` if it is not known whether it is done."""
    progress: int
    """Shares shown in this state."""
    required: int
    expires_in_s: int


@dataclass(frozen=True, slots=True)
class RekeyAnswer:
    """The answer to a share that was shown."""

    status: RekeyStatus
    accepted: bool
    reason: str | None
    """`duplicate`, or nothing."""
    new_shares: NewShares | None = None
    """Once: with the share that completed the proof."""


class Rekeys:
    """The rekey that is under way, if any."""

    def __init__(
        self,
        vault: Vault,
        audit: AuditLog,
        *,
        random: RandomSource,
        clock: Clock,
        source: KeySource | None = None,
    ) -> None:
        """`source`: what opens the slot beside the shares, where the configuration names one."""
        self._vault = vault
        self._audit = audit
        self._random = random
        self._clock = clock
        self._source = source
        self._open: Rekey | None = None
        self._ends_at = 0.0
        self._timer: TimerHandle | None = None
        self._lock = asyncio.Lock()

    async def start(
        self,
        threshold: int,
        shares: int,
        recipients: Sequence[str],
        verify: bool,
        actor: Actor,
        *,
        drop_slots: bool = False,
    ) -> RekeyStatus:
        """Begin; nothing changes before the last step.

        With `drop_slots` slots beside the shares are not kept; a set that is not verified waits for
        `commit`. Raises `BadSharingError`, `SealedError`, `NotInitialisedError` for a store without
        shares, `RekeyInProgressError`, `SlotUnavailableError` and `AuditUnavailableError`.
        """
        sharing = Sharing(threshold, shares, tuple(recipients))
        async with self._lock:
            seal = self._vault.open_seal
            slot = ShareSlot.of(seal.record)
            if slot is None:
                raise NotInitialisedError("the store has no shares yet; run: keyserver seal init")
            if self._open is not None:
                other = self._open.rekey_id
                raise RekeyInProgressError(
                    f"rekey {other} is open; end it first: keyserver seal rekey cancel {other}"
                )
            kept = () if drop_slots else await self._kept(seal)
            rekey_id = self._random.bytes(_ID_SIZE).hex()
            shown = Collected(slot, REKEY_S)
            rekey = Rekey(rekey_id, seal.record, sharing, verify, kept, shown)
            details: AuditDetails = {"rekey": rekey_id, "threshold": threshold, "shares": shares}
            await self._audit.record("seal.rekey.start", AuditOutcome.OK, actor, details)
            self._open = rekey
            self._ends_at = self._clock.monotonic() + REKEY_S
            self._timer = self._clock.call_later(REKEY_S, self.forget)
            return self._status(rekey)

    async def prove(self, rekey_id: str, text: str) -> RekeyAnswer:
        """Show a share of the present set; the last one needed makes the new shares.

        They are told in this answer only, and not in force yet. Raises `Share…Error`,
        `RekeyNotFoundError`, `SealedError`, `SealConflictError`, `SealRecordDamagedError` and
        `AuditUnavailableError`.
        """
        async with self._lock:
            rekey = self._at(rekey_id, RekeyStage.PROVING)
            share = find_share(text, rekey.replaces, rekey.shown.slot)
            rekey, reason = rekey.show(share)
            await self._audit_share("seal.rekey.share", rekey, share, reason)
            self._open = rekey
            if not rekey.shown.enough:
                return RekeyAnswer(self._status(rekey), reason is None, reason)
            self._require_root(rekey.shown.secret)
            renewal = renew(
                rekey.replaces,
                rekey.sharing,
                rekey.kept,
                now_ms=self._clock.unix() * 1000,
                rng=self._random,
            )
            self._open = rekey = rekey.renewed(renewal)
            return RekeyAnswer(self._status(rekey), reason is None, reason, renewal.new)

    async def verify(self, rekey_id: str, text: str) -> RekeyAnswer:
        """Show a new share; the last one needed puts the new set in force.

        Raises as `prove`, and `StorageError`: then the new set may be in force, and any share shown
        again tells.
        """
        async with self._lock:
            rekey = self._at(rekey_id, RekeyStage.VERIFYING)
            renewal = rekey.renewal
            assert renewal is not None
            share = _find_new(text, renewal, rekey.shown.slot)
            rekey, reason = rekey.show(share)
            await self._audit_share("seal.rekey.verify", rekey, share, reason)
            self._open = rekey
            if not rekey.shown.enough:
                return RekeyAnswer(self._status(rekey), reason is None, reason)
            _require_good(renewal, rekey.shown.secret)
            await self._commit(rekey, renewal)
            return RekeyAnswer(self._done(rekey), reason is None, reason)

    async def commit(self, rekey_id: str, actor: Actor) -> RekeyStatus:
        """Put a set that is not verified in force: whoever was told its shares has handed them out.

        Raises as `verify`, but no `Share…Error`; after a `StorageError` it may be ordered again.
        """
        async with self._lock:
            rekey = self._at(rekey_id, RekeyStage.STAGED)
            assert rekey.renewal is not None
            await self._commit(rekey, rekey.renewal, actor)
            return self._done(rekey)

    async def status(self, rekey_id: str) -> RekeyStatus:
        """How far it is; raises `RekeyNotFoundError`."""
        rekey = self._known(rekey_id)
        return self._done(rekey) if self._is_in_force(rekey) else self._status(rekey)

    async def cancel(self, rekey_id: str, actor: Actor) -> None:
        """Give it up: nothing has changed, and nothing will.

        Raises `RekeyNotFoundError`, `AuditUnavailableError`, `SealConflictError` if the new set is
        in force, `SealedError` and `StorageError` if that cannot be known.
        """
        async with self._lock:
            rekey = self._known(rekey_id)
            if rekey.unsure:
                await self._settle(rekey)
            details = {"rekey": rekey.rekey_id}
            await self._audit.record("seal.rekey.cancel", AuditOutcome.OK, actor, details)
            self.forget()

    def forget(self) -> None:
        """Drop the rekey and its keys: it took too long, was cancelled, or the node is sealed."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._open = None

    def _known(self, rekey_id: str) -> Rekey:
        if self._open is None or self._open.rekey_id != rekey_id:
            raise RekeyNotFoundError("no rekey of this id is open")
        return self._open

    def _at(self, rekey_id: str, stage: RekeyStage) -> Rekey:
        rekey = self._known(rekey_id)
        if self._vault.open_seal.record != rekey.replaces and not self._is_in_force(rekey):
            self.forget()
            raise SealConflictError("the shares were replaced meanwhile; start again")
        if rekey.stage is not stage:
            raise RekeyNotFoundError(f"this rekey is at another step: {rekey.stage.value}")
        return rekey

    def _require_root(self, secret: Callable[[], SecretKey]) -> None:
        """Make sure that good shares open the root key in use."""
        seal = self._vault.open_seal
        if root_by_shares(seal.record, secret) != seal.root:
            raise SealRecordDamagedError("seal record: the shares open another root key than ours")

    async def _kept(self, seal: OpenSeal) -> tuple[KeptSlot, ...]:
        """The slots beside the shares, each from its source."""
        others = [slot for slot in seal.record.slots if slot.kind != SHAMIR]
        if not others:
            return ()
        hint = "configure its key, or drop it"
        if self._source is None:
            raise SlotUnavailableError(f"slot {others[0].slot_id} ({others[0].kind}): {hint}")
        try:
            matching = matching_slot(seal.record, self._source)
            root = await open_root(seal.record, self._source)
            kept = await kept_slot(seal.record, self._source, self._random)
        except (KeySourceError, SealError) as problem:
            raise SlotUnavailableError(f"{problem}; {hint}") from problem
        missing = [slot for slot in others if slot is not matching]
        if missing or root != seal.root:
            slot = missing[0] if missing else matching
            raise SlotUnavailableError(f"slot {slot.slot_id} ({slot.kind}): {hint}")
        return (kept,)

    def _is_in_force(self, rekey: Rekey) -> bool:
        """Whether the new set is the one in use here."""
        if rekey.renewal is None or not self._vault.is_open:
            return False
        return self._vault.open_seal.record == rekey.renewal.record

    async def _settle(self, rekey: Rekey) -> None:
        """See to it that the new set neither is in force nor comes into force late."""
        try:
            if not self._is_in_force(rekey):
                # Another version: a write that is still under way somewhere finds not its own.
                await self._vault.change(lambda seal: seal)
        except SealConflictError:
            pass  # the vault has looked what is stored
        if self._is_in_force(rekey):
            self.forget()
            raise SealConflictError("the new shares are in force: keep them")

    async def _commit(self, rekey: Rekey, renewal: Renewal, actor: Actor = HOLDER) -> None:
        slot = renewal.new.slot
        details: AuditDetails = {
            "rekey": rekey.rekey_id,
            "epoch": slot.epoch,
            "identifier": slot.identifier,
            "verified": rekey.verify,
            "dropped_slot": len(renewal.record.slots) < len(renewal.replaces.slots),
        }
        await self._audit.record("seal.rekey.commit", AuditOutcome.OK, actor, details)
        self._keep(replace(rekey, unsure=True))  # also for a request that ends meanwhile
        try:
            await self._vault.change(renewal.applied)
        except KeyServerError as problem:
            if self._is_in_force(rekey):  # by an attempt before
                self.forget()
                return
            if isinstance(problem, SealConflictError):
                self._keep(replace(rekey, unsure=False))
            failed = {"rekey": rekey.rekey_id, "code": problem.code.upper()}
            await self._audit.record("seal.rekey.commit", AuditOutcome.ERROR, actor, failed)
            raise
        self.forget()

    def _keep(self, rekey: Rekey) -> None:
        if self._open is not None:  # its time may have run out meanwhile
            self._open = rekey

    async def _audit_share(
        self, action: str, rekey: Rekey, share: slip39.Share, reason: str | None
    ) -> None:
        if reason is not None:
            return
        details: AuditDetails = {
            "rekey": rekey.rekey_id,
            "member": share.member_index,
            "progress": len(rekey.shown.held),
        }
        await self._audit.record(action, AuditOutcome.OK, HOLDER, details)
        self._known(rekey.rekey_id)  # its time may have run out meanwhile

    def _status(self, rekey: Rekey) -> RekeyStatus:
        left = max(0, math.ceil(self._ends_at - self._clock.monotonic()))
        slot, shown = rekey.shown.slot, rekey.shown.held
        state = UNSURE if rekey.unsure else rekey.stage.value
        return RekeyStatus(rekey.rekey_id, state, len(shown), slot.threshold, left)

    def _done(self, rekey: Rekey) -> RekeyStatus:
        return replace(self._status(rekey), state=RekeyStage.DONE.value, expires_in_s=0)


def _find_new(text: str, renewal: Renewal, slot: ShareSlot) -> slip39.Share:
    """The new share that this text is; raises as `find_share`."""
    try:
        return find_share(text, renewal.record, slot)
    except ShareWrongSetError as error:
        present = renewal.replaces.epoch
        if error.epoch != present:
            raise
        raise ShareWrongSetError(
            f"share: of the present set {present}, which is to be replaced; "
            f"one of the new set {slot.epoch} is wanted",
            present,
        ) from None


def _require_good(renewal: Renewal, secret: Callable[[], SecretKey]) -> None:
    if root_by_shares(renewal.record, secret) != renewal.root:
        raise SealRecordDamagedError("the new shares open another root key than the new one")
