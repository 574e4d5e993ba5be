"""A node's process serves clients: the HTTP interface and the JSON-RPC module."""

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.hashing import keccak256
from tests.integration.node.network import STOP_S, NodeProcess, free_port, http_get
from tests.support.client_node import sign_id

USAGE = 2
CLIENT = SecretScalar.from_int(7)
NODE_IDS = [f"0x{CLIENT.public().raw64.hex()}"]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[NodeProcess]:
    """A cluster of one that needs no chain."""
    secret = SecretScalar.from_int(5)
    node = NodeProcess(tmp_path / "alone", secret, free_port(), {})
    node.set(
        "secretstore",
        self_secret=secret.expose().hex(),
        path=str(node.data),
        port=node.port,
        http_port=free_port(),
        server_set_contract="none",
        acl_contract="none",
    )
    node.set("keyserver", operator_listen="127.0.0.1:0", log_format="json")
    node.set("rpc", port=free_port(), apis=["secretstore"])
    try:
        yield node
    finally:
        node.kill()


def json_rpc(url: str, method: str, *params: object) -> object:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer: dict[str, object] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert "error" not in answer, answer
    return answer["result"]


def test_a_node_serves_its_clients(alone: NodeProcess) -> None:
    alone.start()
    urls = alone.wait_ready()
    assert urls["http"] == f"http://127.0.0.1:{alone.values['secretstore']['http_port']}"
    known, unknown = bytes([1]) * 32, bytes([2]) * 32

    path = f"/server/{unknown.hex()}/{sign_id(CLIENT, unknown)}"
    missing = b'"\\"Server key with this ID is not found\\""'
    assert http_get(urls["http"], path) == (404, missing)

    path = f"/{known.hex()}/{sign_id(CLIENT, known)}"
    status, made = http_get(urls["http"], f"/shadow{path}/0", "POST")
    assert status == 200, made
    assert len(made) == len('"0x"') + 128 == 132
    Point.from_raw64(bytes.fromhex(json.loads(made)[2:]))
    assert http_get(urls["http"], f"/server{path}") == (200, made)

    set_hash = json_rpc(urls["json_rpc"], "secretstore_serversSetHash", NODE_IDS)
    assert set_hash == f"0x{keccak256(CLIENT.public().raw64).hex()}"

    code, seconds = alone.stop()
    assert code == 0
    assert seconds < STOP_S


def test_no_listeners_where_none_are_wanted(alone: NodeProcess) -> None:
    alone.set("secretstore", disable_http=True)
    alone.set("rpc", disable=True)
    alone.start()
    assert not {"http", "json_rpc"} & alone.wait_ready().keys()
    with socket.create_server(("127.0.0.1", int(str(alone.values["rpc"]["port"])))):
        pass


@pytest.mark.parametrize(("section", "option"), [("secretstore", "http_port"), ("rpc", "port")])
def test_a_busy_port_stops_the_start(alone: NodeProcess, section: str, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        alone.set(section, **{option: port})
        code, printed = alone.fails_to_start()
    assert code == USAGE, printed
    assert f"[{section}]" in printed
    assert f"127.0.0.1:{port}" in printed
    assert "Traceback" not in printed


def test_a_process_that_only_serves_json_rpc(alone: NodeProcess) -> None:
    alone.set("secretstore", disable=True)
    alone.start()
    ready = alone.wait_ready()
    assert ready.keys() == {"json_rpc", "pid"}
    set_hash = json_rpc(ready["json_rpc"], "secretstore_serversSetHash", NODE_IDS)
    assert set_hash == f"0x{keccak256(CLIENT.public().raw64).hex()}"
    assert not alone.data.exists()
    assert alone.stop()[0] == 0


def test_accounts_of_a_process_that_only_serves_json_rpc(alone: NodeProcess) -> None:
    alone.set("secretstore", disable=True)
    alone.set("account", unlock=["00" * 20])
    code, printed = alone.fails_to_start()
    assert code == USAGE, printed
    assert f"Account 0x{'00' * 20} not found for the current chain." in printed
