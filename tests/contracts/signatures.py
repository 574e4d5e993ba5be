"""Signatures in both forms, by the key of an account or by shares of a key."""

from collections.abc import Sequence

from keyserver.crypto.curve import ORDER, Point, Scalar, SecretScalar
from keyserver.crypto.ecdsa import sign_alone
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.schnorr import Form, aggregate, commit, prepare, sign_part
from tests.contracts.chain import key_of

V_ON_CHAIN = 27
"""What a recovery id is increased by on chain."""


def secret_of(account: int) -> SecretScalar:
    return SecretScalar(bytes(key_of(account).key))


def on_chain(signature: bytes) -> bytes:
    """An ECDSA signature with `v` as contracts expect it."""
    return signature[:64] + bytes([signature[64] + V_ON_CHAIN])


def ecdsa(account: int, message: bytes) -> bytes:
    return on_chain(sign_alone(secret_of(account), message))


def high_s(signature: bytes) -> bytes:
    """The other ECDSA signature for the same message, with the other `v`."""
    s, v = int.from_bytes(signature[32:64], "big"), signature[64]
    return signature[:32] + (ORDER - s).to_bytes(32, "big") + bytes([55 - v])


def schnorr(account: int, message: bytes, seed: str = "") -> tuple[bytes, bytes]:
    """Signature and nonce public of one signer who has the whole key; another seed, another one."""
    secret = secret_of(account)
    return _schnorr([secret], [Scalar(1)], [secret.public()], message, seed)


def schnorr_jointly(
    polynomial: SecretPolynomial, places: Sequence[int], message: bytes
) -> tuple[bytes, bytes]:
    """Signature and nonce public of as many signers as the key needs."""
    scalars = [Scalar(place) for place in places]
    shares = [polynomial.evaluate(place) for place in scalars]
    return _schnorr(shares, scalars, polynomial.commit(), message, "")


def _schnorr(
    shares: Sequence[SecretScalar],
    places: Sequence[Scalar],
    key: Sequence[Point],
    message: bytes,
    seed: str,
) -> tuple[bytes, bytes]:
    rng = SeededRandom(f"schnorr{seed}")
    nonces = [
        commit(Form.ORIGINAL, place, share, rng)
        for place, share in zip(places, shares, strict=True)
    ]
    package = prepare(Form.ORIGINAL, key[0], message, [made.commitment for made in nonces])
    parts = [sign_part(made, share, package) for made, share in zip(nonces, shares, strict=True)]
    signature = aggregate(package, parts, key)
    return signature.encode(), signature.nonce.raw64
