"""What stops the start: one clear line, an exit code, no trace, and nothing is lost."""

import socket
from pathlib import Path

from keyserver.crypto.curve import SecretScalar
from tests.support.node_processes import ConfiguredNode

USAGE = 2
FAILED = 1


def private(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def check(outcome: tuple[int, str], code: int, *words: str) -> None:
    found, printed = outcome
    assert found == code, printed
    assert "Traceback" not in printed
    for word in words:
        assert word in printed, printed


def test_an_unknown_key_with_the_nearest_name(node: ConfiguredNode) -> None:
    node.set("secretstore", prot=8083)
    check(node.fails_to_start(), USAGE, "config.toml", "prot", "port")


def test_a_key_server_that_is_disabled(node: ConfiguredNode) -> None:
    node.set("secretstore", disable=True)
    check(node.fails_to_start(), USAGE, "[secretstore] disable")


def test_a_busy_peer_port(node: ConfiguredNode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        node.set("secretstore", port=port)
        check(node.fails_to_start(), USAGE, f"127.0.0.1:{port}", "cannot listen for peers")


def test_a_busy_operator_port_that_was_asked_for(node: ConfiguredNode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        node.set("keyserver", operator_listen=f"127.0.0.1:{port}")
        check(node.fails_to_start(), USAGE, "operator_listen", f"127.0.0.1:{port}")


def test_an_operator_listener_that_others_reach(node: ConfiguredNode) -> None:
    node.set("keyserver", operator_listen="0.0.0.0:0")
    check(node.fails_to_start(), USAGE, "operator_listen", "0.0.0.0", "without encryption")


def test_certificates_that_cannot_be_used(node: ConfiguredNode) -> None:
    node.set("keyserver", operator_listen="0.0.0.0:0")
    node.set("keyserver", tls_cert="/nowhere/cert.pem", tls_key="/nowhere/key.pem")
    check(node.fails_to_start(), USAGE, "tls_cert", "/nowhere/cert.pem", "No such file")
    broken = private(node.directory / "broken.pem", "no certificate")
    node.set("keyserver", tls_cert=str(broken), tls_key=str(broken))
    check(node.fails_to_start(), USAGE, "tls_cert", str(broken))


def test_an_operator_socket_that_is_a_file(node: ConfiguredNode) -> None:
    path = private(node.directory / "file", "precious")
    node.set("keyserver", operator_listen=f"unix:{path}")
    check(node.fails_to_start(), USAGE, str(path), "is no socket")
    assert path.read_text() == "precious"


def test_another_passphrase_than_the_first(node: ConfiguredNode) -> None:
    words = private(node.directory / "words", "correct horse")
    node.set("keyserver.seal", passphrase_file=str(words))
    node.start()
    node.wait_ready()
    assert node.stop()[0] == 0
    words.write_text("battery staple")
    check(node.fails_to_start(), FAILED, "the passphrase")
    words.write_text("correct horse")
    node.start()
    node.wait_ready()


def test_a_sealing_key_that_is_gone(node: ConfiguredNode) -> None:
    node.start()
    node.wait_ready()
    assert node.stop()[0] == 0
    key = node.data / "seal.key"
    kept = key.read_bytes()
    key.unlink()
    check(node.fails_to_start(), USAGE, "seal.key")
    assert not key.exists(), "a sealed store never gets another key"
    private(key, kept.decode())
    node.start()
    node.wait_ready()


def test_a_sealing_key_in_a_variable(node: ConfiguredNode) -> None:
    node.set("keyserver.seal", key_env="MY_SEALING_KEY")
    check(node.fails_to_start(), USAGE, "MY_SEALING_KEY is not set")
    node.environment["MY_SEALING_KEY"] = "5a" * 32
    node.start()
    node.wait_ready()
    assert node.stop()[0] == 0
    assert "5a5a" not in node.log_file.read_text()
    node.environment["MY_SEALING_KEY"] = "5b" * 32
    check(node.fails_to_start(), FAILED, "MY_SEALING_KEY")


def test_the_database_of_another_node(node: ConfiguredNode) -> None:
    node.start()
    node.wait_ready()
    assert node.stop()[0] == 0
    node.set("secretstore", self_secret=SecretScalar(b"\x77" * 32).expose().hex())
    check(node.fails_to_start(), FAILED, "belongs to node", "self_secret")


def test_a_file_that_is_no_database(node: ConfiguredNode) -> None:
    private(node.data / "keyserver.sqlite", "this is not a database" * 100)
    check(node.fails_to_start(), FAILED, "keyserver.sqlite")


def test_two_nodes_on_one_database(node: ConfiguredNode, tmp_path: Path) -> None:
    node.start()
    node.wait_ready()
    second = ConfiguredNode(tmp_path / "second", node.secret, node.port)
    second.values = dict(node.values)
    check(second.fails_to_start(), FAILED, "in use by another process")
    assert node.operator("/health/live")[0] == 200
