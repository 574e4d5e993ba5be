"""New shares and a new root key for a store, before they are in force (sealing, C7 and C8).

`renew` makes them; a `Rekey` is the way of a set of shares to being replaced: a pure machine, its
holders first prove the old set, then the new one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Self

from keyserver.crypto import slip39
from keyserver.crypto.randomness import RandomSource
from keyserver.sealing.errors import SealConflictError
from keyserver.sealing.handing_out import NewShares, Sharing, share_secret
from keyserver.sealing.opening import OpenSeal
from keyserver.sealing.record import SealRecord, Slot
from keyserver.sealing.secret_key import SIZE, SecretKey
from keyserver.sealing.shares import SHAMIR, ShareSlot
from keyserver.sealing.unsealing import DUPLICATE, Collected

MAX_HISTORY: Final = 16


@dataclass(frozen=True, slots=True)
class KeptSlot:
    """A slot that opens the new set's root key as well, and its own key."""

    kind: str
    params: Mapping[str, Any]
    own_key: SecretKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Renewal:
    """A record with new shares and a new root key, in place of one that is in force."""

    replaces: SealRecord
    record: SealRecord
    root: SecretKey = field(repr=False)
    new: NewShares

    def applied(self, seal: OpenSeal) -> OpenSeal:
        """The open seal with these; raises `SealConflictError` if another record is in force."""
        if seal.record != self.replaces:
            raise SealConflictError("the shares were replaced meanwhile")
        return replace(seal, record=self.record, root=self.root)


def first_record(
    record: SealRecord, sharing: Sharing, *, now_ms: int, rng: RandomSource
) -> Renewal:
    """A renewal of a record that has no slots yet: the first of an empty store, at its epoch."""
    return _renewed(record, replace(record, slots=()), 1, sharing, (), now_ms=now_ms, rng=rng)


def renew(
    record: SealRecord,
    sharing: Sharing,
    kept: Sequence[KeptSlot],
    *,
    now_ms: int,
    rng: RandomSource,
) -> Renewal:
    """New shares and a new root key: the next epoch, with slot ids not used before."""
    old = ShareSlot.of(record)
    history = record.history
    if old is not None:
        entry = {"epoch": record.epoch, "identifier": old.identifier, "replaced_at": now_ms}
        history = (*history, entry)[-MAX_HISTORY:]
    bare = replace(record, epoch=record.epoch + 1, slots=(), history=history)
    first_id = max((slot.slot_id for slot in record.slots), default=0) + 1
    return _renewed(record, bare, first_id, sharing, kept, now_ms=now_ms, rng=rng)


def _renewed(
    replaces: SealRecord,
    bare: SealRecord,
    first_id: int,
    sharing: Sharing,
    kept: Sequence[KeptSlot],
    *,
    now_ms: int,
    rng: RandomSource,
) -> Renewal:
    secret, root = SecretKey(rng.bytes(SIZE)), SecretKey(rng.bytes(SIZE))
    new = share_secret(
        secret,
        sharing,
        seal_id=bare.seal_id,
        epoch=bare.epoch,
        slot_id=first_id,
        used_identifiers=[entry.get("identifier") for entry in bare.history],
        rng=rng,
    )
    wanted = [KeptSlot(SHAMIR, new.slot.params(), secret), *kept]
    slots = []
    for slot_id, one in enumerate(wanted, start=first_id):
        slot = Slot(slot_id=slot_id, kind=one.kind, created_at=now_ms, params=one.params)
        wrapped = bare.wrap_root(slot, one.own_key, root, rng)
        slots.append(replace(slot, wrapped_root=wrapped))
    return Renewal(replaces, replace(bare, slots=tuple(slots)), root, new)


# --- replacing shares that are in force -------------------------------------------------------


class RekeyStage(Enum):
    """How far a rekey is."""

    PROVING = "proving"
    """The holders of the present shares show them."""
    VERIFYING = "verifying"
    """The holders of the new shares show those."""
    STAGED = "staged"
    """Without verification: an order puts the new shares in force, once they are handed out."""
    DONE = "done"
    """The new shares are in force."""


@dataclass(frozen=True, slots=True)
class Rekey:
    """A rekey under way: what is wanted, and the shares shown so far."""

    rekey_id: str
    replaces: SealRecord
    sharing: Sharing
    verify: bool
    kept: tuple[KeptSlot, ...]
    shown: Collected
    """Of the present set; once there is a renewal, of the new one."""
    renewal: Renewal | None = None
    unsure: bool = False
    """Whether the new set was to be put in force, and the store did not say whether it is."""

    @property
    def stage(self) -> RekeyStage:
        """How far it is."""
        if self.renewal is None:
            return RekeyStage.PROVING
        return RekeyStage.VERIFYING if self.verify else RekeyStage.STAGED

    def show(self, share: slip39.Share) -> tuple[Self, str | None]:
        """A good share of the set asked for is shown; also tells if it was shown before."""
        reason = DUPLICATE if self.shown.has(share) else None
        return replace(self, shown=self.shown.add(share, 0.0)), reason

    def renewed(self, renewal: Renewal) -> Self:
        """The present set is proved, the new one made."""
        return replace(self, renewal=renewal, shown=Collected(renewal.new.slot, self.shown.keep_s))
