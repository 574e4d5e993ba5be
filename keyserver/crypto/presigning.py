"""Presigning, rounds one and two: who takes part, deals, and their sums.

Everything of an ECDSA signature that does not depend on the message, by Damgard, Jakobsen, Nielsen,
Pagter and Ostergaard, "Fast Threshold ECDSA with Honest Majority" (2020), with committed masks.
Engine design, section 12. Exactly 2t + 1 holders of a key take part, and all of them must.

In round one each deals a part of the *nonce* `k` (degree t) and of three masks (degree 2t, zero at
0): one for the product of round three, two for signature shares, of which the second will be
*scaled* by a number that depends on the message. In round two each deals a part of the *multiplier*
`a` (degree t), committed to in the base `R = k*G`. The values are sealed as in joint generation;
receivers check the sums only, and look for the liar (`first_wrong_deal`) when these do not fit.

Nodes are points here, as in `transcripts`; signatures are made by the caller.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

from keyserver.crypto.curve import (
    MaybePoint,
    MaybeSecret,
    Point,
    Scalar,
    SecretScalar,
    mul_base,
    mul_secret,
    read_secret,
    sum_secrets,
    verify_digest,
)
from keyserver.crypto.dealkey import OneTimeKey, open_value, seal_value
from keyserver.crypto.dkg import Member
from keyserver.crypto.errors import (
    DecryptionError,
    InvalidDealError,
    InvalidScalarError,
    InvalidShareError,
    InvalidSignatureError,
    InvalidSignersError,
)
from keyserver.crypto.hashing import tagged_hash
from keyserver.crypto.masks import ZeroMask, evaluate_mask, opened
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import RandomSource
from keyserver.crypto.transcripts import share_digest
from keyserver.crypto.vss import evaluate_commitments, sum_commitments

_TAG_SIZE = 16

Signer = tuple[Point, Scalar]
"""A node and its place."""


# --- who takes part --------------------------------------------------------------------------


def check_signers(
    signers: Sequence[Signer], committee: Collection[Signer], *, threshold: int, own: Point
) -> None:
    """Check that these are 2t + 1 members of the key's committee, in order, this node among them.

    Raises InvalidSignersError. The number is exact: in a larger group answers to different messages
    under one presignature could be combined so that the masks fall out (engine design, 12.1).
    """
    if threshold < 1:
        raise InvalidSignersError("signers: a key of threshold 0 needs no presignature")
    if len(signers) != 2 * threshold + 1:
        raise InvalidSignersError(f"signers: need {2 * threshold + 1}, got {len(signers)}")
    nodes = [node.raw64 for node, _ in signers]
    if sorted(set(nodes)) != nodes:
        raise InvalidSignersError("signers: nodes must be distinct and in order")
    if len({x for _, x in signers}) != len(signers) or any(x.is_zero for _, x in signers):
        raise InvalidSignersError("signers: places must be distinct and non-zero")
    if not set(signers) <= set(committee):
        raise InvalidSignersError("signers: not all stand so in the key's committee")
    if own not in {node for node, _ in signers}:
        raise InvalidSignersError("signers: this node is not among them")


# --- what is hashed --------------------------------------------------------------------------


def presigning_params_hash(sid: bytes, record_hash: bytes, signers: Sequence[Signer]) -> bytes:
    """Return what a presigning is about: the record and the signers in order."""
    places = b"".join(node.compressed + x.to_bytes() for node, x in signers)
    return tagged_hash("tks/1/psparams", sid + record_hash + _count(signers) + places)


def deal_hash(session: bytes, dealer: Point, commitments: "Commitments") -> bytes:
    """Return the hash that names a deal, of either round."""
    fields = session + dealer.compressed + bytes([commitments.NUMBER]) + commitments.encode()
    return tagged_hash("tks/1/psdeal", fields)


def presigning_transcript(
    session: bytes, deals: Sequence[tuple[Point, bytes]], sums: "Commitments"
) -> bytes:
    """Return what every signer signs after a round: (dealer, deal hash) of all, and the sums."""
    pairs = b"".join(dealer.compressed + named for dealer, named in deals)
    fields = session + bytes([sums.NUMBER]) + _count(deals) + pairs + sums.encode()
    return tagged_hash("tks/1/pstranscript", fields)


def presignature_id(first_transcript: bytes, second_transcript: bytes) -> bytes:
    """Return the name of a presignature, made of the transcripts of both rounds."""
    return tagged_hash("tks/1/presig", first_transcript + second_transcript)


def _points(points: Sequence[Point]) -> bytes:
    return _count(points) + b"".join(point.compressed for point in points)


def _count(items: Sequence[object]) -> bytes:
    return len(items).to_bytes(4, "big")


# --- commitments and polynomials of the two rounds -------------------------------------------


class Commitments(Protocol):
    """What a dealer commits to in one round, or the sums of that over all dealers."""

    NUMBER: ClassVar[int]
    """The round, 1 or 2."""
    WIDTH: ClassVar[int]
    """How many numbers each receiver gets."""

    def encode(self) -> bytes:
        """Return the bytes that are hashed."""
        ...

    def fits(self, threshold: int) -> bool:
        """Whether the numbers of points are those for this threshold."""
        ...

    def holds(self, values: Sequence[MaybeSecret], x: Scalar) -> bool:
        """Whether these are the numbers committed to for the place `x`."""
        ...


@dataclass(frozen=True, slots=True)
class FirstCommitments:
    """Round one: `K`, and the masks `Z`, `D`, `E`."""

    NUMBER: ClassVar[int] = 1
    WIDTH: ClassVar[int] = 7

    nonce: tuple[Point, ...]
    """t + 1 points, in the base G; the first of the sums is the nonce point `R`."""
    product_mask: tuple[Point, ...]
    """2t points, as of the two others."""
    fixed_mask: tuple[Point, ...]
    scaled_mask: tuple[Point, ...]

    def encode(self) -> bytes:
        """Return the four lists."""
        return b"".join(_points(points) for points in (self.nonce, *self._masks))

    def fits(self, threshold: int) -> bool:
        """Whether there are t + 1 and three times 2t points."""
        right = len(self.nonce) == threshold + 1
        return right and all(len(mask) == 2 * threshold for mask in self._masks)

    def holds(self, values: Sequence[MaybeSecret], x: Scalar) -> bool:
        """Whether these are `k, z, z', d, d', e, e'` at `x`."""
        nonce, *openings = values
        pairs = zip(openings[::2], openings[1::2], self._masks, strict=True)
        return _times_generator(nonce) == evaluate_commitments(self.nonce, x) and all(
            opened(value, blinding) == evaluate_mask(mask, x) for value, blinding, mask in pairs
        )

    @property
    def _masks(self) -> tuple[tuple[Point, ...], ...]:
        return self.product_mask, self.fixed_mask, self.scaled_mask


@dataclass(frozen=True, slots=True)
class SecondCommitments:
    """Round two: `A`, in the base `R` of round one."""

    NUMBER: ClassVar[int] = 2
    WIDTH: ClassVar[int] = 1

    base: Point
    multiplier: tuple[Point, ...]
    """t + 1 points."""

    def encode(self) -> bytes:
        """Return the list; the base is known from round one."""
        return _points(self.multiplier)

    def fits(self, threshold: int) -> bool:
        """Whether there are t + 1 points."""
        return len(self.multiplier) == threshold + 1

    def holds(self, values: Sequence[MaybeSecret], x: Scalar) -> bool:
        """Whether this is `a` at `x`."""
        (value,) = values
        known = None if value is None else mul_secret(self.base, value)
        return known == evaluate_commitments(self.multiplier, x)


def _times_generator(value: MaybeSecret) -> MaybePoint:
    return None if value is None else mul_base(value)


def sum_first(dealt: Sequence[FirstCommitments]) -> FirstCommitments:
    """Add up what all dealers of round one committed to; InvalidDealError for a sum of zero."""
    return FirstCommitments(
        _sums([one.nonce for one in dealt]),
        _sums([one.product_mask for one in dealt]),
        _sums([one.fixed_mask for one in dealt]),
        _sums([one.scaled_mask for one in dealt]),
    )


def sum_second(dealt: Sequence[SecondCommitments]) -> SecondCommitments:
    """Add up what all dealers of round two committed to; InvalidDealError for a sum of zero."""
    return SecondCommitments(dealt[0].base, _sums([one.multiplier for one in dealt]))


def _sums(lists: Sequence[Sequence[Point]]) -> tuple[Point, ...]:
    sums = sum_commitments(lists)
    present = tuple(point for point in sums if point is not None)
    if len(present) < len(sums):
        raise InvalidDealError("deals: commitments add up to infinity")
    return present


C = TypeVar("C", bound=Commitments)
C_co = TypeVar("C_co", bound=Commitments, covariant=True)


class Polynomials(Protocol[C_co]):
    """What a dealer draws for one round."""

    def commit(self) -> C_co:
        """Return the commitments."""
        ...

    def evaluate_all(self, xs: Sequence[Scalar]) -> list[tuple[SecretScalar, ...]]:
        """Return the numbers for the receivers at these places."""
        ...


@dataclass(frozen=True, slots=True)
class FirstPolynomials:
    """A dealer's part of the nonce and of the masks."""

    nonce: SecretPolynomial
    product_mask: ZeroMask
    fixed_mask: ZeroMask
    scaled_mask: ZeroMask

    @classmethod
    def random(cls, threshold: int, rng: RandomSource) -> "FirstPolynomials":
        """Draw them for a key of this threshold."""
        masks = [ZeroMask.random(2 * threshold, rng) for _ in range(3)]
        return cls(SecretPolynomial.random(threshold, rng), *masks)

    def commit(self) -> FirstCommitments:
        """Return the commitments to all coefficients."""
        return FirstCommitments(
            self.nonce.commit(),
            self.product_mask.commit(),
            self.fixed_mask.commit(),
            self.scaled_mask.commit(),
        )

    def evaluate_all(self, xs: Sequence[Scalar]) -> list[tuple[SecretScalar, ...]]:
        """Return `k, z, z', d, d', e, e'` for each of these places."""
        columns = [
            mask.evaluate_all(xs) for mask in (self.product_mask, self.fixed_mask, self.scaled_mask)
        ]
        rows = zip(self.nonce.evaluate_all(xs), *columns, strict=True)
        return [
            (nonce, *(part for one in openings for part in (one.value, one.blinding)))
            for nonce, *openings in rows
        ]


