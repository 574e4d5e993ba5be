"""Around the change of a static set of nodes: what may go wrong (configuration, section 8).

The change itself is in `test_set_change.py` and `test_one_step.py`; every row of O6, with whole
nodes in one process, in `tests/integration/api/test_operator_scenarios.py`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.operator.keys import is_readable, path_of, publish, read
from tests.e2e.operator.static_network import StaticNetwork, json_rpc_process
from tests.support.operator_bed import order_of
from tests.support.raw_http import Answer
from tests.support.waiting import wait_for
from tests.support.wire import json_rpc
from tests.unit.app.samples import address, public
from tests.vectors.files import load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

JSON = (("content-type", "application/json; charset=utf-8"),)
UNREACHABLE = Answer(403, "Forbidden", JSON, rb'"\"Consensus unreachable\""')
DISCONNECTED = Answer(
    500,
    "Internal Server Error",
    JSON,
    rb'"\"node required for this operation is currently disconnected\""',
)
NO_SIGNATURE = Answer(
    500, "Internal Server Error", JSON, rb'"\"cryptographic error invalid EC signature\""'
)
ACCESS_DENIED = Answer(403, "Forbidden", JSON, rb'"\"Access denied\""')
INVALID = Answer(400, "Bad Request", (), b"")
READABLE_AGAIN_S = 30.0
PASSWORD = "admin's"
CHANGES: dict[str, Any] = {case["name"]: case for case in load("http-api")["servers_set_change"]}


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[StaticNetwork]:
    """The four nodes of section 8.2; none of them runs."""
    network = StaticNetwork(
        tmp_path, "abcd", disable_auto_migrate=True, admin_public=public("admin")
    )
    try:
        yield network
    finally:
        network.close()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StaticNetwork]:
    """Two nodes that are only asked: b knows an administrator, d does not."""
    directory = tmp_path_factory.mktemp("asked")
    network = StaticNetwork(directory, "bd", disable_auto_migrate=True)
    network.configure("bd")
    network.nodes["b"].set("secretstore", admin_public=public("admin"))
    try:
        network.start("bd")
        yield network
    finally:
        network.close()


@pytest.fixture(scope="module")
def administrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A process that is only a client, with the administrator's key file; its URL."""
    directory = tmp_path_factory.mktemp("administrator")
    node = json_rpc_process(directory, {"admin": PASSWORD})
    try:
        node.start()
        yield node.wait_ready()["json_rpc"]
    finally:
        node.kill()


def test_o1_a_node_that_is_stopped_and_comes_back(bed: StaticNetwork) -> None:
    bed.configure("ab")
    bed.start("ab")
    key = publish(bed, "a", threshold=1)
    assert is_readable(bed, "a", key)
    assert is_readable(bed, "b", key)

    bed.stop("b")
    gone = f"0x{public('b')}"
    wait_for(
        lambda: bed.nodes["a"].others("disconnected") == [gone] or None,
        timeout_s=30,
        doing="a sees b gone",
    )
    assert read(bed, "a", key) == (UNREACHABLE, UNREACHABLE)
    assert bed.ask("a", "POST", f"/shadow/{path_of(bytes([9]) * 32)}/0") == DISCONNECTED

    bed.nodes["b"].start()
    wait_for(
        lambda: is_readable(bed, "a", key) or None,
        timeout_s=READABLE_AGAIN_S,
        doing="the key is readable again",
    )


@pytest.mark.parametrize("body", ["[]", "", "nodes", "{}", '["0x12"]', f'["{public("b")}"]'])
def test_o6_a_new_set_that_cannot_be_read(asked: StaticNetwork, body: str) -> None:
    path = CHANGES["mission-document-example"]["request"]["path"]
    assert asked.ask("b", "POST", path, body) == INVALID


@pytest.mark.parametrize("name", list(CHANGES))
def test_o6_a_node_without_an_administrator(asked: StaticNetwork, name: str) -> None:
    """d is configured without `admin_public`."""
    request = CHANGES[name]["request"]
    assert asked.ask("d", "POST", request["path"], request["body"]) == ACCESS_DENIED


def test_o6_another_node_without_an_administrator(asked: StaticNetwork) -> None:
    """b takes the order, d does not."""
    path, body = order_of("bd", "b")
    assert asked.ask("b", "POST", path, body) == UNREACHABLE
    refused = asked.nodes["d"].wait_event("order_refused")
    assert refused["rule"] == "no_administrator"


@pytest.mark.parametrize("name", list(CHANGES))
def test_o6_a_node_that_is_not_configured(asked: StaticNetwork, name: str) -> None:
    """All published requests name c, which is not configured here."""
    request = CHANGES[name]["request"]
    assert asked.ask("b", "POST", request["path"], request["body"]) == DISCONNECTED


def test_o6_a_signature_that_is_none(asked: StaticNetwork) -> None:
    _, body = order_of("bd", "b")
    nobody = "00" * 64 + "1b"
    path = f"/admin/servers_set_change/{nobody}/{nobody}"
    assert asked.ask("b", "POST", path, body) == NO_SIGNATURE


@pytest.mark.parametrize("name", list(CHANGES))
def test_step_1_hashes_and_signatures(administrator: str, name: str) -> None:
    change = CHANGES[name]
    account = ("0x" + address("admin"), PASSWORD)
    for which in ("old_set", "new_set"):
        found = json_rpc(administrator, "secretstore_serversSetHash", change[which])
        assert found == change[f"{which}_hash"]
        shuffled = [*reversed(change[which]), change[which][0]]
        assert json_rpc(administrator, "secretstore_serversSetHash", shuffled) == found
        signature = json_rpc(administrator, "secretstore_signRawHash", *account, found)
        assert signature == f"0x{change[f'{which}_signature']}"
