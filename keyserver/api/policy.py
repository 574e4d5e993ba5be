"""What this node's operator has switched off (HTTP interface, section 6.1)."""

from typing import Final

from keyserver.api.errors import ACCESS_DENIED, Refusal
from keyserver.model.identifiers import Address
from keyserver.model.requests import Operation
from keyserver.sessions.core import Policy

_BOUND_WAY: Final = {
    Operation.GENERATE_SERVER_KEY: "POST /v1/server-keys/{id}",
    Operation.STORE_DOCUMENT_KEY: "POST /v1/server-keys/{id}/document-key",
    Operation.GENERATE_BOTH: (
        "POST /shadow/{id}/{sig}/{threshold} and "
        "POST /shadow/{id}/{sig}/{common_point}/{encrypted_point}"
    ),
    Operation.RETRIEVE_SERVER_KEY: "GET /v1/server-keys/{id}",
    Operation.RETRIEVE_PLAIN: "POST /v1/server-keys/{id}/document-key/plain",
    Operation.RETRIEVE_SHADOW: "POST /v1/server-keys/{id}/document-key/shadow",
    Operation.SIGN_SCHNORR: "POST /v1/server-keys/{id}/signature",
    Operation.SIGN_FROST: "POST /v1/server-keys/{id}/signature",
    Operation.SIGN_ECDSA: "POST /v1/server-keys/{id}/signature",
}
_SHADOW_WAY: Final = {
    Operation.GENERATE_BOTH: _BOUND_WAY[Operation.GENERATE_BOTH],
    Operation.RETRIEVE_PLAIN: _BOUND_WAY[Operation.RETRIEVE_SHADOW],
}
_GENERATES: Final = frozenset({Operation.GENERATE_SERVER_KEY, Operation.GENERATE_BOTH})


def refused_by_policy(operation: Operation, requester: Address, policy: Policy) -> Refusal | None:
    """The refusal of an operation asked for with a signature in the path; `None`: allowed."""
    generators = policy.generators if operation in _GENERATES else frozenset()
    if generators and requester not in generators:
        return ACCESS_DENIED
    if policy.forbid_plain_modes and operation in _SHADOW_WAY:
        return _disabled(operation, "forbid_plain_modes", _SHADOW_WAY[operation])
    if operation in policy.strict_credentials:
        return _disabled(operation, "strict_credentials", _BOUND_WAY[operation])
    if generators:
        bound = "POST /v1/server-keys/{id}"
        return _disabled(operation, "generators", bound)
    return None


def _disabled(operation: Operation, key: str, way: str) -> Refusal:
    name = operation.name.lower()
    return Refusal(403, f"Operation is disabled: {name} ([keyserver] {key}); use {way}")
