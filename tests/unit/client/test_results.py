"""Opening shadows: who lied is named, and what would show the key is refused."""

import pytest

from keyserver.client.errors import BadAnswerError, LyingNodesError
from keyserver.client.results import ShadowAnswer, ShadowCommitment
from keyserver.client.wallet import Wallet
from keyserver.crypto import ecies
from keyserver.crypto.curve import Point, SecretScalar, add, mul_secret, negate
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import NodeId

RNG = SeededRandom("results")
BOB = Wallet(SecretScalar.random(RNG))
NODES = [NodeId.of(SecretScalar.from_int(number).public()) for number in (1, 2, 3)]
DOCUMENT_KEY, COMMON = (SecretScalar.random(RNG).public() for _ in range(2))


def sealed(shadow: SecretScalar) -> bytes:
    return ecies.encrypt(Point.from_raw64(BOB.public_key), shadow.expose(), RNG)


def shadow_answer(shadows: list[SecretScalar], *, told: bool = True) -> ShadowAnswer:
    """What honest nodes answer that have drawn these shadows."""
    masks = [mul_secret(COMMON, shadow) for shadow in shadows]
    secret = add(DOCUMENT_KEY, *(negate(mask) for mask in masks))
    assert secret is not None
    commitments = [
        ShadowCommitment(node, shadow.public())
        for node, shadow in zip(NODES, shadows, strict=False)
    ]
    return ShadowAnswer(
        COMMON,
        secret,
        tuple(sealed(shadow) for shadow in shadows),
        tuple(commitments) if told else (),
    )


def drawn(count: int) -> list[SecretScalar]:
    return [SecretScalar.random(RNG) for _ in range(count)]


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_honest_answer_opens(count: int, told: bool) -> None:
    assert shadow_answer(drawn(count), told=told).open(BOB) == DOCUMENT_KEY


def test_who_sent_another_shadow_is_named() -> None:
    honest = shadow_answer(drawn(3))
    wrong = (honest.shadows[0], sealed(drawn(1)[0]), b"\x04" * 145)
    lying = ShadowAnswer(COMMON, honest.decrypted_secret, wrong, honest.commitments)
    with pytest.raises(LyingNodesError) as raised:
        lying.open(BOB)
    assert raised.value.nodes == frozenset(NODES[1:])
    for node in NODES[1:]:
        assert node.hex() in str(raised.value)


def test_without_commitments_another_shadow_gives_another_key_and_a_damaged_one_none() -> None:
    honest = shadow_answer(drawn(2), told=False)
    other = ShadowAnswer(COMMON, honest.decrypted_secret, (honest.shadows[0], sealed(drawn(1)[0])))
    assert other.open(BOB) != DOCUMENT_KEY
    damaged = ShadowAnswer(COMMON, honest.decrypted_secret, (honest.shadows[0], b"\x04" * 145))
    with pytest.raises(BadAnswerError, match="do not open"):
        damaged.open(BOB)


@pytest.mark.parametrize("told", [True, False])
def test_shadows_that_add_up_to_zero_are_refused(told: bool) -> None:
    shadow = drawn(1)[0]
    answer = ShadowAnswer(
        COMMON,
        DOCUMENT_KEY,
        (sealed(shadow), sealed(shadow.negate())),
        tuple(
            ShadowCommitment(node, each.public())
            for node, each in zip(NODES, (shadow, shadow.negate()), strict=False)
        )
        if told
        else (),
    )
    with pytest.raises(BadAnswerError, match="sum is zero"):
        answer.open(BOB)


def test_a_document_key_at_infinity_is_refused() -> None:
    shadow = drawn(1)[0]
    secret = negate(mul_secret(COMMON, shadow))
    with pytest.raises(BadAnswerError, match="do not open"):
        ShadowAnswer(COMMON, secret, (sealed(shadow),)).open(BOB)
