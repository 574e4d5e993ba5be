"""Share addition: holders give a late node its share without showing theirs.

Herzberg, Jarecki, Krawczyk, Yung, "Proactive secret sharing", CRYPTO 1995 (share recovery), with
Feldman commitments. Engine design, section 14.1; what differs from it is in ADR 11.

The late node has the place `x`. Each of t + 1 donors deals a *mask*: a random polynomial of degree
t that is zero at `x`. A donor gives away its share plus all masks at its own place. Through t + 1
such *blinded* values goes the key's polynomial plus all masks: at `x`, and only there, it is the
key's polynomial itself.

Nodes are points here, as in `transcripts`; signatures are made by the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.curve import (
    MaybePoint,
    MaybeSecret,
    Point,
    Scalar,
    SecretScalar,
    add,
    mul_base,
    read_secret,
    sum_secrets,
    verify_digest,
)
from keyserver.crypto.dealkey import OneTimeKey, open_value, seal_value
from keyserver.crypto.dkg import SEALED_SHARE_SIZE, Member, read_share
from keyserver.crypto.errors import (
    DecryptionError,
    InvalidDealError,
    InvalidScalarError,
    InvalidShareError,
    InvalidSignatureError,
)
from keyserver.crypto.hashing import tagged_hash
from keyserver.crypto.polynomial import SecretPolynomial, interpolate_secret
from keyserver.crypto.proofs import prove
from keyserver.crypto.randomness import RandomSource
from keyserver.crypto.transcripts import complaint_statement, share_digest
from keyserver.crypto.vss import check_share, evaluate_commitments

_BLINDED_NUMBER = 2
"""Masks are the first message between two donors, a blinded value is always the second kind."""


# --- what is hashed --------------------------------------------------------------------------


def add_params_hash(
    sid: bytes, record_hash: bytes, late: Point, donors: Sequence[tuple[Point, Scalar]]
) -> bytes:
    """Return what an addition is about: the record, the late node, the donors in order."""
    places = b"".join(node.compressed + x.to_bytes() for node, x in donors)
    fields = sid + record_hash + late.compressed + _count(donors) + places
    return tagged_hash("tks/1/addparams", fields)


def mask_hash(session: bytes, dealer: Point, commitments: Sequence[Point]) -> bytes:
    """Return the hash that names a dealer's mask."""
    return tagged_hash("tks/1/adddeal", session + dealer.compressed + _points(commitments))


def blinded_hash(session: bytes, donor: Point, sums: Sequence[Point]) -> bytes:
    """Return what a blinded value is bound to: session, donor, and the masks that it contains.

    `sums` are the sums of all masks' commitments; none for threshold 0.
    """
    return tagged_hash("tks/1/addshare", session + donor.compressed + _points(sums))


def _points(points: Sequence[Point]) -> bytes:
    return _count(points) + b"".join(point.compressed for point in points)


def _count(items: Sequence[object]) -> bytes:
    return len(items).to_bytes(4, "big")


# --- masks -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mask:
    """What a donor deals, its signatures apart."""

    commitments: tuple[Point, ...]
    mask_hash: bytes
    ciphertexts: tuple[bytes, ...]
    """The sealed values, in the order of the donors given."""


@dataclass(frozen=True, slots=True)
class ReceivedMask:
    """One dealer's mask as it reaches one donor."""

    dealer: Member
    mask_hash: bytes
    ciphertext: bytes
    signature: bytes


def vanishing_polynomial(higher: Sequence[SecretScalar], x: Scalar) -> SecretPolynomial:
    """Return the polynomial with these coefficients above the constant that is zero at `x`.

    Constant time. Raises InvalidScalarError if the constant would be 0, which random coefficients
    do not bring about.
    """
    value = higher[-1]
    for coefficient in reversed(higher[:-1]):
        value = value.multiply(x).add(coefficient)
    return SecretPolynomial([value.multiply(x).negate(), *higher])


