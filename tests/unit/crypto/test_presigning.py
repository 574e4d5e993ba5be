"""Presigning: who takes part, what is dealt, and who is found when numbers are wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from keyserver.crypto.complaints import Verdict
from keyserver.crypto.curve import (
    GENERATOR,
    SECOND_GENERATOR,
    Scalar,
    SecretScalar,
    negate,
)
from keyserver.crypto.errors import (
    CryptoError,
    InvalidDealError,
    InvalidPartsError,
    InvalidPointError,
    InvalidScalarError,
    InvalidShareError,
    InvalidSignersError,
)
from keyserver.crypto.masks import ZeroMask, evaluate_mask, opened
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.presignatures import (
    ProductShare,
    check_product,
    combine_products,
    finish,
)
from keyserver.crypto.presigning import (
    Commitments,
    FirstPolynomials,
    PresigningDeal,
    SealedDeal,
    SecondCommitments,
    SecondPolynomials,
    Signer,
    check_signers,
    sum_first,
    sum_second,
)
from keyserver.crypto.presigning_complaints import (
    PresigningComplaint,
    first_wrong_deal,
    judge,
)
from keyserver.crypto.proofs import prove
from keyserver.crypto.transcripts import complaint_statement
from tests.support.presigners import Presigned, Presigners

NODES = Presigners(1)
SIGNERS = NODES.signers
STRANGER = SecretScalar.from_int(99).public()
FIRST_POLYNOMIALS = [FirstPolynomials.random(1, NODES.rng) for _ in NODES.indices]
FIRST = [NODES.deal(polynomials, i) for i, polynomials in enumerate(FIRST_POLYNOMIALS)]
FIRST_SUMS = sum_first([deal.commitments for deal in FIRST])
SECOND_POLYNOMIALS = [
    SecondPolynomials.random(1, FIRST_SUMS.nonce[0], NODES.rng) for _ in NODES.indices
]
SECOND = [NODES.deal(polynomials, i) for i, polynomials in enumerate(SECOND_POLYNOMIALS)]
SECOND_SUMS = sum_second([deal.commitments for deal in SECOND])
PRESIGNED = Presigned(Presigners(1, "done"))


# --- who takes part --------------------------------------------------------------------------


def test_a_group_of_2t_plus_1_in_order_is_fine() -> None:
    for node, _ in SIGNERS:
        check_signers(SIGNERS, SIGNERS, threshold=1, own=node)
        check_signers(SIGNERS, [*SIGNERS, (STRANGER, Scalar(9))], threshold=1, own=node)


def with_place(x: int) -> tuple[Signer, ...]:
    return ((SIGNERS[0][0], Scalar(x)), *SIGNERS[1:])


def in_order(*signers: Signer) -> tuple[Signer, ...]:
    return tuple(sorted(signers, key=lambda signer: signer[0].raw64))


@pytest.mark.parametrize(
    ("signers", "threshold"),
    [
        (SIGNERS, 0),
        (SIGNERS[:1], 0),
        (SIGNERS, 2),
        (SIGNERS[:2], 1),
        (in_order(*SIGNERS, (STRANGER, Scalar(9))), 1),
        (SIGNERS[::-1], 1),
        ((SIGNERS[0], SIGNERS[0], SIGNERS[1]), 1),
        (with_place(0), 1),
        (with_place(2), 1),
        (with_place(7), 1),
        (in_order(*SIGNERS[:2], (STRANGER, Scalar(9))), 1),
    ],
    ids=(
        "no threshold",
        "one",
        "too few for t",
        "too few",
        "too many",
        "disorder",
        "node twice",
        "place zero",
        "place twice",
        "another place",
        "stranger",
    ),
)
def test_other_groups_are_refused(signers: tuple[Signer, ...], threshold: int) -> None:
    with pytest.raises(InvalidSignersError):
        check_signers(signers, SIGNERS, threshold=threshold, own=SIGNERS[0][0])


def test_a_larger_group_is_refused_whoever_is_in_it() -> None:
    """One member more than 2t + 1, all of them of the committee: the group that gives keys away."""
    larger = in_order(*SIGNERS, (STRANGER, Scalar(9)))
    with pytest.raises(InvalidSignersError, match="need 3, got 4"):
        check_signers(larger, larger, threshold=1, own=STRANGER)


def test_a_group_without_this_node_is_refused() -> None:
    with pytest.raises(InvalidSignersError):
        check_signers(SIGNERS, SIGNERS, threshold=1, own=STRANGER)


# --- masks -----------------------------------------------------------------------------------


def test_a_mask_is_zero_at_zero_and_opens_elsewhere() -> None:
    mask = ZeroMask.random(4, NODES.rng)
    commitments = mask.commit()
    assert len(commitments) == 4
    assert repr(mask) == "ZeroMask(degree=4, <redacted>)"
    for x, one in zip(
        (Scalar(1), Scalar(7)), mask.evaluate_all([Scalar(1), Scalar(7)]), strict=True
    ):
        assert opened(one.value, one.blinding) == evaluate_mask(commitments, x)
        assert opened(one.blinding, one.value) != evaluate_mask(commitments, x)
    assert evaluate_mask(commitments, Scalar(0)) is None


def test_masks_of_infinity() -> None:
    assert opened(None, None) is None
    one = SecretScalar.from_int(1)
    assert opened(one, None) == GENERATOR
    assert opened(None, one) == SECOND_GENERATOR
    assert evaluate_mask([GENERATOR, negate(GENERATOR)], Scalar(1)) is None


def test_a_mask_whose_commitment_would_be_infinity_is_refused() -> None:
    """It would take the logarithm of the second generator; here the library is made to lie."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keyserver.crypto.masks.add", lambda *points: None)
        with pytest.raises(InvalidPointError):
            ZeroMask.random(2, NODES.rng).commit()


