"""What operators switch off (HTTP interface, section 6.1)."""

import pytest

from keyserver.api.errors import Refusal
from keyserver.api.policy import refused_by_policy
from keyserver.model.identifiers import Address
from keyserver.model.requests import Operation
from keyserver.sessions.core import Policy

ALICE, BOB = Address(b"\xaa" * 20), Address(b"\xbb" * 20)
CLIENT_OPERATIONS = [operation for operation in Operation if operation < 16]


def refusal(operation: Operation, policy: Policy, who: Address = ALICE) -> Refusal:
    found = refused_by_policy(operation, who, policy)
    assert found is not None
    return found


@pytest.mark.parametrize("operation", CLIENT_OPERATIONS)
def test_nothing_is_off_by_default(operation: Operation) -> None:
    assert refused_by_policy(operation, ALICE, Policy()) is None


def test_the_printed_example() -> None:
    found = refusal(Operation.RETRIEVE_PLAIN, Policy(forbid_plain_modes=True))
    assert found == Refusal(
        403,
        "Operation is disabled: retrieve_plain ([keyserver] forbid_plain_modes); "
        "use POST /v1/server-keys/{id}/document-key/shadow",
        "OperationDisabled",
    )


def test_plain_modes() -> None:
    policy = Policy(forbid_plain_modes=True)
    off = [o for o in CLIENT_OPERATIONS if refused_by_policy(o, ALICE, policy) is not None]
    assert off == [Operation.GENERATE_BOTH, Operation.RETRIEVE_PLAIN]
    assert "POST /shadow/{id}/{sig}/{threshold} and" in refusal(off[0], policy).text


@pytest.mark.parametrize("operation", CLIENT_OPERATIONS)
def test_strict_credentials(operation: Operation) -> None:
    policy = Policy(strict_credentials=frozenset({operation}))
    found = refusal(operation, policy)
    assert found.status == 403
    assert found.text.startswith(f"Operation is disabled: {operation.name.lower()} ([keyserver] ")
    assert "strict_credentials); use " in found.text
    for other in set(CLIENT_OPERATIONS) - {operation}:
        assert refused_by_policy(other, ALICE, policy) is None


@pytest.mark.parametrize("operation", [Operation.SIGN_SCHNORR, Operation.SIGN_ECDSA])
def test_signing_has_its_own_way(operation: Operation) -> None:
    policy = Policy(strict_credentials=frozenset({operation}))
    assert refusal(operation, policy).text.endswith("use POST /v1/server-keys/{id}/signature")


@pytest.mark.parametrize("operation", CLIENT_OPERATIONS)
def test_who_needs_another_credential_is_told_where_v1_takes_it(operation: Operation) -> None:
    """And where the original's paths have a way round, that as well."""
    text = refusal(operation, Policy(strict_credentials=frozenset({operation}))).text
    assert " /v1/server-keys/{id}" in text
    two_steps = "use POST /shadow/{id}/{sig}/{threshold} and POST /shadow/{id}/{sig}/{common_point}"
    assert (two_steps in text) is (operation is Operation.GENERATE_BOTH)


@pytest.mark.parametrize("operation", [Operation.GENERATE_SERVER_KEY, Operation.GENERATE_BOTH])
def test_generators(operation: Operation) -> None:
    policy = Policy(generators=frozenset({ALICE}), forbid_plain_modes=True)
    assert refusal(operation, policy, BOB) == Refusal(403, "Access denied", "AccessDenied")
    listed = refused_by_policy(operation, ALICE, Policy(generators=frozenset({ALICE})))
    assert listed is not None
    assert "([keyserver] generators); use POST /v1/server-keys/{id}" in listed.text
    assert refused_by_policy(Operation.RETRIEVE_SHADOW, BOB, policy) is None


@pytest.mark.parametrize("operation", CLIENT_OPERATIONS)
def test_a_bound_credential_needs_no_strictness(operation: Operation) -> None:
    strict = Policy(strict_credentials=frozenset({operation}), generators=frozenset({ALICE}))
    assert refused_by_policy(operation, ALICE, strict, is_bound=True) is None


def test_what_is_off_for_bound_credentials_too() -> None:
    policy = Policy(generators=frozenset({ALICE}), forbid_plain_modes=True)
    for operation in (Operation.GENERATE_SERVER_KEY, Operation.GENERATE_BOTH):
        refused = refused_by_policy(operation, BOB, policy, is_bound=True)
        assert refused == Refusal(403, "Access denied", "AccessDenied")
    plain = refused_by_policy(Operation.RETRIEVE_PLAIN, ALICE, policy, is_bound=True)
    both = refused_by_policy(Operation.GENERATE_BOTH, ALICE, policy, is_bound=True)
    assert plain is not None
    assert both is not None
    assert plain.text.endswith("use POST /v1/server-keys/{id}/document-key/shadow")
    assert "POST /v1/server-keys/{id} and POST /v1/server-keys/{id}/document-key" in both.text
