"""Where the operator listener goes, by configuration."""

import json
from pathlib import Path

import pytest

from keyserver.api.listening import AddressTakenError, tcp_socket
from keyserver.app.config import Config, load
from keyserver.app.config.effective import DEFAULT_OPERATOR_LISTEN
from keyserver.app.operator_listener import FILE_NAME, operator_listener, write_json_file
from keyserver.errors import ConfigError
from keyserver.model.identifiers import NodeId

ME = NodeId(bytes(range(64)))


def config_of(directory: Path, keyserver: str = "") -> Config:
    file = directory / "config.toml"
    file.write_text(
        f'[secretstore]\nself_secret = "{"11" * 32}"\npath = "{directory}"\n'
        f"[keyserver]\n{keyserver}\n"
    )
    return load(file, environ={"HOME": str(directory)}).config


def test_the_file_tells_where_and_goes_with_the_node(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    with operator_listener(config_of(tmp_path, 'operator_listen = "127.0.0.1:0"'), ME) as listener:
        told = json.loads(file.read_text())
        assert told["url"] == listener.url
        assert told["node_id"] == f"0x{ME.hex()}"
        assert "tls_cert" not in told
    assert not file.exists()


def test_a_free_port_where_the_usual_one_is_taken(tmp_path: Path) -> None:
    usual = DEFAULT_OPERATOR_LISTEN
    config = config_of(tmp_path)
    try:
        taken = tcp_socket("test", usual.host, usual.port)
    except AddressTakenError:
        taken = None  # by somebody else: just as well
    try:
        with operator_listener(config, ME) as listener:
            assert listener.url.startswith("http://127.0.0.1:")
            assert not listener.url.endswith(f":{usual.port}")
    finally:
        if taken is not None:
            taken.close()


def test_an_asked_for_port_that_is_taken(tmp_path: Path) -> None:
    with tcp_socket("test", "127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        config = config_of(tmp_path, f'operator_listen = "127.0.0.1:{port}"')
        with (
            pytest.raises(AddressTakenError, match="operator_listen"),
            operator_listener(config, ME),
        ):
            pass
    assert not (tmp_path / FILE_NAME).exists()


def test_a_unix_socket_goes_with_the_node(tmp_path: Path) -> None:
    path = tmp_path / "op.sock"
    config = config_of(tmp_path, f'operator_listen = "unix:{path}"')
    with operator_listener(config, ME) as listener:
        assert listener.url == f"unix:{path}"
        assert path.exists()
    assert not path.exists()


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_json_file(tmp_path / "nowhere" / "ready.json", {})
