"""The deployment command as an operator starts it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyserver.devnet.anvil import find_anvil, start_anvil
from keyserver.errors import ConfigError
from tests.contracts.chain import key_of

ROOT = Path(__file__).parents[2]
SAMPLE = (ROOT / "deploy" / "contracts.sample.toml").read_text()
KEY = "0x" + key_of(1).key.hex()


def run(plan: Path, *options: str, key: str | None = KEY) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    environment.pop("KEYSERVER_DEPLOYER_KEY", None)
    if key is not None:
        environment["KEYSERVER_DEPLOYER_KEY"] = key
    command = [sys.executable, str(ROOT / "deploy" / "deploy.py"), str(plan), *options]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "contracts.toml"
    path.write_text(SAMPLE.replace("http://127.0.0.1:8545", "http://127.0.0.1:1"))
    return path


def test_a_wrong_plan_is_told_in_one_line(plan: Path) -> None:
    plan.write_text("[chain]\n")
    result = run(plan)

    assert result.returncode == 2
    assert result.stderr == "error: chain.endpoint: is missing\n"


def test_a_wrong_key_is_told_and_not_shown(plan: Path) -> None:
    result = run(plan, key="0xabcdef")

    assert result.returncode == 2
    assert "KEYSERVER_DEPLOYER_KEY" in result.stderr
    assert "abcdef" not in result.stderr


def test_an_unreachable_chain_is_told_also_in_json(plan: Path) -> None:
    result = run(plan, "--json")

    assert result.returncode == 1
    assert json.loads(result.stdout)["ok"] is False
    assert "Traceback" not in result.stderr


@pytest.fixture
def endpoint() -> Iterator[str]:
    try:
        find_anvil()
    except ConfigError as error:
        pytest.skip(str(error))
    chain = start_anvil(chain_id=1337, fund=[bytes.fromhex(key_of(1).address[2:])])
    try:
        yield chain.rpc_url
    finally:
        chain.stop()


@pytest.mark.anvil
@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_deployment_on_anvil(plan: Path, tmp_path: Path, endpoint: str, scheme: str) -> None:
    saved = tmp_path / "saved.json"
    text = SAMPLE.replace("http://127.0.0.1:8545", endpoint.replace("http", scheme, 1))
    plan.write_text(text.replace("# chain_id = 1337 ", "chain_id = 1337 "))
    result = run(plan, "--json", "--save", str(saved))

    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told == json.loads(saved.read_text())
    assert told["chain_id"] == 1337
    assert told["deployer"] == key_of(1).address
    assert f"deploy SecretStoreService: {told['contracts']['SecretStoreService']}" in result.stderr
