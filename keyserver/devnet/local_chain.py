"""A chain of one machine in a process of its own: how to reach it, and how to stop it."""

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from keyserver.errors import ChainError

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 30.0

DEVELOPMENT_BALANCE_WEI = 1_000_000 * 10**18
"""What every funded account has at the start."""

DEVELOPMENT_PRIVATE_KEYS = tuple(number.to_bytes(32, "big") for number in range(1, 11))
"""The published keys of the ten accounts every local chain funds; worthless elsewhere."""


@dataclass(frozen=True, slots=True)
class LocalChain:
    """A running chain process; `stop` ends it and removes what it kept on disk."""

    rpc_url: str
    ws_url: str
    chain_id: int
    process: subprocess.Popen[bytes]
    directory: Path | None = None

    @property
    def pid(self) -> int:
        """The process id of the chain's server."""
        return self.process.pid

    def request(self, method: str, *params: object) -> Any:
        """Ask the chain one thing; raises `ChainError` if it refuses or does not answer."""
        return request(self.rpc_url, method, *params)

    def stop(self) -> None:
        """End the process: asked first, killed if it does not go within 5 s."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


def start_embedded(
    *,
    chain_id: int,
    block_time_s: float | None = None,
    fund: Sequence[bytes] = (),
    port: int = 0,
    log_path: Path | None = None,
) -> LocalChain:
    """Start the embedded chain as a process that outlives this one, and wait until it serves.

    `block_time_s`, `fund` and `port` are those of `embedded_chain.EmbeddedChain`; what the process
    logs goes to `log_path`. Raises `ChainError` if it does not come up.
    """
    command = [sys.executable, "-m", "keyserver.devnet.embedded_chain"]
    command += ["--port", str(port), "--chain-id", str(chain_id)]
    if block_time_s is not None:
        command += ["--block-time", str(block_time_s)]
    if fund:
        command += ["--fund", *("0x" + address.hex() for address in fund)]
    process = spawn(command, stdout=subprocess.PIPE, log_path=log_path)
    chain = LocalChain("", "", chain_id, process)
    try:
        ready = json.loads(_first_line(process))
    except ValueError as error:
        chain.stop()
        where = "" if log_path is None else f"; see {log_path}"
        raise ChainError(f"the embedded chain did not start{where}") from error
    return LocalChain(ready["rpc_url"], ready["ws_url"], ready["chain_id"], process)


def spawn(
    command: Sequence[str],
    *,
    stdout: int = subprocess.DEVNULL,
    log_path: Path | None = None,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, its errors written to `log_path`."""
    log: IO[bytes] | int = subprocess.DEVNULL if log_path is None else log_path.open("ab")
    try:
        return subprocess.Popen(  # noqa: S603 - the command is ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=log,
            env=os.environ | (environment or {}),
            start_new_session=True,
        )
    finally:
        if not isinstance(log, int):
            log.close()


def request(url: str, method: str, *params: object, timeout_s: float = REQUEST_TIMEOUT_S) -> Any:
    """Make one JSON-RPC request over HTTP.

    Raises `ChainError` with the chain's own message if it refuses, and if it cannot be reached.
    """
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    connection = HTTPConnection(urlsplit(url).netloc, timeout=timeout_s)
    try:
        connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError) as error:
        raise ChainError(f"{method} at {url} failed: {error}") from error
    finally:
        connection.close()
    if "error" in answer:
        raise ChainError(f"{method}: {answer['error']['message']}")
    return answer["result"]


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """Return the first line the process prints, or nothing if there is none within 15 s."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    return process.stdout.readline() if readable else b""
