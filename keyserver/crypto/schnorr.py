"""Threshold Schnorr signatures: FROST, and the original's form by the same protocol.

RFC 9591, "The Flexible Round-Optimized Schnorr Threshold (FROST) Protocol for Two-Round Schnorr
Signatures", ciphersuite FROST(secp256k1, SHA-256); the RFC's identifiers are the places here.
Engine design, section 11. The original's form differs in its challenge, which existing verifiers
fix, in the sign with which the key enters, and in how a signature is written.

Round one: every signer makes nonces (`commit`) and publishes what they commit to. Round two: all
build the same `SigningPackage` from t + 1 commitments and the message (`prepare`), and each answers
it with its part (`sign_part`), which uses its nonces up. Anybody adds the parts up (`aggregate`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from keyserver.crypto.curve import (
    ORDER,
    MaybePoint,
    Point,
    Scalar,
    SecretScalar,
    add,
    lincomb,
    mul_base,
    mul_public,
    sum_secrets,
)
from keyserver.crypto.errors import (
    CryptoError,
    InvalidPartsError,
    InvalidPointError,
    InvalidScalarError,
    InvalidSignatureError,
    InvalidSignersError,
)
from keyserver.crypto.hashing import expand_to_scalar_bytes, hash_to_field, keccak256, sha256
from keyserver.crypto.one_time import OneTime
from keyserver.crypto.polynomial import lagrange_at
from keyserver.crypto.randomness import RandomSource
from keyserver.crypto.vss import evaluate_commitments

_UPPER_HALF = Scalar(1 << 192)


class Form(Enum):
    """Which signature is made; the value separates the hashes of the two (RFC 9591: context)."""

    RFC9591 = b"FROST-secp256k1-SHA256-v1"
    """65 bytes `R || z` with `z*G = R + c*Y`; messages of any length."""
    ORIGINAL = b"tks/1/frost-keccak"
    """64 bytes `c || z` with `z*G = R - c*Y`; messages of 32 bytes."""


@dataclass(frozen=True, slots=True)
class NonceCommitment:
    """What a signer publishes in round one, under its place."""

    x: Scalar
    hiding: Point
    """`D = d*G`."""
    binding: Point
    """`E = e*G`."""


@dataclass(frozen=True, slots=True)
class Nonces:
    """A signer's nonces for one part of one signature."""

    form: Form
    commitment: NonceCommitment
    secret: OneTime[tuple[SecretScalar, SecretScalar]]
    """Hiding nonce `d` and binding nonce `e`."""


def commit(form: Form, x: Scalar, share: SecretScalar, rng: RandomSource) -> Nonces:
    """Make nonces for the signer at the place `x`.

    They are hashed from fresh randomness and the share, so that a bad random source alone does not
    give them away (RFC 9591, section 4.1).
    """
    return commit_with(form, x, share, hiding=rng.bytes(32), binding=rng.bytes(32))


def commit_with(
    form: Form, x: Scalar, share: SecretScalar, *, hiding: bytes, binding: bytes
) -> Nonces:
    """Make nonces from given randomness, 32 bytes each: for published vectors.

    The same randomness twice reveals the share; everything else calls `commit`.
    """
    d, e = _nonce(form, hiding, share), _nonce(form, binding, share)
    return Nonces(form, NonceCommitment(x, mul_base(d), mul_base(e)), OneTime((d, e)))


def _nonce(form: Form, randomness: bytes, share: SecretScalar) -> SecretScalar:
    """H3 of the RFC; its 48 bytes are reduced modulo `q` in constant time."""
    wide = expand_to_scalar_bytes(form.value + b"nonce", randomness + share.expose())
    upper, lower = (SecretScalar(bytes(8) + half) for half in (wide[:24], wide[24:]))
    return upper.multiply(_UPPER_HALF).add(lower)


@dataclass(frozen=True, slots=True)
class SigningPackage:
    """Who signs what with which nonces, and all that follows from it; made by `prepare`."""

    form: Form
    public: Point
    message: bytes
    commitments: tuple[NonceCommitment, ...]
    binding_factors: tuple[Scalar, ...]
    """`rho_i`, in the order of the commitments."""
    key_factors: tuple[Scalar, ...]
    """What each share is multiplied by: `c*lambda_i`, negative in the original's form."""
    nonce: Point
    """`R`, the group commitment."""
    challenge: Scalar

    def index(self, x: Scalar) -> int:
        """Return the number of the signer at the place `x`; raises InvalidSignersError."""
        for index, commitment in enumerate(self.commitments):
            if commitment.x == x:
                return index
        raise InvalidSignersError("signers: this place is not among them")


def prepare(
    form: Form, public: Point, message: bytes, commitments: Sequence[NonceCommitment]
) -> SigningPackage:
    """Compute what all signers must agree on.

    `commitments` are in ascending order of their places; whether they are as many as the key needs
    is for the caller to check. Raises InvalidSignersError for places that are not such,
    InvalidSignatureError for a message of a wrong length. That the nonces add up to infinity, or
    the challenge is zero, nobody can bring about (InvalidPointError, InvalidScalarError).
    """
    _check_message(form, message)
    places = [commitment.x for commitment in commitments]
    if not places or places[0].is_zero or any(int(a) >= int(b) for a, b in pairwise(places)):
        raise InvalidSignersError("signers: places must be non-zero and ascending")
    factors = _binding_factors(form, public, message, commitments)
    bound = (
        mul_public(one.binding, factor) for one, factor in zip(commitments, factors, strict=True)
    )
    nonce = add(*(one.hiding for one in commitments), *bound)
    if nonce is None:
        raise InvalidPointError("signers: the nonces add up to zero")
    challenge = _challenge(form, public, message, nonce)
    signed = -challenge if form is Form.ORIGINAL else challenge
    return SigningPackage(
        form,
        public,
        message,
        tuple(commitments),
        tuple(factors),
        tuple(signed * factor for factor in lagrange_at(places)),
        nonce,
        challenge,
    )