# --- deals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("receiver", NODES.indices)
def test_the_numbers_add_up(receiver: int) -> None:
    x = SIGNERS[receiver][1]
    first = NODES.numbers(NODES.received(FIRST, receiver), FIRST_SUMS, receiver)
    assert len(first) == 7
    assert FIRST_SUMS.holds(first, x)
    assert not FIRST_SUMS.holds(first[::-1], x)
    assert not FIRST_SUMS.holds([*first[:-1], None], x)
    second = NODES.numbers(NODES.received(SECOND, receiver), SECOND_SUMS, receiver)
    assert SECOND_SUMS.holds(second, x)
    assert not SECOND_SUMS.holds([None], x)


def test_a_deal_is_needed_from_everybody_in_order() -> None:
    deals = NODES.received(FIRST, 0)
    for others in (deals[:2], deals[::-1], [deals[0], deals[0], deals[1]]):
        with pytest.raises(InvalidDealError) as refused:
            NODES.numbers(others, FIRST_SUMS, 0)
        assert refused.value.dealer is None


def test_sums_of_another_size_are_refused() -> None:
    for sums in (
        replace(FIRST_SUMS, nonce=FIRST_SUMS.nonce[:1]),
        replace(FIRST_SUMS, fixed_mask=FIRST_SUMS.fixed_mask * 2),
        replace(FIRST_SUMS, product_mask=()),
    ):
        with pytest.raises(InvalidDealError):
            NODES.numbers(NODES.received(FIRST, 0), sums, 0)
    with pytest.raises(InvalidDealError):
        NODES.numbers(NODES.received(SECOND, 0), replace(SECOND_SUMS, multiplier=()), 0)


def test_a_deal_that_is_not_signed_is_refused() -> None:
    deals = NODES.received(FIRST, 0)
    deals[1] = NODES.received(FIRST, 2)[1]
    with pytest.raises(InvalidDealError) as refused:
        NODES.numbers(deals, FIRST_SUMS, 0)
    assert refused.value.dealer == SIGNERS[1][0]


def test_sums_of_something_else_are_refused() -> None:
    other = sum_first([deal.commitments for deal in NODES.first_deals()])
    with pytest.raises(InvalidShareError):
        NODES.numbers(NODES.received(FIRST, 0), other, 0)
    other_second = replace(SECOND_SUMS, base=GENERATOR)
    with pytest.raises(InvalidShareError):
        NODES.numbers(NODES.received(SECOND, 0), other_second, 0)


def test_commitments_that_cancel_out_are_refused() -> None:
    one = FIRST[0].commitments
    minus = replace(one, nonce=tuple(negate(point) for point in one.nonce))
    with pytest.raises(InvalidDealError):
        sum_first([one, minus])


def test_numbers_that_add_up_to_zero_are_refused() -> None:
    """All dealers together could do it, which is more of them than may lie."""
    opposite = SecondPolynomials(
        SECOND_POLYNOMIALS[0].base,
        SecretPolynomial([SECOND_POLYNOMIALS[0].multiplier.evaluate(SIGNERS[0][1]).negate()]),
    )
    deals = [SECOND[0], NODES.deal(opposite, 1)]
    two = Presigners(1)
    two.members = two.members[:2]
    with pytest.raises(InvalidShareError):
        two.numbers(NODES.received(deals, 0), SECOND_SUMS, 0)


# --- complaints ------------------------------------------------------------------------------


LIAR, VICTIM = 1, 2


@dataclass(frozen=True)
class Spoiled:
    """One way to cheat in one round: what the victim finds sealed, by the numbers it should be."""

    name: str
    spoil: Callable[[bytes], bytes]


