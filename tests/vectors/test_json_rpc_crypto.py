"""The computations behind the JSON-RPC methods: signatures, messages, documents, shadows."""

from typing import Any

import pytest

from keyserver.crypto import documents, ecies
from keyserver.crypto.curve import (
    Point,
    Scalar,
    SecretScalar,
    add,
    mul_base,
    mul_public,
    recover,
    sign_digest,
)
from keyserver.crypto.elgamal import recover_document_key
from keyserver.crypto.errors import DecryptionError, InvalidPointError
from keyserver.crypto.hashing import address_of, keccak256
from keyserver.crypto.polynomial import interpolate_secret, lagrange_at
from tests.vectors.files import load, point64, raw, scalar, secret

_FILE: dict[str, Any] = load("json-rpc")
_POINTS = ("common_point", "encrypted_point")
_KEYS = {
    account["address"].lower(): secret(account["private_key"]) for account in _FILE["accounts"]
}


def _cases(method: str) -> list[Any]:
    """The cases of a method; those without a request hold only an example of an answer."""
    return [
        pytest.param(case, id=case["id"])
        for case in [*_FILE["cases"], *_FILE["accepted"]]
        if case.get("request", {}).get("method") == method
    ]


def _params(case: dict[str, Any]) -> tuple[SecretScalar, list[Any]]:
    address, _, *rest = case["request"]["params"]
    return _KEYS[address.lower()], rest


def test_accounts() -> None:
    for account in _FILE["accounts"]:
        public = secret(account["private_key"]).public()
        assert public.raw64 == raw(account["public"])
        assert address_of(public.raw64) == raw(account["address"])


@pytest.mark.parametrize("case", _cases("secretstore_signRawHash"))
def test_sign(case: dict[str, Any]) -> None:
    key, (digest,) = _params(case)
    assert sign_digest(key, raw(digest)) == raw(case["result"])
    assert recover(raw(digest), raw(case["result"])).raw64 == raw(case["recovered_public"])


@pytest.mark.parametrize("case", _cases("secretstore_serversSetHash"))
def test_set_hash(case: dict[str, Any]) -> None:
    (nodes,) = case["request"]["params"]
    ordered = sorted({raw(node) for node in nodes})
    assert keccak256(b"".join(ordered)) == raw(case["result"])


@pytest.mark.parametrize("case", _cases("secretstore_generateDocumentKey"))
def test_generate(case: dict[str, Any]) -> None:
    account, (server_key,) = _params(case)
    drawn, result = case["randomness"], case["result"]
    document_key = mul_base(scalar(drawn["document_key_scalar"]))
    k = scalar(drawn["k"])
    assert mul_base(k).raw64 == raw(result["common_point"])
    encrypted = add(document_key, mul_public(point64(server_key), k))
    assert encrypted == point64(result["encrypted_point"])
    message = ecies.encrypt_with(
        account.public(),
        document_key.raw64,
        secret(drawn["ecies_ephemeral"]),
        raw(drawn["ecies_iv"]),
    )
    assert message == raw(result["encrypted_key"])


@pytest.mark.parametrize("case", _cases("secretstore_encrypt"))
def test_encrypt(case: dict[str, Any]) -> None:
    account, (encrypted_key, document) = _params(case)
    document_key = Point.from_raw64(ecies.decrypt(account, raw(encrypted_key)))
    result = raw(case["result"])
    assert documents.encrypt_document_with(document_key, raw(document), result[-16:]) == result


@pytest.mark.parametrize("case", _cases("secretstore_decrypt"))
def test_decrypt(case: dict[str, Any]) -> None:
    account, (encrypted_key, document) = _params(case)
    assert _decrypt(account, raw(encrypted_key), raw(document)) == raw(case["result"])


@pytest.mark.parametrize("case", _cases("secretstore_shadowDecrypt"))
def test_shadow_decrypt(case: dict[str, Any]) -> None:
    account, (decrypted, common, shadows, document) = _params(case)
    opened = [SecretScalar(ecies.decrypt(account, raw(shadow))) for shadow in shadows]
    document_key = recover_document_key(point64(decrypted), point64(common), opened)
    assert documents.decrypt_document(document_key, raw(document)) == raw(case["result"])


@pytest.mark.parametrize(
    "name",
    [
        "err-tag",
        "err-version-byte-5",
        "err-key-too-short-112",
        "err-key-empty",
        "err-other-recipient",
        "err-document-15-bytes",
        "err-plain-key-32-bytes",
    ],
)
def test_refused(name: str) -> None:
    case = next(case for case in _FILE["errors"] if case["id"] == name)
    account, (encrypted_key, document) = _params(case)
    expected = InvalidPointError if name == "err-plain-key-32-bytes" else DecryptionError
    with pytest.raises(expected):
        _decrypt(account, raw(encrypted_key), raw(document))


def _decrypt(account: SecretScalar, encrypted_key: bytes, document: bytes) -> bytes:
    document_key = Point.from_raw64(ecies.decrypt(account, encrypted_key))
    return documents.decrypt_document(document_key, document)


def test_documented_answer_opens() -> None:
    """The documentation's example of a generated key: its points and message are well-formed."""
    case = next(case for case in _FILE["cases"] if case["id"] == "generate-doc-output")
    account = next(a for a in _FILE["accounts"] if a["name"] == case["account"])
    message = raw(case["result"]["encrypted_key"])
    document_key = Point.from_raw64(ecies.decrypt(secret(account["private_key"]), message))
    assert len({document_key, *(point64(case["result"][n]) for n in _POINTS)}) == 3


@pytest.mark.parametrize(
    "internals", _FILE["shadow_retrieval_internals"], ids=lambda i: f"t={i['threshold']}"
)
def test_shadow_coefficients(internals: dict[str, Any]) -> None:
    """The shadows come from the shares by Lagrange coefficients over 256-bit places."""
    group = internals["consensus_group"]
    xs = [scalar(internals["id_numbers"][i]) for i in group]
    shares = [internals["shares"][i] for i in group]
    joint = interpolate_secret(xs, [secret(share) for share in shares])
    assert joint == secret(internals["secret"])
    sign = Scalar(1) if internals["threshold"] % 2 == 0 else -Scalar(1)
    for share, factor, d, expected in zip(
        shares,
        lagrange_at(xs),
        internals["blinding_d"],
        internals["coefficients"],
        strict=True,
    ):
        blinded = sign * factor * scalar(share) * (scalar(d) - Scalar(1))
        assert blinded == scalar(expected)
