"""A network of nodes that look sealed, and their operators; and a thief of their real databases."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyserver.cli.main import main
from keyserver.cli.narrator import SilentNarrator
from keyserver.crypto.randomness import SeededRandom, SystemRandom
from keyserver.devnet import node_process, operators, telling
from keyserver.devnet import sealed_story as sealed_story_module
from keyserver.devnet.demo import Demo
from keyserver.devnet.devnet_file import DevnetNode
from keyserver.devnet.local_chain import spawn
from keyserver.devnet.narrating import DemoError, StepResult
from keyserver.devnet.network import DevnetError, Network, make_stores
from keyserver.devnet.node_process import NodePlan
from keyserver.devnet.operators import ShareRefusedError, Standing, hand_in, standing_of
from keyserver.devnet.processes import Process
from keyserver.devnet.sealed_story import SealedStory, sealed_story
from keyserver.devnet.settings import Settings
from keyserver.devnet.telling import Scene
from keyserver.errors import ConfigError
from keyserver.sealing.handing_out import Sharing
from tests.unit.devnet.test_devnet_file import DEVNET
from tests.unit.devnet.test_network import CHAIN, STATE

SHARING = Sharing(2, 3)
FAKE_NODE = Path(__file__).with_name("fake_node.py")


@pytest.fixture(autouse=True)
def _fake_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(config: Path) -> tuple[subprocess.Popen[bytes], Process]:
        command = [sys.executable, str(FAKE_NODE), "run", "--config", str(config)]
        child = spawn(command, log_path=node_process.log_path(config))
        return child, Process(child.pid, str(config))

    monkeypatch.setattr(node_process, "start", start)


def settings(tmp_path: Path, **values: Any) -> Settings:
    values |= {"nodes": 3, "threshold": 1, "block_time_s": 0.2, "sharing": SHARING}
    return Settings(tmp_path / "net", **values)


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[Network]:
    running = await Network.start(settings(tmp_path))
    yield running
    running.stop()
    assert not (running.directory / operators.FILE_NAME).exists()


@pytest.fixture
async def stopped(tmp_path: Path) -> Network:
    """Directories and databases of three nodes that do not run; there is no chain either."""
    plans = [
        NodePlan.draw(tmp_path / f"node{number}", (1, 2, 3), SeededRandom(f"node {number}"))
        for number in range(1, 4)
    ]
    for plan in plans:
        node_process.write_directory(plan, CHAIN, is_sealed=True)
    nodes = tuple(plan.describe(None) for plan in plans)
    state, devnet = replace(STATE, nodes=(None,) * 3), replace(DEVNET, nodes=nodes)
    shares = await make_stores(plans, SHARING, SystemRandom())
    (tmp_path / operators.FILE_NAME).write_text(shares.to_json())
    return Network(tmp_path, state, devnet, shares)


class Told(SilentNarrator):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def end(self, result: StepResult, error: str) -> None:
        self.errors.append(error)


def story(network: Network, told: Told) -> SealedStory:
    nobody: Any = None
    found = sealed_story(Scene(network, nobody, nobody, told, set()), nodes=3)
    assert found is not None
    return found


async def command(*words: str) -> int:
    return await asyncio.to_thread(main, list(words))


async def test_operators_open_a_node_after_each_start(
    network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    again = Network.load(network.directory)
    assert again.shares == network.shares
    node = network.devnet.nodes[0]
    assert standing_of(node) == Standing(True, 0, 2)
    assert str(network.unseal(1)) == "open"
    assert network.unseal(1) == Standing(False, 2, 2), "nothing is asked of an open one"
    await network.until_ready([1])
    await network.restart(1)
    assert node_process.readiness(node) == "sealed: is shut"

    where = ["--dir", str(network.directory)]
    for words in (["unseal"], ["unseal", "1", "--all"]):
        assert await command("devnet", *words, *where) == 2
        assert "the number of a node, or --all" in capsys.readouterr().err
    assert await command("devnet", "unseal", "4", *where) == 2
    assert "numbered 1 to 3" in capsys.readouterr().err
    network.kill(2)
    assert await command("devnet", "unseal", "1", "--json", *where) == 0
    assert json.loads(capsys.readouterr().out) == {"unsealed": [1], "still_sealed": [3]}
    assert await command("devnet", "unseal", "--all", "--json", *where) == 0
    assert json.loads(capsys.readouterr().out) == {"unsealed": [1, 3], "still_sealed": []}
    assert await command("devnet", "status", "--json", *where) == 0
    states = [node["state"] for node in json.loads(capsys.readouterr().out)["nodes"]]
    assert states == ["ready", "not running", "ready"]


async def test_a_node_that_does_not_run_is_not_opened(stopped: Network) -> None:
    with pytest.raises(ConfigError, match="node 1 does not answer"):
        stopped.unseal(1)
    with pytest.raises(ShareRefusedError, match="no answer from"):
        hand_in(stopped.devnet.nodes[0], "words")


async def test_a_node_that_stays_sealed_is_told(
    stopped: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "standing_of", lambda node: Standing(True, 0, 2))
    monkeypatch.setattr(operators, "hand_in", lambda node, share: Standing(True, 1, 2))
    with pytest.raises(DevnetError, match="node 1 stays sealed"):
        stopped.unseal(1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shares", "2-of-3"], "--shares: only with --sealed"),
        (["--sealed", "--shares", "three"], "is not like 2-of-3"),
        (["--sealed", "--shares", "4-of-3"], "shares: 4-of-3"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *options]) == 2
    assert said in capsys.readouterr().err


async def test_operators_come_before_anybody_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "PATIENCE_S", 1.0)
    (tmp_path / "file").write_bytes(b"secret")
    told = Told()
    result = await Demo(settings(tmp_path), tmp_path / "file", told).run()
    names = ["start", "sealed", "reserve", "permit", "ask_sealed", "unseal_first", "unseal"]
    assert {step.name: step.ok for step in result.steps} == {
        **dict.fromkeys(names, True),
        "generate": False,
    }
    assert "no answer within 1 s" in told.errors[-1]
    assert "an operator gives her 33 words: 1 of 2 shares" in told.lines
    assert any("none of mine (SHARE_WRONG_SET)" in line for line in told.lines)


async def test_the_story_ends_where_a_node_is_open(
    stopped: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_story_module, "readiness", lambda node: "ready")
    _, _, look = story(stopped, Told()).look()
    with pytest.raises(DemoError, match="node 1 is not sealed: ready"):
        await look()
    _, _, open_again = story(stopped, Told()).open_again(2)
    with pytest.raises(DemoError, match="node 2 was to be sealed"):
        await open_again()


@pytest.mark.parametrize(
    ("standings", "said"),
    [
        ([Standing(True, 1, 2)], "the share of another node was taken"),
        ([ShareRefusedError("SHARE_UNKNOWN", "no")], "node 1 is still sealed"),
    ],
)
async def test_the_story_ends_where_a_node_does_not_tell_shares_apart(
    stopped: Network,
    monkeypatch: pytest.MonkeyPatch,
    standings: list[Standing | ShareRefusedError],
    said: str,
) -> None:
    one = Standing(True, 1, 2)
    answers = iter([one, *standings, one])

    def hand_in(node: DevnetNode, share: str) -> Standing:
        answer = next(answers)
        if isinstance(answer, ShareRefusedError):
            raise answer
        return answer

    monkeypatch.setattr(sealed_story_module, "hand_in", hand_in)
    monkeypatch.setattr(sealed_story_module, "standing_of", lambda node: one)
    _, _, act = story(stopped, Told()).open_first()
    with pytest.raises(DemoError, match=said):
        await act()


async def test_a_thief_finds_nothing(stopped: Network) -> None:
    told = Told()
    _, _, act = story(stopped, told).search_disks()
    await act()
    assert told.lines[0].startswith("21 secrets, each in every way")
    assert told.lines[1] == "the same search finds all 9 shares in shares.json"


async def test_a_thief_finds_what_was_left_there(stopped: Network) -> None:
    assert stopped.shares is not None
    notes = Path(stopped.devnet.nodes[1].config).parent / "notes"
    notes.write_text(f"my share: {stopped.shares.of(3)[1]}")
    _, _, act = story(stopped, Told()).search_disks()
    with pytest.raises(DemoError, match=r"node2/notes: share 2 of node 3, as words") as raised:
        await act()
    assert stopped.shares.of(3)[1] not in str(raised.value)
