"""A network whose nodes only look like some: starting, watching, disturbing and stopping it."""

import asyncio
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from keyserver.cli.main import main
from keyserver.cli.narrator import ScreenNarrator, SilentNarrator
from keyserver.client.contracts import Contracts
from keyserver.devnet import json_rpc_process, network, node_process, telling
from keyserver.devnet.demo import Demo, DemoResult
from keyserver.devnet.devnet_file import FILE_NAME
from keyserver.devnet.local_chain import spawn
from keyserver.devnet.narrating import StepResult
from keyserver.devnet.network import DevnetError, Network, head_of
from keyserver.devnet.network_state import State
from keyserver.devnet.processes import Process
from keyserver.devnet.settings import Settings
from keyserver.devnet.signing_story import SigningDemo
from keyserver.errors import ConfigError

FAKE_NODE = Path(__file__).with_name("fake_node.py")


@pytest.fixture(autouse=True)
def _fake_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(config: Path) -> tuple[subprocess.Popen[bytes], Process]:
        command = [sys.executable, str(FAKE_NODE), "run", "--config", str(config)]
        child = spawn(command, log_path=node_process.log_path(config))
        return child, Process(child.pid, str(config))

    monkeypatch.setattr(node_process, "start", start)


def settings(tmp_path: Path, **values: Any) -> Settings:
    return Settings(tmp_path / "net", nodes=3, threshold=1, block_time_s=0.2, **values)


def command(*words: str | Path) -> int:
    return main([str(word) for word in words])


def test_the_life_of_a_network(tmp_path: Path) -> None:
    told: list[str] = []
    running = asyncio.run(Network.start(settings(tmp_path), tell=told.append))
    try:
        devnet = running.devnet
        assert "3 nodes started" in told
        assert [node_process.readiness(node) for node in devnet.nodes] == ["ready"] * 3
        assert Network.load(tmp_path / "net").devnet == devnet
        assert Contracts.load(tmp_path / "net" / FILE_NAME).chain_id == devnet.chain_id
        first = head_of(devnet)
        assert first is not None

        running.kill(2)
        assert not running.is_running(2)
        assert node_process.readiness(devnet.nodes[1]) == "does not answer"
        assert Network.load(tmp_path / "net").devnet.nodes[1].pid is None
        asyncio.run(running.restart(2))
        asyncio.run(running.restart(3))
        assert running.is_running(2)
        with pytest.raises(ConfigError, match="devnet down"):
            asyncio.run(Network.start(settings(tmp_path)))
    finally:
        running.stop()
    assert State.load(tmp_path / "net").running() == []
    assert head_of(devnet) is None


def test_a_node_that_ends_stops_all(tmp_path: Path) -> None:
    with pytest.raises(DevnetError, match=r"node \d ended\n.*\n.*not to my liking"):
        asyncio.run(Network.start(settings(tmp_path, confirmations=99)))
    assert State.load(tmp_path / "net").running() == []


def test_a_node_that_is_never_ready_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "READY_TIMEOUT_S", 0.0)
    monkeypatch.setattr(node_process, "readiness", lambda node: "no peers")
    with pytest.raises(DevnetError, match="not ready after 0 s: no peers"):
        asyncio.run(Network.start(settings(tmp_path)))
    assert State.load(tmp_path / "net").running() == []


def test_what_old_clients_need_is_started_and_stopped_with_it(tmp_path: Path) -> None:
    told: list[str] = []
    running = asyncio.run(Network.start(settings(tmp_path, json_rpc=True), tell=told.append))
    try:
        endpoint = running.devnet.json_rpc
        assert endpoint is not None
        assert json_rpc_process.answers(endpoint)
        assert Network.load(tmp_path / "net").devnet.json_rpc == endpoint
        assert told[-1] == f"JSON-RPC module at {endpoint.url}, all passwords: devnet"
        assert len(State.load(tmp_path / "net").running()) == 5
    finally:
        running.stop()
    assert not json_rpc_process.answers(endpoint)
    assert State.load(tmp_path / "net").running() == []


