"""The administrator's route of `/v1` against its own description: orders made from it."""

import json
from typing import Any, Final

import pytest
import schemathesis
import structlog
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.support.bound_requests import POLICY, v1_app_of
from tests.support.scripted_changes import ScriptedChanges
from tests.support.scripted_node import ScriptedNode
from tests.support.set_changes import NODES

FEW: Final = settings(
    max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None
)

changes = ScriptedChanges()
app = v1_app_of(ScriptedNode(policy=POLICY), set_changes=changes)
config = SchemathesisConfig.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": [400, 401, 405, 413]}}}
)
schema = schemathesis.openapi.from_asgi("/v1/openapi.json", app, config=config)
administrators = schema.include(path="/v1/set-change")


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.reset_defaults()


@administrators.parametrize()
@FEW
def test_nobody_orders_anything(case: Any) -> None:
    """Whatever is sent is answered as described, and nothing is carried out."""
    # That an order is signed is more than a schema can say.
    response = case.call_and_validate(excluded_checks=[positive_data_acceptance])
    assert response.status_code in {400, 401, 405, 413} or case.method == "OPTIONS"
    if response.content:
        error = json.loads(response.content)["error"]
        assert list(error) == ["code", "message", "retriable"]
    assert changes.orders == []


@administrators.parametrize()
@FEW
def test_orders_about_the_right_nodes(case: Any) -> None:
    """What has the right form and names members gets as far as its signature."""
    if not case.meta.generation.mode.is_positive:
        return
    case.body["new_set"] = [f"0x{node.hex()}" for node in NODES[:3]]
    response = case.call()
    assert response.status_code == 401
    assert json.loads(response.content)["error"]["code"] == "UNAUTHENTICATED"
