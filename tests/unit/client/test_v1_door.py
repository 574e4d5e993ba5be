"""The interface /v1: what is signed, what is sent, how answers are read."""

import json
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from keyserver.client.errors import (
    BadAnswerError,
    NodeFailedError,
    NodeNotReadyError,
    NodeUnreachableError,
    RefusedOverHttpError,
)
from keyserver.client.node_http import HttpAnswer, HttpRequest
from keyserver.client.v1_door import V1Door, credential, read_facts
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId, Nonce32
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import (
    ClientOperation,
    GenerateServerKey,
    RetrieveDocumentKey,
    RetrieveServerKey,
    SigningScheme,
    SignMessage,
    StoreDocumentKey,
)
from tests.vectors.files import load

FILE: dict[str, Any] = load("request_auth")
RNG = SeededRandom("v1 door")
ALICE = Wallet(SecretScalar(bytes.fromhex(FILE["requester_secret"])))
DOMAIN = SigningDomain(
    FILE["domain"]["chainId"], Address(bytes.fromhex(FILE["domain"]["verifyingContract"][2:]))
)
NOW = 1_700_000_000.9
DOOR = V1Door(ALICE, DOMAIN, RNG, lambda: NOW)
KEY_ID = KeyId(bytes(range(32)))
NODE = "http://node"
ONE, TWO = SecretScalar.from_int(1).public(), SecretScalar.from_int(2).public()
STORE = StoreDocumentKey(KEY_ID, DocumentKey(ONE, TWO))


def hex_of(value: Point | bytes) -> str:
    return "0x" + (value.raw64 if isinstance(value, Point) else value).hex()


def answer(fields: object, status: int = 200) -> HttpAnswer:
    return HttpAnswer(NODE, status, json.dumps(fields).encode())


def operation_of(vector: dict[str, Any]) -> ClientOperation:
    key_id, payload = KeyId(bytes.fromhex(vector["key_id"])), bytes.fromhex(vector["payload"])
    match vector["operation"]:
        case 1:
            return GenerateServerKey(key_id, int.from_bytes(payload, "big"))
        case 2:
            points = Point.from_raw64(payload[:64]), Point.from_raw64(payload[64:])
            return StoreDocumentKey(key_id, DocumentKey(*points))
    return RetrieveDocumentKey(key_id)


@pytest.mark.parametrize(
    "vector",
    [each for each in FILE["requests"] if each["operation"] in (1, 2, 6)],
    ids=lambda vector: vector["name"],
)
def test_credentials_are_the_published_ones(vector: dict[str, Any]) -> None:
    nonce, not_after = Nonce32(bytes.fromhex(vector["nonce"])), vector["not_after"]
    made = credential(ALICE, DOMAIN, operation_of(vector), not_after, nonce)
    assert made == f"v1 {not_after} {vector['nonce']} {vector['signature']}"


def test_any_wallet_program_recovers_the_account_from_the_typed_data() -> None:
    header = DOOR.request(STORE).headers["Secretstore-Auth"]
    version, not_after, nonce, signature = header.split(" ")
    assert version == "v1"
    assert int(not_after) == int(NOW) + 300
    message = encode_typed_data(
        {
            "name": "SecretStore",
            "version": "2",
            "chainId": DOMAIN.chain_id,
            "verifyingContract": hex_of(DOMAIN.verifying_contract),
        },
        {
            "Request": [
                {"name": "operation", "type": "uint8"},
                {"name": "keyId", "type": "bytes32"},
                {"name": "payloadHash", "type": "bytes32"},
                {"name": "notAfter", "type": "uint64"},
                {"name": "nonce", "type": "bytes32"},
            ]
        },
        {
            "operation": 2,
            "keyId": bytes(KEY_ID),
            "payloadHash": keccak256(ONE.raw64 + TWO.raw64),
            "notAfter": int(not_after),
            "nonce": bytes.fromhex(nonce),
        },
    )
    vrs = signature[:128] + f"{int(signature[128:], 16) + 27:02x}"
    signer = Account.recover_message(message, signature=bytes.fromhex(vrs))
    assert bytes.fromhex(signer[2:]) == ALICE.address


def test_every_request_has_a_nonce_of_its_own() -> None:
    sent = [DOOR.request(RetrieveServerKey(KEY_ID)).headers["Secretstore-Auth"] for _ in "ab"]
    nonces = {header.split(" ")[2] for header in sent}
    assert len(nonces) == 2
    assert "Secretstore-Auth" not in repr(DOOR.request(STORE))


