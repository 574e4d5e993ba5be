"""The HTTP interface against its vectors: grammar, requesters, bodies, the printed admin calls."""

import json
from typing import Any

import pytest

from keyserver.api.credentials import open_path_credential, proves_something
from keyserver.api.errors import Refusal
from keyserver.api.node_ids import parse_new_set
from keyserver.api.original import shadow_body
from keyserver.api.original_paths import (
    Call,
    ChangeNodeSet,
    Generate,
    RetrieveDocument,
    RetrieveKey,
    Sign,
    Store,
    parse,
)
from keyserver.crypto import ecies
from keyserver.crypto.curve import (
    ORDER,
    Scalar,
    SecretScalar,
    add,
    lincomb,
    mul_secret,
    recover,
    sign_digest,
)
from keyserver.crypto.elgamal import recover_document_key, result_common_point
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.sessions.outcomes import ShadowResult
from tests.support.asgi import call
from tests.support.scripted_node import ScriptedNode, app_of
from tests.vectors.files import load, point64, raw, secret

_FILE: dict[str, Any] = load("http-api")
_GRAMMAR = _FILE["request_grammar"]
_WORKED = _FILE["worked_example"]
_KEYS = {a["name"]: secret(a["private_key"]) for a in _FILE["accounts"]}
_RANDOM = SeededRandom("vectors")


def _operation(call_: Call) -> str:
    match call_:
        case Generate(with_document_key=False):
            return "generate_server_key"
        case Generate():
            return "generate_server_and_document_key"
        case Store():
            return "store_document_key"
        case RetrieveKey():
            return "retrieve_server_key"
        case RetrieveDocument(shadow=True):
            return "retrieve_document_key_shadow"
        case RetrieveDocument():
            return "retrieve_document_key"
        case Sign(ecdsa=True):
            return "sign_ecdsa"
        case Sign():
            return "sign_schnorr"
        case ChangeNodeSet():
            return "change_servers_set"


@pytest.mark.parametrize("case", _GRAMMAR, ids=range(len(_GRAMMAR)))
def test_grammar(case: dict[str, Any]) -> None:
    parsed = parse(case["method"], case["path"].partition("?")[0].encode())
    if isinstance(parsed, ChangeNodeSet) and parse_new_set(case["body"].encode()) is None:
        parsed = None
    assert (parsed is not None) == case["accept"]
    if parsed is not None:
        assert _operation(parsed) == case["operation"]
    if isinstance(parsed, Generate):
        assert parsed.threshold == case["threshold"]


@pytest.mark.parametrize("case", _GRAMMAR, ids=range(len(_GRAMMAR)))
async def test_grammar_by_the_whole_application(case: dict[str, Any]) -> None:
    node = ScriptedNode()
    answer = await call(app_of(node), case["method"], case["path"], (), case["body"].encode())
    if case["accept"]:
        assert (answer.status, answer.body) != (400, b"")
        return
    assert (answer.status, answer.text) == (case["status"], case["response_body"])
    assert answer.header("content-type") is None
    assert node.operations.calls == []


@pytest.mark.parametrize("case", _FILE["requester_identity"])
async def test_requester(case: dict[str, Any]) -> None:
    key_id, signature = KeyId(raw(case["server_key_id"])), raw(case["signature"])
    if case["public"] is not None:
        credential = open_path_credential(key_id, signature, _RANDOM)
        assert credential.public.raw64 == raw(case["public"])
        assert credential.address == raw(case["address"])
        return
    with pytest.raises(InvalidSignatureError):
        open_path_credential(key_id, signature, _RANDOM)
    path = f"/shadow/{key_id.hex()}/{signature.hex()}"
    answer = await call(app_of(ScriptedNode()), "GET", path)
    assert answer.status == case["status"]
    assert json.loads(json.loads(answer.text)) == case["error"]


def test_ids_whose_signature_proves_nothing() -> None:
    assert not proves_something(KeyId(bytes(32)))
    assert not proves_something(KeyId(b"\xff" * 32))
    assert proves_something(KeyId(bytes(31) + b"\x01"))


@pytest.mark.parametrize("case", _FILE["ecies"])
def test_messages_of_answers(case: dict[str, Any]) -> None:
    message = raw(case["message"])
    assert len(message) == case["length"]
    assert ecies.decrypt(secret(case["private_key"]), message) == raw(case["plaintext"])


def test_printed_shadow() -> None:
    case = _FILE["documentation_shadow_example"]
    answer = case["response"]
    recipient = _KEYS[case["recipient"]]
    shadows = [ecies.decrypt(recipient, raw(sealed)) for sealed in answer["decrypt_shadows"]]
    assert shadows == [raw(plain) for plain in case["decrypted_shadows"]]
    found = recover_document_key(
        point64(answer["decrypted_secret"]),
        point64(answer["common_point"]),
        [SecretScalar(shadow) for shadow in shadows],
    )
    assert found.raw64 == raw(case["document_key"])


def test_returned_common_point() -> None:
    case = _FILE["tutorial_common_point"]
    returned = result_common_point(case["threshold"], point64(case["stored_common_point"]))
    assert returned.raw64 == raw(case["returned_common_point"])


