"""The original's interface, against the published exchanges."""

import json
from typing import Any

import pytest

from keyserver.client.doors import Door
from keyserver.client.errors import (
    BadAnswerError,
    ClientError,
    NodeFailedError,
    NodeNotReadyError,
    NodeUnreachableError,
    RefusedByKeyServersError,
    RefusedOverHttpError,
)
from keyserver.client.node_http import HttpAnswer
from keyserver.client.original_door import OriginalDoor
from keyserver.client.signatures import check_signature
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.model.identifiers import Hash32, KeyId, NodeId
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

FILE: dict[str, Any] = load("http-api")
EXAMPLE: dict[str, Any] = FILE["worked_example"]
EXCHANGES: list[dict[str, Any]] = EXAMPLE["exchanges"]
KEY_ID = KeyId(bytes.fromhex(EXAMPLE["server_key_id"][2:]))
NODE = "http://node"


def wallet(name: str) -> Wallet:
    (account,) = [each for each in FILE["accounts"] if each["name"] == name]
    return Wallet(SecretScalar(bytes.fromhex(account["private_key"][2:])))


def point(text: str) -> Point:
    return Point.from_raw64(bytes.fromhex(text[2:]))


STORE = StoreDocumentKey(
    KEY_ID, DocumentKey(point(EXAMPLE["common_point"]), point(EXAMPLE["encrypted_point"]))
)


def published(operation: ClientOperation, who: str) -> list[HttpAnswer]:
    """The published answers to what this door sends, in order."""
    sent = OriginalDoor(wallet(who)).request(operation)
    found = [
        HttpAnswer(NODE, each["response"]["status"], each["response"]["body"].encode())
        for each in EXCHANGES
        if (each["request"]["method"], each["request"]["path"]) == (sent.method, sent.path)
    ]
    assert found, "no published request has this path"
    return found


def refusal(door: Door, status: int, text: str) -> Exception:
    return door.refusal(HttpAnswer(NODE, status, f'"\\"{text}\\""'.encode()))


def test_a_key_is_generated_and_retrieved_by_its_author() -> None:
    door = OriginalDoor(wallet("alice"))
    made, again = published(GenerateServerKey(KEY_ID, 1), "alice")
    public = point(EXAMPLE["server_key_public"])
    assert door.server_key(made).public == public
    error = door.refusal(again)
    assert isinstance(error, RefusedOverHttpError)
    assert (error.status, error.error_code) == (400, "SERVER_KEY_ALREADY_GENERATED")
    (retrieved,) = published(RetrieveServerKey(KEY_ID), "alice")
    assert door.server_key(retrieved).public == public
    (denied,) = published(RetrieveServerKey(KEY_ID), "bob")
    refused = door.refusal(denied)
    assert isinstance(refused, RefusedByKeyServersError)
    assert refused.advice


def test_a_document_key_is_stored_and_retrieved_in_both_forms() -> None:
    door, bob = OriginalDoor(wallet("alice")), wallet("bob")
    stored, again = published(STORE, "alice")
    assert stored.status == 200
    assert door.stored(stored)
    assert "DOCUMENT_KEY_ALREADY_STORED" in str(door.refusal(again))
    document_key = point(EXAMPLE["document_key"])
    missing, shadow = published(RetrieveDocumentKey(KEY_ID), "bob")
    assert "DOCUMENT_KEY_IS_NOT_FOUND" in str(door.refusal(missing))
    assert door.shadow(shadow).open(bob) == document_key
    (plain,) = published(RetrieveDocumentKey(KEY_ID, shadow=False), "bob")
    assert bob.decrypt(door.sealed_document_key(plain)) == document_key.raw64


def test_the_example_of_the_original_documentation_opens() -> None:
    example = FILE["documentation_shadow_example"]
    answer = HttpAnswer(NODE, 200, json.dumps(example["response"]).encode())
    shadow = OriginalDoor(wallet("alice")).shadow(answer)
    assert shadow.open(wallet(example["recipient"])) == point(example["document_key"])


def test_both_keys_are_asked_for_on_a_path_without_prefix() -> None:
    door = OriginalDoor(wallet("alice"))
    both = door.request(GenerateServerKey(KEY_ID, 2, with_document_key=True))
    assert both.method == "POST"
    assert both.path.startswith(f"/{KEY_ID.hex()}/")
    assert both.path.endswith("/2")
    assert KEY_ID.hex() not in repr(both), "a path holds a credential"


def test_what_shadows_must_be_is_asked_for_and_nodes_can_be_left_out() -> None:
    door = OriginalDoor(wallet("alice"))
    operation = RetrieveDocumentKey(KEY_ID)
    assert dict(door.request(operation).headers) == {"Secretstore-Verify": "1"}
    nodes = frozenset({NodeId(b"\x02" * 64), NodeId(b"\x01" * 64)})
    excluded = door.request(operation, nodes).headers["Secretstore-Exclude"]
    assert excluded == f"0x{'01' * 64},0x{'02' * 64}"


