from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.curve import ORDER, Scalar, SecretScalar
from keyserver.crypto.dealkey import OneTimeKey, open_value, seal_value, shared_from_point
from keyserver.crypto.dkg import Deal, Holding, ReceivedDeal, receive_deals
from keyserver.crypto.errors import (
    CryptoError,
    DecryptionError,
    InvalidDealError,
    InvalidProofError,
    InvalidScalarError,
    InvalidShareError,
)
from keyserver.crypto.polynomial import SecretPolynomial, interpolate_secret
from keyserver.crypto.proofs import prove, verify
from keyserver.crypto.transcripts import one_time_statement, transcript_hash
from tests.unit.crypto.session_of_four import (
    DEALS,
    MEMBERS,
    ONE_TIME,
    POLYNOMIALS,
    RNG,
    SESSION,
    WRONG_SHARES,
    Spoiled,
    deal_of,
    received,
    sign_share,
    sums,
)


def _receive(deals: list[ReceivedDeal], index: int = 2, *, possession: bool = True) -> Holding:
    return receive_deals(
        deals,
        sums(DEALS),
        receiver=MEMBERS[index],
        one_time=ONE_TIME[index],
        session=SESSION,
        possession=possession,
    )


def test_everybody_gets_a_share_of_one_key() -> None:
    holdings = [_receive(received(DEALS, index), index) for index in range(4)]
    xs = [member.x for member in MEMBERS]
    joint = interpolate_secret(xs[:2], [holding.share for holding in holdings[:2]])
    assert joint.public() == sums(DEALS)[0]
    assert interpolate_secret(xs[2:], [holding.share for holding in holdings[2:]]) == joint
    named = [(m.node, deal.deal_hash) for m, deal in zip(MEMBERS, DEALS, strict=True)]
    assert {h.transcript_hash for h in holdings} == {transcript_hash(SESSION, named)}


def test_redistribution_has_no_proof_of_possession() -> None:
    deals = [deal_of(dealer, possession=False) for dealer in range(4)]
    assert all(deal.pop == b"" for deal in deals)
    holding = _receive(received(deals, 2), possession=False)
    assert holding.share == _receive(received(DEALS, 2)).share
    with pytest.raises(InvalidDealError, match="proof: need 64 bytes"):
        _receive(received(deals, 2))
    with pytest.raises(InvalidDealError, match="unexpected proof") as refused:
        _receive(received(DEALS, 2), possession=False)
    assert refused.value.dealer == MEMBERS[0].node


@pytest.mark.parametrize("field", ["constant", "pop", "tail_hash", "ciphertext", "signature"])
def test_an_altered_field_names_its_dealer(field: str) -> None:
    deals = received(DEALS, 2)
    other = getattr(received(DEALS, 3)[2], field)
    deals[1] = replace(deals[1], **{field: other})
    with pytest.raises(InvalidDealError, match="signature") as refused:
        _receive(deals)
    assert refused.value.dealer == MEMBERS[1].node


def test_a_signed_wrong_proof_names_its_dealer() -> None:
    wrong = replace(DEALS[1], pop=DEALS[0].pop)
    deals = received([DEALS[0], wrong, *DEALS[2:]], 2)
    deals[1] = replace(
        deals[1], signature=sign_share(1, 2, deals[1].deal_hash(SESSION), deals[1].ciphertext)
    )
    with pytest.raises(InvalidDealError, match="does not hold") as refused:
        _receive(deals)
    assert refused.value.dealer == MEMBERS[1].node


def test_constants_must_add_up() -> None:
    with pytest.raises(InvalidDealError, match="add up") as refused:
        _receive(received(DEALS, 2)[:3])
    assert refused.value.dealer is None


