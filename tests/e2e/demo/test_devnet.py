"""`keyserver devnet` and `keyserver client`, as people use them."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS, start_embedded
from tests.e2e.demo.command import facts, keyserver, processes_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

BLOCK_TIME = ("--block-time", "0.5")


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("devnet") / "net"
    up = keyserver("devnet", "up", "--nodes", "3", *BLOCK_TIME, "--dir", directory)
    assert up.returncode == 0, up.stderr
    assert "For client programs of the original:" in up.stdout
    assert up.stdout.count(", password devnet\n") == 3
    yield directory
    facts("devnet", "down", "--dir", directory)
    assert processes_of(directory) == []


def node_states(directory: Path) -> list[str]:
    return [node["state"] for node in facts("devnet", "status", "--dir", directory)["nodes"]]


def client(directory: Path, account: str, *words: str | Path) -> Any:
    return facts("client", *words, "--devnet", directory, "--account", account)


def test_the_file_tells_where_everything_is(devnet: Path) -> None:
    path = devnet / "devnet.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = json.loads(path.read_text())
    assert set(content["accounts"]) == {"alice", "bob", "charlie", "owner"}
    assert {"SecretStoreService", "PermissioningRegistry"} <= set(content["contracts"])
    for node in content["nodes"]:
        assert node["config"] in Path(f"/proc/{node['pid']}/cmdline").read_text()
    for name in ("node.password", "config.toml"):
        mode = (devnet / "node1" / name).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
    assert node_states(devnet) == ["ready"] * 3


def test_a_file_goes_from_alice_to_bob_and_not_to_charlie(devnet: Path, tmp_path: Path) -> None:
    plain, again = tmp_path / "plan.txt", tmp_path / "again.txt"
    plain.write_bytes(os.urandom(1000))
    key_id = client(devnet, "alice", "reserve")["key_id"]
    generated = client(devnet, "alice", "generate", key_id)
    assert generated["threshold"] == 1
    shared = client(devnet, "alice", "encrypt", plain, "--key-id", key_id)
    encrypted = Path(shared["encrypted"])
    client(devnet, "alice", "permit", key_id, "bob")
    opened = client(devnet, "bob", "decrypt", encrypted, "--output", again)
    assert opened["checked"] is True
    assert again.read_bytes() == plain.read_bytes()

    refused = keyserver(
        *("client", "decrypt", encrypted, "--output", tmp_path / "stolen"),
        *("--devnet", devnet, "--account", "charlie"),
    )
    assert refused.returncode == 1
    assert "permission" in refused.stderr
    assert not (tmp_path / "stolen").exists()

    shown = client(devnet, "charlie", "show", key_id, "--ask")
    assert shown["public"] == generated["public"]
    assert shown["threshold"] == 1
    assert shown["has_document"] is True
    assert shown["this_account_may"] is False


def test_a_killed_node_is_seen_and_comes_back(devnet: Path) -> None:
    facts("devnet", "kill", "2", "--dir", devnet)
    assert node_states(devnet)[1] == "not running"
    assert json.loads((devnet / "devnet.json").read_text())["nodes"][1]["pid"] is None
    twice = keyserver("devnet", "kill", "2", "--dir", devnet)
    assert (twice.returncode, twice.stderr) == (2, "keyserver: node 2 does not run\n")
    facts("devnet", "restart", "2", "--dir", devnet)
    assert node_states(devnet) == ["ready"] * 3
    wrong = keyserver("devnet", "restart", "4", "--dir", devnet)
    assert wrong.returncode == 2
    assert "1 to 3" in wrong.stderr


def test_a_second_one_in_the_same_place_is_refused(devnet: Path) -> None:
    done = keyserver("devnet", "up", "--dir", devnet)
    assert done.returncode == 2
    assert "devnet down" in done.stderr
    assert node_states(devnet) == ["ready"] * 3


def test_separate_services_on_a_chain_that_runs_already(tmp_path: Path) -> None:
    directory, plain = tmp_path / "net", tmp_path / "plan.txt"
    plain.write_bytes(b"attack at dawn")
    chain = start_embedded(chain_id=4711, block_time_s=0.5)
    try:
        options = ("--nodes", "2", "--chain", chain.rpc_url, "--services", "separate")
        poor = keyserver("devnet", "up", *options, "--dir", directory)
        assert poor.returncode == 2
        assert "an account is needed that pays" in poor.stderr
        payer = {"KEYSERVER_DEPLOYER_KEY": DEVELOPMENT_PRIVATE_KEYS[3].hex()}
        made = facts("devnet", "up", *options, "--dir", directory, env=payer)
        assert made["chain_id"] == 4711
        assert made["ws_url"] == chain.ws_url
        assert "SecretStoreService" not in made["contracts"]
        key_id = client(directory, "bob", "reserve")["key_id"]
        client(directory, "bob", "generate", key_id, "--threshold", "1")
        client(directory, "bob", "encrypt", plain, "--key-id", key_id)
        encrypted = plain.with_name("plan.txt.encrypted")
        client(directory, "bob", "decrypt", encrypted, "--output", tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == b"attack at dawn"
        assert facts("devnet", "down", "--dir", directory) == {"stopped": 3, "left": 0}
        assert chain.request("eth_chainId") == hex(4711)
    finally:
        keyserver("devnet", "down", "--dir", directory)
        chain.stop()


def test_a_node_that_cannot_start_is_told_with_its_log(devnet: Path) -> None:
    config = devnet / "node1" / "config.toml"
    good = config.read_text()
    config.write_text(good + "\n[secretstroe]\n")
    broken = keyserver("devnet", "restart", "1", "--dir", devnet)
    assert broken.returncode == 1
    assert "node 1 ended" in broken.stderr
    assert "secretstroe" in broken.stderr
    assert node_states(devnet)[0] == "not running"
    config.write_text(good)
    facts("devnet", "restart", "1", "--dir", devnet)
    assert node_states(devnet) == ["ready"] * 3


@pytest.mark.parametrize("command", ["down", "status"])
def test_without_a_devnet_that_is_said(command: str, tmp_path: Path) -> None:
    done = keyserver("devnet", command, "--dir", tmp_path)
    assert done.returncode == 2
    assert "no devnet" in done.stderr


def test_anvil_that_is_missing_is_told_with_what_to_do(tmp_path: Path) -> None:
    missing = {"ANVIL": str(tmp_path / "anvil")}
    done = keyserver("devnet", "up", "--chain", "anvil", "--dir", tmp_path / "net", env=missing)
    assert done.returncode == 2
    assert "ANVIL" in done.stderr
