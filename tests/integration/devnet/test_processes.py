"""The chains as processes: started, funded, reached, stopped, and failing clearly."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from keyserver.devnet.anvil import find_anvil, start_anvil
from keyserver.devnet.embedded_chain import main
from keyserver.devnet.local_chain import (
    DEVELOPMENT_BALANCE_WEI,
    LocalChain,
    request,
    start_embedded,
)
from keyserver.errors import ChainError, ConfigError

FUNDED = b"\x42" * 20
Start = Callable[..., LocalChain]


@pytest.fixture(
    params=[start_embedded, pytest.param(start_anvil, marks=pytest.mark.anvil)],
    ids=["embedded", "anvil"],
)
def start(request: pytest.FixtureRequest) -> Start:
    if request.param is start_anvil:
        try:
            find_anvil()
        except ConfigError as error:
            pytest.skip(str(error))
    chosen: Start = request.param
    return chosen


def test_a_chain_process_serves_until_it_is_stopped(start: Start, tmp_path: Path) -> None:
    chain = start(chain_id=55, block_time_s=0.2, fund=[FUNDED], log_path=tmp_path / "chain.log")
    try:
        assert os.path.exists(f"/proc/{chain.pid}")
        assert chain.request("eth_chainId") == hex(55)
        balance = chain.request("eth_getBalance", "0x" + FUNDED.hex(), "latest")
        assert int(balance, 16) == DEVELOPMENT_BALANCE_WEI
        with pytest.raises(ChainError, match="eth_nothing"):
            chain.request("eth_nothing")
    finally:
        chain.stop()
    assert chain.process.returncode is not None
    assert chain.directory is None or not chain.directory.exists()
    with pytest.raises(ChainError, match=r"eth_chainId at .* failed"):
        request(chain.rpc_url, "eth_chainId")


def test_the_embedded_process_ends_cleanly_on_request() -> None:
    chain = start_embedded(chain_id=55)
    chain.stop()
    assert chain.process.returncode == 0


def test_a_taken_port_is_reported(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "chain.log"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ChainError, match="did not start"):
            start(chain_id=55, port=taken.getsockname()[1], log_path=log)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fund", "0x1234"], "20 bytes are expected, got 2"),
        (["--chain-id", "0"], "--chain-id: a positive number"),
        (["--block-time", "0"], "--block-time: a positive number"),
        (["--block-time", "soon"], "--block-time"),
    ],
)
def test_a_bad_argument_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_missing_anvil_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANVIL", str(tmp_path / "anvil"))
    with pytest.raises(ConfigError, match=r"ANVIL: .* is not an executable file"):
        find_anvil()


def test_anvil_is_found_by_name_by_folder_and_by_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ANVIL", raising=False)
    monkeypatch.setattr("keyserver.devnet.anvil._CHECKOUT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="npm install"):
        find_anvil()
    in_path = _executable(tmp_path / "bin/anvil")
    assert find_anvil() == in_path
    in_folder = _executable(tmp_path / "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
    assert find_anvil() == in_folder
    monkeypatch.setenv("ANVIL", str(in_path))
    assert find_anvil() == in_path


def _executable(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path
