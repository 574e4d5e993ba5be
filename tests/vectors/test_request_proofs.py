"""Proofs of client signatures; the requests around them are tested with the codec."""

from typing import Any

import pytest

from keyserver.crypto.credentials import (
    OpenedSignature,
    bound_context,
    credential_statement,
    legacy_context,
    open_signature,
)
from keyserver.crypto.curve import mul_secret, sign_digest
from keyserver.crypto.errors import InvalidProofError
from keyserver.crypto.hashing import address_of
from keyserver.crypto.proofs import prove_with_nonces, verify
from tests.vectors.files import load, point, point64, raw, secret

_FILE: dict[str, Any] = load("request_auth")
_LEGACY: dict[str, Any] = _FILE["legacy"]


def _check_opened(opened: OpenedSignature, expected: dict[str, Any]) -> None:
    assert opened.requester == point(expected["X"])
    assert opened.nonce_point == point(expected["R"])
    assert mul_secret(opened.nonce_point, opened.response) == point(expected["T"])


@pytest.mark.parametrize("proven", _LEGACY["proofs"], ids=lambda proven: proven["operation"])
def test_legacy_credential(proven: dict[str, Any]) -> None:
    key_id, signature = raw(_LEGACY["key_id"]), raw(_LEGACY["signature"])
    opened = open_signature(key_id, signature)
    _check_opened(opened, _LEGACY)
    context = legacy_context(
        coordinator=point(proven["coordinator"]),
        boot_nonce=raw(proven["boot_nonce"]),
        counter=proven["counter"],
        operation=proven["operation"],
        key_id=key_id,
        payload=raw(proven["payload"]),
    )
    assert context == raw(proven["ctx"])
    statement = credential_statement(context, key_id, opened.requester, opened.nonce_point)
    proof = prove_with_nonces(statement, [opened.response], [secret(proven["nonce"])])
    assert proof == raw(proven["proof"])
    verify(statement, proof)
    other = credential_statement(context, bytes(31) + b"\1", opened.requester, opened.nonce_point)
    with pytest.raises(InvalidProofError):
        verify(other, proof)


@pytest.mark.parametrize("request_", _FILE["requests"], ids=lambda request: request["name"])
def test_bound_credential(request_: dict[str, Any]) -> None:
    digest, bound = raw(request_["digest"]), request_["bound"]
    requester = secret(_FILE["requester_secret"])
    assert sign_digest(requester, digest) == raw(request_["signature"])
    opened = open_signature(digest, raw(request_["signature"]))
    _check_opened(opened, bound)
    assert opened.requester == point64(_FILE["requester_public_raw64"])
    assert address_of(opened.requester.raw64) == raw(_FILE["requester_address"])
    context = bound_context(
        coordinator=point(bound["coordinator"]),
        boot_nonce=raw(bound["boot_nonce"]),
        counter=bound["counter"],
        operation=request_["operation"],
        key_id=raw(request_["key_id"]),
        payload=raw(request_["payload"]),
        digest=digest,
    )
    assert context == raw(bound["ctx"])
    statement = credential_statement(context, digest, opened.requester, opened.nonce_point)
    proof = prove_with_nonces(statement, [opened.response], [secret(bound["proof_nonce"])])
    assert proof == raw(bound["proof"])
    verify(statement, proof)
