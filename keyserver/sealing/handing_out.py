"""Makes a new set of operators' shares, each encrypted to its holder where holders are named.

Shares leave the process once, to whoever asked for them; they are neither stored nor logged
(sealing, C5.4).
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pyrage

from keyserver.crypto import slip39
from keyserver.crypto.randomness import RandomSource
from keyserver.sealing.errors import BadSharingError
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.shares import ShareSlot, share_document

_SALT_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a new secret is to be shared.

    Raises `BadSharingError` naming what is wrong: threshold, number of shares or a recipient.
    """

    threshold: int
    shares: int
    recipients: tuple[str, ...] = ()
    """An age recipient (`age1…`) for every share, or none at all."""

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= self.shares <= slip39.MAX_SHARES:
            raise BadSharingError(
                f"threshold, shares: need 1 <= threshold <= shares <= {slip39.MAX_SHARES}"
            )
        if self.threshold == 1 and self.shares > 1:
            raise BadSharingError("threshold: 1 is for a single share only; it would open alone")
        if self.recipients and len(self.recipients) != self.shares:
            raise BadSharingError(
                f"recipients: {len(self.recipients)} for {self.shares} shares; name one for each"
            )
        known = {str(_age_recipient(*each)) for each in enumerate(self.recipients, start=1)}
        if len(known) != len(self.recipients):
            raise BadSharingError("recipients: one is named twice; it would hold two shares")


@dataclass(frozen=True, slots=True)
class HandedShare:
    """One share on its way to its holder."""

    member: int
    recipient: str | None
    """Whom it is encrypted to; `None`: `content` is the share itself."""
    content: bytes = field(repr=False)
    """The share document (canonical JSON), or its age encryption (binary)."""


@dataclass(frozen=True, slots=True)
class NewShares:
    """A set of shares that was just made, and the slot that they open."""

    slot: ShareSlot
    shares: tuple[HandedShare, ...]


def share_secret(
    secret: SecretKey,
    sharing: Sharing,
    *,
    seal_id: bytes,
    epoch: int,
    slot_id: int,
    used_identifiers: Collection[int | None],
    rng: RandomSource,
) -> NewShares:
    """Share 32 secret bytes for one slot, under an identifier that this store has not used yet."""
    shares = slip39.split(
        secret.expose(),
        threshold=sharing.threshold,
        count=sharing.shares,
        identifier=_new_identifier(used_identifiers, rng),
        rng=rng,
    )
    bare = ShareSlot(
        seal_id=seal_id,
        epoch=epoch,
        slot_id=slot_id,
        identifier=shares[0].identifier,
        threshold=sharing.threshold,
        count=sharing.shares,
        share_salt=rng.bytes(_SALT_SIZE),
        commitments=(),
    )
    slot = replace(bare, commitments=tuple(bare.commitment(share) for share in shares))
    handed = tuple(_hand_out(slot, sharing, share) for share in shares)
    return NewShares(slot, handed)


def _hand_out(slot: ShareSlot, sharing: Sharing, share: slip39.Share) -> HandedShare:
    document = share_document(slot, share)
    if not sharing.recipients:
        return HandedShare(share.member_index, None, document)
    recipient = sharing.recipients[share.member_index]
    to = _age_recipient(share.member_index + 1, recipient)
    return HandedShare(share.member_index, recipient, pyrage.encrypt(document, [to]))


def _age_recipient(number: int, recipient: str) -> Any:
    try:
        return pyrage.x25519.Recipient.from_str(recipient)
    except pyrage.RecipientError:
        raise BadSharingError(f"recipients: number {number} is no age recipient (age1…)") from None


def _new_identifier(used: Collection[int | None], rng: RandomSource) -> int:
    while True:
        identifier = int.from_bytes(rng.bytes(2), "big") & slip39.MAX_IDENTIFIER
        if identifier not in used:
            return identifier