def test_a_module_that_does_not_answer_stops_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "READY_TIMEOUT_S", 3.0)
    monkeypatch.setattr(json_rpc_process, "answers", lambda endpoint: False)
    with pytest.raises(DevnetError, match=r"the JSON-RPC module does not answer\nthe log of"):
        asyncio.run(Network.start(settings(tmp_path, json_rpc=True)))
    assert State.load(tmp_path / "net").running() == []


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--dir", tmp_path / "net")
    options = ("--nodes", "2", "--spare", "1", "--block-time", "0.2")
    try:
        assert command("devnet", "up", *options, *where, "--json") == 0
        made = json.loads(capsys.readouterr().out)
        assert [node["pid"] is None for node in made["nodes"]] == [False, False, True]
        assert made["json_rpc"]["password"] == "devnet"
        assert command("devnet", "kill", "1", *where) == 0
        assert command("devnet", "status", *where) == 0
        shown = capsys.readouterr().out
        assert "not running" in shown
        for url in (made["rpc_url"], made["json_rpc"]["url"], made["nodes"][1]["http"]):
            assert url in shown
        assert command("devnet", "status", *where, "--json") == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["json_rpc"]["state"] == "ready"
        assert facts["accounts"]["bob"] == made["accounts"]["bob"]["address"]
        assert command("devnet", "restart", "1", *where) == 0
        assert command("devnet", "kill", "3", *where) == 2
        assert command("devnet", "start", "3", *where) == 0
        assert command("devnet", "start", "3", *where) == 2
        third, owner = made["nodes"][2], ("--devnet", tmp_path / "net", "--account", "owner")
        node = third["node_id"], third["peer"]
        assert command("admin", "node-set", "add", *node, *owner) == 0
        capsys.readouterr()
        assert command("admin", "node-set", "show", "--json", *owner[:2]) == 0
        sets = json.loads(capsys.readouterr().out)["nodes"]
        assert {each["address"] for each in sets if each["new"]} == {
            each["address"] for each in made["nodes"]
        }
        client = ("--devnet", tmp_path / "net", "--account")
        capsys.readouterr()
        assert command("client", "reserve", "--permit", "bob", *client, "alice", "--json") == 0
        key_id = json.loads(capsys.readouterr().out)["key_id"]
        assert command("client", "permit", key_id, "charlie", *client, "alice") == 0
        capsys.readouterr()
        assert command("client", "show", key_id, *client, "bob", "--json") == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["this_account_may"] is True
        assert facts["permitted"] == [
            made["accounts"][name]["address"] for name in ("alice", "bob", "charlie")
        ]
        assert facts["public"] is None
        assert command("client", "permit", key_id, "bob", *client, "charlie") == 1
        assert "reserve a new one" in capsys.readouterr().err
        document = tmp_path / "document"
        document.write_bytes(b"x")
        assert command("client", "encrypt", document, "--key-id", key_id, *client, "alice") == 1
        assert "Have it generated first" in capsys.readouterr().err
        assert command("client", "generate", key_id, "--threshold", "2", *client, "alice") == 1
        assert "InvalidThreshold" in capsys.readouterr().err
    finally:
        command("devnet", "down", *where)
    assert State.load(tmp_path / "net").running() == []


class Told(SilentNarrator):
    def __init__(self) -> None:
        self.errors: list[str] = []

    def end(self, result: StepResult, error: str) -> None:
        self.errors.append(error)


async def told_without_answers(tmp_path: Path, narrator: Any) -> DemoResult:
    file = tmp_path / "file"
    file.write_bytes(b"secret")
    return await Demo(settings(tmp_path), file, narrator).run()


async def test_a_story_without_answers_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "PATIENCE_S", 1.0)
    narrator = Told()
    result = await told_without_answers(tmp_path, narrator)
    assert not result.ok
    held = {"start": True, "reserve": True, "permit": True, "generate": False}
    assert {step.name: step.ok for step in result.steps} == held
    assert result.decrypted_sha256 is None
    assert "no answer within 1 s" in narrator.errors[-1]
    assert "log of node 3" in narrator.errors[-1]
    assert State.load(tmp_path / "net").running() == []


async def test_a_story_of_signatures_without_answers_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "PATIENCE_S", 1.0)
    narrator = Told()
    told = Settings(tmp_path / "net", nodes=4, threshold=1, block_time_s=0.2)
    result = await SigningDemo(told, narrator).run()
    assert not result.ok
    held = {"start": True, "reserve": True, "generate": False}
    assert {step.name: step.ok for step in result.steps} == held
    assert (result.server_key, result.account) == (None, None)
    assert "no answer within 1 s" in narrator.errors[-1]
    assert State.load(tmp_path / "net").running() == []


async def test_what_a_failing_story_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "PATIENCE_S", 1.0)
    screen = StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100)
    await told_without_answers(tmp_path, ScreenNarrator(terminal))
    assert "Alice reserves" in screen.getvalue()
    assert "failed" in screen.getvalue()


async def test_a_story_whose_network_does_not_start(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"secret")
    narrator = Told()
    result = await Demo(settings(tmp_path, confirmations=99), file, narrator).run()
    assert [(step.name, step.ok) for step in result.steps] == [("start", False)]
    assert "not to my liking" in narrator.errors[0]
