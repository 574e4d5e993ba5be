"""Operators' shares on their way to opening the seal: a pure machine (sealing, C6.1 and C6.2).

Time comes in as an argument: seconds of a clock that never goes back. Only shares that were checked
against the seal record get in here, so nothing here can fail and nothing ever needs to be reset.
"""

from dataclasses import dataclass, field, replace
from typing import Final, Self

from keyserver.crypto import slip39
from keyserver.sealing.ports import SealState, ShareAnswer
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.shares import ShareSlot

DUPLICATE: Final = "duplicate"
NOT_THERE: Final = "not_there"


@dataclass(frozen=True, slots=True)
class HeldShare:
    """A good share, kept for its time."""

    member: int
    value: SecretKey = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class Collected:
    """The shares of one slot that have come in, in order of arrival."""

    slot: ShareSlot
    keep_s: float
    held: tuple[HeldShare, ...] = ()

    @property
    def members(self) -> tuple[int, ...]:
        """Whose shares are there."""
        return tuple(sorted(share.member for share in self.held))

    @property
    def enough(self) -> bool:
        """Whether there are as many as open the slot."""
        return len(self.held) >= self.slot.threshold

    def has(self, share: slip39.Share) -> bool:
        """Whether this member's share is there."""
        return any(held.member == share.member_index for held in self.held)

    def add(self, share: slip39.Share, now: float) -> Self:
        """With this share; one that is there already is kept for its whole time again."""
        new = HeldShare(share.member_index, SecretKey(share.value), now + self.keep_s)
        if not self.has(share):
            return replace(self, held=(*self.held, new))
        held = tuple(new if held.member == new.member else held for held in self.held)
        return replace(self, held=held)

    def without(self, member: int) -> Self:
        """Without this member's share."""
        return replace(self, held=tuple(one for one in self.held if one.member != member))

    def expired(self, now: float) -> tuple[int, ...]:
        """Whose shares have been kept for their time."""
        return tuple(held.member for held in self.held if held.expires_at <= now)

    def secret(self) -> SecretKey:
        """The secret of the slot, from the first shares that are enough.

        Raises `InvalidShareSetError` where they do not fit, which takes a forged seal record.
        """
        shares = [self._share(held) for held in self.held[: self.slot.threshold]]
        return SecretKey(slip39.combine(shares))

    def _share(self, held: HeldShare) -> slip39.Share:
        return slip39.Share(
            identifier=self.slot.identifier,
            extendable=True,
            iteration_exponent=0,
            group_index=0,
            group_threshold=1,
            group_count=1,
            member_index=held.member,
            member_threshold=self.slot.threshold,
            value=held.value.expose(),
        )


@dataclass(frozen=True, slots=True)
class Unsealing:
    """How far one process is with opening its seal.

    `opening` ends in `opened` or `failed`: there is no state that claims to be open and is not.
    """

    keep_s: float
    """How long a share is kept after it came in last."""
    state: SealState = SealState.UNINITIALISED
    collected: Collected | None = None
    """`None` without a slot that opens with shares."""

    @property
    def progress(self) -> int:
        """How many shares are there."""
        return len(self.collected.held) if self.collected else 0

    @property
    def members(self) -> tuple[int, ...]:
        """Whose."""
        return self.collected.members if self.collected else ()

    @property
    def enough(self) -> bool:
        """Whether to try to open now."""
        return self.collected is not None and self.collected.enough

    def initialised(self, slot: ShareSlot | None) -> Self:
        """The store has this slot for shares; shares of another slot are dropped."""
        if self.state is SealState.UNSEALED:
            return replace(self, collected=Collected(slot, self.keep_s) if slot else None)
        if slot is None:
            return replace(self, state=SealState.SEALED, collected=None)
        if self.collected is not None and self.collected.slot == slot:
            return self._resting(self.collected)
        return self._resting(Collected(slot, self.keep_s))

    def submitted(self, share: slip39.Share, now: float) -> tuple[Self, str | None]:
        """A good share has come; also tells why it is not counted, if so."""
        collected = self._collected()
        reason = DUPLICATE if collected.has(share) else None
        return self._resting(collected.add(share, now)), reason

    def withdrawn(self, share: slip39.Share) -> tuple[Self, str | None]:
        """Its holder takes a good share back; also tells if it was not there."""
        collected = self._collected()
        reason = None if collected.has(share) else NOT_THERE
        return self._resting(collected.without(share.member_index)), reason

    def cleared(self) -> Self:
        """An administrator has dropped all shares."""
        if self.collected is None:
            return self
        return self._resting(replace(self.collected, held=()))

    def passed(self, now: float) -> tuple[Self, tuple[int, ...]]:
        """Time has passed; also tells whose shares have run out."""
        if self.collected is None or self.state is SealState.OPENING:
            return self, ()
        expired = self.collected.expired(now)
        collected = self.collected
        for member in expired:
            collected = collected.without(member)
        return (self._resting(collected) if expired else self), expired

    def opening(self) -> Self:
        """What it takes is there; the store is being asked."""
        return replace(self, state=SealState.OPENING)

    def failed(self) -> Self:
        """The store did not answer, or not well: the shares stay for their time."""
        if self.collected is None:
            return replace(self, state=SealState.SEALED)
        return self._resting(self.collected)

    def opened(self) -> Self:
        """The seal is open; the shares are dropped."""
        return replace(self.cleared(), state=SealState.UNSEALED)

    def shut(self) -> Self:
        """The keys are gone."""
        return replace(self.cleared(), state=SealState.SEALED)

    def answer(self, reason: str | None, *, sealed: bool) -> ShareAnswer:
        """What its holder is told of a share; `reason`: why it was not taken."""
        return ShareAnswer(
            sealed=sealed,
            accepted=reason is None,
            reason=reason,
            progress=self.progress,
            required=self.collected.slot.threshold if self.collected else 0,
            members=self.members,
        )

    def _collected(self) -> Collected:
        if self.collected is None:
            raise ValueError("unsealing: no slot for shares")
        return self.collected

    def _resting(self, collected: Collected) -> Self:
        state = self.state
        if state is not SealState.UNSEALED:
            state = SealState.UNSEALING if collected.held else SealState.SEALED
        return replace(self, state=state, collected=collected)
