"""A node whose Ethereum node answers with JSON that is nested without end."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.node_processes import READY_S, NodeProcess
from tests.support.waiting import wait_for

DEPTH = 90_000
"""Below the limit that libraries of the node set for the interpreter, and deep enough to end it."""

pytestmark = pytest.mark.e2e


class _Deep(BaseHTTPRequestHandler):
    asked = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked += 1
        body = b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * DEPTH + b"]" * DEPTH + b"}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def deep_endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Deep)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_answers_nested_too_deep_end_no_node(tmp_path: Path, deep_endpoint: str) -> None:
    config = tmp_path / "node.toml"
    config.write_text(
        f"""
[secretstore]
self_secret = "{7:064x}"
server_set_contract = "none"
acl_contract = "{9:040x}"
port = 0
http_port = 0
path = "data"
[keyserver]
rpc_endpoints = ["{deep_endpoint}"]
chain_id = 1337
operator_listen = "127.0.0.1:0"
"""
    )
    server = NodeProcess(config)
    try:
        server.start()

        def named() -> str | None:
            assert server.process.poll() is None, server.log_tail()
            texts = (json.dumps(each) for each in server.events())
            return next((text for text in texts if "nested" in text), None)

        wait_for(named, timeout_s=READY_S, doing="log of the answer that cannot be read")
        assert server.operator("/health/live")[0] == 200
        assert server.stop()[0] == 0
    finally:
        server.kill()