@dataclass(frozen=True, slots=True)
class SecondPolynomials:
    """A dealer's part of the multiplier."""

    base: Point
    multiplier: SecretPolynomial

    @classmethod
    def random(cls, threshold: int, base: Point, rng: RandomSource) -> "SecondPolynomials":
        """Draw it for a key of this threshold; `base` is the nonce point of round one."""
        return cls(base, SecretPolynomial.random(threshold, rng))

    def commit(self) -> SecondCommitments:
        """Return the commitments to all coefficients."""
        return SecondCommitments(self.base, self.multiplier.commit(self.base))

    def evaluate_all(self, xs: Sequence[Scalar]) -> list[tuple[SecretScalar, ...]]:
        """Return `a` for each of these places."""
        return [(value,) for value in self.multiplier.evaluate_all(xs)]


# --- deals -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PresigningDeal(Generic[C_co]):
    """What a dealer gives out in one round, its signatures apart."""

    commitments: C_co
    deal_hash: bytes
    ciphertexts: tuple[bytes, ...]
    """The sealed numbers, in the order of the signers."""


@dataclass(frozen=True, slots=True)
class SealedDeal:
    """One dealer's part of a round as it reaches one receiver."""

    dealer: Member
    deal_hash: bytes
    ciphertext: bytes
    signature: bytes


