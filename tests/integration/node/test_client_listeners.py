"""A node's process serves clients: the HTTP interface and the JSON-RPC module."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.hashing import keccak256
from tests.support.client_node import sign_id
from tests.support.node_processes import STOP_S, ConfiguredNode, static_node
from tests.support.ports import free_port
from tests.support.wire import json_rpc, request

USAGE = 2
CLIENT = SecretScalar.from_int(7)
NODE_IDS = [f"0x{CLIENT.public().raw64.hex()}"]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[ConfiguredNode]:
    """A cluster of one that needs no chain."""
    node = static_node(tmp_path / "alone", SecretScalar.from_int(5))
    node.set("secretstore", http_port=free_port())
    node.set("keyserver", operator_listen="127.0.0.1:0", log_format="json")
    node.set("rpc", port=free_port(), apis=["secretstore"])
    try:
        yield node
    finally:
        node.kill()


def ask(url: str, method: str, path: str) -> tuple[int, bytes]:
    answer = request(url, method, path)
    return answer.status, answer.body


def test_a_node_serves_its_clients(alone: ConfiguredNode) -> None:
    alone.start()
    urls = alone.wait_ready()
    assert urls["http"] == f"http://127.0.0.1:{alone.values['secretstore']['http_port']}"
    known, unknown = bytes([1]) * 32, bytes([2]) * 32

    path = f"/server/{unknown.hex()}/{sign_id(CLIENT, unknown)}"
    missing = b'"\\"Server key with this ID is not found\\""'
    assert ask(urls["http"], "GET", path) == (404, missing)

    path = f"/{known.hex()}/{sign_id(CLIENT, known)}"
    status, made = ask(urls["http"], "POST", f"/shadow{path}/0")
    assert status == 200, made
    assert len(made) == len('"0x"') + 128 == 132
    Point.from_raw64(bytes.fromhex(json.loads(made)[2:]))
    assert ask(urls["http"], "GET", f"/server{path}") == (200, made)

    set_hash = json_rpc(urls["json_rpc"], "secretstore_serversSetHash", NODE_IDS)
    assert set_hash == f"0x{keccak256(CLIENT.public().raw64).hex()}"

    code, seconds = alone.stop()
    assert code == 0
    assert seconds < STOP_S


def test_no_listeners_where_none_are_wanted(alone: ConfiguredNode) -> None:
    alone.set("secretstore", disable_http=True)
    alone.set("rpc", disable=True)
    alone.start()
    assert not {"http", "json_rpc"} & alone.wait_ready().keys()
    with socket.create_server(("127.0.0.1", int(str(alone.values["rpc"]["port"])))):
        pass


@pytest.mark.parametrize(("section", "option"), [("secretstore", "http_port"), ("rpc", "port")])
def test_a_busy_port_stops_the_start(alone: ConfiguredNode, section: str, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        alone.set(section, **{option: port})
        code, printed = alone.fails_to_start()
    assert code == USAGE, printed
    assert f"[{section}]" in printed
    assert f"127.0.0.1:{port}" in printed
    assert "Traceback" not in printed


def test_a_process_that_only_serves_json_rpc(alone: ConfiguredNode) -> None:
    alone.set("secretstore", disable=True)
    alone.start()
    ready = alone.wait_ready()
    assert ready.keys() == {"json_rpc", "pid"}
    set_hash = json_rpc(ready["json_rpc"], "secretstore_serversSetHash", NODE_IDS)
    assert set_hash == f"0x{keccak256(CLIENT.public().raw64).hex()}"
    assert not alone.data.exists()
    assert alone.stop()[0] == 0


def test_accounts_of_a_process_that_only_serves_json_rpc(alone: ConfiguredNode) -> None:
    alone.set("secretstore", disable=True)
    alone.set("account", unlock=["00" * 20])
    code, printed = alone.fails_to_start()
    assert code == USAGE, printed
    assert f"Account 0x{'00' * 20} not found for the current chain." in printed
