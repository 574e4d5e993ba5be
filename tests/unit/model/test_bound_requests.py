"""The digest of a bound request is what any EIP-712 library makes of the published types."""

import pytest
from eth_account.messages import encode_typed_data

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.model.bound_requests import SigningDomain, bound_digest
from keyserver.model.identifiers import Address, Hash32, KeyId, Nonce32
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import (
    AnyOperation,
    GenerateServerKey,
    RetrieveDocumentKey,
    RetrieveServerKey,
    SigningScheme,
    SignMessage,
    StoreDocumentKey,
)

_KEY_ID = KeyId(bytes(range(32)))
_POINT = SecretScalar.from_int(7).public()
_DOMAINS = [
    SigningDomain(1, Address(b"\xc1" * 20)),
    SigningDomain(0, Address(bytes(20))),
    SigningDomain(2**200 + 5, Address(bytes(range(20)))),
]
_OPERATIONS: list[AnyOperation] = [
    GenerateServerKey(_KEY_ID, 3),
    GenerateServerKey(_KEY_ID, 3, with_document_key=True),
    StoreDocumentKey(_KEY_ID, DocumentKey(_POINT, SecretScalar.from_int(8).public())),
    RetrieveServerKey(_KEY_ID),
    RetrieveDocumentKey(_KEY_ID),
    RetrieveDocumentKey(_KEY_ID, shadow=False),
    *(SignMessage(_KEY_ID, Hash32(b"m" * 32), scheme) for scheme in SigningScheme),
]
_FIELDS = [
    {"name": "operation", "type": "uint8"},
    {"name": "keyId", "type": "bytes32"},
    {"name": "payloadHash", "type": "bytes32"},
    {"name": "notAfter", "type": "uint64"},
    {"name": "nonce", "type": "bytes32"},
]


@pytest.mark.parametrize("domain", _DOMAINS, ids=lambda domain: str(domain.chain_id))
@pytest.mark.parametrize("operation", _OPERATIONS, ids=lambda operation: operation.number.name)
def test_it_is_the_digest_of_the_typed_data(domain: SigningDomain, operation: AnyOperation) -> None:
    not_after, nonce = 1_700_000_000, Nonce32(b"\x5a" * 32)
    typed = encode_typed_data(
        domain_data={
            "name": "SecretStore",
            "version": "2",
            "chainId": domain.chain_id,
            "verifyingContract": "0x" + domain.verifying_contract.hex(),
        },
        message_types={"Request": _FIELDS},
        message_data={
            "operation": int(operation.number),
            "keyId": bytes(operation.key_id),
            "payloadHash": keccak256(operation.payload()),
            "notAfter": not_after,
            "nonce": bytes(nonce),
        },
    )
    signed = keccak256(b"\x19" + typed.version + typed.header + typed.body)
    assert bound_digest(domain, operation, not_after, nonce) == signed