def make_deal(
    polynomials: Polynomials[C],
    receivers: Sequence[Member],
    *,
    dealer: Point,
    one_time: OneTimeKey,
    session: bytes,
) -> PresigningDeal[C]:
    """Commit to a round's polynomials and seal their values for every signer, oneself included."""
    commitments = polynomials.commit()
    named = deal_hash(session, dealer, commitments)
    rows = polynomials.evaluate_all([receiver.x for receiver in receivers])
    ciphertexts = tuple(
        seal_value(
            b"".join(value.expose() for value in row),
            session_hash=session,
            shared=one_time.shared_with(receiver.one_time),
            sender=dealer,
            receiver=receiver.node,
            bound_to=named,
            number=commitments.NUMBER,
        )
        for receiver, row in zip(receivers, rows, strict=True)
    )
    return PresigningDeal(commitments, named, ciphertexts)


def receive_deals(
    deals: Sequence[SealedDeal],
    sums: Commitments,
    *,
    signers: Sequence[Member],
    threshold: int,
    receiver: Member,
    one_time: OneTimeKey,
    session: bytes,
) -> tuple[SecretScalar, ...]:
    """Check a round's deals as they reached one receiver, and add its numbers up.

    `sums` are the sums of all dealers' commitments. Raises InvalidDealError if a signer's deal is
    missing or not signed, or the sums are no sums; DecryptionError, InvalidScalarError or
    InvalidShareError if some dealer's numbers are wrong: then see `first_wrong_deal`.
    """
    if [deal.dealer for deal in deals] != list(signers):
        raise InvalidDealError("deals: need one from every signer, in order")
    if not sums.fits(threshold):
        raise InvalidDealError("deals: a wrong number of commitments")
    for deal in deals:
        check_signature(deal, receiver.node, session)
    rows = [
        _open(deal, sums, one_time.shared_with(deal.dealer.one_time), receiver.node, session)
        for deal in deals
    ]
    totals = tuple(
        total for total in map(sum_secrets, zip(*rows, strict=True)) if total is not None
    )
    if len(totals) < sums.WIDTH or not sums.holds(totals, receiver.x):
        raise InvalidShareError("deals: the numbers are not those committed to")
    return totals


