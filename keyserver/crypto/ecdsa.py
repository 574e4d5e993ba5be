"""Threshold ECDSA with a presignature: one round.

Engine design, section 12.3. Every signer answers once, with `sigma_j` and a proof; through all
2t + 1 answers goes a polynomial with the constant `s`. The nonce point is multiplied by a hash of
record and message first, so that nobody knows it before choosing the message (Groth and Shoup, "On
the security of ECDSA with additive key derivation and presignatures", 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.curve import (
    GENERATOR,
    ORDER,
    SECOND_GENERATOR,
    MaybePoint,
    Point,
    Scalar,
    SecretScalar,
    add,
    lincomb,
    mul_public,
    sign_digest,
    verify_digest,
)
from keyserver.crypto.errors import (
    InvalidPartsError,
    InvalidProofError,
    InvalidScalarError,
    InvalidSignatureError,
    InvalidSignersError,
)
from keyserver.crypto.hashing import hash_to_scalar, tagged_hash
from keyserver.crypto.masks import evaluate_mask
from keyserver.crypto.polynomial import interpolate
from keyserver.crypto.presignatures import Presignature, PublicPresignature
from keyserver.crypto.presigning import Signer
from keyserver.crypto.proofs import Equation, Statement, prove, verify
from keyserver.crypto.randomness import RandomSource
from keyserver.crypto.vss import evaluate_commitments


@dataclass(frozen=True, slots=True)
class EcdsaShare:
    """A signer's `sigma_j` with its proof of 128 bytes."""

    value: Scalar
    proof: bytes


def sign_alone(key: SecretScalar, message: bytes) -> bytes:
    """Sign with a key of threshold 0, whose every share is the key: 65 bytes `r || s || v`.

    Low s, nonce by RFC 6979. Raises InvalidSignatureError unless the message has 32 bytes, and for
    a `v` above 1, which nobody can bring about.
    """
    signature = sign_digest(key, message)
    if signature[64] > 1:
        raise InvalidSignatureError("signature: r is not the x-coordinate of the nonce")
    return signature


@dataclass(frozen=True, slots=True)
class Bound:
    """A presignature bound to a message; made by `bind`."""

    public: PublicPresignature
    message: bytes
    digest: Scalar
    """`m`, the message modulo `q`."""
    scale: Scalar
    """`delta`."""
    inverse_scale: Scalar
    nonce: Point
    """`R' = delta*R`."""
    r: Scalar


def bind(public: PublicPresignature, message: bytes) -> Bound:
    """Bind a presignature to a 32-byte message.

    Raises InvalidSignatureError for another length, InvalidScalarError if the nonce is of no use,
    which nobody can bring about: the presignature is lost then.
    """
    if len(message) != 32:
        raise InvalidSignatureError(f"message: need 32 bytes, got {len(message)}")
    presigning = public.presigning
    fields = presigning.presig_id + presigning.nonce.compressed + presigning.record_hash
    scale = hash_to_scalar("tks/1/ecdsa-rerand", fields + message)
    nonce = mul_public(presigning.nonce, scale)
    if nonce is None:
        raise InvalidScalarError("signature: the nonce is infinity")
    digest = Scalar(int.from_bytes(message, "big") % ORDER)
    return Bound(public, message, digest, scale, scale.inverse(), nonce, x_of_nonce(nonce))


def x_of_nonce(nonce: Point) -> Scalar:
    """Return `r`; raises InvalidScalarError if the x-coordinate is not below `q` (or is 0).

    A signature with such a nonce has a `v` of 2 or 3, which contracts do not take.
    """
    x = int.from_bytes(nonce.raw64[:32], "big")
    if not 0 < x < ORDER:
        raise InvalidScalarError("signature: the nonce has no usable x-coordinate")
    return Scalar(x)


