"""Changing a static set of nodes in eight steps, and what may go wrong (configuration, section 8).

The change itself (step 5) is not there yet: the request is answered as on a node without
`admin_public`. Everything around it is as it will be.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.operator.keys import Key, is_readable, path_of, publish, read
from tests.e2e.operator.static_network import StaticNetwork, json_rpc_process
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
ACCESS_DENIED = Answer(403, "Forbidden", JSON, rb'"\"Access denied\""')
NOT_AVAILABLE = ACCESS_DENIED
"""What a change of the node set is answered until there is one."""
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


def test_the_eight_steps_around_the_change(bed: StaticNetwork) -> None:
    bed.configure("ab")
    bed.start("ab")
    key = publish(bed, "b", threshold=1)

    # 2 to 4: with the union of both sets in every file, c serves the key without a share of it.
    bed.stop("ab")
    bed.configure("abc")
    bed.start("abc")
    assert is_readable(bed, "c", key)
    assert holds_a_share(bed, "b", key)
    assert not holds_a_share(bed, "c", key)

    # 5: the request, signed in step 1.
    change = CHANGES["identity-change"]["request"]
    for name in "abc":
        assert bed.ask(name, "POST", change["path"], change["body"]) == NOT_AVAILABLE
    assert is_readable(bed, "c", key)
    assert not holds_a_share(bed, "c", key)

    # 6 to 8: back to the old set; what c was asked for has left no trace.
    bed.stop("abc")
    bed.configure("ab")
    bed.start("ab")
    assert is_readable(bed, "a", key)
    assert is_readable(bed, "b", key)
    assert is_readable(bed, "a", publish(bed, "a", threshold=0))


def holds_a_share(network: StaticNetwork, name: str, key: Key) -> bool:
    """What the operator of a node is told; a node may not even have the key's record."""
    status, facts = network.nodes[name].operator(f"/v1/keys/{key.id.hex()}")
    return status == 200 and facts["share"] != "none"


@pytest.mark.parametrize("body", ["[]", "", "nodes", "{}", '["0x12"]', f'["{public("b")}"]'])
def test_o6_a_new_set_that_cannot_be_read(asked: StaticNetwork, body: str) -> None:
    path = CHANGES["mission-document-example"]["request"]["path"]
    assert asked.ask("b", "POST", path, body) == INVALID


@pytest.mark.parametrize("name", list(CHANGES))
def test_o6_a_node_without_an_administrator(asked: StaticNetwork, name: str) -> None:
    """d is configured without `admin_public`: this answer stays."""
    request = CHANGES[name]["request"]
    assert asked.ask("d", "POST", request["path"], request["body"]) == ACCESS_DENIED


def test_step_5_the_printed_call(asked: StaticNetwork) -> None:
    """With curl, as in the documentation of the original, at b."""
    curl = shutil.which("curl")
    assert curl is not None
    request = CHANGES["mission-document-example"]["request"]
    command = [curl, "--silent", "--include", "--request", "POST", "--data-binary"]
    done = subprocess.run(
        [*command, request["body"], asked.url("b") + request["path"]],
        capture_output=True,
        check=True,
        timeout=30,
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"application/json" in head
    assert body == NOT_AVAILABLE.body


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