@pytest.mark.parametrize(
    ("status", "text", "error", "code"),
    [
        (500, "session with the same id is already registered", NodeNotReadyError, "DUPLICATE"),
        (500, "Exclusive session active", NodeNotReadyError, "EXCLUSIVE_SESSION_ACTIVE"),
        (403, "Consensus temporary unreachable", NodeNotReadyError, "CONSENSUS_TEMPORARY"),
        (403, "Consensus unreachable", RefusedOverHttpError, "CONSENSUS_UNREACHABLE"),
        (500, "Internal error: chain", NodeFailedError, "INTERNAL"),
        (500, "Database error: disk", NodeFailedError, "DATABASE"),
        (503, "Node is sealed", NodeNotReadyError, "SEALED"),
        (429, "Too many requests", NodeNotReadyError, "RATE_LIMITED"),
        (501, "Operation is not available", RefusedOverHttpError, "NOT_AVAILABLE"),
        (403, "Operation is disabled: retrieve_plain (x); use y", RefusedOverHttpError, "DISABLED"),
        (400, "Insufficient requester data: bad", RefusedOverHttpError, "INSUFFICIENT_REQUESTER"),
    ],
)
def test_errors_are_told_apart(status: int, text: str, error: type[Exception], code: str) -> None:
    found = refusal(OriginalDoor(wallet("alice")), status, text)
    assert type(found) is error
    assert code in str(found)
    assert text in str(found)


@pytest.mark.parametrize(
    ("operation", "option", "way", "other_way"),
    [
        ("sign_ecdsa", "strict_credentials", "--door v1", "retrieve_document_key"),
        ("retrieve_shadow", "strict_credentials", "--door v1", "retrieve_document_key"),
        ("retrieve_plain", "strict_credentials", "--door v1", "retrieve_document_key"),
        ("generate_server_key", "generators", "--door v1", "retrieve_document_key"),
        ("retrieve_plain", "forbid_plain_modes", "retrieve_document_key", "--door"),
    ],
)
def test_what_is_switched_off_has_another_way(
    operation: str, option: str, way: str, other_way: str
) -> None:
    text = f"Operation is disabled: {operation} ([keyserver] {option}); use POST /somewhere"
    found = refusal(OriginalDoor(wallet("alice")), 403, text)
    assert isinstance(found, RefusedOverHttpError)
    assert way in found.advice
    assert other_way not in found.advice


def test_what_is_no_error_of_a_key_server_is_a_bad_answer() -> None:
    door = OriginalDoor(wallet("alice"))
    for status, body in (
        (404, b""),
        (500, b"oops"),
        (403, b'"new text"'),
        (301, b""),
        (500, b"{}"),
    ):
        assert isinstance(door.refusal(HttpAnswer(NODE, status, body)), BadAnswerError)
    assert isinstance(door.refusal(HttpAnswer(NODE, 502, b"<html>")), NodeUnreachableError)
    invalid = door.refusal(HttpAnswer(NODE, 400, b""))
    assert isinstance(invalid, RefusedOverHttpError)
    assert invalid.error_code == "INVALID_REQUEST"


def test_words_of_a_node_are_shown_without_control_characters() -> None:
    text = "Internal error: \x1b[2J" + "x" * 1000
    body = ('"\\"' + text.replace("\x1b", "\\u001b") + '\\""').encode()
    said = str(OriginalDoor(wallet("alice")).refusal(HttpAnswer(NODE, 500, body)))
    assert "\x1b" not in said
    assert len(said) < 600


@pytest.mark.parametrize(
    "body", [b"", b"null", b'"0x00"', b'"' + b"0x" + b"11" * 64 + b'"', b"[" * 100_000, b"\xff"]
)
def test_a_server_key_must_be_a_point(body: bytes) -> None:
    with pytest.raises(BadAnswerError, match=NODE):
        OriginalDoor(wallet("alice")).server_key(HttpAnswer(NODE, 200, body))


def test_the_answer_to_storing_must_be_empty() -> None:
    with pytest.raises(BadAnswerError, match="not empty"):
        OriginalDoor(wallet("alice")).stored(HttpAnswer(NODE, 200, b"null"))


@pytest.mark.parametrize("scheme", [SigningScheme.SCHNORR, SigningScheme.ECDSA])
def test_the_published_signatures_are_the_keys(scheme: SigningScheme) -> None:
    bob, name = wallet("bob"), scheme.name.lower()
    message = Hash32(bytes.fromhex(EXAMPLE[name]["message_hash"][2:]))
    (answer,) = published(SignMessage(KEY_ID, message, scheme), "bob")
    encoded = bob.decrypt(OriginalDoor(bob).sealed_signature(answer))
    assert encoded.hex() == EXAMPLE[name]["plaintext"][2:]
    check_signature(scheme, point(EXAMPLE["server_key_public"]), message, encoded)


def test_the_original_has_no_frost() -> None:
    operation = SignMessage(KEY_ID, Hash32(bytes(32)), SigningScheme.FROST)
    with pytest.raises(ClientError, match="no FROST") as raised:
        OriginalDoor(wallet("bob")).request(operation)
    assert "--door v1" in raised.value.advice


@pytest.mark.parametrize("body", [b"", b"7", b'"0x"', b'"0x00"', b'"' + b"00" * 177 + b'"'])
def test_what_is_no_sealed_signature(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        OriginalDoor(wallet("bob")).sealed_signature(HttpAnswer(NODE, 200, body))
