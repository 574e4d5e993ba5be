from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.curve import (
    GENERATOR,
    SECOND_GENERATOR,
    Point,
    Scalar,
    SecretScalar,
    add,
    mul_base,
    mul_secret,
    negate,
)
from keyserver.crypto.errors import InvalidProofError
from keyserver.crypto.proofs import Equation, Statement, prove, verify
from keyserver.crypto.randomness import SeededRandom
from tests.property.crypto.strategies import points, secrets, seeds

_FEW = settings(max_examples=40, deadline=None)


@st.composite
def true_statements(draw: st.DrawFn) -> tuple[Statement, list[SecretScalar]]:
    """Up to three witnesses in up to three equations over three bases.

    The bases are such that no witness can cancel out of an equation.
    """
    witnesses = draw(st.lists(secrets, min_size=1, max_size=3))
    bases = [GENERATOR, SECOND_GENERATOR, mul_base(Scalar(7))]
    equations = []
    for _ in range(draw(st.integers(1, 3))):
        indices = st.integers(0, len(witnesses) - 1)
        terms = draw(st.lists(st.tuples(indices, st.sampled_from(bases)), min_size=1, max_size=3))
        result = add(*(mul_secret(base, witnesses[index]) for index, base in terms))
        if result is not None:
            equations.append(Equation(result, tuple(terms)))
    context = draw(st.binary(min_size=32, max_size=32))
    return Statement(context, tuple(equations), len(witnesses)), witnesses


@_FEW
@given(true_statements(), seeds)
def test_true_statements_verify(case: tuple[Statement, list[SecretScalar]], seed: int) -> None:
    statement, witnesses = case
    verify(statement, prove(statement, witnesses, SeededRandom(seed)))


@_FEW
@given(st.data(), true_statements(), seeds)
def test_altered_statements_do_not_verify(
    data: st.DataObject, case: tuple[Statement, list[SecretScalar]], seed: int
) -> None:
    statement, witnesses = case
    proof = prove(statement, witnesses, SeededRandom(seed))
    altered = [
        replace(statement, context=bytes(b ^ 1 for b in statement.context)),
        replace(statement, equations=(*statement.equations, Equation(GENERATOR, ()))),
    ]
    for position, equation in enumerate(statement.equations):
        assert equation.result is not None
        other = replace(equation, result=negate(equation.result))
        before, after = statement.equations[:position], statement.equations[position + 1 :]
        altered.append(replace(statement, equations=(*before, other, *after)))
    with pytest.raises(InvalidProofError):
        verify(data.draw(st.sampled_from(altered)), proof)


@_FEW
@given(st.data(), true_statements(), seeds)
def test_altered_proofs_do_not_verify(
    data: st.DataObject, case: tuple[Statement, list[SecretScalar]], seed: int
) -> None:
    """Any flipped bit is noticed, unless it belongs to a witness that no equation mentions."""
    statement, witnesses = case
    proof = bytearray(prove(statement, witnesses, SeededRandom(seed)))
    used = {index for equation in statement.equations for index, _ in equation.terms}
    scalar = data.draw(st.sampled_from([0, *(index + 1 for index in used)]))
    bit = data.draw(st.integers(0, 255))
    proof[32 * scalar + bit // 8] ^= 1 << bit % 8
    if scalar == 0 or used:
        with pytest.raises(InvalidProofError):
            verify(statement, bytes(proof))


@_FEW
@given(points, points, secrets, seeds)
def test_unequal_logarithms_do_not_verify(
    base: Point, value: Point, witness: SecretScalar, seed: int
) -> None:
    if mul_secret(base, witness) == value:
        return
    statement = Statement(
        bytes(32), (Equation(witness.public(), ((0, GENERATOR),)), Equation(value, ((0, base),)))
    )
    with pytest.raises(InvalidProofError):
        verify(statement, prove(statement, [witness], SeededRandom(seed)))
