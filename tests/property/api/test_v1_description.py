"""`/v1` against its own OpenAPI description: requests made from it, right and wrong.

Every operation, with and without credentials: what the description allows is served, what it
forbids is refused, and every answer is one that it lists.
"""

import json
import re
from typing import Any, Final

import pytest
import schemathesis
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from keyserver.api.v1_credentials import HEADER
from keyserver.api.v1_values import POINT_FORMAT, read_key_id, read_point
from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import KeyId
from tests.support.bound_requests import ALICE, POLICY, Signed, v1_app_of
from tests.support.scripted_node import ScriptedNode

NUMBERS: Final = {
    "generate_server_key": 1,
    "store_document_key": 2,
    "generate_both": 3,
    "retrieve_server_key": 4,
    "retrieve_plain": 5,
    "retrieve_shadow": 6,
}
SCHEMES: Final = {"schnorr": 7, "frost": 8, "ecdsa": 9}

FORM_OF_POINT: Final = re.compile(r"0x[0-9a-fA-F]{128}")
POINTS: Final = st.integers(1, 2**64).map(
    lambda n: f"0x{SecretScalar.from_int(n).public().raw64.hex()}"
)
schemathesis.openapi.format(POINT_FORMAT, POINTS)

FEW: Final = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None
)

app = v1_app_of(ScriptedNode(policy=POLICY))
config = SchemathesisConfig.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": [400, 401, 404, 405, 413]}}}
)
anonymous = schemathesis.openapi.from_asgi("/v1/openapi.json", app, config=config)
signing = schemathesis.openapi.from_asgi("/v1/openapi.json", app, config=config)
"""The same description twice: credentials belong to one of them only."""


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.reset_defaults()


@signing.auth(refresh_interval=None)
class Signer:
    """Signs what a case asks for; a case that cannot be read gets a credential for something."""

    def get(self, case: Any, context: Any) -> str:
        try:
            signed = _signed(case)
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
            signed = Signed("", "", b"", 4, KeyId(bytes(32)), b"", ALICE)
        return signed.header

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers[HEADER] = data


def _signed(case: Any) -> Signed:
    name = case.operation.definition.raw["operationId"]
    body: Any = case.body if isinstance(case.body, dict) else {}
    payload, number = b"", NUMBERS.get(name, 0)
    if name in {"generate_server_key", "generate_both"}:
        payload = int(body["threshold"]).to_bytes(2, "big")
    elif name == "store_document_key":
        fields = ("common_point", "encrypted_point")
        payload = b"".join(read_point(body[field]).raw64 for field in fields)
    elif name == "sign":
        number = SCHEMES[body["scheme"]]
        payload = bytes.fromhex(body["message_hash"][2:])
    key_id = read_key_id(case.path_parameters["id"])
    return Signed("", "", b"", number, key_id, payload, ALICE)


@anonymous.parametrize()
@FEW
def test_without_credentials(case: Any) -> None:
    response = _called(case)
    if case.operation.path != "/v1/node":
        assert response.status_code >= 400 or case.method == "OPTIONS"


@signing.parametrize()
@FEW
def test_with_credentials(case: Any) -> None:
    response = _called(case)
    if case.meta.generation.mode.is_positive and _on_curve(case.body):
        assert response.status_code == 200


def _called(case: Any) -> Any:
    """The answer to a case, checked against everything that the description promises."""
    excluded = []
    if not _on_curve(case.body):
        # That the numbers are a point is more than a schema can say.
        excluded.append(positive_data_acceptance)
    response = case.call_and_validate(excluded_checks=excluded)
    assert response.status_code not in {500, 503}
    if response.status_code >= 400 and response.content:
        error = json.loads(response.content)["error"]
        assert list(error) == ["code", "message", "retriable"]
    return response


def _on_curve(value: Any) -> bool:
    """Whether everything that has the form of a point is one."""
    match value:
        case dict():
            return all(_on_curve(item) for item in value.values())
        case list():
            return all(_on_curve(item) for item in value)
        case str() if FORM_OF_POINT.fullmatch(value):
            try:
                read_point(value)
            except ValueError:
                return False
    return True
