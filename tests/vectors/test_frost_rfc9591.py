"""RFC 9591, appendix E.5: FROST(secp256k1, SHA-256), and a set with large identifiers."""

from typing import Any

import pytest

from keyserver.crypto.curve import Scalar
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.schnorr import (
    Form,
    Nonces,
    SigningPackage,
    aggregate,
    check_part,
    commit_with,
    prepare,
    sign_part,
    verify,
)
from tests.vectors.files import load, point, raw, scalar, secret

_FILE: dict[str, Any] = load("frost_rfc9591")


class Example:
    """One vector, signed by this implementation."""

    def __init__(self, vector: dict[str, Any]) -> None:
        inputs = vector["inputs"]
        self.vector = vector
        self.public = point(inputs["verifying_key_key"])
        self.key = SecretPolynomial(
            [
                secret(inputs["group_secret_key"]),
                *(secret(text) for text in inputs["share_polynomial_coefficients"]),
            ]
        )
        self.shares = {
            entry["identifier"]: secret(entry["participant_share"])
            for entry in inputs["participant_shares"]
        }
        self.first: list[dict[str, Any]] = vector["round_one_outputs"]["outputs"]
        self.nonces = [self._nonces(entry) for entry in self.first]
        self.package: SigningPackage = prepare(
            Form.RFC9591,
            self.public,
            raw(inputs["message"]),
            [nonces.commitment for nonces in self.nonces],
        )

    def _nonces(self, entry: dict[str, Any]) -> Nonces:
        return commit_with(
            Form.RFC9591,
            Scalar(entry["identifier"]),
            self.shares[entry["identifier"]],
            hiding=raw(entry["hiding_nonce_randomness"]),
            binding=raw(entry["binding_nonce_randomness"]),
        )


@pytest.fixture(params=["rfc9591", "big_identifiers"])
def example(request: pytest.FixtureRequest) -> Example:
    return Example(_FILE[request.param])


def test_the_key(example: Example) -> None:
    assert example.key.commit()[0] == example.public
    for x, share in example.shares.items():
        assert example.key.evaluate(Scalar(x)) == share


def test_round_one(example: Example) -> None:
    assert [entry["identifier"] for entry in example.first] == (
        example.vector["inputs"]["participant_list"]
    )
    for entry, nonces in zip(example.first, example.nonces, strict=True):
        hiding, binding = nonces.secret.take()
        assert hiding == secret(entry["hiding_nonce"])
        assert binding == secret(entry["binding_nonce"])
        assert nonces.commitment.hiding == point(entry["hiding_nonce_commitment"])
        assert nonces.commitment.binding == point(entry["binding_nonce_commitment"])
    assert example.package.binding_factors == tuple(
        scalar(entry["binding_factor"]) for entry in example.first
    )


def test_round_two(example: Example) -> None:
    outputs = example.vector["round_two_outputs"]["outputs"]
    key = example.key.commit()
    parts = []
    for index, (entry, nonces) in enumerate(zip(outputs, example.nonces, strict=True)):
        part = sign_part(nonces, example.shares[entry["identifier"]], example.package)
        assert part == scalar(entry["sig_share"])
        assert check_part(example.package, index, part, key)
        parts.append(part)
    signature = aggregate(example.package, parts, key)
    assert signature.encode().hex() == example.vector["final_output"]["sig"]
    assert signature.nonce.compressed == signature.encode()[:33]
    verify(Form.RFC9591, example.public, example.package.message, signature.encode())
