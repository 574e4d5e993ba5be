"""`rate_limit` and `trusted_proxies` in a node's process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyserver.api.rate_limit import BURST_S
from keyserver.crypto.curve import SecretScalar
from tests.e2e.listeners.nodes import CLIENT, lone_node
from tests.support.client_node import sign_id
from tests.support.raw_http import Answer
from tests.support.wire import Wire

pytestmark = pytest.mark.e2e

KEY_ID = b"\x01" * 32
OTHER = SecretScalar.from_int(8)
REFUSED = b'"\\"Too many requests\\""'


@contextmanager
def served(directory: Path, **options: object) -> Iterator["Client"]:
    """A client of a node that takes one request a second, ten at once."""
    node = lone_node(directory)
    node.set("keyserver", rate_limit=1, **options)
    try:
        node.start()
        with Wire(str(node.wait_ready()["http"])) as wire:
            yield Client(wire)
    finally:
        node.kill()


class Client:
    """Asks for the same key again and again, on one connection."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.began = time.monotonic()

    def ask(self, forwarded: str = "", key: SecretScalar = CLIENT, path: str = "") -> Answer:
        path = path or f"/server/{KEY_ID.hex()}/{sign_id(key, KEY_ID)}"
        more = f"\nX-Forwarded-For: {forwarded}" if forwarded else ""
        return self.wire.ask(f"GET {path} HTTP/1.1\nHost: n{more}")

    def most(self) -> int:
        """How many requests may have been served by now."""
        return BURST_S + 1 + int(time.monotonic() - self.began)


def served_of(answers: list[Answer]) -> int:
    for answer in answers:
        assert answer.status in {404, 429}
    return sum(answer.status == 404 for answer in answers)


def test_a_client_address(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        answers = [client.ask(f"10.0.0.{number}") for number in range(40)]
        assert BURST_S <= served_of(answers) <= client.most(), "what is forwarded is not believed"
        refused = next(answer for answer in answers if answer.status == 429)
        assert refused.body == REFUSED
        assert refused.header("retry-after") == "1"
        assert refused.header("content-type") == "application/json; charset=utf-8"
        # Who is told to wait and waits is served.
        while (answer := client.ask()).status == 429:
            time.sleep(int(answer.header("retry-after") or "no such header"))
        assert answer.status == 404


def test_clients_behind_a_trusted_proxy(tmp_path: Path) -> None:
    with served(tmp_path, trusted_proxies=["10.9.0.0/16", "127.0.0.1"]) as client:
        path = "/x"
        first = [client.ask("10.0.0.1", path=path) for _ in range(40)]
        assert BURST_S <= sum(a.status == 400 for a in first) <= client.most()
        assert client.ask("10.0.0.2", path=path).status == 400
        assert client.ask("2001:db8::1", path=path).status == 400
        # The nearest address that is no proxy of ours counts: the rest the client may have made up.
        chain = [client.ask(f"10.0.7.{n}, 10.0.0.3, 10.9.1.1", path=path) for n in range(40)]
        assert BURST_S <= sum(a.status == 400 for a in chain) <= client.most()


def test_a_requester_behind_many_addresses(tmp_path: Path) -> None:
    with served(tmp_path, trusted_proxies=["127.0.0.1"]) as client:
        answers = [client.ask(f"10.0.0.{number}") for number in range(40)]
        assert BURST_S <= served_of(answers) <= client.most()
        assert client.ask("10.0.1.1", OTHER).status == 404
        more = [client.ask(f"10.0.2.{number}") for number in range(40)]
        assert served_of([*answers, *more]) <= client.most()