@pytest.mark.parametrize("spoiled", WRONG_SHARES, ids=lambda spoiled: spoiled.name)
def test_a_wrong_share_is_noticed(spoiled: Spoiled) -> None:
    deals = list(DEALS)
    deals[1] = spoiled.spoil(deals[1])
    with pytest.raises((DecryptionError, InvalidScalarError, InvalidShareError)):
        _receive(received(deals, 2))


def _only_for_receiver_2(value: int) -> SecretPolynomial:
    """A polynomial of degree 1 with the given value at the place of member 2 (x = 3)."""
    return SecretPolynomial(
        [SecretScalar.from_int((value - 3 * 5) % ORDER), SecretScalar.from_int(5)]
    )


def _canceling_deals() -> list[Deal]:
    """Two deals whose values for member 2 add up to zero."""
    polynomials = [_only_for_receiver_2(9), _only_for_receiver_2(-9 % ORDER)]
    return [deal_of(dealer, polynomial) for dealer, polynomial in enumerate(polynomials)]


def _add_up(deals: list[Deal]) -> Holding:
    return receive_deals(
        received(deals, 2),
        sums(deals),
        receiver=MEMBERS[2],
        one_time=ONE_TIME[2],
        session=SESSION,
    )


def test_shares_that_cancel_out_on_the_way_are_fine() -> None:
    rest = POLYNOMIALS[2].evaluate(Scalar(3)).add(POLYNOMIALS[3].evaluate(Scalar(3)))
    assert _add_up([*_canceling_deals(), DEALS[2], DEALS[3]]).share == rest


def test_a_share_of_zero_in_all_is_refused() -> None:
    with pytest.raises(InvalidShareError, match="zero"):
        _add_up(_canceling_deals())


def test_one_time_keys_are_proven() -> None:
    node, one_time = MEMBERS[0].node, ONE_TIME[0]
    statement = one_time_statement(bytes(32), node, one_time.public)
    proof = prove(statement, [one_time.secret], RNG)
    verify(statement, proof)
    with pytest.raises(InvalidProofError):
        verify(one_time_statement(bytes(32), MEMBERS[1].node, one_time.public), proof)


def test_sealed_values_open_only_where_they_belong() -> None:
    shared = ONE_TIME[0].shared_with(ONE_TIME[1].public)
    assert shared == ONE_TIME[1].shared_with(ONE_TIME[0].public)
    assert shared == shared_from_point(ONE_TIME[0].reveal(ONE_TIME[1].public))
    a, b = MEMBERS[0].node, MEMBERS[1].node
    place: dict[str, Any] = {"session_hash": SESSION, "shared": shared, "bound_to": b"deal"}
    sealed = seal_value(b"value", sender=a, receiver=b, **place)
    assert len(sealed) == 5 + 16
    assert open_value(sealed, sender=a, receiver=b, **place) == b"value"
    second = seal_value(b"value", sender=a, receiver=b, number=2, **place)
    assert second != sealed
    assert open_value(second, sender=a, receiver=b, number=2, **place) == b"value"
    for wrong in (
        {"sender": b, "receiver": a, **place},
        {"sender": a, "receiver": b, "number": 2, **place},
        {"sender": a, "receiver": b, **place, "session_hash": bytes(32)},
        {"sender": a, "receiver": b, **place, "shared": bytes(32)},
        {"sender": a, "receiver": b, **place, "bound_to": b"other"},
    ):
        with pytest.raises(DecryptionError):
            open_value(sealed, **wrong)
    for junk in (b"", bytes(15), sealed[:-1], sealed + b"\0"):
        with pytest.raises(CryptoError):
            open_value(junk, sender=a, receiver=b, **place)


def test_session_secrets_do_not_print() -> None:
    one_time = OneTimeKey(SecretScalar(b"\x2a" * 32))
    one_time.shared_with(MEMBERS[0].one_time)
    assert repr(one_time) == f"OneTimeKey({one_time.public!r}, <redacted>)"
    holding = Holding(SecretScalar(b"\x2a" * 32), bytes(32))
    assert "2a2a" not in repr(holding)