WRONG = [
    Spoiled("first number", lambda text: bytes(31) + b"\x01" + text[32:]),
    Spoiled("last number", lambda text: text[:-32] + bytes(31) + b"\x01"),
    Spoiled("zero", lambda text: bytes(len(text))),
    Spoiled("not canonical", lambda text: b"\xff" * len(text)),
    Spoiled("too short", lambda text: text[1:]),
]
ROUNDS: dict[str, tuple[Sequence[PresigningDeal[Commitments]], Commitments]] = {
    "one": (FIRST, FIRST_SUMS),
    "two": (SECOND, SECOND_SUMS),
}

each_round = pytest.mark.parametrize("number", ROUNDS)


def text_of(number: str) -> bytes:
    """What the liar should have sealed for the victim."""
    polynomials = FIRST_POLYNOMIALS if number == "one" else SECOND_POLYNOMIALS
    (row,) = polynomials[LIAR].evaluate_all([SIGNERS[VICTIM][1]])
    return b"".join(value.expose() for value in row)


def spoiled_deals(number: str, spoil: Callable[[bytes], bytes]) -> list[SealedDeal]:
    deals = ROUNDS[number][0]
    commitments = deals[LIAR].commitments
    ciphertext = NODES.sealed(commitments, LIAR, VICTIM, spoil(text_of(number)))
    return with_ciphertext(number, ciphertext)


def with_ciphertext(number: str, ciphertext: bytes) -> list[SealedDeal]:
    """What the victim gets, the liar's part replaced and signed."""
    deals = NODES.received(ROUNDS[number][0], VICTIM)
    named = deals[LIAR].deal_hash
    signature = NODES.signed(LIAR, VICTIM, named, ciphertext)
    deals[LIAR] = replace(deals[LIAR], ciphertext=ciphertext, signature=signature)
    return deals


def lists_of(number: str) -> list[Commitments]:
    return [deal.commitments for deal in ROUNDS[number][0]]


def found(
    number: str, deals: list[SealedDeal], lists: list[Commitments] | None = None
) -> PresigningComplaint | None:
    return first_wrong_deal(
        deals,
        lists_of(number) if lists is None else lists,
        threshold=1,
        receiver=NODES.members[VICTIM],
        one_time=NODES.one_time[VICTIM],
        session=NODES.session,
        rng=NODES.rng,
    )


def judged(complaint: PresigningComplaint) -> Verdict:
    return judge(complaint, session=NODES.session, threshold=1, accuser=NODES.members[VICTIM])


@each_round
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_liar_is_found_and_convicted(number: str, wrong: Spoiled) -> None:
    deals = spoiled_deals(number, wrong.spoil)
    with pytest.raises(CryptoError) as refused:
        NODES.numbers(deals, ROUNDS[number][1], VICTIM)
    assert not isinstance(refused.value, InvalidDealError)
    complaint = found(number, deals)
    assert complaint is not None
    assert complaint.deal.dealer == NODES.members[LIAR]
    assert judged(complaint) is Verdict.DEALER


@each_round
def test_what_does_not_open_convicts_too(number: str) -> None:
    size = len(text_of(number)) + 16
    complaint = found(number, with_ciphertext(number, bytes(size)))
    assert complaint is not None
    assert judged(complaint) is Verdict.DEALER


@each_round
def test_right_deals_leave_nobody_to_accuse(number: str) -> None:
    assert found(number, NODES.received(ROUNDS[number][0], VICTIM)) is None


@each_round
def test_who_complains_about_a_right_deal_is_convicted(number: str) -> None:
    deals = NODES.received(ROUNDS[number][0], VICTIM)
    dealer = NODES.members[LIAR]
    one_time = NODES.one_time[VICTIM]
    common = one_time.reveal(dealer.one_time)
    statement = complaint_statement(
        NODES.session,
        dealer=dealer.node,
        dealer_one_time=dealer.one_time,
        accuser=NODES.members[VICTIM].node,
        accuser_one_time=one_time.public,
        common=common,
    )
    proof = prove(statement, [one_time.secret], NODES.rng)
    complaint = PresigningComplaint(deals[LIAR], lists_of(number)[LIAR], common, proof)
    assert judged(complaint) is Verdict.ACCUSER


@each_round
def test_complaints_that_prove_nothing(number: str) -> None:
    complaint = found(number, spoiled_deals(number, WRONG[0].spoil))
    assert complaint is not None
    unsigned = replace(complaint, deal=replace(complaint.deal, signature=bytes(65)))
    assert judged(unsigned) is Verdict.NOT_PROVEN
    other_list = replace(complaint, commitments=lists_of(number)[0])
    assert judged(other_list) is Verdict.NOT_PROVEN
    assert judged(replace(complaint, proof=bytes(64))) is Verdict.ACCUSER
    assert judged(replace(complaint, common=GENERATOR)) is Verdict.ACCUSER


