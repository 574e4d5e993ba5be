"""Worked examples of both forms of Schnorr signatures (engine design, section 11)."""

from typing import Any

import pytest

from keyserver.crypto.curve import Scalar
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.crypto.polynomial import SecretPolynomial, lagrange_at
from keyserver.crypto.schnorr import (
    Form,
    aggregate,
    check_part,
    commit_with,
    prepare,
    sign_part,
    verify,
)
from tests.vectors.files import load, point, raw, scalar, secret

_FILE: dict[str, Any] = load("schnorr")
_FORMS = {"rfc9591": Form.RFC9591, "legacy": Form.ORIGINAL}


def _name(vector: dict[str, Any]) -> str:
    return f"{vector['name']}-{vector['variant']}"


def test_the_contexts() -> None:
    for name, form in _FORMS.items():
        assert form.value.decode() == _FILE["context_strings"][name]


@pytest.mark.parametrize("vector", _FILE["vectors"], ids=_name)
def test_a_signature_is_made_as_written(vector: dict[str, Any]) -> None:
    form = _FORMS[vector["variant"]]
    polynomial = SecretPolynomial([secret(text) for text in vector["coefficients"]])
    key = polynomial.commit()
    assert polynomial.degree == vector["threshold"]
    assert key[0] == point(vector["joint_public"])
    signers = sorted(vector["signers"], key=lambda signer: _place(signer))
    nonces = []
    for signer in signers:
        x, share = Scalar(_place(signer)), secret(signer["share"])
        assert polynomial.evaluate(x) == share
        made = commit_with(
            form,
            x,
            share,
            hiding=raw(signer["hiding_randomness"]),
            binding=raw(signer["binding_randomness"]),
        )
        assert made.commitment.hiding == point(signer["hiding_commitment"])
        assert made.commitment.binding == point(signer["binding_commitment"])
        nonces.append(made)
    message = raw(vector["message"])
    package = prepare(form, key[0], message, [made.commitment for made in nonces])
    assert package.nonce == point(vector["group_commitment"])
    assert package.challenge == scalar(vector["challenge"])
    factors = lagrange_at([one.x for one in package.commitments])
    parts = []
    for index, (signer, made) in enumerate(zip(signers, nonces, strict=True)):
        assert package.binding_factors[index] == scalar(signer["binding_factor"])
        assert factors[index] == scalar(signer["lagrange"])
        part = sign_part(made, secret(signer["share"]), package)
        assert part == scalar(signer["signature_share"])
        assert check_part(package, index, part, key)
        parts.append(part)
    assert aggregate(package, parts, key).encode() == raw(vector["signature"])


def _place(signer: dict[str, Any]) -> int:
    x = signer["x"]
    return x if isinstance(x, int) else int(x, 16)


@pytest.mark.parametrize("vector", _FILE["legacy_single_key"], ids=("small", "large"))
def test_signatures_of_the_original_are_right(vector: dict[str, Any]) -> None:
    public, message = secret(vector["secret"]).public(), raw(vector["message"])
    verify(Form.ORIGINAL, public, message, raw(vector["signature"]))
    with pytest.raises(InvalidSignatureError):
        verify(Form.ORIGINAL, public, message[::-1], raw(vector["signature"]))