def make_mask(
    polynomial: SecretPolynomial,
    donors: Sequence[Member],
    *,
    dealer: Point,
    one_time: OneTimeKey,
    session: bytes,
) -> Mask:
    """Commit to a mask and seal its value for every donor, the dealer itself included."""
    commitments = polynomial.commit()
    named = mask_hash(session, dealer, commitments)
    values = polynomial.evaluate_all([donor.x for donor in donors])
    ciphertexts = tuple(
        seal_value(
            value.expose(),
            session_hash=session,
            shared=one_time.shared_with(donor.one_time),
            sender=dealer,
            receiver=donor.node,
            bound_to=named,
        )
        for donor, value in zip(donors, values, strict=True)
    )
    return Mask(commitments, named, ciphertexts)


def random_mask(threshold: int, x: Scalar, rng: RandomSource) -> SecretPolynomial:
    """Draw a polynomial of degree `threshold`, at least 1, that is zero at `x`."""
    return vanishing_polynomial([SecretScalar.random(rng) for _ in range(threshold)], x)


def vanishes(commitments: Sequence[Point], x: Scalar) -> bool:
    """Whether the committed polynomial is zero at `x`."""
    return _committed(commitments, x) is None


def _committed(commitments: Sequence[Point], x: Scalar) -> MaybePoint:
    return evaluate_commitments(commitments, x) if commitments else None


def add_masks(
    masks: Sequence[ReceivedMask],
    sums: Sequence[Point],
    *,
    receiver: Member,
    one_time: OneTimeKey,
    session: bytes,
    late: Scalar,
) -> MaybeSecret:
    """Check the masks of all donors and return their sum at the receiver's place.

    `sums` are the sums of the commitments as the late node, whose place is `late`, gives them.
    Raises InvalidDealError naming the dealer for a wrong signature, and naming nobody for sums
    that do not vanish where they must. A value that is no value, or not what the sums say, raises
    DecryptionError, InvalidScalarError or InvalidShareError: then see `first_wrong_mask`.
    """
    if not vanishes(sums, late):
        raise InvalidDealError("masks: not zero at the late node's place")
    for mask in masks:
        _check_signature(mask, receiver.node, session)
    total = sum_secrets(_open_mask(mask, receiver, one_time, session) for mask in masks)
    if (None if total is None else mul_base(total)) != _committed(sums, receiver.x):
        raise InvalidShareError("masks: not what the sums of the commitments say")
    return total


def _check_signature(mask: ReceivedMask, receiver: Point, session: bytes) -> None:
    dealer = mask.dealer.node
    signed = share_digest(session, dealer, receiver, mask.mask_hash, mask.ciphertext)
    try:
        verify_digest(signed, mask.signature, dealer)
    except InvalidSignatureError as error:
        raise InvalidDealError(f"mask: {error}", dealer) from error


def _open_mask(
    mask: ReceivedMask, receiver: Member, one_time: OneTimeKey, session: bytes
) -> MaybeSecret:
    return read_share(
        mask.ciphertext,
        shared=one_time.shared_with(mask.dealer.one_time),
        session=session,
        dealer=mask.dealer.node,
        receiver=receiver.node,
        named=mask.mask_hash,
    )


# --- when a mask is wrong --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MaskComplaint:
    """The point that accuser and dealer share, which opens the accuser's value, with a proof."""

    dealer: Point
    common: Point
    proof: bytes


