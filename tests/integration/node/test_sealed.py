"""The life of a process that operators open: sealed, open, sealed again."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyserver.crypto.curve import SecretScalar
from tests.support.chain_network import Network
from tests.support.client_node import sign_id
from tests.support.node_processes import ConfiguredNode, static_node
from tests.support.ports import free_port
from tests.support.sealed_nodes import ask_operator, seal_node, unseal, wait_state
from tests.support.waiting import wait_for
from tests.support.wire import request

CLIENT = SecretScalar.from_int(7)
KEY_ID = bytes([1]) * 32
RETRIEVE = f"/server/{KEY_ID.hex()}/{sign_id(CLIENT, KEY_ID)}"
GENERATE = f"/shadow/{KEY_ID.hex()}/{sign_id(CLIENT, KEY_ID)}/0"


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[ConfiguredNode]:
    """A cluster of one that needs no chain."""
    node = static_node(tmp_path / "alone", SecretScalar.from_int(5))
    node.set("secretstore", http_port=free_port())
    node.set("keyserver", operator_listen="127.0.0.1:0", log_format="json")
    try:
        yield node
    finally:
        node.kill()


def test_sealed_open_and_sealed_again(alone: ConfiguredNode) -> None:
    words = seal_node(alone)
    alone.start()
    urls = wait_state(alone, "sealed")
    assert urls["node_id"] == f"0x{alone.id.hex()}"
    pid = alone.process.pid

    check_sealed(alone, urls["http"])
    unseal(alone, words)
    ready = wait_state(alone, "ready")
    assert (ready["pid"], ready["peer"]) == (pid, f"127.0.0.1:{alone.port}")
    assert alone.operator("/health/ready") == (200, {"ready": True, "reasons": []})
    made = request(ready["http"], "POST", GENERATE)
    assert made.status == 200

    status, answer = ask_operator(alone, "POST", "/v1/seal/seal")
    assert status == 202, answer
    again = wait_state(alone, "sealed")
    assert again["pid"] == pid, "the process was replaced, not another one started"
    check_sealed(alone, again["http"], reason="requested")
    unseal(alone, words[1:])
    ready = wait_state(alone, "ready")
    assert request(ready["http"], "GET", RETRIEVE).body == made.body

    os.kill(pid, signal.SIGUSR1)
    check_sealed(alone, wait_state(alone, "sealed")["http"], reason="requested")
    assert alone.stop()[0] == 0


def check_sealed(node: ConfiguredNode, http: str, reason: str | None = None) -> None:
    status, body = ask_operator(node, "GET", "/health/ready")
    assert (status, body["reasons"][0]["code"]) == (503, "sealed")
    status, body = ask_operator(node, "GET", "/v1/seal/status")
    assert (status, body["sealed"], body["state"], body["reason"]) == (200, True, "sealed", reason)
    assert "term" not in body
    status, body = ask_operator(node, "GET", "/v1/status")
    assert (status, body["error"]["code"]) == (503, "SEALED")
    answer = request(http, "GET", RETRIEVE)
    assert (answer.status, answer.body) == (503, b'"\\"Node is sealed\\""')
    assert answer.header("retry-after") == "5"
    answer = request(http, "GET", "/v1/node")
    assert answer.status == 503, answer.body
    assert b'"SEALED"' in answer.body
    metrics = request(node.ready["operator"], "GET", "/metrics").text
    assert "keyserver_sealed 1.0" in metrics
    with pytest.raises(OSError, match="refused"):
        request(f"http://127.0.0.1:{node.port}", "GET", "/")


def test_a_sealed_node_follows_the_chain(network: Network, node: ConfiguredNode) -> None:
    words = seal_node(node)
    node.start()
    wait_state(node, "sealed")
    network.request("generateServerKey", KEY_ID, 1)
    wait_for(lambda: stored_tasks(node) or None, timeout_s=30, doing="a task of the request")
    assert stored_tasks(node) == [("pending", bytes(KEY_ID))]
    unseal(node, words)
    wait_state(node, "ready")
    _, pending = node.operator("/v1/requests")
    assert [task["key_id"] for task in pending["requests"]] == [f"0x{KEY_ID.hex()}"]


def stored_tasks(node: ConfiguredNode) -> list[tuple[str, bytes]]:
    database = sqlite3.connect(f"file:{node.data}/keyserver.sqlite?mode=ro", uri=True)
    try:
        return list(database.execute("SELECT state, key_id FROM tasks"))
    finally:
        database.close()


def test_a_peer_address_that_is_taken_leaves_it_open(alone: ConfiguredNode) -> None:
    words = seal_node(alone)
    other = static_node(alone.directory / "other", SecretScalar.from_int(6))
    other.set("secretstore", port=alone.port)
    other.set("keyserver", operator_listen="127.0.0.1:0", log_format="json")
    try:
        other.start()
        other.wait_ready()
        alone.start()
        wait_state(alone, "sealed")
        unseal(alone, words)
        alone.wait_event("node_not_started")
        status, body = ask_operator(alone, "GET", "/health/ready")
        assert (status, body["reasons"][0]["code"]) == (503, "not_started")
        assert str(alone.port) in body["reasons"][0]["text"]
    finally:
        other.kill()
    wait_state(alone, "ready")


def test_a_configured_key_must_be_that_of_the_store(alone: ConfiguredNode) -> None:
    seal_node(alone)
    alone.set("secretstore", self_secret="11" * 32)
    code, printed = alone.fails_to_start()
    assert code == 1
    assert "this store belongs to" in printed


def test_no_key_anywhere(alone: ConfiguredNode) -> None:
    alone.values["secretstore"].pop("self_secret")
    code, printed = alone.fails_to_start()
    assert (code, "self secret is required when using secretstore" in printed) == (2, True)
    assert "seal init" in printed