def _check_message(form: Form, message: bytes) -> None:
    if form is Form.ORIGINAL and len(message) != 32:
        raise InvalidSignatureError(f"message: need 32 bytes, got {len(message)}")


def _binding_factors(
    form: Form, public: Point, message: bytes, commitments: Sequence[NonceCommitment]
) -> list[Scalar]:
    encoded = b"".join(
        one.x.to_bytes() + one.hiding.compressed + one.binding.compressed for one in commitments
    )
    prefix = (
        public.compressed
        + sha256(form.value + b"msg" + message)
        + sha256(form.value + b"com" + encoded)
    )
    domain = form.value + b"rho"
    return [hash_to_field(domain, prefix + one.x.to_bytes()) for one in commitments]


def _challenge(form: Form, public: Point, message: bytes, nonce: Point) -> Scalar:
    if form is Form.ORIGINAL:
        digest = keccak256(message + nonce.raw64[:32])
        challenge = Scalar(int.from_bytes(digest, "big") % ORDER)
    else:
        hashed = nonce.compressed + public.compressed + message
        challenge = hash_to_field(form.value + b"chal", hashed)
    if challenge.is_zero:
        raise InvalidScalarError("signature: the challenge is zero")
    return challenge


def sign_part(nonces: Nonces, share: SecretScalar, package: SigningPackage) -> Scalar:
    """Return a signer's part `z_i` of the signature; constant time.

    The nonces are gone afterwards, whatever happens: SpentError if they were before. Raises
    InvalidSignersError if the package holds other commitments than theirs, or is of another form.
    """
    d, e = nonces.secret.take()
    index = package.index(nonces.commitment.x)
    if nonces.form is not package.form or nonces.commitment != package.commitments[index]:
        raise InvalidSignersError("signers: these are not the nonces committed to")
    bound = e.multiply(package.binding_factors[index])
    part = sum_secrets((d, bound, share.multiply(package.key_factors[index])))
    return Scalar(0) if part is None else Scalar.from_bytes(part.expose())


def check_part(package: SigningPackage, index: int, part: Scalar, key: Sequence[Point]) -> bool:
    """Whether `part` is what the signer number `index` had to answer.

    `key` holds the commitments of the key's sharing.
    """
    own = package.commitments[index]
    known = evaluate_commitments(key, own.x)
    expected = add(
        own.hiding,
        mul_public(own.binding, package.binding_factors[index]),
        None if known is None else mul_public(known, package.key_factors[index]),
    )
    return _times_generator(part) == expected


def _times_generator(factor: Scalar) -> MaybePoint:
    return None if factor.is_zero else mul_base(factor)


@dataclass(frozen=True, slots=True)
class SchnorrSignature:
    """A finished signature."""

    form: Form
    nonce: Point
    """`R`; the signing contract asks for it in the original's form, too."""
    challenge: Scalar
    response: Scalar
    """`z`."""

    def encode(self) -> bytes:
        """Return the signature as its form writes it, 65 or 64 bytes."""
        if self.form is Form.ORIGINAL:
            return self.challenge.to_bytes() + self.response.to_bytes()
        return self.nonce.compressed + self.response.to_bytes()


def aggregate(
    package: SigningPackage, parts: Sequence[Scalar], key: Sequence[Point]
) -> SchnorrSignature:
    """Add up the parts of all signers, in the order of the commitments, and check the signature.

    `key` holds the commitments of the key's sharing. Raises InvalidPartsError with the places of
    all whose parts are wrong; InvalidSignatureError if every part is right, which means that the
    signers are too few for the key.
    """
    if len(parts) != len(package.commitments):
        raise InvalidSignersError("signers: need one part from each of them")
    response = Scalar(sum(int(part) for part in parts) % ORDER)
    signature = SchnorrSignature(package.form, package.nonce, package.challenge, response)
    try:
        verify(package.form, package.public, package.message, signature.encode())
    except InvalidSignatureError:
        _name_the_wrong(package, parts, key)
        raise
    return signature


def _name_the_wrong(package: SigningPackage, parts: Sequence[Scalar], key: Sequence[Point]) -> None:
    wrong = tuple(
        package.commitments[index].x
        for index, part in enumerate(parts)
        if not check_part(package, index, part, key)
    )
    if wrong:
        raise InvalidPartsError("signature: wrong parts", wrong)


def verify(form: Form, public: Point, message: bytes, signature: bytes) -> None:
    """Check a written signature under a public key; raises InvalidSignatureError."""
    _check_message(form, message)
    try:
        right = (_verify_original if form is Form.ORIGINAL else _verify_rfc9591)(
            public, message, signature
        )
    except CryptoError as error:
        raise InvalidSignatureError(f"signature: {error}") from error
    if not right:
        raise InvalidSignatureError("signature: does not hold")


def _verify_rfc9591(public: Point, message: bytes, signature: bytes) -> bool:
    nonce, response = Point.parse(signature[:33]), Scalar.from_bytes(signature[33:])
    challenge = _challenge(Form.RFC9591, public, message, nonce)
    return lincomb(response, -challenge, public) == nonce


def _verify_original(public: Point, message: bytes, signature: bytes) -> bool:
    challenge, response = Scalar.from_bytes(signature[:32]), Scalar.from_bytes(signature[32:])
    nonce = lincomb(response, challenge, public)
    return nonce is not None and _challenge(Form.ORIGINAL, public, message, nonce) == challenge