def first_wrong_mask(
    masks: Sequence[ReceivedMask],
    lists: Sequence[Sequence[Point]],
    *,
    receiver: Member,
    one_time: OneTimeKey,
    session: bytes,
    rng: RandomSource,
) -> MaskComplaint | None:
    """Compare every value with its dealer's own commitments; lay open the first wrong one.

    `lists` holds each dealer's commitments in the order of `masks`. Opened is only what its dealer
    has signed and is wrong all the same: with a value of an honest dealer the late node would come
    nearer to the donors' shares. Raises InvalidDealError for a list that is not the one named in
    the mask, and for a wrong value that its dealer has not signed.
    """
    for mask, commitments in zip(masks, lists, strict=True):
        if mask_hash(session, mask.dealer.node, commitments) != mask.mask_hash:
            raise InvalidDealError("mask: commitments differ from their hash", mask.dealer.node)
    for mask, commitments in zip(masks, lists, strict=True):
        shared = one_time.shared_with(mask.dealer.one_time)
        if not mask_is_right(mask, commitments, receiver=receiver, shared=shared, session=session):
            _check_signature(mask, receiver.node, session)
            common = one_time.reveal(mask.dealer.one_time)
            statement = complaint_statement(
                session,
                dealer=mask.dealer.node,
                dealer_one_time=mask.dealer.one_time,
                accuser=receiver.node,
                accuser_one_time=receiver.one_time,
                common=common,
            )
            proof = prove(statement, [one_time.secret], rng)
            return MaskComplaint(mask.dealer.node, common, proof)
    return None


def mask_is_right(
    mask: ReceivedMask,
    commitments: Sequence[Point],
    *,
    receiver: Member,
    shared: bytes,
    session: bytes,
) -> bool:
    """Whether a sealed value opens, with the hash of the common point, to what was committed to."""
    try:
        value = read_share(
            mask.ciphertext,
            shared=shared,
            session=session,
            dealer=mask.dealer.node,
            receiver=receiver.node,
            named=mask.mask_hash,
        )
    except (DecryptionError, InvalidScalarError):
        return False
    committed = _committed(commitments, receiver.x)
    return (None if value is None else mul_base(value)) == committed


# --- blinded values --------------------------------------------------------------------------


def seal_blinded(
    share: SecretScalar,
    mask: MaybeSecret,
    *,
    bound_to: bytes,
    donor: Point,
    late: Member,
    one_time: OneTimeKey,
    session: bytes,
) -> bytes:
    """Seal share plus mask for the late node; once per session. `bound_to`: its `blinded_hash`."""
    blinded = sum_secrets([share, mask])
    return seal_value(
        bytes(32) if blinded is None else blinded.expose(),
        session_hash=session,
        shared=one_time.shared_with(late.one_time),
        sender=donor,
        receiver=late.node,
        bound_to=bound_to,
        number=_BLINDED_NUMBER,
    )


def open_blinded(
    ciphertext: bytes, *, bound_to: bytes, donor: Point, late: Point, shared: bytes, session: bytes
) -> MaybeSecret:
    """Open what `seal_blinded` made; raises DecryptionError or InvalidScalarError."""
    if len(ciphertext) != SEALED_SHARE_SIZE:
        raise DecryptionError(f"sealed value: need {SEALED_SHARE_SIZE} bytes")
    return read_secret(
        open_value(
            ciphertext,
            session_hash=session,
            shared=shared,
            sender=donor,
            receiver=late,
            bound_to=bound_to,
            number=_BLINDED_NUMBER,
        )
    )


def blinded_is_right(
    value: MaybeSecret, commitments: Sequence[Point], sums: Sequence[Point], donor: Scalar
) -> bool:
    """Whether a donor's blinded value is its share of the key plus the masks: `X_j + Delta(x_j)`.

    `commitments` are the key's, `sums` those of the masks.
    """
    expected = add(evaluate_commitments(commitments, donor), _committed(sums, donor))
    return (None if value is None else mul_base(value)) == expected


def recover_share(
    blinded: Sequence[tuple[Scalar, MaybeSecret]], commitments: Sequence[Point], late: Scalar
) -> SecretScalar:
    """Return the late node's share from the blinded values of t + 1 donors and their places.

    Raises InvalidScalarError for a value or share of zero, InvalidShareError for a share that is
    not on the key's polynomial.
    """
    values = [value for _, value in blinded if value is not None]
    if len(values) < len(blinded):
        raise InvalidScalarError("blinded value: zero")
    share = interpolate_secret([x for x, _ in blinded], values, late)
    check_share(commitments, late, share)
    return share