def sign_share(
    presignature: Presignature,
    share: SecretScalar,
    *,
    record_hash: bytes,
    message: bytes,
    rng: RandomSource,
) -> EcdsaShare:
    """Return this signer's part of the signature of a 32-byte message.

    `share` is its share of the key, `record_hash` names the record that the request is about. The
    presignature is gone afterwards, whatever happens: SpentError if it was before. Raises
    InvalidSignersError if it was made for another record; errors as `bind`.
    """
    secret = presignature.secret.take()
    public = presignature.public
    if record_hash != public.presigning.record_hash:
        raise InvalidSignersError("presignature: made for another record")
    bound = bind(public, message)
    known = share.multiply(bound.r).add(bound.digest)
    fixed, scaled = secret.fixed_mask, secret.scaled_mask
    mask = fixed.value.add(scaled.value.multiply(bound.scale))
    blinding = fixed.blinding.add(scaled.blinding.multiply(bound.scale))
    signed = secret.inverse_nonce.multiply(bound.inverse_scale).multiply(known).add(mask)
    value = Scalar.from_bytes(signed.expose())
    statement = share_statement(bound, presignature.own, share.public(), value)
    return EcdsaShare(value, prove(statement, [known, mask, blinding], rng))


def share_statement(
    bound: Bound, signer: Signer, verification_share: MaybePoint, value: Scalar
) -> Statement:
    """State that a signer made its `sigma_j` as it must.

    The witnesses are `m + r*s_j` and the opening of its mask `d_j + delta*e_j`.
    """
    node, x = signer
    presigning, product = bound.public.presigning, bound.public.product
    names = presigning.presig_id + presigning.record_hash + bound.message + node.compressed
    fixed = evaluate_mask(presigning.first.fixed_mask, x)
    scaled = _times(evaluate_mask(presigning.first.scaled_mask, x), bound.scale)
    multiplier = evaluate_commitments(presigning.second.multiplier, x)
    inverse_nonce = _times(multiplier, (product * bound.scale).inverse())
    return Statement(
        tagged_hash("tks/1/ctx/ecdsashare", names),
        (
            Equation(_signed(bound, verification_share), ((0, GENERATOR),)),
            Equation(add(fixed, scaled), ((1, GENERATOR), (2, SECOND_GENERATOR))),
            Equation(
                mul_public(presigning.nonce, value), ((0, inverse_nonce), (1, presigning.nonce))
            ),
        ),
        witnesses=3,
    )


def _signed(bound: Bound, verification_share: MaybePoint) -> MaybePoint:
    """`m*G + r*X_j`."""
    if verification_share is None:
        return None
    return lincomb(bound.digest, bound.r, verification_share)


def _times(point: MaybePoint, factor: Scalar) -> MaybePoint:
    return None if point is None else mul_public(point, factor)


def combine(bound: Bound, shares: Sequence[EcdsaShare], key: Sequence[Point]) -> bytes:
    """Return the signature `r || s || v` (65 bytes) from the parts of all signers, in their order.

    `key` holds the commitments of the key's sharing. Low s, v 0 or 1. Raises InvalidPartsError with
    the places of all whose parts are wrong, InvalidSignatureError if every part is right and the
    signature is not: then the key is another.
    """
    signers = bound.public.presigning.signers
    if len(shares) != len(signers):
        raise InvalidSignersError("signature: need a part from every signer")
    s = interpolate([x for _, x in signers], [share.value for share in shares])
    signature = encode_signature(bound.nonce, s)
    try:
        verify_digest(bound.message, signature, key[0])
    except InvalidSignatureError:
        _name_the_wrong(bound, shares, key)
        raise
    return signature


def encode_signature(nonce: Point, s: Scalar) -> bytes:
    """Write a signature with the nonce point `R'` as `r || s || v`, with low s.

    Errors as `x_of_nonce`.
    """
    r, v = x_of_nonce(nonce), nonce.raw64[63] & 1
    if int(s) > ORDER // 2:
        s, v = -s, v ^ 1
    return r.to_bytes() + s.to_bytes() + bytes([v])


def _name_the_wrong(bound: Bound, shares: Sequence[EcdsaShare], key: Sequence[Point]) -> None:
    wrong = []
    for signer, share in zip(bound.public.presigning.signers, shares, strict=True):
        known = evaluate_commitments(key, signer[1])
        try:
            verify(share_statement(bound, signer, known, share.value), share.proof)
        except InvalidProofError:
            wrong.append(signer[1])
    if wrong:
        raise InvalidPartsError("signature: wrong parts", tuple(wrong))
