"""Presigning, round three: the product of nonce and multiplier, and what is kept of it all.

Every signer shows `w_j = k_j*a_j + z_j` with a proof. Through all 2t + 1 of these goes a polynomial
with the constant `w = k*a`. With `w` the shares of `a` become shares of `1/k`. Engine design,
section 12.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.curve import (
    GENERATOR,
    SECOND_GENERATOR,
    Point,
    Scalar,
    SecretScalar,
    mul_base,
    mul_public,
)
from keyserver.crypto.errors import (
    InvalidPartsError,
    InvalidProofError,
    InvalidScalarError,
    InvalidSignersError,
)
from keyserver.crypto.hashing import tagged_hash
from keyserver.crypto.masks import Opening, evaluate_mask
from keyserver.crypto.one_time import OneTime
from keyserver.crypto.polynomial import interpolate
from keyserver.crypto.presigning import FirstCommitments, SecondCommitments, Signer
from keyserver.crypto.proofs import Equation, Statement, prove, verify
from keyserver.crypto.randomness import RandomSource
from keyserver.crypto.vss import evaluate_commitments


@dataclass(frozen=True, slots=True)
class Presigning:
    """What all signers know after two rounds; both transcripts are in the id."""

    presig_id: bytes
    record_hash: bytes
    """The record of the key that it is for."""
    signers: tuple[Signer, ...]
    """Exactly 2t + 1."""
    first: FirstCommitments
    second: SecondCommitments

    @property
    def nonce(self) -> Point:
        """The nonce point `R`, before it is bound to a message."""
        return self.first.nonce[0]

    @property
    def places(self) -> list[Scalar]:
        """The signers' places, in order."""
        return [x for _, x in self.signers]


@dataclass(frozen=True, slots=True)
class DealtNumbers:
    """What one signer was dealt in both rounds."""

    nonce: SecretScalar
    product_mask: Opening
    fixed_mask: Opening
    scaled_mask: Opening
    multiplier: SecretScalar

    @classmethod
    def of(cls, first: Sequence[SecretScalar], second: Sequence[SecretScalar]) -> "DealtNumbers":
        """Take the numbers as `presigning.receive_deals` gives them for round one and two."""
        nonce, *openings = first
        pairs = zip(openings[::2], openings[1::2], strict=True)
        product, fixed, scaled = (Opening(value, blinding) for value, blinding in pairs)
        (multiplier,) = second
        return cls(nonce, product, fixed, scaled, multiplier)


@dataclass(frozen=True, slots=True)
class ProductShare:
    """A signer's `w_j` with its proof of 128 bytes."""

    value: Scalar
    proof: bytes


def product_share(
    presigning: Presigning, own: Signer, dealt: DealtNumbers, rng: RandomSource
) -> ProductShare:
    """Return this signer's part of the product; it can be shown to everybody."""
    mask = dealt.product_mask
    product = dealt.nonce.multiply(dealt.multiplier).add(mask.value)
    value = Scalar.from_bytes(product.expose())
    witnesses = [dealt.nonce, mask.value, mask.blinding]
    return ProductShare(value, prove(product_statement(presigning, own, value), witnesses, rng))


def product_statement(presigning: Presigning, signer: Signer, value: Scalar) -> Statement:
    """State that a signer made its `w_j` of the numbers it was dealt (witnesses `k, z, z'`)."""
    node, x = signer
    context = tagged_hash("tks/1/ctx/presig", presigning.presig_id + node.compressed)
    nonce = evaluate_commitments(presigning.first.nonce, x)
    mask = evaluate_mask(presigning.first.product_mask, x)
    multiplier = evaluate_commitments(presigning.second.multiplier, x)
    return Statement(
        context,
        (
            Equation(nonce, ((0, GENERATOR),)),
            Equation(mask, ((1, GENERATOR), (2, SECOND_GENERATOR))),
            Equation(mul_public(presigning.nonce, value), ((0, multiplier), (1, presigning.nonce))),
        ),
        witnesses=3,
    )


def combine_products(presigning: Presigning, shares: Sequence[ProductShare]) -> Scalar:
    """Return `w` from the parts of all signers, in their order.

    Raises InvalidPartsError with the places of all whose parts are wrong. All being right, the
    result is, too.
    """
    if len(shares) != len(presigning.signers):
        raise InvalidSignersError("presigning: need a part of the product from every signer")
    product = interpolate(presigning.places, [share.value for share in shares])
    try:
        check_product(presigning, product)
    except InvalidScalarError:
        _name_the_wrong(presigning, shares)
        raise
    return product


def _name_the_wrong(presigning: Presigning, shares: Sequence[ProductShare]) -> None:
    wrong = []
    for signer, share in zip(presigning.signers, shares, strict=True):
        try:
            verify(product_statement(presigning, signer, share.value), share.proof)
        except InvalidProofError:
            wrong.append(signer[1])
    if wrong:
        raise InvalidPartsError("presigning: wrong parts of the product", tuple(wrong))


def check_product(presigning: Presigning, product: Scalar) -> None:
    """Check that `w` is the product of nonce and multiplier; raises InvalidScalarError."""
    if product.is_zero or mul_base(product) != presigning.second.multiplier[0]:
        raise InvalidScalarError("presigning: not the product of nonce and multiplier")


@dataclass(frozen=True, slots=True)
class PublicPresignature:
    """A finished presignature as everybody may know it."""

    presigning: Presigning
    product: Scalar
    """`w`."""


@dataclass(frozen=True, slots=True)
class PresignatureShare:
    """What a signer keeps secret until it signs."""

    inverse_nonce: SecretScalar
    """`h_j`, its share of `1/k`."""
    fixed_mask: Opening
    scaled_mask: Opening


@dataclass(frozen=True, slots=True)
class Presignature:
    """A finished presignature in the hands of one signer. It signs once."""

    public: PublicPresignature
    own: Signer
    secret: OneTime[PresignatureShare]


def finish(
    presigning: Presigning, own: Signer, dealt: DealtNumbers, product: Scalar
) -> Presignature:
    """Check the product, and return what this signer keeps; the rest it is to forget.

    Raises InvalidScalarError for a wrong product: then the presigning is abandoned.
    """
    check_product(presigning, product)
    share = PresignatureShare(
        dealt.multiplier.multiply(product.inverse()), dealt.fixed_mask, dealt.scaled_mask
    )
    return Presignature(PublicPresignature(presigning, product), own, OneTime(share))
