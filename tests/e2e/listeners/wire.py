"""Bytes to a node's process and back: what a client does that is not a browser's or a library's."""

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

ANSWER_S = 20.0
"""Longer than anything here takes; who runs into it has found a hang."""


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_empty_400(self) -> bool:
        """What the interface says to all that is not in its grammar."""
        return self.status == 400 and not self.body and "content-type" not in self.headers


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
        first, *lines = (
            self._until(b"\r\n\r\n").decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        )
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), lines
        code = int(status)
        has_body = method != "HEAD" and code >= 200 and code != 204
        return Answer(
            code, headers, self._exactly(int(headers["content-length"]) if has_body else 0)
        )

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
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        if status == "100":
            continue
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        size = int(headers.get("content-length", "0"))
        assert len(data) >= size, "an answer that ends too early"
        found.append(Answer(int(status), headers, data[:size]))
        data = data[size:]
    return found