def check_signature(deal: SealedDeal, receiver: Point, session: bytes) -> None:
    """Check a dealer's signature of its deal to `receiver`; raises InvalidDealError naming it."""
    dealer = deal.dealer.node
    signed = share_digest(session, dealer, receiver, deal.deal_hash, deal.ciphertext)
    try:
        verify_digest(signed, deal.signature, dealer)
    except InvalidSignatureError as error:
        raise InvalidDealError(f"deal: {error}", dealer) from error


def numbers_are_right(
    deal: SealedDeal, commitments: Commitments, *, shared: bytes, receiver: Member, session: bytes
) -> bool:
    """Whether a deal opens, with the hash of the common point, to the numbers committed to.

    `commitments` are the dealer's own.
    """
    try:
        values = _open(deal, commitments, shared, receiver.node, session)
    except (DecryptionError, InvalidScalarError):
        return False
    return commitments.holds(values, receiver.x)


def _open(
    deal: SealedDeal, commitments: Commitments, shared: bytes, receiver: Point, session: bytes
) -> list[MaybeSecret]:
    """The numbers of one deal; DecryptionError or InvalidScalarError are its dealer's fault."""
    size = 32 * commitments.WIDTH
    if len(deal.ciphertext) != size + _TAG_SIZE:
        raise DecryptionError(f"sealed numbers: need {size + _TAG_SIZE} bytes")
    plaintext = open_value(
        deal.ciphertext,
        session_hash=session,
        shared=shared,
        sender=deal.dealer.node,
        receiver=receiver,
        bound_to=deal.deal_hash,
        number=commitments.NUMBER,
    )
    return [read_secret(plaintext[start : start + 32]) for start in range(0, size, 32)]
