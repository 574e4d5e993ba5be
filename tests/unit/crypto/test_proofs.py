from dataclasses import replace

import pytest

from keyserver.crypto.curve import (
    GENERATOR,
    ORDER,
    SECOND_GENERATOR,
    Scalar,
    SecretScalar,
    add,
    mul_base,
    mul_secret,
    negate,
)
from keyserver.crypto.errors import InvalidProofError
from keyserver.crypto.proofs import (
    Equation,
    Statement,
    equal_logarithms,
    possession,
    prove,
    verify,
)
from keyserver.crypto.randomness import SeededRandom

_CONTEXT = bytes(range(32))
_W = SecretScalar(b"\x21" * 32)
_V = SecretScalar(b"\x22" * 32)
_RNG = SeededRandom("proofs")
_BASE = mul_base(Scalar(1234))
_SCHNORR = possession(_CONTEXT, _W.public())
_PROOF = prove(_SCHNORR, [_W], _RNG)
_PEDERSEN = Statement(
    _CONTEXT,
    (
        Equation(
            add(mul_base(_W), mul_secret(SECOND_GENERATOR, _V)),
            ((0, GENERATOR), (1, SECOND_GENERATOR)),
        ),
        Equation(mul_secret(_BASE, _V), ((1, _BASE),)),
    ),
    witnesses=2,
)


def test_true_statements() -> None:
    verify(_SCHNORR, _PROOF)
    assert len(_PROOF) == _SCHNORR.proof_size == 64
    equality = equal_logarithms(_CONTEXT, GENERATOR, _W.public(), _BASE, mul_secret(_BASE, _W))
    verify(equality, prove(equality, [_W], _RNG))
    proof = prove(_PEDERSEN, [_W, _V], _RNG)
    assert len(proof) == _PEDERSEN.proof_size == 96
    verify(_PEDERSEN, proof)


def test_wrong_witnesses() -> None:
    with pytest.raises(InvalidProofError):
        verify(_SCHNORR, prove(_SCHNORR, [_V], _RNG))
    with pytest.raises(InvalidProofError):
        verify(_PEDERSEN, prove(_PEDERSEN, [_V, _W], _RNG))
    with pytest.raises(ValueError, match="zip"):
        prove(_PEDERSEN, [_W], _RNG)


def test_altered_statements() -> None:
    for altered in (
        replace(_SCHNORR, context=bytes(32)),
        possession(_CONTEXT, negate(_W.public())),
        Statement(_CONTEXT, _SCHNORR.equations * 2),
        Statement(_CONTEXT, (Equation(_W.public(), ((0, SECOND_GENERATOR),)),)),
        Statement(_CONTEXT, (Equation(_W.public(), ((0, GENERATOR), (0, GENERATOR))),)),
    ):
        with pytest.raises(InvalidProofError, match="does not hold"):
            verify(altered, _PROOF)


@pytest.mark.parametrize("size", [0, 32, 63, 65, 96])
def test_proof_length(size: int) -> None:
    with pytest.raises(InvalidProofError, match="need 64 bytes"):
        verify(_SCHNORR, (_PROOF * 2)[:size])


@pytest.mark.parametrize(
    "proof",
    [
        _PROOF[:32] + ORDER.to_bytes(32, "big"),
        b"\xff" * 32 + _PROOF[32:],
    ],
)
def test_proof_scalars_are_canonical(proof: bytes) -> None:
    with pytest.raises(InvalidProofError, match="canonical"):
        verify(_SCHNORR, proof)


@pytest.mark.parametrize("proof", [bytes(64), _PROOF[:32] + bytes(32), bytes(32) + _PROOF[32:]])
def test_zero_in_a_proof(proof: bytes) -> None:
    with pytest.raises(InvalidProofError):
        verify(_SCHNORR, proof)


def test_infinity_is_an_invalid_proof_and_no_accident() -> None:
    nowhere = possession(_CONTEXT, None)
    no_base = Statement(_CONTEXT, (Equation(GENERATOR, ((0, None),)),))
    for statement in (nowhere, no_base):
        with pytest.raises(InvalidProofError, match="infinity"):
            verify(statement, _PROOF)
        with pytest.raises(InvalidProofError, match="infinity"):
            prove(statement, [_W], _RNG)


def test_first_message_at_infinity_is_refused() -> None:
    """z*G - c*Y is infinity when the prover's nonce was zero."""
    challenge = Scalar(5)
    response = Scalar.from_bytes(_W.multiply(challenge).expose())
    with pytest.raises(InvalidProofError, match="infinity"):
        verify(_SCHNORR, challenge.to_bytes() + response.to_bytes())


def test_context_has_32_bytes() -> None:
    with pytest.raises(InvalidProofError, match="32 bytes"):
        verify(possession(b"short", _W.public()), _PROOF)


def test_nonces_are_hedged() -> None:
    """A random source that repeats itself does not repeat the nonce of another statement."""
    other = possession(bytes(32), _W.public())
    one = prove(_SCHNORR, [_W], SeededRandom(0))
    two = prove(other, [_W], SeededRandom(0))
    assert prove(_SCHNORR, [_W], SeededRandom(0)) == one
    assert prove(_SCHNORR, [_W], SeededRandom(1)) != one

    def nonce(proof: bytes) -> Scalar:
        challenge, response = (Scalar.from_bytes(proof[i : i + 32]) for i in (0, 32))
        return response - challenge * Scalar.from_bytes(_W.expose())

    assert nonce(one) != nonce(two)