def parts(request: HttpRequest) -> tuple[str, str, object]:
    assert ("Content-Type" in request.headers) == bool(request.body)
    return request.method, request.path, json.loads(request.body) if request.body else None


def test_paths_and_bodies() -> None:
    key = f"/v1/server-keys/{KEY_ID.hex()}"
    threshold = {"threshold": 2}
    points = {"common_point": hex_of(ONE), "encrypted_point": hex_of(TWO)}
    both = GenerateServerKey(KEY_ID, 2, with_document_key=True)
    plain = RetrieveDocumentKey(KEY_ID, shadow=False)
    assert parts(DOOR.request(GenerateServerKey(KEY_ID, 2))) == ("POST", key, threshold)
    assert parts(DOOR.request(RetrieveServerKey(KEY_ID))) == ("GET", key, None)
    assert parts(DOOR.request(STORE)) == ("POST", f"{key}/document-key", points)
    assert parts(DOOR.request(both)) == ("POST", f"{key}/document-key/generate", threshold)
    assert parts(DOOR.request(plain)) == ("POST", f"{key}/document-key/plain", None)
    shadow = RetrieveDocumentKey(KEY_ID)
    assert parts(DOOR.request(shadow)) == ("POST", f"{key}/document-key/shadow", None)
    unwanted = NodeId(b"\x07" * 64)
    body = parts(DOOR.request(shadow, frozenset({unwanted})))[2]
    assert body == {"exclude": [hex_of(unwanted)]}


def test_server_keys_are_read() -> None:
    fields = {"public": hex_of(ONE), "threshold": 1, "author": hex_of(ALICE.address)}
    key = DOOR.server_key(answer(fields))
    assert (key.public, key.threshold, key.author) == (ONE, 1, ALICE.address)
    for name, wrong in (
        ("public", "0x" + "11" * 64),
        ("public", None),
        ("threshold", "1"),
        ("threshold", -1),
        ("threshold", True),
        ("threshold", 65_536),
        ("author", "0x00"),
    ):
        with pytest.raises(BadAnswerError, match=name):
            DOOR.server_key(answer({**fields, name: wrong}))
    with pytest.raises(BadAnswerError, match="not a JSON object"):
        DOOR.server_key(answer([]))


def shadow_fields() -> dict[str, Any]:
    return {
        "decrypted_secret": hex_of(ONE),
        "common_point": hex_of(TWO),
        "decrypt_shadows": ["0x" + "01" * 145, "0x" + "02" * 145],
        "shadow_commitments": [hex_of(ONE), hex_of(TWO)],
        "shadow_nodes": ["0x" + "0a" * 64, "0x" + "0b" * 64],
    }


def test_shadows_are_read_with_what_they_must_be() -> None:
    shadow = DOOR.shadow(answer(shadow_fields()))
    assert [each.node for each in shadow.commitments] == [b"\x0a" * 64, b"\x0b" * 64]
    assert [each.point for each in shadow.commitments] == [ONE, TWO]
    for name, wrong in (
        ("decrypt_shadows", []),
        ("decrypt_shadows", ["0x" + "01" * 144]),
        ("shadow_commitments", [hex_of(ONE)]),
        ("shadow_commitments", None),
        ("shadow_nodes", ["0x" + "0a" * 64] * 2),
        ("shadow_nodes", "0x"),
        ("common_point", "0x"),
    ):
        with pytest.raises(BadAnswerError, match=r"shadow|common"):
            DOOR.shadow(answer({**shadow_fields(), name: wrong}))
    short = {**shadow_fields(), "decrypt_shadows": ["0x" + "01" * 145]}
    with pytest.raises(BadAnswerError, match="as many"):
        DOOR.shadow(answer(short))


def test_the_other_answers_are_read() -> None:
    assert DOOR.stored(answer({}))
    with pytest.raises(BadAnswerError):
        DOOR.stored(answer(None))
    sealed = "0x" + "04" * 177
    assert DOOR.sealed_document_key(answer({"encrypted_key": sealed})) == b"\x04" * 177
    with pytest.raises(BadAnswerError, match="encrypted_key: is not 177 bytes"):
        DOOR.sealed_document_key(answer({"encrypted_key": sealed[:-2]}))


