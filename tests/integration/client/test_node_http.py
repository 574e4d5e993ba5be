"""The wire: what is sent, and what becomes of answers that are none."""

import gzip
from pathlib import Path

import pytest

from keyserver.client.conversation import about_node
from keyserver.client.errors import BadAnswerError, NodeNotTrustedError, NodeUnreachableError
from keyserver.client.node_http import (
    MAX_ANSWER,
    HttpAnswer,
    HttpRequest,
    http_transport,
    is_exposed,
    node_url,
)
from keyserver.errors import ConfigError
from tests.integration.client.raw_server import answer, own_certificate, raw_server
from tests.support.ports import free_port

ASK = HttpRequest("GET", "/path", {"X-Credential": "secret"})


async def exchange(url: str, request: HttpRequest = ASK, ca_file: Path | None = None) -> HttpAnswer:
    async with http_transport(ca_file) as transport:
        return await transport.exchange(url, request)


async def test_what_is_sent() -> None:
    async with raw_server(answer(b"{}", "503 Service Unavailable", "Retry-After: 7")) as server:
        found = await exchange(f"{server.url}/prefix", HttpRequest("POST", "/path", {}, b"body"))
    assert (found.status, found.body, found.retry_after_s) == (503, b"{}", 7.0)
    head = server.heard[0].decode()
    assert head.startswith("POST /prefix/path HTTP/1.1\r\n")
    assert "Accept-Encoding: identity" in head
    for unwanted in ("Origin", "Cookie", "Content-Type", "Authorization"):
        assert unwanted not in head


async def test_a_retry_after_that_is_no_number_is_none() -> None:
    async with raw_server(answer(b"", "503 x", "Retry-After: Wed, 21 Oct 2026")) as server:
        assert (await exchange(server.url)).retry_after_s is None


async def test_redirects_are_not_followed() -> None:
    async with raw_server(answer(b"{}")) as target:
        place = f"Location: {target.url}/elsewhere"
        async with raw_server(answer(b"", "302 Found", place)) as server:
            assert (await exchange(server.url)).status == 302
            async with http_transport() as transport:
                with pytest.raises(BadAnswerError, match="redirects"):
                    await about_node(transport, server.url)
    assert target.heard == []


async def test_cookies_are_not_kept() -> None:
    says = answer(b"{}", "200 OK", "Set-Cookie: who=me")
    async with raw_server(says) as server, http_transport() as transport:
        for _ in range(2):
            await transport.exchange(server.url, ASK)
    assert len(server.heard) == 2
    assert b"Cookie" not in server.heard[1]


async def test_an_answer_has_a_greatest_length() -> None:
    async with raw_server(answer(b"x" * MAX_ANSWER)) as server:
        assert len((await exchange(server.url)).body) == MAX_ANSWER
    for says in (
        answer(b"x" * (MAX_ANSWER + 1)),
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * (4 * MAX_ANSWER),
    ):
        async with raw_server(says) as server:
            with pytest.raises(BadAnswerError, match="longer than"):
                await exchange(server.url)


async def test_a_compressed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b"{}")
    async with raw_server(answer(packed, "200 OK", "Content-Encoding: gzip")) as server:
        assert (await exchange(server.url)).body == packed


async def test_what_is_no_http_is_a_bad_answer() -> None:
    async with raw_server(b"SSH-2.0-server\r\n\r\n") as server:
        with pytest.raises(BadAnswerError, match="not HTTP"):
            await exchange(server.url)


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
async def test_an_answer_that_breaks_off_may_follow_a_request_that_worked(says: bytes) -> None:
    async with raw_server(says) as server:
        with pytest.raises(NodeUnreachableError, match="no answer") as raised:
            await exchange(server.url)
    assert raised.value.may_have_worked
    assert "secret" not in str(raised.value)
    assert "/path" not in str(raised.value)


async def test_where_nobody_listens_nothing_was_done() -> None:
    with pytest.raises(NodeUnreachableError, match="cannot be connected to") as raised:
        await exchange(f"http://127.0.0.1:{free_port()}")
    assert not raised.value.may_have_worked


async def test_tls_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    certificate, context = own_certificate(tmp_path)
    async with raw_server(answer(b"{}"), context) as server:
        assert (await exchange(server.url, ca_file=certificate)).body == b"{}"
        with pytest.raises(NodeNotTrustedError, match="CERTIFICATE_VERIFY_FAILED") as raised:
            await exchange(server.url)
    assert "--ca-file" in raised.value.advice
    assert len(server.heard) == 1, "nothing is sent to a node that is not trusted"


async def test_a_certificate_of_another_address_is_refused(tmp_path: Path) -> None:
    certificate, context = own_certificate(tmp_path, "127.0.0.2")
    async with raw_server(answer(b"{}"), context) as server:
        with pytest.raises(NodeNotTrustedError):
            await exchange(server.url, ca_file=certificate)
    assert server.heard == []


async def test_certificates_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("nothing")
    for name in ("bad", "missing"):
        with pytest.raises(ConfigError, match=f"ca-file: .*{name}"):
            await exchange("http://127.0.0.1", ca_file=tmp_path / name)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://127.0.0.1:8082/", "http://127.0.0.1:8082"),
        ("https://node.example", "https://node.example"),
        ("https://node.example:1/a/b/", "https://node.example:1/a/b"),
        ("http://[::1]:8082", "http://[::1]:8082"),
    ],
)
def test_urls_of_nodes(given: str, expected: str) -> None:
    assert node_url(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        "node",
        "ftp://node",
        "http://",
        "http://node:0",
        "http://node:99999",
        "http://node:x",
        "http://node?a=b",
        "http://node#x",
        "http://me:pass@node",
        "http://[::1",
        "http://node/a b",
        "http://node/%zz",
        "http://one..example",
        "http://.",
        f"http://{'a' * 64}.example",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_url_of_a_node(given: str) -> None:
    with pytest.raises(ConfigError, match="node: ") as raised:
        node_url(given)
    assert "pass@" not in str(raised.value)


def test_a_way_that_others_can_read_is_known() -> None:
    assert is_exposed("http://10.0.0.1:8082")
    for url in ("https://10.0.0.1", "http://127.0.0.1:1", "http://localhost", "http://[::1]:2"):
        assert not is_exposed(url)
