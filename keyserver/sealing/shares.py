"""Operators' shares: the slot that they open, and what a submitted text is.

The seal record tells of every share a hash, its commitment. A share is therefore checked by itself,
by the node or by its holder, before anything is done with it (sealing, C5.3 and C6.2).
"""

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any, Final, Self

from keyserver.crypto import slip39
from keyserver.crypto.boxes import canonical_json
from keyserver.crypto.errors import MnemonicError, UnknownWordError, WordCountError
from keyserver.sealing.errors import (
    SealRecordDamagedError,
    ShareMalformedError,
    ShareUnknownError,
    ShareWrongSetError,
)
from keyserver.sealing.record import SealRecord, Slot
from keyserver.sealing.secret_key import SIZE

SHAMIR: Final = "shamir"
WORDS: Final = 33
"""Words of a share of 32 bytes."""

MAX_TEXT: Final = 4096
"""Characters of the longest share document that is read."""

_COMMITMENT: Final = b"keyserver.seal.v1/share\0"
_DOCUMENT_NUMBERS: Final = ("v", "epoch", "slot_id", "group", "member")
_DOCUMENT_FIELDS: Final = {*_DOCUMENT_NUMBERS, "seal_id", "mnemonic"}


@dataclass(frozen=True, slots=True)
class ShareSlot:
    """A slot that opens with shares: k of n, in one group."""

    seal_id: bytes
    epoch: int
    slot_id: int
    identifier: int
    """Of this set of shares; 15 bits."""
    threshold: int
    count: int
    share_salt: bytes
    """16 bytes."""
    commitments: tuple[bytes, ...]
    """Of each member, 32 bytes."""

    @classmethod
    def of(cls, record: SealRecord) -> Self | None:
        """The record's slot for shares; raises `SealRecordDamagedError` for one of another form."""
        for slot in record.slots:
            if slot.kind == SHAMIR:
                return cls._read(record, slot)
        return None

    @classmethod
    def _read(cls, record: SealRecord, slot: Slot) -> Self:
        params = slot.params
        try:
            (group,), (commitments,) = params["groups"], params["commitments"]
            read = cls(
                seal_id=record.seal_id,
                epoch=record.epoch,
                slot_id=slot.slot_id,
                identifier=params["identifier"],
                threshold=group["threshold"],
                count=group["count"],
                share_salt=bytes.fromhex(params["share_salt"]),
                commitments=tuple(bytes.fromhex(one) for one in commitments),
            )
            known = read.params() == params and read._is_possible()
        except (KeyError, TypeError, ValueError):
            known = False
        if not known:
            raise SealRecordDamagedError(
                f"seal record: slot {slot.slot_id} is no slot for shares of one group"
            )
        return read

    def _is_possible(self) -> bool:
        return (
            0 <= self.identifier <= slip39.MAX_IDENTIFIER
            and 1 <= self.threshold <= self.count <= slip39.MAX_SHARES
            and len(self.commitments) == self.count
            and all(len(commitment) == SIZE for commitment in self.commitments)
        )

    def params(self) -> dict[str, Any]:
        """The parameters of the slot as the record has them."""
        return {
            "scheme": "slip39",
            "identifier": self.identifier,
            "extendable": True,
            "iteration_exponent": 0,
            "group_threshold": 1,
            "groups": [{"threshold": self.threshold, "count": self.count}],
            "share_salt": self.share_salt.hex(),
            "commitments": [[commitment.hex() for commitment in self.commitments]],
        }

    def fits(self, share: slip39.Share) -> bool:
        """Whether the share says of itself that it is of this set."""
        return (
            share.identifier == self.identifier
            and share.extendable
            and share.iteration_exponent == 0
            and (share.group_index, share.group_threshold, share.group_count) == (0, 1, 1)
            and share.member_threshold == self.threshold
        )

    def has(self, share: slip39.Share) -> bool:
        """Whether it is the share of its member, by the commitment."""
        if share.member_index >= self.count:
            return False
        return hmac.compare_digest(self.commitments[share.member_index], self.commitment(share))

    def commitment(self, share: slip39.Share) -> bytes:
        """The 32-byte commitment to a share of this slot (sealing, C5.3)."""
        place = bytes([share.group_index, share.member_index])
        numbers = self.epoch.to_bytes(4, "big") + self.slot_id.to_bytes(4, "big")
        data = _COMMITMENT + self.seal_id + numbers + self.share_salt + place + share.value
        return hashlib.sha256(data).digest()


