"""What a client signs for one request: an EIP-712 digest (engine design, section 6).

The digest binds operation, key id, payload, expiry and a nonce to one network. Clients, the
contacted node and every participant compute it for themselves.
"""

from dataclasses import dataclass

from keyserver.crypto.hashing import keccak256
from keyserver.model.identifiers import Address, Hash32, KeyId, Nonce32
from keyserver.model.requests import AnyOperation

MAX_BOUND_LIFETIME_S = 600
"""How far ahead the expiry of a bound credential may lie."""

_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_REQUEST_TYPE = (
    b"Request(uint8 operation,bytes32 keyId,bytes32 payloadHash,uint64 notAfter,bytes32 nonce)"
)


@dataclass(frozen=True, slots=True)
class SigningDomain:
    """The network that a signature is for; its name and version are fixed."""

    chain_id: int
    """0 without a chain."""
    verifying_contract: Address
    """The node set contract, or what stands for it in a static set (section 4)."""

    @property
    def separator(self) -> bytes:
        """The domain separator of EIP-712, 32 bytes."""
        return keccak256(
            keccak256(_DOMAIN_TYPE)
            + keccak256(b"SecretStore")
            + keccak256(b"2")
            + self.chain_id.to_bytes(32, "big")
            + self.verifying_contract.rjust(32, b"\0")
        )


def bound_digest(
    domain: SigningDomain, operation: AnyOperation, not_after: int, nonce: Nonce32
) -> Hash32:
    """The digest that a client signs for one operation; `not_after` in unix seconds."""
    number, key_id, payload = operation.number, operation.key_id, operation.payload()
    return request_digest(domain, number, key_id, payload, not_after, nonce)


def request_digest(
    domain: SigningDomain,
    operation_number: int,
    key_id: KeyId,
    payload: bytes,
    not_after: int,
    nonce: Nonce32,
) -> Hash32:
    """The same for an operation given by its number and the bytes of its payload."""
    struct_hash = keccak256(
        keccak256(_REQUEST_TYPE)
        + operation_number.to_bytes(32, "big")
        + key_id
        + keccak256(payload)
        + not_after.to_bytes(32, "big")
        + nonce
    )
    return Hash32(keccak256(b"\x19\x01" + domain.separator + struct_hash))
