"""What protects the shares of donors, and what the late node finds out about wrong values."""

import pytest

from keyserver.crypto.curve import Scalar, SecretScalar, sign_digest
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Member
from keyserver.crypto.errors import (
    DecryptionError,
    InvalidDealError,
    InvalidScalarError,
    InvalidShareError,
)
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.share_addition import (
    Mask,
    ReceivedMask,
    add_masks,
    blinded_hash,
    blinded_is_right,
    first_wrong_mask,
    make_mask,
    open_blinded,
    random_mask,
    recover_share,
    seal_blinded,
    vanishes,
    vanishing_polynomial,
)
from keyserver.crypto.transcripts import share_digest
from keyserver.crypto.vss import evaluate_commitments, sum_commitments

RANDOM = SeededRandom(b"share addition")
SESSION = bytes(range(32))
X = Scalar(4)
PLACES = (Scalar(1), Scalar(2), Scalar(5))
NODE_KEYS = [SecretScalar.random(RANDOM) for _ in PLACES]
ONE_TIME = [OneTimeKey.random(RANDOM) for _ in PLACES]
DONORS = [
    Member(key.public(), one_time.public, x)
    for key, one_time, x in zip(NODE_KEYS, ONE_TIME, PLACES, strict=True)
]
LATE_ONE_TIME = OneTimeKey.random(RANDOM)
LATE = Member(SecretScalar.random(RANDOM).public(), LATE_ONE_TIME.public, X)
KEY = SecretPolynomial.random(2, RANDOM)


def dealt(polynomial: SecretPolynomial, dealer: int) -> Mask:
    return make_mask(
        polynomial,
        DONORS,
        dealer=DONORS[dealer].node,
        one_time=ONE_TIME[dealer],
        session=SESSION,
    )


MASKS = [dealt(random_mask(2, X, RANDOM), dealer) for dealer in range(3)]
LISTS = [mask.commitments for mask in MASKS]
SUMS = tuple(point for point in sum_commitments(LISTS) if point is not None)


def received(receiver: int, masks: list[Mask] | None = None) -> list[ReceivedMask]:
    """What one donor gets, signed by the dealers."""
    relayed = []
    for dealer, mask in enumerate(MASKS if masks is None else masks):
        ciphertext, member = mask.ciphertexts[receiver], DONORS[dealer]
        signed = share_digest(
            SESSION, member.node, DONORS[receiver].node, mask.mask_hash, ciphertext
        )
        signature = sign_digest(NODE_KEYS[dealer], signed)
        relayed.append(ReceivedMask(member, mask.mask_hash, ciphertext, signature))
    return relayed


def total_of(masks: list[ReceivedMask], receiver: int = 0) -> SecretScalar | None:
    return add_masks(
        masks,
        SUMS,
        receiver=DONORS[receiver],
        one_time=ONE_TIME[receiver],
        session=SESSION,
        late=X,
    )


def opened_by_complaint(
    masks: list[ReceivedMask], lists: list[tuple[object, ...]] | None = None
) -> object:
    return first_wrong_mask(
        masks,
        LISTS if lists is None else lists,  # type: ignore[arg-type]
        receiver=DONORS[0],
        one_time=ONE_TIME[0],
        session=SESSION,
        rng=RANDOM,
    )


def test_a_mask_is_zero_at_one_place() -> None:
    polynomial = random_mask(2, X, RANDOM)
    assert polynomial.degree == 2
    commitments = polynomial.commit()
    assert vanishes(commitments, X)
    assert all(not vanishes(commitments, x) for x in PLACES)
    assert evaluate_commitments(commitments, Scalar(0)) is not None


def test_a_mask_of_degree_1_is_its_slope() -> None:
    slope = SecretScalar.from_int(7)
    polynomial = vanishing_polynomial([slope], Scalar(3))
    assert polynomial.constant == SecretScalar.from_int(21).negate()
    assert polynomial.evaluate(Scalar(4)) == slope


def test_all_masks_together_give_the_late_share() -> None:
    values = []
    for index, donor in enumerate(DONORS):
        bound_to = blinded_hash(SESSION, donor.node, SUMS)
        sealed = seal_blinded(
            KEY.evaluate(donor.x),
            total_of(received(index), index),
            bound_to=bound_to,
            donor=donor.node,
            late=LATE,
            one_time=ONE_TIME[index],
            session=SESSION,
        )
        opened = open_blinded(
            sealed,
            bound_to=bound_to,
            donor=donor.node,
            late=LATE.node,
            shared=LATE_ONE_TIME.shared_with(donor.one_time),
            session=SESSION,
        )
        assert blinded_is_right(opened, KEY.commit(), SUMS, donor.x)
        assert opened != KEY.evaluate(donor.x)
        values.append((donor.x, opened))
    assert recover_share(values, KEY.commit(), X) == KEY.evaluate(X)
    with pytest.raises(InvalidShareError):
        recover_share(values[::-1], SUMS, X)
    with pytest.raises(InvalidScalarError):
        recover_share([*values[:2], (PLACES[2], None)], KEY.commit(), X)


