"""The HTTP interface under TLS, with an authority of one's own, as an operator sets it up."""

import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.listeners.nodes import CLIENT, lone_node
from tests.support.certificates import make_authority
from tests.support.client_node import sign_id
from tests.support.node_processes import STOP_S, ConfiguredNode
from tests.support.wire import Wire, ask

pytestmark = pytest.mark.e2e

KEY_ID = b"\x01" * 32


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory, authority: tuple[Path, Path, Path]
) -> Iterator[ConfiguredNode]:
    node = lone_node(tmp_path_factory.mktemp("encrypted"))
    _, certificate, key = authority
    node.set("secretstore", http_interface="all")
    node.set("keyserver", tls_cert=str(certificate), tls_key=str(key))
    try:
        node.start()
        node.wait_ready()
        yield node
    finally:
        node.kill()


def port_of(node: ConfiguredNode) -> int:
    port = urlsplit(str(node.ready["http"])).port
    assert port is not None
    return port


def connection(node: ConfiguredNode, context: ssl.SSLContext, host: str) -> HTTPSConnection:
    return HTTPSConnection(host, port_of(node), context=context, timeout=20)


def test_a_client_that_knows_the_authority(
    encrypted: ConfiguredNode, authority: tuple[Path, Path, Path]
) -> None:
    assert encrypted.ready["http"].startswith("https://0.0.0.0:")
    client = connection(encrypted, ssl.create_default_context(cafile=authority[0]), "127.0.0.1")
    path = f"{KEY_ID.hex()}/{sign_id(CLIENT, KEY_ID)}"
    bodies = []
    for method, route in (("POST", f"/shadow/{path}/0"), ("GET", f"/server/{path}")):
        client.request(method, route)
        response = client.getresponse()
        assert response.status == 200
        bodies.append(response.read())
    client.close()
    assert bodies[0] == bodies[1]


def test_nothing_is_warned_about(encrypted: ConfiguredNode) -> None:
    warned = {event["event"] for event in encrypted.events() if event["level"] == "warning"}
    assert "http_without_tls" not in warned
    assert "private_key_in_clear" in warned


def test_who_does_not_know_it_does_not_talk(
    encrypted: ConfiguredNode, authority: tuple[Path, Path, Path]
) -> None:
    for context, host in (
        (ssl.create_default_context(), "127.0.0.1"),
        (ssl.create_default_context(cafile=authority[0]), "localhost"),  # not in the certificate
    ):
        client = connection(encrypted, context, host)
        with pytest.raises(ssl.SSLCertVerificationError):
            client.request("GET", "/x")
        client.close()


def test_old_versions_and_no_encryption(
    encrypted: ConfiguredNode, authority: tuple[Path, Path, Path]
) -> None:
    url = f"http://127.0.0.1:{port_of(encrypted)}"
    with Wire(url) as wire:
        wire.send(b"GET /x HTTP/1.1\r\nHost: node\r\n\r\n")
        assert b"HTTP/1.1" not in wire.rest()
    old = ssl.create_default_context(cafile=authority[0])
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    client = connection(encrypted, old, "127.0.0.1")
    with pytest.raises(ssl.SSLError):
        client.request("GET", "/x")
    client.close()


def test_many_that_never_agree_on_encryption(
    encrypted: ConfiguredNode, authority: tuple[Path, Path, Path]
) -> None:
    silent = [socket.create_connection(("127.0.0.1", port_of(encrypted))) for _ in range(200)]
    try:
        client = connection(encrypted, ssl.create_default_context(cafile=authority[0]), "127.0.0.1")
        client.request("GET", "/x")
        assert client.getresponse().status == 400
        client.close()
    finally:
        for each in silent:
            each.close()


def test_a_stop_ends_encrypted_connections(
    tmp_path: Path, authority: tuple[Path, Path, Path]
) -> None:
    node = lone_node(tmp_path)
    node.set("keyserver", tls_cert=str(authority[1]), tls_key=str(authority[2]))
    try:
        node.start()
        node.wait_ready()
        context = ssl.create_default_context(cafile=authority[0])
        client = connection(node, context, "127.0.0.1")
        client.request("GET", "/x")
        assert client.getresponse().read() == b""
        code, seconds = node.stop()
        assert code == 0
        assert seconds < STOP_S
        client.close()
    finally:
        node.kill()


def test_a_certificate_that_does_not_fit_its_key(
    tmp_path: Path, authority: tuple[Path, Path, Path]
) -> None:
    other = make_authority(tmp_path)
    node = lone_node(tmp_path)
    node.set("keyserver", tls_cert=str(authority[1]), tls_key=str(other[2]))
    code, printed = node.fails_to_start()
    assert code == 2
    assert "[keyserver] tls_cert, tls_key" in printed
    assert "key values mismatch" in printed


def test_plain_http_for_all_is_warned_about(tmp_path: Path) -> None:
    node = lone_node(tmp_path)
    node.set("secretstore", http_interface="all")
    try:
        node.start()
        url = node.wait_ready()["http"].replace("0.0.0.0", "127.0.0.1")
        assert ask(url, "GET /x HTTP/1.1\nHost: n").is_empty_400
        warned = [event for event in node.events() if event["event"] == "http_without_tls"]
        assert len(warned) == 1
        assert "tls_cert" in warned[0]["text"]
    finally:
        node.kill()
