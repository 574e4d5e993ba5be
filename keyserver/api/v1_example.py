"""A worked example of a credential of `/v1`, for the description and for tests of clients.

Made by the same code that checks credentials; the key is known to everybody.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from keyserver.api.v1_credentials import HEADER
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.hashing import address_of, keccak256
from keyserver.model.bound_requests import SigningDomain, request_digest
from keyserver.model.identifiers import Address, Hash32, KeyId, Nonce32
from keyserver.model.requests import GenerateServerKey

SECRET_HEX: Final = "46" * 32
SECRET: Final = SecretScalar.from_int(int(SECRET_HEX, 16))
"""The private key of the example."""

KEY_ID: Final = KeyId(keccak256(b"a document"))
THRESHOLD: Final = 1
DOMAIN: Final = SigningDomain(100, Address(bytes(19) + b"\x42"))
NOT_AFTER: Final = 1_893_456_000
NONCE: Final = Nonce32(bytes(range(1, 33)))

_FIELDS: Final = {
    "EIP712Domain": (
        ("name", "string"),
        ("version", "string"),
        ("chainId", "uint256"),
        ("verifyingContract", "address"),
    ),
    "Request": (
        ("operation", "uint8"),
        ("keyId", "bytes32"),
        ("payloadHash", "bytes32"),
        ("notAfter", "uint64"),
        ("nonce", "bytes32"),
    ),
}


@dataclass(frozen=True, slots=True)
class Example:
    """One request, from its parts to its header."""

    account: Address
    payload: bytes
    # Any: typed data as EIP-712 has it, ready for a wallet.
    typed_data: dict[str, Any]
    digest: Hash32
    signature: bytes
    header: str
    path: str
    body: str


def worked_example() -> Example:
    """Generate a server key: what is signed, and what is sent."""
    wanted = GenerateServerKey(KEY_ID, THRESHOLD)
    digest = request_digest(DOMAIN, wanted.number, KEY_ID, wanted.payload(), NOT_AFTER, NONCE)
    signature = sign_digest(SECRET, digest)
    return Example(
        account=Address(address_of(SECRET.public().raw64)),
        payload=wanted.payload(),
        typed_data=_typed_data(wanted),
        digest=digest,
        signature=signature,
        header=f"{HEADER}: v1 {NOT_AFTER} {NONCE.hex()} {signature.hex()}",
        path=f"/v1/server-keys/{KEY_ID.hex()}",
        body=json.dumps({"threshold": THRESHOLD}),
    )


def _typed_data(wanted: GenerateServerKey) -> dict[str, Any]:
    return {
        "types": {
            name: [{"name": field, "type": kind} for field, kind in fields]
            for name, fields in _FIELDS.items()
        },
        "primaryType": "Request",
        "domain": {
            "name": "SecretStore",
            "version": "2",
            "chainId": DOMAIN.chain_id,
            "verifyingContract": f"0x{DOMAIN.verifying_contract.hex()}",
        },
        "message": {
            "operation": int(wanted.number),
            "keyId": f"0x{KEY_ID.hex()}",
            "payloadHash": f"0x{keccak256(wanted.payload()).hex()}",
            "notAfter": NOT_AFTER,
            "nonce": f"0x{NONCE.hex()}",
        },
    }