def test_a_list_of_another_size_convicts_its_dealer() -> None:
    short = SecondCommitments(FIRST_SUMS.nonce[0], SECOND[LIAR].commitments.multiplier[:1])
    named = NODES.named(short, LIAR)
    ciphertext = NODES.sealed(short, LIAR, VICTIM, bytes(31) + b"\x01")
    deals = NODES.received(SECOND, VICTIM)
    signature = NODES.signed(LIAR, VICTIM, named, ciphertext)
    deals[LIAR] = SealedDeal(NODES.members[LIAR], named, ciphertext, signature)
    lists = lists_of("two")
    lists[LIAR] = short
    with pytest.raises(InvalidDealError, match="number of commitments") as refused:
        found("two", deals, lists)
    assert refused.value.dealer == SIGNERS[LIAR][0]
    complaint = PresigningComplaint(deals[LIAR], short, GENERATOR, bytes(64))
    assert judged(complaint) is Verdict.DEALER


def test_lists_that_nobody_dealt_open_nothing() -> None:
    lists = lists_of("one")
    lists[0] = lists[1]
    with pytest.raises(InvalidDealError, match="hash"):
        found("one", spoiled_deals("one", WRONG[0].spoil), lists)


def test_only_what_is_signed_is_laid_open() -> None:
    deals = spoiled_deals("one", WRONG[0].spoil)
    deals[LIAR] = replace(deals[LIAR], signature=bytes(65))
    with pytest.raises(InvalidDealError) as refused:
        found("one", deals)
    assert refused.value.dealer == SIGNERS[LIAR][0]


# --- the product -----------------------------------------------------------------------------


def test_the_product_is_that_of_nonce_and_multiplier() -> None:
    product = PRESIGNED.product()
    check_product(PRESIGNED.presigning, product)
    nonce = PRESIGNED.presigning.nonce
    kept = [made.secret.take() for made in PRESIGNED.presignatures()]
    assert len({one.inverse_nonce.expose() for one in kept}) == 3
    assert nonce == PRESIGNED.presigning.second.base


@pytest.mark.parametrize("change", [1, 2**200])
@pytest.mark.parametrize("liars", [(0,), (2,), (0, 2)])
def test_wrong_parts_of_the_product_are_named(liars: tuple[int, ...], change: int) -> None:
    shares = PRESIGNED.product_shares()
    for liar in liars:
        shares[liar] = replace(shares[liar], value=shares[liar].value + Scalar(change))
    with pytest.raises(InvalidPartsError) as refused:
        combine_products(PRESIGNED.presigning, shares)
    assert refused.value.places == tuple(PRESIGNED.presigning.places[liar] for liar in liars)


def test_zero_and_junk_are_wrong_parts_of_the_product() -> None:
    shares = PRESIGNED.product_shares()
    shares[0] = ProductShare(Scalar(0), shares[0].proof)
    shares[2] = ProductShare(Scalar(5), b"junk")
    with pytest.raises(InvalidPartsError) as refused:
        combine_products(PRESIGNED.presigning, shares)
    places = PRESIGNED.presigning.places
    assert refused.value.places == (places[0], places[2])


def test_a_part_of_the_product_is_proven_for_one_presignature_and_node() -> None:
    shares = PRESIGNED.product_shares()
    shares[0] = replace(shares[0], value=shares[0].value + Scalar(1))
    other = replace(PRESIGNED.presigning, presig_id=bytes(32))
    with pytest.raises(InvalidPartsError) as refused:
        combine_products(other, shares)
    assert len(refused.value.places) == 3


def test_right_parts_of_other_commitments_are_nobodys_fault() -> None:
    """Sums that do not belong together: the coordinator's own mistake."""
    second = replace(
        PRESIGNED.presigning.second,
        multiplier=(GENERATOR, *PRESIGNED.presigning.second.multiplier[1:]),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keyserver.crypto.presignatures.verify", lambda statement, proof: None)
        with pytest.raises(InvalidScalarError):
            combine_products(
                replace(PRESIGNED.presigning, second=second), PRESIGNED.product_shares()
            )


def test_a_part_is_needed_from_everybody() -> None:
    with pytest.raises(InvalidSignersError):
        combine_products(PRESIGNED.presigning, PRESIGNED.product_shares()[:2])


@pytest.mark.parametrize("product", [Scalar(0), Scalar(1)])
def test_nobody_keeps_a_presignature_with_a_wrong_product(product: Scalar) -> None:
    with pytest.raises(InvalidScalarError):
        finish(PRESIGNED.presigning, PRESIGNED.signers.signers[0], PRESIGNED.dealt[0], product)
