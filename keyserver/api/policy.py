"""What this node's operator has switched off (HTTP interface, section 6.1)."""

from typing import Final

from keyserver.api.errors import ACCESS_DENIED, Refusal, operation_disabled
from keyserver.model.identifiers import Address
from keyserver.model.requests import Operation
from keyserver.sessions.core import Policy

_TWO_STEPS: Final = (
    "POST /shadow/{id}/{sig}/{threshold} and "
    "POST /shadow/{id}/{sig}/{common_point}/{encrypted_point}"
)
_BOUND_WAY: Final = {
    Operation.GENERATE_SERVER_KEY: "POST /v1/server-keys/{id}",
    Operation.STORE_DOCUMENT_KEY: "POST /v1/server-keys/{id}/document-key",
    Operation.GENERATE_BOTH: (
        f"{_TWO_STEPS}, or POST /v1/server-keys/{{id}}/document-key/generate"
    ),
    Operation.RETRIEVE_SERVER_KEY: "GET /v1/server-keys/{id}",
    Operation.RETRIEVE_PLAIN: "POST /v1/server-keys/{id}/document-key/plain",
    Operation.RETRIEVE_SHADOW: "POST /v1/server-keys/{id}/document-key/shadow",
    Operation.SIGN_SCHNORR: "POST /v1/server-keys/{id}/signature",
    Operation.SIGN_FROST: "POST /v1/server-keys/{id}/signature",
    Operation.SIGN_ECDSA: "POST /v1/server-keys/{id}/signature",
}
_SHADOW_WAY: Final = {
    Operation.GENERATE_BOTH: _TWO_STEPS,
    Operation.RETRIEVE_PLAIN: _BOUND_WAY[Operation.RETRIEVE_SHADOW],
}
_BOUND_SHADOW_WAY: Final = {
    Operation.GENERATE_BOTH: (
        f"{_BOUND_WAY[Operation.GENERATE_SERVER_KEY]} and "
        f"{_BOUND_WAY[Operation.STORE_DOCUMENT_KEY]}"
    ),
    Operation.RETRIEVE_PLAIN: _BOUND_WAY[Operation.RETRIEVE_SHADOW],
}
_GENERATES: Final = frozenset({Operation.GENERATE_SERVER_KEY, Operation.GENERATE_BOTH})


def refused_by_policy(
    operation: Operation, requester: Address, policy: Policy, *, is_bound: bool = False
) -> Refusal | None:
    """The refusal of an operation; `None`: allowed.

    `is_bound` tells a credential of `/v1`, which only this operation can be asked with, from a
    signature in the path.
    """
    generators = policy.generators if operation in _GENERATES else frozenset()
    if generators and requester not in generators:
        return ACCESS_DENIED
    name = operation.name.lower()
    if policy.forbid_plain_modes and operation in _SHADOW_WAY:
        way = (_BOUND_SHADOW_WAY if is_bound else _SHADOW_WAY)[operation]
        return operation_disabled(name, "forbid_plain_modes", way)
    if is_bound:
        return None
    if operation in policy.strict_credentials:
        return operation_disabled(name, "strict_credentials", _BOUND_WAY[operation])
    if generators:
        way = _BOUND_WAY[Operation.GENERATE_SERVER_KEY]
        return operation_disabled(name, "generators", way)
    return None
