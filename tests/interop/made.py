"""Signatures as the sessions of whole committees make them."""

from dataclasses import dataclass

from keyserver.crypto.curve import Point, Scalar
from keyserver.crypto.schnorr import SchnorrSignature
from keyserver.model.identifiers import Hash32
from keyserver.model.keys import CertifiedRecord
from keyserver.model.requests import Credential, SigningScheme, SignMessage
from keyserver.sessions.core import Completed, Failed
from keyserver.sessions.ecdsa_signing import ECDSA_SIGNING, AloneTarget, Target
from keyserver.sessions.frost_signing import FROST_SIGNING
from keyserver.sessions.frost_signing import Target as SchnorrTarget
from keyserver.sessions.outcomes import EcdsaResult, SignatureResult
from tests.support.credentials import bound
from tests.support.delivery import Delivery
from tests.support.key_life import KEY_ID, ON_CHAIN, REQUESTER, generate, presign


@dataclass
class Committee:
    """2t + 1 nodes that have generated a key."""

    net: Delivery
    record: CertifiedRecord

    @classmethod
    def of(cls, threshold: int) -> "Committee":
        """As few nodes as ECDSA needs."""
        net = Delivery(2 * threshold + 1)
        return cls(net, generate(net, threshold))

    @property
    def public(self) -> Point:
        """The key."""
        return self.record.record.public

    @property
    def shares(self) -> dict[Scalar, bytes]:
        """All shares by their coordinates, which nobody ever has outside of tests."""
        shares = {}
        for node, x in self.record.record.coordinates.items():
            held = self.net.by_id[node].key.share
            assert held is not None
            shares[x] = held.value.expose()
        return shares

    def schnorr(self, message: bytes, scheme: SigningScheme) -> SchnorrSignature:
        """Sign in one of the two Schnorr forms."""
        target = SchnorrTarget(self.record, self.record.record.nodes, frozenset())
        operation = SignMessage(KEY_ID, Hash32(message), scheme)
        credential: Credential = ON_CHAIN
        if scheme is SigningScheme.FROST:  # no contract asks for it
            credential = bound(self.net, operation, REQUESTER)
        result = _completed(self.net.run(FROST_SIGNING, operation, credential, target))
        assert isinstance(result, SignatureResult)
        return result.signature

    def ecdsa(self, message: bytes) -> bytes:
        """Sign: `r || s || v`, 65 bytes."""
        record = self.record.record
        target: Target | AloneTarget = AloneTarget(self.record, record.nodes[0], 1)
        if record.threshold:
            made = presign(self.net, self.record)
            target = Target(self.record, made, len(record.nodes))
        operation = SignMessage(KEY_ID, Hash32(message), SigningScheme.ECDSA)
        result = _completed(self.net.run(ECDSA_SIGNING, operation, ON_CHAIN, target))
        assert isinstance(result, EcdsaResult)
        return bytes(result.signature)


def _completed(outcome: Completed | Failed) -> object:
    assert isinstance(outcome, Completed), outcome
    return outcome.result
