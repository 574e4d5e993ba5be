"""What a network keeps on disk, and what it refuses; no process is started here."""

import stat
from pathlib import Path

import pytest

from keyserver.app.accounts import find_key_files
from keyserver.app.config import HostPort, load, peer_address, rpc_address
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.devnet import json_rpc_process, node_process
from keyserver.devnet.devnet_file import FILE_NAME
from keyserver.devnet.json_rpc_process import JsonRpcPlan
from keyserver.devnet.network import Network
from keyserver.devnet.network_state import STATE_NAME, State, clear
from keyserver.devnet.node_process import NodeChain, NodePlan
from keyserver.devnet.processes import Process
from keyserver.devnet.settings import Settings
from keyserver.errors import ConfigError
from keyserver.model.identifiers import Address, NodeId
from tests.unit.devnet.test_devnet_file import DEVNET

STATE = State(
    chain=Process(2**22 + 1, "chain"),
    chain_directory=None,
    chain_name="embedded",
    nodes=(Process(2**22 + 2, "node1"), None),
    json_rpc=Process(2**22 + 3, "json-rpc"),
    threshold=1,
    confirmations=1,
    block_time_s=0.5,
)
CHAIN = NodeChain(
    ("http://127.0.0.1:1",), 5, Address(bytes(20)), ("secretstore.service_contract",), 2, 0.5, 0
)


def plan(tmp_path: Path) -> NodePlan:
    return NodePlan.draw(tmp_path / "node1", (2001, 2002, 2003), SeededRandom("node"))


def test_a_node_is_described_as_devnet_json_has_it(tmp_path: Path) -> None:
    node = plan(tmp_path).describe(7)
    assert len(node.node_id) == 2 + 128
    assert len(node.address) == 2 + 40
    assert node.peer == "127.0.0.1:2001"
    assert node.http == "http://127.0.0.1:2002"
    assert node.operator == "http://127.0.0.1:2003"
    assert (node.pid, node.config) == (7, str(tmp_path / "node1" / "config.toml"))


def test_a_nodes_directory_is_what_a_node_needs(tmp_path: Path) -> None:
    made = plan(tmp_path)
    node_process.write_directory(made, CHAIN)
    loaded = load(made.config_path, environ={})
    config = loaded.config
    assert config.keyserver.confirmations == 2
    assert config.keyserver.forbid_plain_modes
    assert config.secretstore.port == 2001
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    with pytest.raises(ConfigError, match="exists"):
        node_process.write_directory(made, CHAIN)


def test_the_module_needs_key_files_and_nothing_of_the_network(tmp_path: Path) -> None:
    secret = SecretScalar.random(SeededRandom("alice"))
    made = JsonRpcPlan(tmp_path / "json-rpc", 2001)
    json_rpc_process.write_directory(made, [secret])
    config = load(made.config_path, environ={}).config
    assert rpc_address(config) == HostPort("127.0.0.1", 2001)
    assert peer_address(config) is None
    (key_file,) = find_key_files(config, NodeId.of(secret.public()).address)
    assert key_file.open(json_rpc_process.PASSWORD) == secret
    described = made.describe(7)
    assert (described.url, described.pid) == ("http://127.0.0.1:2001", 7)
    assert described.password == json_rpc_process.PASSWORD
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_state_comes_back(tmp_path: Path) -> None:
    (tmp_path / STATE_NAME).write_text(STATE.to_json())
    assert State.load(tmp_path) == STATE
    assert STATE.running() == []


@pytest.mark.parametrize("text", ["{", "{}", '{"chain": 5, "nodes": []}'])
def test_a_damaged_state_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="no devnet"):
        State.load(tmp_path)
    (tmp_path / STATE_NAME).write_text(text)
    with pytest.raises(ConfigError, match="damaged"):
        State.load(tmp_path)


async def test_a_directory_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="neither empty"):
        await Network.start(Settings(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


async def test_a_running_devnet_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / STATE_NAME).write_text(STATE.to_json())
    monkeypatch.setattr(State, "running", lambda state: [STATE.chain])
    with pytest.raises(ConfigError, match="devnet down"):
        await Network.start(Settings(tmp_path))
    assert State.load(tmp_path) == STATE


def test_a_stopped_one_makes_room(tmp_path: Path) -> None:
    (tmp_path / STATE_NAME).write_text(STATE.to_json())
    (tmp_path / "node1").mkdir()
    (tmp_path / "node1" / "node.log").write_text("old")
    (tmp_path / "json-rpc" / "keys").mkdir(parents=True)
    (tmp_path / "chain.log").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_nodes_are_numbered_from_one(tmp_path: Path) -> None:
    (tmp_path / STATE_NAME).write_text(STATE.to_json())
    (tmp_path / FILE_NAME).write_text(DEVNET.to_json())
    network = Network.load(tmp_path)
    for number in (0, 2, -1):
        with pytest.raises(ConfigError, match="numbered 1 to 1"):
            network.kill(number)
    with pytest.raises(ConfigError, match="does not run"):
        network.kill(1)
    assert not network.is_running(1)


def test_stopping_takes_the_file_away(tmp_path: Path) -> None:
    (tmp_path / STATE_NAME).write_text(STATE.to_json())
    (tmp_path / FILE_NAME).write_text(DEVNET.to_json())
    Network.load(tmp_path).stop()
    assert not (tmp_path / FILE_NAME).exists()
    with pytest.raises(ConfigError, match="no devnet"):
        Network.load(tmp_path)