@pytest.mark.parametrize("case", _FILE["error_bodies"])
def test_error_bodies(case: dict[str, str]) -> None:
    assert Refusal(403, case["text"]).body().decode() == case["body"]


@pytest.mark.parametrize("case", _FILE["servers_set_change"], ids=lambda case: case["name"])
def test_printed_admin_calls(case: dict[str, Any]) -> None:
    request = case["request"]
    parsed = parse(request["method"], request["path"].encode())
    assert isinstance(parsed, ChangeNodeSet)
    assert parse_new_set(request["body"].encode()) == frozenset(
        NodeId(raw(node)) for node in case["new_set"]
    )
    for which, signature in (("old", parsed.old_signature), ("new", parsed.new_signature)):
        digest = keccak256(b"".join(sorted(raw(node) for node in case[f"{which}_set"])))
        assert digest == raw(case[f"{which}_set_hash"])
        assert signature == raw(case[f"{which}_set_signature"])
        assert recover(digest, signature).raw64 == raw(case["admin_public"])


def test_admin_signatures_reproduce() -> None:
    keys = [secret(account["private_key"]) for account in _FILE["admin_accounts"]]
    by_public = {key.public().raw64: key for key in keys}
    for case in _FILE["servers_set_change"]:
        key = by_public[raw(case["admin_public"])]
        assert sign_digest(key, raw(case["new_set_hash"])) == raw(case["new_set_signature"])


def test_bodies_of_the_worked_example() -> None:
    """Made from parsed values, every successful body comes out byte for byte."""
    bodies = [e["response"]["body"] for e in _WORKED["exchanges"] if e["response"]["status"] == 200]
    (shadow,) = (body for body in bodies if body.startswith("{"))
    fields = json.loads(shadow)
    result = ShadowResult(
        point64(fields["decrypted_secret"]),
        point64(fields["common_point"]),
        tuple(raw(each) for each in fields["decrypt_shadows"]),
        (),
        (),
    )
    assert shadow_body(result).decode() == shadow
    bob = _KEYS["bob"]
    scalars = [SecretScalar(ecies.decrypt(bob, sealed)) for sealed in result.shadows]
    found = recover_document_key(result.decrypted_secret, result.common_point, scalars)
    assert found.raw64 == raw(_WORKED["document_key"])


def _answered(row: str) -> bytes:
    """What Bob finds in the answer to the worked example's request of this row."""
    (body,) = (
        exchange["response"]["body"]
        for exchange in _WORKED["exchanges"]
        if exchange["request"]["path"].startswith(f"/{row}/")
    )
    return ecies.decrypt(_KEYS["bob"], raw(json.loads(body)))


def test_keys_of_the_worked_example() -> None:
    server_key, document_key = point64(_WORKED["server_key_public"]), raw(_WORKED["document_key"])
    assert secret(_WORKED["server_key_secret"]).public() == server_key
    assert _answered(_WORKED["server_key_id"][2:]) == document_key
    hidden = mul_secret(
        point64(_WORKED["common_point"]), secret(_WORKED["server_key_secret"]).negate()
    )
    opened = add(point64(_WORKED["encrypted_point"]), hidden)
    assert opened is not None
    assert opened.raw64 == document_key


def test_schnorr_signature_of_the_worked_example() -> None:
    """Section 5.3, with what this version has: c, then s; R is s·G + c·Y."""
    case = _WORKED["schnorr"]
    plaintext = _answered("schnorr")
    assert plaintext == raw(case["plaintext"])
    c, s = Scalar.from_bytes(plaintext[:32]), Scalar.from_bytes(plaintext[32:])
    nonce_point = lincomb(s, c, point64(_WORKED["server_key_public"]))
    assert nonce_point is not None
    assert nonce_point.raw64 == raw(case["nonce_point"])
    assert secret(case["nonce"]).public() == nonce_point
    digest = keccak256(raw(case["message_hash"]) + nonce_point.raw64[:32])
    assert int.from_bytes(digest, "big") % ORDER == int.from_bytes(plaintext[:32], "big")


def test_ecdsa_signature_of_the_worked_example() -> None:
    case = _WORKED["ecdsa"]
    signature = _answered("ecdsa")
    assert signature == raw(case["plaintext"])
    assert recover(raw(case["message_hash"]), signature) == point64(_WORKED["server_key_public"])
    assert int.from_bytes(signature[32:64], "big") <= ORDER // 2
    assert signature[64] in range(4)


def test_paths_of_the_worked_example() -> None:
    for exchange in _WORKED["exchanges"]:
        request = exchange["request"]
        parsed = parse(request["method"], request["path"].encode())
        invalid = (exchange["response"]["status"], exchange["response"]["body"]) == (400, "")
        assert (parsed is None) == invalid


def test_node_keys() -> None:
    for node in [*_FILE["nodes"], *_FILE["admin_accounts"], *_FILE["accounts"]]:
        assert secret(node["private_key"]).public().raw64 == raw(node["public"])
