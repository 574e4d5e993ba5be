"""Signatures as a server key makes them, by somebody who has it whole."""

from keyserver.crypto.curve import Scalar, SecretScalar, sign_digest
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.schnorr import Form, SchnorrSignature, aggregate, commit, prepare, sign_part
from keyserver.model.requests import SigningScheme

RNG = SeededRandom("server signatures")
PLACE = Scalar(1)


def sign_with(scheme: SigningScheme, key: SecretScalar, message: bytes) -> bytes:
    """A signature as it is written."""
    if scheme is SigningScheme.ECDSA:
        return sign_digest(key, message)
    return schnorr_with(scheme, key, message).encode()


def schnorr_with(scheme: SigningScheme, key: SecretScalar, message: bytes) -> SchnorrSignature:
    """The same of the two Schnorr forms, with its nonce."""
    form = Form.ORIGINAL if scheme is SigningScheme.SCHNORR else Form.RFC9591
    nonces = commit(form, PLACE, key, RNG)
    package = prepare(form, key.public(), message, [nonces.commitment])
    return aggregate(package, [sign_part(nonces, key, package)], [key.public()])
