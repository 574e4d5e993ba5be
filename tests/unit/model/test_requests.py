"""Requests as they travel."""

import pytest

from keyserver.crypto.curve import GENERATOR
from keyserver.model.codec import CodecError, decode, encode
from keyserver.model.identifiers import Address, Hash32, KeyId, Nonce32
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import (
    AddShare,
    AnyOperation,
    BoundCredential,
    Credential,
    GenerateServerKey,
    LegacyCredential,
    NodeCredential,
    OnChainAddress,
    OnChainPublic,
    Operation,
    Presign,
    Proof,
    Request,
    Reshare,
    RetrieveDocumentKey,
    RetrieveServerKey,
    SigningScheme,
    SignMessage,
    StoreDocumentKey,
)

KEY = KeyId(b"\x01" * 32)
CONTRACT = Address(b"\x02" * 20)
ON_CHAIN = OnChainAddress(CONTRACT, CONTRACT)

OPERATIONS: list[AnyOperation] = [
    GenerateServerKey(KEY, 2),
    GenerateServerKey(KEY, 2, with_document_key=True),
    StoreDocumentKey(KEY, DocumentKey(GENERATOR, GENERATOR)),
    RetrieveServerKey(KEY),
    RetrieveDocumentKey(KEY, shadow=False),
    RetrieveDocumentKey(KEY),
    *(SignMessage(KEY, Hash32(b"m" * 32), scheme) for scheme in SigningScheme),
    Presign(KEY),
    AddShare(KEY),
    Reshare(KEY, Hash32(b"c" * 32), Hash32(b"d" * 32)),
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_survive_the_wire(operation: AnyOperation) -> None:
    request = decode(Request, encode(Request.of(operation, NodeCredential())))
    assert request.operation() == operation
    assert request.operation_number == operation.number
    assert request.hash == Request.of(operation, NodeCredential()).hash


def test_nobody_has_asked_for_a_presignature() -> None:
    assert Request.of(Presign(KEY), NodeCredential()).hash == bytes(32)


@pytest.mark.parametrize(
    "credential",
    [
        LegacyCredential(GENERATOR, GENERATOR, Proof(bytes(64))),
        BoundCredential(5, Nonce32(bytes(32)), GENERATOR, GENERATOR, Proof(bytes(64))),
        OnChainPublic(CONTRACT, GENERATOR),
        NodeCredential(),
    ],
)
def test_credentials_survive_the_wire(credential: Credential) -> None:
    request = Request.of(RetrieveDocumentKey(KEY), credential)
    assert request.credential() == credential


def test_an_on_chain_requester_is_a_key_only_where_something_is_sealed_to_it() -> None:
    assert Request.of(GenerateServerKey(KEY, 1), ON_CHAIN).credential() == ON_CHAIN
    with pytest.raises(CodecError):
        Request.of(RetrieveDocumentKey(KEY), ON_CHAIN).credential()


@pytest.mark.parametrize(
    "request_",
    [
        Request(99, KEY, b"", b"\x04"),
        Request(Operation.GENERATE_SERVER_KEY, KEY, b"\0", b"\x04"),
        Request(Operation.RETRIEVE_SHADOW, KEY, b"\0", b"\x04"),
        Request(Operation.ADD_SHARE, KEY, b"\0", b"\x04"),
        Request(Operation.STORE_DOCUMENT_KEY, KEY, bytes(128), b"\x04"),
        Request(Operation.SIGN_FROST, KEY, bytes(31), b"\x04"),
        Request(Operation.PRESIGN, KEY, b"\0", b"\x04"),
    ],
)
def test_payloads_that_do_not_fit_are_refused(request_: Request) -> None:
    with pytest.raises(CodecError):
        request_.operation()


@pytest.mark.parametrize("auth", [b"", b"\x00", b"\x04\x00", b"\x05", b"\x01" + bytes(130)])
def test_credentials_that_do_not_parse_are_refused(auth: bytes) -> None:
    with pytest.raises(CodecError):
        Request(Operation.RETRIEVE_SHADOW, KEY, b"", auth).credential()
