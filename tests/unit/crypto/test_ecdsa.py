"""Joint ECDSA signatures: presignatures that work once, and signers that lie."""

from dataclasses import replace

import pytest
from coincurve import PublicKey
from eth_account import Account

from keyserver.crypto.curve import (
    ORDER,
    Point,
    Scalar,
    SecretScalar,
    recover,
    verify_digest,
)
from keyserver.crypto.ecdsa import (
    EcdsaShare,
    bind,
    combine,
    encode_signature,
    sign_alone,
    sign_share,
    x_of_nonce,
)
from keyserver.crypto.errors import (
    InvalidPartsError,
    InvalidScalarError,
    InvalidSignatureError,
    InvalidSignersError,
    SpentError,
)
from keyserver.crypto.hashing import address_of
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.presignatures import PublicPresignature
from tests.support.presigners import RECORD_HASH, Presigned, Presigners

FIELD = 2**256 - 2**32 - 977
MESSAGE = bytes(range(32))
NODES = Presigners(1, "ecdsa")
KEY = NODES.key.commit()
PRESIGNED = Presigned(NODES)
PUBLIC = PublicPresignature(PRESIGNED.presigning, PRESIGNED.product())


def test_others_accept_the_signature() -> None:
    signature = combine(PRESIGNED.bound(MESSAGE), PRESIGNED.sign(MESSAGE), KEY)
    verify_digest(MESSAGE, signature, KEY[0])
    recovered = PublicKey.from_signature_and_message(signature, MESSAGE, hasher=None)
    assert recovered.format() == KEY[0].compressed
    r, s, v = signature[:32], signature[32:64], signature[64]
    parts = (v + 27, int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    address = Account._recover_hash(MESSAGE, vrs=parts)
    assert bytes.fromhex(address[2:]) == address_of(KEY[0].raw64)


@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_numbers_around_the_order_are_signed_like_others(number: int) -> None:
    message = number.to_bytes(32, "big")
    verify_digest(message, combine(PRESIGNED.bound(message), PRESIGNED.sign(message), KEY), KEY[0])


def test_a_presignature_signs_once() -> None:
    made = PRESIGNED.presignatures()[0]
    PRESIGNED.part(made, MESSAGE)
    for message in (MESSAGE, MESSAGE[::-1]):
        with pytest.raises(SpentError):
            PRESIGNED.part(made, message)


def test_a_presignature_is_gone_after_a_refusal() -> None:
    for record_hash, message in ((bytes(32), MESSAGE), (RECORD_HASH, MESSAGE[1:])):
        made = PRESIGNED.presignatures()[0]
        with pytest.raises((InvalidSignersError, InvalidSignatureError)):
            sign_share(
                made, NODES.share(0), record_hash=record_hash, message=message, rng=NODES.rng
            )
        with pytest.raises(SpentError):
            PRESIGNED.part(made, MESSAGE)


def test_a_presignature_does_not_print() -> None:
    made = PRESIGNED.presignatures()[0]
    text = repr(made)
    kept = made.secret.take()
    secrets = [
        kept.inverse_nonce,
        *(
            part
            for one in (kept.fixed_mask, kept.scaled_mask)
            for part in (one.value, one.blinding)
        ),
    ]
    assert all(secret.expose().hex() not in text for secret in secrets)
    assert "redacted" in text


@pytest.mark.parametrize("liars", [(1,), (0, 2)])
def test_wrong_parts_are_named(liars: tuple[int, ...]) -> None:
    shares = PRESIGNED.sign(MESSAGE)
    for liar in liars:
        shares[liar] = replace(shares[liar], value=shares[liar].value + Scalar(1))
    with pytest.raises(InvalidPartsError) as refused:
        combine(PRESIGNED.bound(MESSAGE), shares, KEY)
    assert refused.value.places == tuple(PRESIGNED.presigning.places[liar] for liar in liars)


def test_zero_and_junk_are_wrong_parts() -> None:
    shares = PRESIGNED.sign(MESSAGE)
    shares[0] = EcdsaShare(Scalar(0), shares[0].proof)
    shares[1] = EcdsaShare(Scalar(7), b"")
    with pytest.raises(InvalidPartsError) as refused:
        combine(PRESIGNED.bound(MESSAGE), shares, KEY)
    assert refused.value.places == tuple(PRESIGNED.presigning.places[:2])


def test_all_parts_zero_are_all_wrong() -> None:
    shares = [EcdsaShare(Scalar(0), bytes(128))] * 3
    with pytest.raises(InvalidPartsError) as refused:
        combine(PRESIGNED.bound(MESSAGE), shares, KEY)
    assert len(refused.value.places) == 3


def test_a_part_with_another_share_of_a_key_is_wrong() -> None:
    """As of a node that signs with the share of an older record."""
    made = PRESIGNED.presignatures()
    shares = [PRESIGNED.part(one, MESSAGE) for one in made[1:]]
    old = sign_share(
        made[0],
        NODES.share(0).add(Scalar(1)),
        record_hash=RECORD_HASH,
        message=MESSAGE,
        rng=NODES.rng,
    )
    with pytest.raises(InvalidPartsError) as refused:
        combine(PRESIGNED.bound(MESSAGE), [old, *shares], KEY)
    assert refused.value.places == (PRESIGNED.presigning.places[0],)


def test_a_part_is_needed_from_everybody() -> None:
    with pytest.raises(InvalidSignersError):
        combine(PRESIGNED.bound(MESSAGE), PRESIGNED.sign(MESSAGE)[:2], KEY)


def test_right_parts_of_another_key_are_nobodys_fault() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keyserver.crypto.ecdsa.verify", lambda statement, proof: None)
        with pytest.raises(InvalidSignatureError):
            combine(PRESIGNED.bound(MESSAGE), PRESIGNED.sign(MESSAGE), KEY[::-1])


def test_a_share_of_zero_signs_nothing() -> None:
    """A key whose polynomial is zero at a signer's place: its part cannot be right."""
    x = PRESIGNED.presigning.places[0]
    slope = SecretScalar.from_int(1)
    vanishing = SecretPolynomial([slope.multiply(x).negate(), slope]).commit()
    with pytest.raises(InvalidPartsError) as refused:
        combine(PRESIGNED.bound(MESSAGE), PRESIGNED.sign(MESSAGE), vanishing)
    assert x in refused.value.places


def test_high_s_is_turned_over() -> None:
    nonce = SecretScalar.from_int(5).public()
    low, high = Scalar(7), Scalar(ORDER - 7)
    one, other = encode_signature(nonce, low), encode_signature(nonce, high)
    assert one[:64] == other[:64]
    assert {one[64], other[64]} == {0, 1}
    assert recover(MESSAGE, one) != recover(MESSAGE, other)


def test_a_nonce_beyond_the_order_is_refused() -> None:
    """Points with `q <= x < p`: contracts do not take the `v` of 2 or 3 that they need."""
    x = next(x for x in range(ORDER, ORDER + 50) if pow(x**3 + 7, (FIELD - 1) // 2, FIELD) == 1)
    with pytest.raises(InvalidScalarError):
        x_of_nonce(Point.parse(b"\x02" + x.to_bytes(32, "big")))


def test_a_nonce_of_infinity_is_refused() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keyserver.crypto.ecdsa.hash_to_scalar", lambda tag, data: Scalar(0))
        with pytest.raises(InvalidScalarError):
            bind(PUBLIC, MESSAGE)


def test_the_nonce_depends_on_the_message_and_on_the_record() -> None:
    one = bind(PUBLIC, MESSAGE)
    assert bind(PUBLIC, MESSAGE) == one
    other = replace(PUBLIC, presigning=replace(PUBLIC.presigning, record_hash=bytes(32)))
    assert len({bind(public, MESSAGE).r for public in (PUBLIC, other)}) == 2
    assert bind(PUBLIC, MESSAGE[::-1]).r != one.r


def test_a_key_of_threshold_0_signs_alone() -> None:
    key = SecretScalar.from_int(3)
    for message in (MESSAGE, bytes(32), ORDER.to_bytes(32, "big")):
        signature = sign_alone(key, message)
        assert signature[64] in (0, 1)
        verify_digest(message, signature, key.public())
    with pytest.raises(InvalidSignatureError):
        sign_alone(key, MESSAGE[1:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keyserver.crypto.ecdsa.sign_digest", lambda key, m: bytes(64) + b"\x02")
        with pytest.raises(InvalidSignatureError):
            sign_alone(key, MESSAGE)
