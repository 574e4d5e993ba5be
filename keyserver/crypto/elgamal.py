"""Document keys: ElGamal encryption to a server key, and its threshold decryption.

A document key is a point `M`, stored as `C = k*G`, `E = M + k*Y`. Plain decryption gives `M` to the
node that combines. Shadow decryption gives it to nobody but the requester: every partial result is
masked by `e_i*C`, and the masks reach the requester encrypted. Engine design, sections 8 to 10.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.curve import (
    GENERATOR,
    Point,
    Scalar,
    SecretScalar,
    add,
    mul_base,
    mul_public,
    mul_secret,
    negate,
    sum_secrets,
)
from keyserver.crypto.errors import InvalidPointError, InvalidScalarError
from keyserver.crypto.polynomial import lagrange_at
from keyserver.crypto.proofs import Statement, equal_logarithms
from keyserver.crypto.randomness import RandomSource


@dataclass(frozen=True, slots=True)
class EncryptedDocumentKey:
    """A document key encrypted to a server key."""

    common: Point
    """`C = k*G`."""
    encrypted: Point
    """`E = M + k*Y`."""


@dataclass(frozen=True, slots=True)
class ShadowPartial:
    """One node's masked partial decryption, with what it needs to prove and finish it."""

    mask: SecretScalar
    """`e_i`, kept by the node until it is sealed to the requester."""
    mask_point: Point
    """`E_i = e_i*G`."""
    partial: Point
    """`P_i = (s_i + e_i)*C`."""
    witness: SecretScalar
    """`s_i + e_i`, of the proof for `shadow_statement`."""


def encrypt_document_key(
    public: Point, document_key: Point, rng: RandomSource
) -> EncryptedDocumentKey:
    """Encrypt a document key to the server key `public`; constant time."""
    while True:
        k = SecretScalar.random(rng)
        encrypted = add(document_key, mul_secret(public, k))
        if encrypted is not None:
            return EncryptedDocumentKey(mul_base(k), encrypted)


def plain_partial(share: SecretScalar, common: Point) -> Point:
    """Return a node's partial decryption `P_i = s_i*C`."""
    return mul_secret(common, share)


def plain_statement(
    context: bytes, verification_share: Point, common: Point, partial: Point
) -> Statement:
    """State that `partial` was made with the share behind `verification_share` (witness `s_i`)."""
    return equal_logarithms(context, GENERATOR, verification_share, common, partial)


def shadow_partial(share: SecretScalar, common: Point, rng: RandomSource) -> ShadowPartial:
    """Return a node's masked partial decryption, with a fresh mask."""
    while True:
        mask = SecretScalar.random(rng)
        witness = sum_secrets((share, mask))
        if witness is not None:
            return ShadowPartial(mask, mul_base(mask), mul_secret(common, witness), witness)


def shadow_statement(
    context: bytes, verification_share: Point, mask_point: Point, common: Point, partial: Point
) -> Statement:
    """State that `partial` was made with share and mask (witness `s_i + e_i`)."""
    masked = add(verification_share, mask_point)
    return equal_logarithms(context, GENERATOR, masked, common, partial)


def combine_partials(encrypted: Point, xs: Sequence[Scalar], partials: Sequence[Point]) -> Point:
    """Return `E - sum lambda_i * P_i` of the `threshold + 1` partial decryptions at places `xs`.

    That is the document key for plain partials, the `decrypted_secret` for masked ones. Raises
    InvalidPointError if it is infinity: then what was stored is no encryption of a key.
    """
    factors = lagrange_at(xs)
    terms = [mul_public(point, -f) for point, f in zip(partials, factors, strict=True)]
    result = add(encrypted, *terms)
    if result is None:
        raise InvalidPointError("decryption: the result is infinity")
    return result


def shadow_factors(xs: Sequence[Scalar]) -> list[Scalar]:
    """Return `(-1)^t * lambda_i` for the `t + 1` places of the nodes that finish a retrieval."""
    factors = lagrange_at(xs)
    return factors if len(xs) % 2 else [-factor for factor in factors]


def shadow_scalar(mask: SecretScalar, factor: Scalar) -> SecretScalar:
    """Return a node's shadow `(-1)^t * lambda_i * e_i`: what is encrypted to the requester."""
    return mask.multiply(factor)


def shadow_commitments(factors: Sequence[Scalar], mask_points: Sequence[Point]) -> list[Point]:
    """Return every node's shadow times the generator, from public values.

    Raises InvalidPointError if they add up to infinity: the masks would not hide anything.
    """
    commitments = []
    for point, factor in zip(mask_points, factors, strict=True):
        commitment = mul_public(point, factor)
        if commitment is None:
            raise InvalidScalarError("shadow: a factor is zero")
        commitments.append(commitment)
    if add(*commitments) is None:
        raise InvalidPointError("shadow: the masks add up to zero")
    return commitments


def result_common_point(threshold: int, common: Point) -> Point:
    """Return the `common_point` of a result: `C` for an even threshold, `-C` for an odd one."""
    return negate(common) if threshold % 2 else common


def recover_document_key(
    decrypted_secret: Point, common_point: Point, shadows: Sequence[SecretScalar]
) -> Point:
    """Return the document key `decrypted_secret + (sum of shadows) * common_point`.

    The requester's last step; constant time. Raises InvalidPointError if that is infinity.
    """
    total = sum_secrets(shadows)
    unmask = None if total is None else mul_secret(common_point, total)
    document_key = add(decrypted_secret, unmask)
    if document_key is None:
        raise InvalidPointError("decryption: the document key is infinity")
    return document_key
