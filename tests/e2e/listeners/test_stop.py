"""SIGTERM while requests are under way: they are answered if there is time, others refused."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.listeners.nodes import (
    ADDRESS,
    CLIENT,
    PASSWORD,
    lone_node,
    static_nodes,
)
from tests.support.client_node import sign_id
from tests.support.node_processes import READY_S, STOP_S, ConfiguredNode, kill_all, start_all
from tests.support.waiting import wait_for
from tests.support.wire import Wire, ask

pytestmark = pytest.mark.e2e

_NUMBERS = count(1)


def generation() -> bytes:
    key_id = next(_NUMBERS).to_bytes(32, "big")
    path = f"/shadow/{key_id.hex()}/{sign_id(CLIENT, key_id)}/1"
    return f"POST {path} HTTP/1.1\r\nHost: n\r\n\r\n".encode()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[ConfiguredNode]]:
    """Two nodes that need each other."""
    nodes = static_nodes(tmp_path, 2)
    try:
        start_all(nodes)
        wait_for(lambda: connected(nodes[0]), timeout_s=READY_S, doing="connecting")
        yield nodes
    finally:
        kill_all(nodes)


def connected(node: ConfiguredNode) -> bool | None:
    return True if node.operator("/health/ready")[0] == 200 else None


def under_way(node: ConfiguredNode) -> bool | None:
    """Whether the node works with another on something."""
    return True if node.operator("/v1/status")[1]["sessions"] else None


def freeze(node: ConfiguredNode, *, frozen: bool) -> None:
    node.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)


def refuses(url: str) -> bool | None:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    try:
        socket.create_connection((parts.hostname, parts.port), 5).close()
    except ConnectionRefusedError:
        return True
    return None


def test_a_request_under_way_is_answered(pair: list[ConfiguredNode]) -> None:
    node, peer = pair
    url = node.ready["http"]
    with Wire(url) as asking, Wire(url) as idle:
        assert idle.ask("GET /x HTTP/1.1\nHost: n").is_empty_400
        freeze(peer, frozen=True)
        asking.send(generation())
        wait_for(lambda: under_way(node), timeout_s=30, doing="beginning")
        node.ask_to_stop()
        wait_for(lambda: refuses(url), timeout_s=3, doing="refusing")
        assert idle.is_closed(), "a connection without a request is closed at once"
        freeze(peer, frozen=False)
        answer = asking.answer()
        assert (answer.status, len(answer.body)) == (200, 132)
        assert asking.is_closed()
    assert node.wait_stopped() == 0


def test_a_request_that_takes_too_long_is_cut_off(pair: list[ConfiguredNode]) -> None:
    node, peer = pair
    with Wire(node.ready["http"]) as asking:
        freeze(peer, frozen=True)
        asking.send(generation())
        wait_for(lambda: under_way(node), timeout_s=30, doing="beginning")
        began = time.monotonic()
        node.ask_to_stop()
        assert asking.rest() == b""
        assert node.wait_stopped() == 0
        assert time.monotonic() - began < STOP_S
    freeze(peer, frozen=False)
    events = {event["event"] for event in node.events()}
    assert {"requests_cut_off", "request_cut_off", "node_stopped"} <= events
    assert "stop_overdue" not in events
    # Nothing is left of it: the pair makes keys as before.
    node.start()
    node.wait_ready()
    wait_for(lambda: connected(node), timeout_s=READY_S, doing="connecting")
    with Wire(node.ready["http"]) as again:
        again.send(generation())
        assert again.answer().status == 200


def test_a_call_under_way_is_answered(tmp_path: Path) -> None:
    """The JSON-RPC listener stops in the same way, and at the same time."""
    node = lone_node(tmp_path, accounts=True)
    call = {"id": 1, "method": "secretstore_signRawHash"}
    body = json.dumps({**call, "params": [ADDRESS, PASSWORD, f"0x{'11' * 32}"]}).encode()
    batch = b"[" + b",".join([body] * 100) + b"]"
    try:
        node.start()
        url = node.wait_ready()["json_rpc"]
        with Wire(url) as asking:
            head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(batch)}\r\n"
            asking.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert asking.line() == b"HTTP/1.1 100 Continue\r\n"
            assert asking.line() == b"\r\n"
            asking.send(batch)
            node.wait_event("rpc_call")
            node.ask_to_stop()
            answers = json.loads(asking.answer().body)
        assert [len(answer["result"]) for answer in answers] == [132] * 100
        assert node.wait_stopped() == 0
    finally:
        node.kill()


def test_an_idle_node_stops_at_once(tmp_path: Path) -> None:
    node = lone_node(tmp_path, accounts=True)
    try:
        node.start()
        urls = [node.wait_ready()[name] for name in ("http", "json_rpc")]
        idle = [Wire(url) for url in urls * 8]
        assert ask(urls[0], "GET /x HTTP/1.1\nHost: n").is_empty_400
        code, seconds = node.stop()
        assert code == 0
        assert seconds < STOP_S
        assert "requests_cut_off" not in {event["event"] for event in node.events()}
        for each in idle:
            assert each.is_closed()
            each.socket.close()
    finally:
        node.kill()
