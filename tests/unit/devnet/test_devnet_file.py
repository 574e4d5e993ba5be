"""`devnet.json`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from keyserver.devnet.devnet_file import (
    FILE_NAME,
    Devnet,
    DevnetAccount,
    DevnetJsonRpc,
    DevnetNode,
)
from keyserver.errors import ConfigError

NODE = DevnetNode(
    node_id="0x" + "11" * 64,
    address="0x" + "22" * 20,
    peer="127.0.0.1:1",
    http="http://127.0.0.1:2",
    operator="http://127.0.0.1:3",
    pid=4,
    config="/x/config.toml",
)
DEVNET = Devnet(
    rpc_url="http://127.0.0.1:5",
    ws_url=None,
    chain_id=6,
    contracts={"X": "0x" + "33" * 20},
    nodes=(NODE,),
    accounts={"alice": DevnetAccount("0x" + "44" * 20, "0x" + "55" * 32)},
    json_rpc=DevnetJsonRpc("http://127.0.0.1:7", "devnet", 8, "/y/config.toml"),
)


def test_the_fields_are_those_that_were_promised() -> None:
    content = json.loads(DEVNET.to_json())
    assert list(content) == [
        "rpc_url",
        "ws_url",
        "chain_id",
        "contracts",
        "nodes",
        "accounts",
        "json_rpc",
    ]
    assert list(content["nodes"][0]) == [
        "node_id",
        "address",
        "peer",
        "http",
        "operator",
        "pid",
        "config",
    ]
    assert content["accounts"]["alice"] == {
        "address": "0x" + "44" * 20,
        "private_key": "0x" + "55" * 32,
    }
    assert list(content["json_rpc"]) == ["url", "password", "pid", "config"]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(DEVNET.to_json())
    assert Devnet.load(tmp_path) == DEVNET
    without = replace(DEVNET, json_rpc=None)
    (tmp_path / FILE_NAME).write_text(without.to_json())
    assert Devnet.load(tmp_path) == without


def test_private_keys_are_not_shown() -> None:
    assert "55" * 32 not in repr(DEVNET)


def test_without_a_file_there_is_no_devnet(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keyserver devnet up"):
        Devnet.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"nodes": []}',
        DEVNET.to_json().replace("peer", "pear"),
        DEVNET.to_json().replace("password", "pass"),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ConfigError, match=FILE_NAME):
        Devnet.load(tmp_path)
