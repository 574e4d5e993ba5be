from dataclasses import replace

import pytest

from keyserver.crypto.complaints import Complaint, Verdict, investigate, judge
from keyserver.crypto.curve import GENERATOR, ORDER, Point, SecretScalar
from keyserver.crypto.dkg import Deal
from keyserver.crypto.errors import InvalidDealError
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.proofs import prove
from keyserver.crypto.transcripts import (
    complaint_statement,
    constant_statement,
    deal_hash,
    tail_hash,
)
from tests.unit.crypto.session_of_four import (
    DEALS,
    MEMBERS,
    ONE_TIME,
    RNG,
    SESSION,
    WRONG_SHARES,
    Spoiled,
    received,
    sign_share,
    with_share,
)


def _investigate(
    deals: list[Deal], lists: list[tuple[Point, ...]] | None = None
) -> Complaint | None:
    return investigate(
        received(deals, 2),
        [deal.commitments for deal in deals] if lists is None else lists,
        receiver=MEMBERS[2],
        one_time=ONE_TIME[2],
        session=SESSION,
        rng=RNG,
    )


def _judge(complaint: Complaint) -> Verdict:
    return judge(complaint, session=SESSION, dealer=MEMBERS[1], accuser=MEMBERS[2])


def _false_complaint(deal: Deal | None = None) -> Complaint:
    """What an accuser can make of a share that is right."""
    deal = DEALS[1] if deal is None else deal
    common = ONE_TIME[2].reveal(MEMBERS[1].one_time)
    statement = complaint_statement(
        SESSION,
        dealer=MEMBERS[1].node,
        dealer_one_time=MEMBERS[1].one_time,
        accuser=MEMBERS[2].node,
        accuser_one_time=MEMBERS[2].one_time,
        common=common,
    )
    ciphertext = deal.ciphertexts[2]
    return Complaint(
        dealer=MEMBERS[1].node,
        commitments=deal.commitments,
        pop=deal.pop,
        ciphertext=ciphertext,
        signature=sign_share(1, 2, deal.deal_hash, ciphertext),
        common=common,
        proof=prove(statement, [ONE_TIME[2].secret], RNG),
    )


def test_nothing_to_complain_about() -> None:
    assert _investigate(DEALS) is None


@pytest.mark.parametrize("spoiled", WRONG_SHARES, ids=lambda spoiled: spoiled.name)
def test_a_wrong_share_convicts_its_dealer(spoiled: Spoiled) -> None:
    deals = list(DEALS)
    deals[1] = spoiled.spoil(deals[1])
    complaint = _investigate(deals)
    assert complaint is not None
    assert complaint.dealer == MEMBERS[1].node
    assert _judge(complaint) is Verdict.DEALER


def test_a_right_share_convicts_its_accuser() -> None:
    assert _judge(_false_complaint()) is Verdict.ACCUSER


def _deal_with_a_root_at_the_accuser() -> Deal:
    """The polynomial a*x - 3a, which is zero at x = 3, dealt and sealed by hand."""
    polynomial = SecretPolynomial([SecretScalar.from_int(ORDER - 33), SecretScalar.from_int(11)])
    commitments = polynomial.commit()
    statement = constant_statement(SESSION, MEMBERS[1].node, commitments[0])
    pop = prove(statement, [polynomial.constant], RNG)
    named = deal_hash(SESSION, MEMBERS[1].node, commitments[0], pop, tail_hash(commitments))
    return with_share(Deal(commitments, pop, named, DEALS[1].ciphertexts), 1, 2, bytes(32))


def test_a_right_share_of_zero_convicts_nobody_but_its_accuser() -> None:
    deal = _deal_with_a_root_at_the_accuser()
    assert _investigate([DEALS[0], deal, *DEALS[2:]]) is None
    assert _judge(_false_complaint(deal)) is Verdict.ACCUSER


def test_a_revealed_point_must_be_proven() -> None:
    complaint = _false_complaint()
    assert _judge(replace(complaint, common=GENERATOR)) is Verdict.ACCUSER
    assert _judge(replace(complaint, proof=bytes(64))) is Verdict.ACCUSER
    assert _judge(replace(complaint, proof=b"")) is Verdict.ACCUSER


@pytest.mark.parametrize(
    "altered",
    [
        {"signature": bytes(65)},
        {"signature": b""},
        {"ciphertext": bytes(48)},
        {"pop": bytes(64)},
        {"commitments": ()},
        {"commitments": DEALS[0].commitments},
        {"commitments": (*DEALS[1].commitments, GENERATOR)},
        {"dealer": MEMBERS[0].node},
    ],
    ids=str,
)
def test_what_the_dealer_did_not_sign_proves_nothing(altered: dict[str, object]) -> None:
    complaint = replace(_false_complaint(), **altered)  # type: ignore[arg-type]
    assert _judge(complaint) is Verdict.NOT_PROVEN


@pytest.mark.parametrize(
    ("commitments", "why"),
    [
        ((), "another constant"),
        (DEALS[0].commitments, "another constant"),
        (DEALS[1].commitments[:1], "differ from their hash"),
        ((DEALS[1].commitments[0], GENERATOR), "differ from their hash"),
    ],
)
def test_lists_must_be_the_signed_ones(commitments: tuple[Point, ...], why: str) -> None:
    lists = [deal.commitments for deal in DEALS]
    lists[1] = commitments
    with pytest.raises(InvalidDealError, match=why) as refused:
        _investigate(DEALS, lists)
    assert refused.value.dealer == MEMBERS[1].node
