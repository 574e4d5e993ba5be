"""HTTP as bytes on a socket for nodes as processes: what no browser and no library would send.

It blocks, which a test that runs a node itself must not: that one uses `raw_http`.
"""

import json
import socket
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from tests.support.raw_http import Answer, parse_head

ANSWER_S = 60.0
"""Longer than anything here takes; who runs into it has found a hang."""


class Wire:
    """One connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.socket = socket.create_connection((parts.hostname, parts.port), ANSWER_S)
        self._received = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def end(self) -> None:
        """Send no more, and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def is_closed(self) -> bool:
        """Wait for the peer; true if it closes, false if it says something."""
        try:
            self._received += self.socket.recv(1)
        except ConnectionResetError:
            return True
        return not self._received

    def line(self) -> bytes:
        return self._until(b"\r\n")

    def answer(self, method: str = "GET") -> Answer:
        """The next response to a request with this method."""
        answer = parse_head(self._until(b"\r\n\r\n"))
        return replace(answer, body=self._exactly(answer.body_length(method)))

    def ask(self, head: str, body: bytes = b"") -> Answer:
        """Lines of a head, and the answer."""
        self.send(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        return self.answer(head.split(" ", 1)[0])

    def rest(self) -> bytes:
        """Everything until the peer closes."""
        chunks = [self._received]
        try:
            while chunk := self.socket.recv(65_536):
                chunks.append(chunk)
        except ConnectionResetError:
            pass  # the peer has closed without reading all that was sent
        self._received = b""
        return b"".join(chunks)

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._fill()
        text, _, self._received = self._received.partition(end)
        return text + end

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._fill()
        data, self._received = self._received[:size], self._received[size:]
        return data

    def _fill(self) -> None:
        chunk = self.socket.recv(65_536)
        if not chunk:
            raise EOFError(f"closed after {self._received!r}")
        self._received += chunk


def ask(url: str, head: str, body: bytes = b"") -> Answer:
    """One request on a connection of its own."""
    with Wire(url) as wire:
        return wire.ask(head, body)


def request(url: str, method: str, path: str, body: str | None = None) -> Answer:
    """An ordinary request on a connection of its own."""
    sent = (body or "").encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", "Connection: close"]
    if body is not None or method == "POST":
        lines.append(f"Content-Length: {len(sent)}")
    return ask(url, "\n".join(lines), sent)


def json_rpc(url: str, method: str, *params: object) -> Any:
    """The result of a call, which must have one."""
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    envelope = json.loads(request(url, "POST", "/", json.dumps(call)).body)
    assert "error" not in envelope, envelope
    return envelope["result"]


def answers_of(url: str, data: bytes) -> list[Answer]:
    """Send all this and nothing else: every answer until the node closes."""
    with Wire(url) as wire:
        try:
            wire.send(data)
            wire.end()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        return parsed(wire.rest())


def parsed(data: bytes) -> list[Answer]:
    """All responses in what a node has sent; anything else fails."""
    found = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, head
        answer = parse_head(head)
        if answer.status == 100:
            continue
        size = int(answer.header("content-length") or "0")
        assert len(data) >= size, "an answer that ends too early"
        found.append(replace(answer, body=data[:size]))
        data = data[size:]
    return found
