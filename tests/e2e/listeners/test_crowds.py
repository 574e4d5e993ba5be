"""More connections than a node has room for: it goes on serving those who ask."""

import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.listeners.nodes import lone_node
from tests.support.node_processes import ConfiguredNode
from tests.support.wire import Wire, ask

pytestmark = pytest.mark.e2e

FILES = 256
"""What the process may open; a quarter of it is for the clients of one listener."""

CROWD = 600


@pytest.fixture
def small(tmp_path: Path) -> Iterator[ConfiguredNode]:
    """A node that may open few files."""
    node = lone_node(tmp_path, accounts=True)
    try:
        node.start()
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        node.wait_ready()
        yield node
    finally:
        node.kill()


def crowd(url: str, count: int) -> list[socket.socket]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return [socket.create_connection((parts.hostname, parts.port), 20) for _ in range(count)]


def open_files(node: ConfiguredNode) -> int:
    return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))


def test_idle_connections_make_room(small: ConfiguredNode) -> None:
    urls = [small.ready["http"], small.ready["json_rpc"]]
    idle = [each for url in urls for each in crowd(url, CROWD)]
    try:
        for url, status in zip(urls, (400, 405), strict=True):
            for _ in range(5):
                assert ask(url, "GET /x HTTP/1.1\nHost: localhost").status == status
        assert open_files(small) < FILES
        assert small.operator("/health/live")[0] == 200
        # Those that were silent for longest are gone, the last one is there.
        assert idle[0].recv(1) == b""
        idle[CROWD - 1].sendall(b"GET /x HTTP/1.1\r\nHost: n\r\n\r\n")
        assert idle[CROWD - 1].recv(100).startswith(b"HTTP/1.1 400")
    finally:
        for each in idle:
            each.close()
    assert small.process.poll() is None


def test_who_asks_stays(small: ConfiguredNode) -> None:
    """A connection in use is not silent."""
    url = small.ready["http"]
    idle: list[socket.socket] = []
    with Wire(url) as busy:
        try:
            for _ in range(40):
                idle += crowd(url, 10)
                # Connections are taken in order: with the answer to a later one, these are in.
                assert ask(url, "GET /x HTTP/1.1\nHost: n").is_empty_400
                assert busy.ask("GET /x HTTP/1.1\nHost: n").is_empty_400
        finally:
            for each in idle:
                each.close()


def test_half_sent_requests_make_room_too(small: ConfiguredNode) -> None:
    url = small.ready["http"]
    slow = []
    try:
        for number, each in enumerate(crowd(url, CROWD)):
            slow.append(each)
            body = number % 2
            head = b"POST /x HTTP/1.1\r\nHost: n\r\nContent-Length: 9\r\n\r\nab"
            try:
                each.sendall(head if body else head[:20])
            except (BrokenPipeError, ConnectionResetError):
                continue  # its place is taken
        for _ in range(5):
            assert ask(url, "GET /x HTTP/1.1\nHost: n").is_empty_400
    finally:
        for each in slow:
            each.close()
