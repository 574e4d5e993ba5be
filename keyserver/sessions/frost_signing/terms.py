"""What is signed in a session, and what its participants sign and prove about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.curve import Point, Scalar
from keyserver.crypto.schnorr import (
    Form,
    NonceCommitment,
    SigningPackage,
    check_part,
    prepare,
)
from keyserver.model.codec import U8, encode
from keyserver.model.identifiers import Hash32, NodeId, SessionId
from keyserver.model.keys import KeyRecord
from keyserver.model.requests import Operation
from keyserver.sessions.frost_signing.messages import ChosenSigner
from keyserver.sessions.identity import digest, node_bytes

FORMS = {Operation.SIGN_SCHNORR: Form.ORIGINAL, Operation.SIGN_FROST: Form.RFC9591}
"""Which operation makes which signature."""


@dataclass(frozen=True, slots=True)
class Signing:
    """What is signed in a session, and with which version of which key."""

    sid: SessionId
    record: KeyRecord
    operation: U8
    message: Hash32

    @property
    def form(self) -> Form:
        """The form of the signature; the operation must be one of `FORMS`."""
        return FORMS[Operation(self.operation)]

    def commitment_digest(self, signer: ChosenSigner) -> Hash32:
        """What a signer signs in round one."""
        points = signer.hiding.compressed + signer.binding.compressed
        return digest("tks/1/frostcom", self.sid, node_bytes(signer.node), points)

    def package_hash(self, signers: Sequence[ChosenSigner]) -> Hash32:
        """The name of a package: who signs what, with which nonces and which version."""
        listed = len(signers).to_bytes(4, "big") + b"".join(encode(one) for one in signers)
        return digest(
            "tks/1/frostpackage",
            self.sid,
            self.record.hash,
            bytes([self.operation]),
            self.message,
            listed,
        )

    def share_digest(self, node: NodeId, package: Hash32, value: Scalar) -> Hash32:
        """What a signer signs in round two.

        It names the package: a share is right or wrong for one package only, so without its name
        a share for one could be shown as a wrong one for another.
        """
        return digest("tks/1/sigshare", self.sid, node_bytes(node), package, value.to_bytes())

    def is_complete(self, signers: Sequence[ChosenSigner]) -> bool:
        """Whether these are t + 1 members of the committee, ascending by their coordinates."""
        places = self.record.coordinates
        if not {one.node for one in signers} <= places.keys():
            return False
        xs = [int(places[one.node]) for one in signers]
        return len(xs) == self.record.required_nodes and xs == sorted(set(xs))

    def ordered(self, signers: Sequence[ChosenSigner]) -> tuple[ChosenSigner, ...]:
        """The order in which a package lists members of the committee."""
        return tuple(sorted(signers, key=lambda one: int(self.record.coordinates[one.node])))

    def package(self, signers: Sequence[ChosenSigner]) -> SigningPackage:
        """What all signers compute from a complete list; raises `CryptoError` by bad luck only."""
        commitments = [self.commitment(one) for one in signers]
        return prepare(self.form, self.public, self.message, commitments)

    def commitment(self, signer: ChosenSigner) -> NonceCommitment:
        """A signer's commitments under its coordinate."""
        x = self.record.coordinates[signer.node]
        return NonceCommitment(x, signer.hiding, signer.binding)

    @property
    def public(self) -> Point:
        """The server key."""
        return self.record.public

    def is_right(self, package: SigningPackage, node: NodeId, value: Scalar) -> bool:
        """Whether a signer's share is what its commitments and its share of the key give."""
        index = package.index(self.record.coordinates[node])
        return check_part(package, index, value, self.record.commitments)
