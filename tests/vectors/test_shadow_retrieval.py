from typing import Any

import pytest

from keyserver.crypto import documents, ecies
from keyserver.crypto.curve import (
    Point,
    Scalar,
    SecretScalar,
    add,
    lincomb,
    mul_base,
    mul_public,
    negate,
    sum_points,
    sum_secrets,
)
from keyserver.crypto.elgamal import (
    combine_partials,
    plain_partial,
    recover_document_key,
    result_common_point,
    shadow_commitments,
    shadow_factors,
    shadow_partial,
    shadow_scalar,
    shadow_statement,
)
from keyserver.crypto.hashing import address_of
from keyserver.crypto.polynomial import SecretPolynomial, interpolate_secret, lagrange_at
from keyserver.crypto.proofs import prove_with_nonces, verify
from tests.vectors.files import load, point, point64, raw, scalar, secret, small

_FILE: dict[str, Any] = load("shadow_retrieval")
_VECTORS: list[dict[str, Any]] = _FILE["vectors"]


class _Fixed:
    """A random source that hands out one value."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def bytes(self, n: int) -> bytes:
        assert n == len(self._value)
        return self._value


def _consensus(vector: dict[str, Any]) -> list[dict[str, Any]]:
    by_place = {node["x"]: node for node in vector["nodes"]}
    return [by_place[x] for x in vector["consensus_x"]]


@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: vector["name"])
def test_stored_document_key(vector: dict[str, Any]) -> None:
    public, document_key = point(vector["joint_public"]), point64(vector["document_key_raw64"])
    assert public.raw64 == raw(vector["joint_public_raw64"])
    k = scalar(vector["k"])
    assert mul_base(k).raw64 == raw(vector["common_point_stored_raw64"])
    masked = mul_public(public, k)
    assert masked is not None
    encrypted = sum_points([document_key, masked])
    assert encrypted == point64(vector["encrypted_point_raw64"])
    polynomial = SecretPolynomial([secret(c) for c in vector["secret_coefficients"]])
    assert polynomial.commit()[0] == public
    for node in vector["nodes"]:
        assert polynomial.evaluate(scalar(node["x"])) == secret(node["share"])


@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: vector["name"])
def test_partials(vector: dict[str, Any]) -> None:
    common = point64(vector["common_point_stored_raw64"])
    xs = [scalar(x) for x in vector["consensus_x"]]
    factors = lagrange_at(xs)
    for node, factor in zip(_consensus(vector), factors, strict=True):
        share = secret(node["share"])
        assert mul_base(share) == point(node["verification_share"])
        assert factor == scalar(node["lagrange_at_0"])
        assert plain_partial(share, common) == point(node["plain_partial"])
        made = shadow_partial(share, common, _Fixed(raw(node["e"])))
        assert (made.mask_point, made.partial) == (point(node["E"]), point(node["partial"]))
        statement = shadow_statement(
            raw(node["dleq_ctx"]), mul_base(share), made.mask_point, common, made.partial
        )
        nonces = [secret(node["dleq_nonce"])]
        proof = prove_with_nonces(statement, [made.witness], nonces)
        assert proof == raw(node["dleq_proof"])
        verify(statement, proof)


@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: vector["name"])
def test_results(vector: dict[str, Any]) -> None:
    common = point64(vector["common_point_stored_raw64"])
    encrypted = point64(vector["encrypted_point_raw64"])
    xs = [scalar(x) for x in vector["consensus_x"]]
    nodes = _consensus(vector)
    result = vector["client_result"]
    decrypted = combine_partials(encrypted, xs, [point(node["partial"]) for node in nodes])
    assert decrypted.raw64 == raw(result["decrypted_secret"])
    common_point = result_common_point(vector["threshold"], common)
    assert common_point.raw64 == raw(result["common_point"])
    requester = secret(vector["requester_secret"])
    factors = shadow_factors(xs)
    committed = shadow_commitments(factors, [point(node["E"]) for node in nodes])
    shadows = []
    for node, factor, commitment, sealed in zip(
        nodes, factors, committed, result["decrypt_shadows"], strict=True
    ):
        shadow = shadow_scalar(secret(node["e"]), factor)
        assert shadow == secret(node["shadow"])
        assert mul_base(shadow) == commitment
        ciphertext = ecies.encrypt_with(
            requester.public(),
            shadow.expose(),
            secret(node["ecies_ephemeral"]),
            raw(node["ecies_iv"]),
        )
        assert ciphertext == raw(node["shadow_ecies"]) == raw(sealed)
        shadows.append(SecretScalar(ecies.decrypt(requester, raw(sealed))))
    assert sum_secrets(shadows) == secret(vector["sum_of_shadows"])
    recovered = recover_document_key(decrypted, common_point, shadows)
    assert recovered.raw64 == raw(vector["recovered_document_key_raw64"])
    plain = combine_partials(encrypted, xs, [point(node["plain_partial"]) for node in nodes])
    assert plain == recovered == point64(vector["document_key_raw64"])


@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: vector["name"])
def test_the_original_gives_the_same_values(vector: dict[str, Any]) -> None:
    """With `d_i = 1 + e_i/s_i` its shadows `(d_i - 1)*n_i` are ours, and so is its result."""
    common = point64(vector["common_point_stored_raw64"])
    access_key = scalar(vector["legacy_access_key"])
    joint: list[Point] = []
    for node in _consensus(vector):
        share, mask, factor = (
            scalar(node["share"]),
            scalar(node["e"]),
            node["legacy"]["node_shadow"],
        )
        random = scalar(node["legacy"]["decrypt_shadow_random"])
        assert random == Scalar(1) + mask * share.inverse()
        assert (random - Scalar(1)) * scalar(factor) == scalar(node["shadow"])
        shadow_point = mul_public(common, access_key * random * scalar(factor))
        assert shadow_point == point64(node["legacy"]["shadow_point_raw64"])
        joint.append(point64(node["legacy"]["shadow_point_raw64"]))
    total = sum_points(joint)
    assert total is not None
    unblinded = mul_public(total, access_key.inverse())
    assert unblinded is not None
    masked = unblinded if vector["threshold"] % 2 else negate(unblinded)
    decrypted = add(point64(vector["encrypted_point_raw64"]), masked)
    assert decrypted == point64(vector["client_result"]["decrypted_secret"])


@pytest.mark.parametrize("case", _FILE["small_scalars"], ids=lambda case: f"t={case['threshold']}")
def test_small_scalars(case: dict[str, Any]) -> None:
    xs = [Scalar(x) for x in case["x"]]
    common, encrypted = (
        point64(case["common_point_stored_raw64"]),
        point64(case["encrypted_point_raw64"]),
    )
    assert lagrange_at(xs) == [scalar(text) for text in case["lagrange_at_0"]]
    partials = []
    for share, mask in zip(case["shares"], case["e"], strict=True):
        made = shadow_partial(small(share), common, _Fixed(mask.to_bytes(32, "big")))
        partials.append(made.partial)
    decrypted = combine_partials(encrypted, xs, partials)
    assert decrypted == point64(case["decrypted_secret_raw64"])
    common_point = result_common_point(case["threshold"], common)
    assert common_point == point64(case["common_point_result_raw64"])
    shadows = [
        shadow_scalar(small(mask), factor)
        for mask, factor in zip(case["e"], shadow_factors(xs), strict=True)
    ]
    assert shadows == [secret(text) for text in case["shadows"]]
    document_key = point64(case["document_key_raw64"])
    assert recover_document_key(decrypted, common_point, shadows) == document_key
    assert document_key == mul_base(Scalar(case["document_scalar"]))


def test_published_shadow_decryption() -> None:
    case = _FILE["published_shadow_decrypt"]
    requester = secret(case["requester_secret"])
    assert address_of(requester.public().raw64) == raw(case["requester_address"])
    opened = [ecies.decrypt(requester, raw(text)) for text in case["decrypt_shadows_ecies"]]
    assert opened == [raw(case["shadow_plain"])]
    document_key = recover_document_key(
        point64(case["decrypted_secret_raw64"]),
        point64(case["common_point_raw64"]),
        [SecretScalar(shadow) for shadow in opened],
    )
    assert document_key.raw64 == raw(case["document_key_raw64"])
    document = documents.decrypt_document(document_key, raw(case["encrypted_document"]))
    assert document == raw(case["document"])


def test_published_four_of_five() -> None:
    case = _FILE["published_4_of_5"]
    common, encrypted = point64(case["common_point_raw64"]), point64(case["encrypted_point_raw64"])
    public: Point = point64(case["derived"]["joint_public_raw64"])
    for left_out in range(5):
        nodes = [node for i, node in enumerate(case["nodes"]) if i != left_out]
        xs = [scalar(node["id_number"]) for node in nodes]
        shares = [secret(node["share"]) for node in nodes]
        joint = interpolate_secret(xs, shares)
        assert joint == secret(case["derived"]["joint_secret"])
        assert joint.public() == public
        partials = [plain_partial(share, common) for share in shares]
        key = combine_partials(encrypted, xs, partials)
        assert key == point64(case["document_key_raw64"])
        assert key == lincomb(Scalar(0), Scalar(1), key)
