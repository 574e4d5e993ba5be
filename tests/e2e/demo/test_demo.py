"""The story holds, on both chains, and leaves nothing behind."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keyserver.devnet.anvil import find_anvil
from keyserver.errors import ConfigError
from tests.e2e.demo.command import keyserver, processes_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

STEPS = [
    "start",
    "reserve",
    "permit",
    "generate",
    "encrypt",
    "decrypt",
    "refuse",
    "kill",
    "decrypt_without",
    "restart",
    "answer_again",
]
MIGRATION_STEPS = [
    "join",
    "leave",
    "decrypt_moved",
    "refresh",
    "empty",
    "repair",
    "decrypt_repaired",
]
SIGNING_STEPS = [
    "start",
    "reserve",
    "generate",
    "deploy",
    "sign",
    "execute",
    "replay",
    "refuse",
    "refuse_over_http",
    "kill",
    "sign_without",
    "sign_over_http",
]
README = Path(__file__).parents[3] / "README.md"


def skip_without(chain: str) -> None:
    if chain == "anvil":
        try:
            find_anvil()
        except ConfigError as error:
            pytest.skip(str(error))


@pytest.mark.parametrize(
    ("chain", "nodes", "confirmations", "migration"),
    [
        ("embedded", 4, 0, True),
        pytest.param("anvil", 3, 3, False, marks=pytest.mark.anvil),
    ],
)
def test_the_story_holds(
    chain: str, nodes: int, confirmations: int, migration: bool, tmp_path: Path
) -> None:
    skip_without(chain)
    options = ["--chain", chain, "--nodes", str(nodes), "--confirmations", str(confirmations)]
    options += ["--migration"] * migration
    done = keyserver("demo", *options, "--json", env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    digest = hashlib.sha256(README.read_bytes()).hexdigest()
    assert list(result) == [
        "ok",
        "chain",
        "nodes",
        "threshold",
        "file_sha256",
        "decrypted_sha256",
        "steps",
    ]
    assert result["ok"] is True
    assert (result["chain"], result["nodes"]) == (chain, nodes)
    assert result["threshold"] == (nodes - 1) // 2
    assert result["file_sha256"] == result["decrypted_sha256"] == digest
    steps = STEPS + MIGRATION_STEPS * migration
    assert [step["name"] for step in result["steps"]] == steps
    assert all(step["ok"] for step in result["steps"])
    gas = {step["name"]: step["gas"] for step in result["steps"]}
    # Nobody asks anything while a node ends or starts; a slow one's last answer may come then.
    assert max(gas["kill"], gas["restart"]) < gas["generate"]
    assert min(gas[name] for name in ("reserve", "permit", "generate", "encrypt")) > 21_000
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("chain", "nodes", "confirmations"),
    [("embedded", 4, 0), pytest.param("anvil", 5, 1, marks=pytest.mark.anvil)],
)
def test_the_key_servers_sign(
    chain: str, nodes: int, confirmations: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if chain == "anvil" and not request.config.getoption("--full-matrix"):
        pytest.skip("with --full-matrix only")
    skip_without(chain)
    options = ["--chain", chain, "--nodes", str(nodes), "--confirmations", str(confirmations)]
    done = keyserver("demo", "--sign", *options, "--json", env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    fields = ["ok", "chain", "nodes", "threshold", "server_key", "account", "steps"]
    assert list(result) == fields
    assert result["ok"] is True
    assert result["threshold"] == (nodes - 2) // 2
    assert len({len(result[name]) for name in ("server_key", "account")} | {42}) == 1
    assert [step["name"] for step in result["steps"]] == SIGNING_STEPS
    assert all(step["ok"] for step in result["steps"])
    gas = {step["name"]: step["gas"] for step in result["steps"]}
    assert min(gas[name] for name in ("sign", "execute", "sign_without")) > 21_000
    assert gas["replay"] == 0
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "keyserver.cli", "demo", "--nodes", "3"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    assert demo.stdout is not None
    with demo, demo.stdout as out:
        for line in out:
            if "generate a key" in line:
                break
        assert len(processes_of(tmp_path)) >= 3
        demo.send_signal(number)
        out.read()
    assert demo.returncode == 130
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--nodes", "3", "--threshold", "2"], "threshold"),
        (["--nodes", "2"], "nodes"),
        (["--chain", "nowhere"], "chain"),
        (["--block-time", "0"], "block time"),
        (["/no/such/file"], "no such file"),
        (["--sign", "--nodes", "4", "--threshold", "2"], "threshold"),
        (["--sign", "--nodes", "3"], "--sign: at least --nodes 4"),
        (["--sign", "--threshold", "0"], "--sign: at least --threshold 1"),
        (["--sign", "--migration"], "--migration"),
        (["--sign", "/no/such/file"], "no file"),
    ],
)
def test_what_cannot_be_told_is_refused_at_once(options: list[str], said: str) -> None:
    done = keyserver("demo", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