@dataclass(frozen=True, slots=True)
class ShareText:
    """What somebody typed in: a share, and of which set it says to be."""

    share: slip39.Share
    seal_id: bytes | None = None
    """16 bytes, from a share document; a list of words does not tell."""
    epoch: int | None = None
    slot_id: int | None = None


def parse_share(text: str) -> ShareText:
    """Read words or a share document; raises `ShareMalformedError` without showing any of it."""
    if len(text) > MAX_TEXT:
        raise ShareMalformedError(f"share: longer than {MAX_TEXT} characters")
    if not text.lstrip().startswith("{"):
        return ShareText(_parse_words(text))
    try:
        document = json.loads(text)
        seal_id, mnemonic = bytes.fromhex(document["seal_id"]), document["mnemonic"]
        well_formed = (
            document.keys() == _DOCUMENT_FIELDS
            and all(_is_number(document[name]) for name in _DOCUMENT_NUMBERS)
            and document["v"] == 1
            and isinstance(mnemonic, str)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        well_formed = False
    if not well_formed:
        # no cause: it may quote the text
        raise ShareMalformedError("share: not a share document of version 1") from None
    share = _parse_words(mnemonic)
    if (share.group_index, share.member_index) != (document["group"], document["member"]):
        raise ShareMalformedError("share document: the words are of another member than it says")
    return ShareText(share, seal_id, document["epoch"], document["slot_id"])


def find_share(text: str, record: SealRecord, slot: ShareSlot) -> slip39.Share:
    """The share of the record's present set that this text is (sealing, C6.2, steps 2 to 4).

    `slot` is the record's. Raises `ShareMalformedError`, `ShareWrongSetError` for a share of
    another store or set, and `ShareUnknownError` for a share that was never handed out.
    """
    read = parse_share(text)
    if read.seal_id is not None and read.seal_id != record.seal_id:
        raise ShareWrongSetError("share: of another store")
    if read.epoch is not None and (read.epoch, read.slot_id) != (slot.epoch, slot.slot_id):
        raise ShareWrongSetError(
            f"share: of set {read.epoch}, but set {slot.epoch} is in force", read.epoch
        )
    if not slot.fits(read.share):
        epoch = _replaced_epoch(record, read.share.identifier)
        earlier = "" if epoch is None else f", of the replaced set {epoch} of this store"
        raise ShareWrongSetError(f"share: not of the set in force{earlier}", epoch)
    if not slot.has(read.share):
        raise ShareUnknownError("share: looks like one of this set, but was never handed out")
    return read.share


def check_share(text: str, record: SealRecord) -> slip39.Share:
    """The same for a record alone, also the public form of one (without `wrapped_root`).

    For the holder of a share, and whoever sends it. Raises `ShareWrongSetError` for a record
    without shares, `SealRecordDamagedError` for one that cannot be read.
    """
    slot = ShareSlot.of(record)
    if slot is None:
        raise ShareWrongSetError("share: this store does not open with shares")
    return find_share(text, record, slot)


def _replaced_epoch(record: SealRecord, identifier: int) -> int | None:
    for entry in record.history:
        if entry.get("identifier") == identifier and _is_number(entry.get("epoch")):
            epoch: int = entry["epoch"]
            return epoch
    return None


def _parse_words(text: str) -> slip39.Share:
    count = len(text.split())
    if count != WORDS:
        raise ShareMalformedError(f"share: {count} words, need {WORDS}", words=count)
    try:
        return slip39.parse_mnemonic(text)
    except UnknownWordError as problem:
        raise ShareMalformedError(f"share: {problem}", word=problem.place) from None
    except WordCountError as problem:
        raise ShareMalformedError(f"share: {problem}", words=problem.count) from None
    except MnemonicError as problem:
        raise ShareMalformedError(f"share: {problem}") from None


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32


def share_document(slot: ShareSlot, share: slip39.Share) -> bytes:
    """The share with what it belongs to, as canonical JSON (sealing, C5.4)."""
    return canonical_json(
        {
            "v": 1,
            "seal_id": slot.seal_id.hex(),
            "epoch": slot.epoch,
            "slot_id": slot.slot_id,
            "group": share.group_index,
            "member": share.member_index,
            "mnemonic": share.mnemonic(),
        }
    )
