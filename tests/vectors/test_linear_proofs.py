from typing import Any

import pytest

from keyserver.crypto.errors import InvalidProofError
from keyserver.crypto.hashing import tagged_hash
from keyserver.crypto.proofs import (
    Equation,
    Statement,
    equal_logarithms,
    possession,
    prove,
    prove_with_nonces,
    verify,
)
from keyserver.crypto.randomness import SeededRandom
from tests.vectors.files import load, point, raw, secret

_VECTORS: list[dict[str, Any]] = load("linear_proofs")["vectors"]


def _statement(vector: dict[str, Any]) -> Statement:
    equations = tuple(
        Equation(
            point(equation["Y"]), tuple((index, point(base)) for index, base in equation["terms"])
        )
        for equation in vector["equations"]
    )
    return Statement(raw(vector["ctx"]), equations, len(raw(vector["proof"])) // 32 - 1)


@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: vector["name"])
def test_verify(vector: dict[str, Any]) -> None:
    if vector["valid"]:
        verify(_statement(vector), raw(vector["proof"]))
    else:
        with pytest.raises(InvalidProofError, match="does not hold"):
            verify(_statement(vector), raw(vector["proof"]))


@pytest.mark.parametrize(
    "vector", [vector for vector in _VECTORS if vector["valid"]], ids=lambda vector: vector["name"]
)
def test_prove(vector: dict[str, Any]) -> None:
    statement = _statement(vector)
    witnesses = [secret(text) for text in vector["witness"]]
    nonces = [secret(text) for text in vector["nonces"]]
    assert statement.encode() == raw(vector["statement"])
    assert prove_with_nonces(statement, witnesses, nonces) == raw(vector["proof"])
    own = prove(statement, witnesses, SeededRandom(vector["name"]))
    assert own != raw(vector["proof"])
    verify(statement, own)


def test_the_named_statements_are_instances() -> None:
    schnorr, equality = _VECTORS[0], _VECTORS[1]
    context = tagged_hash("tks/1/ctx/pop", raw(schnorr["h1"]) + raw(schnorr["node"]))
    assert context == raw(schnorr["ctx"])
    public = point(schnorr["equations"][0]["Y"])
    assert possession(context, public) == _statement(schnorr)
    (first, second) = _statement(equality).equations
    assert equal_logarithms(
        raw(equality["ctx"]), first.terms[0][1], first.result, second.terms[0][1], second.result
    ) == _statement(equality)
