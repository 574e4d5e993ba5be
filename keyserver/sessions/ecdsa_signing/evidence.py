"""The record that convicts a signer (engine design, section 12.3).

A signer signs its part with the name of the presignature, which covers everything that was dealt,
with the record and the message: all that the proof of the part is about.
"""

from dataclasses import dataclass
from typing import ClassVar

from keyserver.crypto.curve import Scalar
from keyserver.crypto.ecdsa import bind, share_statement
from keyserver.crypto.errors import InvalidProofError
from keyserver.crypto.presignatures import PublicPresignature, check_product
from keyserver.crypto.proofs import verify
from keyserver.model.identifiers import Hash32, NodeId, SessionId, Signature
from keyserver.sessions.conviction import (
    Conviction,
    InvalidEvidenceError,
    Rule,
    check_signed,
)
from keyserver.sessions.ecdsa_presigning.evidence import Assembly, Both, presigning_in
from keyserver.sessions.ecdsa_signing.messages import ShareProof
from keyserver.sessions.ecdsa_signing.terms import Signing, share_digest


@dataclass(frozen=True, slots=True)
class WrongEcdsaShare:
    """A signed part of an ECDSA signature whose proof does not hold."""

    KIND: ClassVar[int] = 67

    assembly: Assembly
    """The presigning."""
    agreed: Both
    product: Scalar
    sid: SessionId
    """The session in which it was signed."""
    message: Hash32
    maker: NodeId
    value: Scalar
    proof: ShareProof
    signature: Signature

    def judge(self) -> Conviction:
        """Convict the maker of the part."""
        presigning = presigning_in(self.assembly, self.agreed, self.maker)
        check_product(presigning, self.product)
        record = self.assembly.record
        signing = Signing(self.sid, record, self.message)
        signed = share_digest(signing, presigning.presig_id, self.maker, self.value, self.proof)
        check_signed(signed, self.signature, self.maker, "the part")
        bound = bind(PublicPresignature(presigning, self.product), self.message)
        signer = (self.maker.point, record.coordinates[self.maker])
        known = record.verification_share(self.maker)
        try:
            verify(share_statement(bound, signer, known, self.value), self.proof)
        except InvalidProofError:
            rule = Rule.WRONG_SIGNATURE_SHARE
            return Conviction(self.maker, rule, record.key_id, self.sid, self.sid)
        raise InvalidEvidenceError("the proof of the part holds")
