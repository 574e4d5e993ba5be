"""The story of sealed key servers holds: operators open them, and their disks hold no secret."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.demo.command import facts, keyserver, processes_of
from tests.e2e.demo.test_demo import MIGRATION_STEPS, SIGNING_STEPS, STEPS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

OPENING = ["unseal_first", "unseal"]


def sealed_story() -> list[str]:
    """The usual steps, and those of operators and thief at their places."""
    steps = list(STEPS)
    steps[1:1] = ["sealed"]
    steps[4:4] = ["ask_sealed", *OPENING]
    steps.insert(steps.index("restart") + 1, "unseal_again")
    return [*steps, "search"]


def test_operators_open_the_key_servers_and_the_story_holds(tmp_path: Path) -> None:
    """With any file, before the reader's eyes."""
    document, elsewhere = tmp_path / "document", tmp_path / "tmp"
    document.write_bytes(os.urandom(100_000))
    elsewhere.mkdir()
    options = ("--sealed", "--confirmations", "0", "--block-time", "0.3")
    done = keyserver("demo", document, *options, env={"TMPDIR": str(elsewhere)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert hashlib.sha256(document.read_bytes()).hexdigest()[:16] in done.stdout
    assert "Charlie" in done.stdout
    told = " ".join(done.stdout.split())
    assert told.count("is sealed") >= 5
    assert "gives her 33 words: 1 of 2 shares" in told
    assert "(SHARE_WRONG_SET)" in told
    assert "still 1 of 2 shares" in told
    assert "has a good one: open" in told
    assert "no key server has answered" in told
    assert "none is there" in told
    names = [line.split()[0] for line in done.stdout.splitlines() if " yes " in line]
    assert names == sealed_story()
    assert processes_of(elsewhere) == []
    assert list(elsewhere.iterdir()) == []


def test_sealed_key_servers_move_shares_and_get_a_backup(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--full-matrix"):
        pytest.skip("with --full-matrix only")
    options = ["--sealed", "--migration", "--nodes", "4", "--confirmations", "0", "--json"]
    done = keyserver("demo", *options, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["ok"] is True
    steps = [*sealed_story()[:-1], *MIGRATION_STEPS, "search"]
    assert [step["name"] for step in result["steps"]] == steps
    assert list(tmp_path.iterdir()) == []


def test_sealed_key_servers_sign(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--full-matrix"):
        pytest.skip("with --full-matrix only")
    options = ["--sign", "--sealed", "--shares", "3-of-4", "--nodes", "4"]
    done = keyserver("demo", *options, "--json", env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["ok"] is True
    steps = [SIGNING_STEPS[0], "sealed", *OPENING, *SIGNING_STEPS[1:], "search"]
    assert [step["name"] for step in result["steps"]] == steps


@pytest.fixture
def devnet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    if not request.config.getoption("--full-matrix"):
        pytest.skip("with --full-matrix only")
    directory = tmp_path / "net"
    options = ("--sealed", "--nodes", "1", "--block-time", "0.5", "--no-json-rpc")
    up = keyserver("devnet", "up", *options, "--dir", directory)
    assert up.returncode == 0, up.stderr
    assert "devnet unseal --all" in up.stdout
    yield directory
    facts("devnet", "down", "--dir", directory)
    assert processes_of(directory) == []
    assert not (directory / "shares.json").exists()


def state_of(directory: Path) -> str:
    (node,) = facts("devnet", "status", "--dir", directory)["nodes"]
    return str(node["state"]).partition(":")[0]


def test_a_node_is_sealed_until_its_operators_have_come(devnet: Path) -> None:
    assert state_of(devnet) == "sealed"
    mode = (devnet / "shares.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert {path.name for path in (devnet / "node1").iterdir()} == {
        "config.toml",
        "data",
        "node.log",
    }
    assert facts("devnet", "unseal", "--all", "--dir", devnet) == {"unsealed": [1]}
    assert state_of(devnet) == "ready"
    facts("devnet", "restart", "1", "--dir", devnet)
    assert state_of(devnet) == "sealed"
    config = devnet / "node1" / "config.toml"
    for words in json.loads((devnet / "shares.json").read_text())["nodes"][0][1:]:
        share = devnet / "share"
        share.write_text(words)
        share.chmod(0o600)
        taken = facts("seal", "unseal", "--config", config, "--file", share)
    assert taken["sealed"] is False, "the share was taken by the usual command"
    assert facts("devnet", "unseal", "1", "--dir", devnet) == {"unsealed": [1]}
