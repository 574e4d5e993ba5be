"""Records that convict a holder or a coordinator of a retrieval (engine design, 9 and 10).

The signature under a part covers the session, the record, the mode and the common point, and fits
no other: for a given key, a recoverable signature fits one digest only. So the record shown with a
part is the one that its maker meant. A SELECT covers the session and the parts alone; it is the
signature of one of its parts that ties it to a record.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from keyserver.crypto.errors import CryptoError
from keyserver.model.codec import Limit
from keyserver.model.identifiers import NodeId, Signature
from keyserver.sessions.conviction import (
    Conviction,
    InvalidEvidenceError,
    Rule,
    check_signed,
    is_signed,
)
from keyserver.sessions.identity import is_canonical
from keyserver.sessions.retrieval.messages import Mode, SelectedPartial
from keyserver.sessions.retrieval.proofs import Decryption, select_hash

MODES = frozenset(Mode)


def _check_mode(decryption: Decryption) -> None:
    if decryption.mode not in MODES:
        raise InvalidEvidenceError("the mode is not known")


def _conviction(decryption: Decryption, culprit: NodeId, rule: Rule) -> Conviction:
    sid = decryption.sid
    return Conviction(culprit, rule, decryption.record.key_id, sid, sid)


@dataclass(frozen=True, slots=True)
class WrongPartial:
    """A signed part whose proof does not hold against its maker's verification share."""

    KIND: ClassVar[int] = 4

    decryption: Decryption
    part: SelectedPartial

    def judge(self) -> Conviction:
        """Convict the maker of the part."""
        _check_mode(self.decryption)
        maker = self.part.node
        if maker not in self.decryption.record.coordinates:
            raise InvalidEvidenceError(f"{maker.short} is not in the committee")
        signed = self.decryption.part_digest(maker, self.part)
        check_signed(signed, self.part.signature, maker, "the part")
        if is_proven(self.decryption, self.part):
            raise InvalidEvidenceError("the proof of the part holds")
        return _conviction(self.decryption, maker, Rule.WRONG_PARTIAL)


@dataclass(frozen=True, slots=True)
class WrongSelection:
    """A signed selection that its coordinator cannot have checked."""

    KIND: ClassVar[int] = 5

    decryption: Decryption
    coordinator: NodeId
    parts: Annotated[tuple[SelectedPartial, ...], Limit(256)]
    signature: Signature

    def judge(self) -> Conviction:
        """Convict the coordinator."""
        _check_mode(self.decryption)
        named = select_hash(self.decryption.sid, self.parts)
        check_signed(named, self.signature, self.coordinator, "the selection")
        signed = [entry for entry in self.parts if self._is_signed(entry)]
        if not signed:
            raise InvalidEvidenceError("no part shows what the selection is about")
        record = self.decryption.record
        in_order = is_canonical([entry.node for entry in self.parts])
        complete = in_order and len(self.parts) == record.required_nodes == len(signed)
        if complete and all(is_proven(self.decryption, entry) for entry in self.parts):
            raise InvalidEvidenceError("the selection is right")
        return _conviction(self.decryption, self.coordinator, Rule.WRONG_SELECTION)

    def _is_signed(self, part: SelectedPartial) -> bool:
        if part.node not in self.decryption.record.coordinates:
            return False
        signed = self.decryption.part_digest(part.node, part)
        return is_signed(signed, part.signature, part.node)


def is_proven(decryption: Decryption, part: SelectedPartial) -> bool:
    """Whether the proof of a member's part holds."""
    try:
        decryption.check_proof(part.node, part)
    except CryptoError:
        return False
    return True