def test_a_value_bound_to_other_masks_does_not_open() -> None:
    """What a donor has signed names the masks that are in it."""
    donor = DONORS[0]
    sealed = seal_blinded(
        KEY.evaluate(donor.x),
        None,
        bound_to=blinded_hash(SESSION, donor.node, SUMS),
        donor=donor.node,
        late=LATE,
        one_time=ONE_TIME[0],
        session=SESSION,
    )
    for changed, bytes_ in ((SUMS[1:], sealed), ((), sealed), (SUMS, sealed[1:])):
        with pytest.raises(DecryptionError):
            open_blinded(
                bytes_,
                bound_to=blinded_hash(SESSION, donor.node, changed),
                donor=donor.node,
                late=LATE.node,
                shared=LATE_ONE_TIME.shared_with(donor.one_time),
                session=SESSION,
            )


def test_share_and_mask_may_add_up_to_zero() -> None:
    """The late node's check then expects infinity; a stranger's zero is wrong."""
    share = KEY.evaluate(PLACES[0])
    bound_to = blinded_hash(SESSION, DONORS[0].node, SUMS)
    sealed = seal_blinded(
        share,
        share.negate(),
        bound_to=bound_to,
        donor=DONORS[0].node,
        late=LATE,
        one_time=ONE_TIME[0],
        session=SESSION,
    )
    opened = open_blinded(
        sealed,
        bound_to=bound_to,
        donor=DONORS[0].node,
        late=LATE.node,
        shared=LATE_ONE_TIME.shared_with(DONORS[0].one_time),
        session=SESSION,
    )
    assert opened is None
    opposite = SecretPolynomial([share.negate()]).commit()
    assert blinded_is_right(None, [share.public()], opposite, PLACES[0])
    assert not blinded_is_right(None, KEY.commit(), SUMS, PLACES[0])


def test_sums_that_are_not_zero_at_the_late_place_are_refused() -> None:
    with pytest.raises(InvalidDealError) as refused:
        add_masks(
            received(0),
            SUMS,
            receiver=DONORS[0],
            one_time=ONE_TIME[0],
            session=SESSION,
            late=Scalar(6),
        )
    assert refused.value.dealer is None


def test_a_mask_that_its_dealer_has_not_signed_is_refused() -> None:
    """Not even one that its dealer has sealed, for another donor."""
    masks = received(0)
    masks[1] = ReceivedMask(DONORS[1], masks[1].mask_hash, masks[1].ciphertext, bytes(65))
    with pytest.raises(InvalidDealError) as refused:
        total_of(masks)
    assert refused.value.dealer == DONORS[1].node
    masks[1] = received(2)[1]
    with pytest.raises(InvalidDealError):
        total_of(masks)


def test_masks_that_are_not_what_the_sums_say_are_refused() -> None:
    other = [*MASKS[:2], dealt(random_mask(2, X, RANDOM), 2)]
    with pytest.raises(InvalidShareError):
        total_of(received(0, other))


def test_only_a_wrong_value_that_its_dealer_has_signed_is_laid_open() -> None:
    """A right one would tell the late node what a donor's mask is at another donor's place."""
    assert opened_by_complaint(received(0)) is None
    unsigned = received(0)
    unsigned[1] = received(2)[1]
    with pytest.raises(InvalidDealError) as refused:
        opened_by_complaint(unsigned)
    assert refused.value.dealer == DONORS[1].node
    with pytest.raises(InvalidDealError) as refused:
        opened_by_complaint(received(0), [LISTS[0], LISTS[0], LISTS[2]])
    assert refused.value.dealer == DONORS[1].node


def test_the_first_wrong_value_is_laid_open() -> None:
    false = MASKS[1].ciphertexts[::-1]
    wrong = [MASKS[0], Mask(LISTS[1], MASKS[1].mask_hash, false), MASKS[2]]
    complaint = opened_by_complaint(received(0, wrong))
    assert complaint is not None
    assert complaint.dealer == DONORS[1].node  # type: ignore[attr-defined]
    assert complaint.common == ONE_TIME[1].reveal(DONORS[0].one_time)  # type: ignore[attr-defined]