def test_what_a_node_says_about_itself_is_checked() -> None:
    node_id = NodeId.of(ONE)
    fields = {
        "node_id": hex_of(node_id),
        "address": hex_of(node_id.address),
        "chain_id": 5,
        "verifying_contract": "0x" + "42" * 20,
        "version": "1.0",
    }
    facts = read_facts(answer(fields))
    assert facts.domain == SigningDomain(5, Address(b"\x42" * 20))
    assert (facts.node_id, facts.version) == (node_id, "1.0")
    for name, wrong in (
        ("address", "0x" + "00" * 20),
        ("node_id", "0x" + "00" * 64),
        ("chain_id", 2**256),
        ("chain_id", "5"),
        ("verifying_contract", None),
        ("version", 1),
        ("version", "1.0\x1b]0;title\x07"),
        ("version", "1.0\x9b31m"),
        ("version", "1" * 101),
    ):
        with pytest.raises(BadAnswerError):
            read_facts(answer({**fields, name: wrong}))


def problem(code: str, status: int, *, retriable: bool) -> HttpAnswer:
    fields = {"code": code, "message": "words", "retriable": retriable}
    return answer({"error": fields}, status)


@pytest.mark.parametrize(
    ("code", "status", "retriable", "error"),
    [
        ("ACCESS_DENIED", 403, False, RefusedOverHttpError),
        ("CONSENSUS_UNREACHABLE", 403, False, RefusedOverHttpError),
        ("CONSENSUS_UNREACHABLE", 503, True, NodeNotReadyError),
        ("SEALED", 503, True, NodeNotReadyError),
        ("NONCE_USED", 401, False, NodeNotReadyError),
        ("SIGNATURE_EXPIRED", 401, False, RefusedOverHttpError),
        ("OPERATION_DISABLED", 403, False, RefusedOverHttpError),
        ("NOT_AVAILABLE", 501, False, RefusedOverHttpError),
        ("INTERNAL", 500, False, NodeFailedError),
        ("NEVER_HEARD_OF", 500, False, NodeFailedError),
        ("NEVER_HEARD_OF", 409, False, RefusedOverHttpError),
        ("CONSENSUS_TEMPORARY_UNREACHABLE", 403, False, RefusedOverHttpError),
    ],
)
def test_errors_are_told_apart(
    code: str, status: int, retriable: bool, error: type[Exception]
) -> None:
    found = DOOR.refusal(problem(code, status, retriable=retriable))
    assert type(found) is error
    assert f"{NODE}: words ({status} {code})" in str(found)


def test_a_server_without_this_interface_is_noticed() -> None:
    for status in (400, 404):
        error = DOOR.refusal(HttpAnswer(NODE, status, b""))
        assert isinstance(error, RefusedOverHttpError)
        assert "--door original" in str(error)


def test_what_is_no_error_of_a_key_server_is_a_bad_answer() -> None:
    for fields in ({}, {"error": "x"}, {"error": {"code": 1, "message": "", "retriable": True}}):
        assert isinstance(DOOR.refusal(answer(fields, 500)), BadAnswerError)
    assert isinstance(DOOR.refusal(HttpAnswer(NODE, 200 + 107, b"")), BadAnswerError)
    assert isinstance(DOOR.refusal(HttpAnswer(NODE, 504, b"")), NodeUnreachableError)


@pytest.mark.parametrize(
    "code", ["\x1b[2J", "A\nB", "A\x9b31m", "", "lower", "A" * 65], ids=lambda code: repr(code)[:8]
)
def test_a_node_writes_nothing_to_the_terminal_through_the_name_of_an_error(code: str) -> None:
    for retriable in (True, False):
        error = DOOR.refusal(problem(code, 403, retriable=retriable))
        assert isinstance(error, BadAnswerError)
        assert str(error).splitlines()[0].isprintable()


@pytest.mark.parametrize("scheme", list(SigningScheme))
def test_signing(scheme: SigningScheme) -> None:
    operation = SignMessage(KEY_ID, Hash32(b"\x4d" * 32), scheme)
    name = scheme.name.lower()
    fields = {"scheme": name, "message_hash": f"0x{'4d' * 32}"}
    path = f"/v1/server-keys/{KEY_ID.hex()}/signature"
    assert parts(DOOR.request(operation)) == ("POST", path, fields)
    for size in (177, 178):
        body = json.dumps({"encrypted_signature": f"0x{'05' * size}"}).encode()
        assert DOOR.sealed_signature(HttpAnswer("http://n", 200, body)) == b"\x05" * size


@pytest.mark.parametrize("value", [None, "", 7, [], "0x", f"0x{'05' * 176}", f"0x{'05' * 179}"])
def test_what_is_no_sealed_signature(value: object) -> None:
    body = json.dumps({"encrypted_signature": value}).encode()
    with pytest.raises(BadAnswerError, match="signature"):
        DOOR.sealed_signature(HttpAnswer("http://n", 200, body))
