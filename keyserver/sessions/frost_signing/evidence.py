"""The record that convicts a signer (engine design, section 11).

A signer signs its share together with the name of the package, which covers the session, the
record, the message and everybody's commitments: the package shown is the one that it meant.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from keyserver.crypto.curve import Scalar
from keyserver.model.codec import Limit
from keyserver.model.identifiers import NodeId, Signature
from keyserver.sessions.conviction import (
    Conviction,
    InvalidEvidenceError,
    Rule,
    check_signed,
)
from keyserver.sessions.frost_signing.messages import ChosenSigner
from keyserver.sessions.frost_signing.terms import FORMS, Signing


@dataclass(frozen=True, slots=True)
class WrongSignatureShare:
    """A signed share of a signature that its maker's nonces and key share do not give."""

    KIND: ClassVar[int] = 64

    signing: Signing
    signers: Annotated[tuple[ChosenSigner, ...], Limit(256)]
    maker: NodeId
    value: Scalar
    signature: Signature

    def judge(self) -> Conviction:
        """Convict the maker of the share."""
        signing = self.signing
        if signing.operation not in FORMS:
            raise InvalidEvidenceError("the operation is not known")
        if not signing.is_complete(self.signers):
            raise InvalidEvidenceError("these are no t + 1 members of the committee in order")
        if self.maker not in {one.node for one in self.signers}:
            raise InvalidEvidenceError(f"{self.maker.short} is not among the signers")
        named = signing.package_hash(self.signers)
        signed = signing.share_digest(self.maker, named, self.value)
        check_signed(signed, self.signature, self.maker, "the share")
        if signing.is_right(signing.package(self.signers), self.maker, self.value):
            raise InvalidEvidenceError("the share is right")
        sid = signing.sid
        return Conviction(self.maker, Rule.WRONG_SIGNATURE_SHARE, signing.record.key_id, sid, sid)
