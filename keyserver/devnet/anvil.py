"""Foundry's anvil as the local chain, where its binary is found.

It is started to behave like the embedded chain: the same funded accounts, Prague rules, and the
tags `safe` and `finalized` one and two blocks behind the head. One difference matters to those who
follow it: on a reorganisation subscribers hear of the new heads, not of removed events.
"""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from eth_keys.datatypes import PrivateKey

from keyserver.devnet.local_chain import (
    DEVELOPMENT_BALANCE_WEI,
    DEVELOPMENT_PRIVATE_KEYS,
    LOOPBACK,
    START_TIMEOUT_S,
    LocalChain,
    request,
    spawn,
)
from keyserver.errors import ChainError, ConfigError

NPM_PACKAGE = "@foundry-rs/anvil@1.7.1"
NPM_BINARY = Path("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
ENVIRONMENT_VARIABLE = "ANVIL"

_CHECKOUT = Path(__file__).resolve().parents[2]
_POLL_S = 0.02
_PROBE_TIMEOUT_S = 1.0
_ATTEMPTS = 3


def find_anvil() -> Path:
    """Find the anvil binary.

    Looks at the environment variable ANVIL, then below `node_modules` of the current directory and
    of the checkout, then in PATH. Raises `ConfigError`, which says how to install it.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise ConfigError(f"{ENVIRONMENT_VARIABLE}: {named} is not an executable file")
        return Path(named)
    for directory in (Path.cwd(), _CHECKOUT):
        if os.access(directory / NPM_BINARY, os.X_OK):
            return directory / NPM_BINARY
    in_path = shutil.which("anvil")
    if in_path is None:
        raise ConfigError(
            f"anvil was not found: install it here with `npm install {NPM_PACKAGE}`, put it in"
            f" PATH, or set {ENVIRONMENT_VARIABLE} to the binary"
        )
    return Path(in_path)


def start_anvil(
    *,
    chain_id: int,
    block_time_s: float | None = None,
    fund: Sequence[bytes] = (),
    port: int = 0,
    log_path: Path | None = None,
) -> LocalChain:
    """Start anvil as a process that outlives this one, and wait until it serves.

    `block_time_s` is the time between blocks; without it every transaction is mined at once. The
    development accounts and the 20-byte addresses in `fund` own a million ether each. Port 0 takes
    any free port. Raises `ConfigError` if there is no anvil, `ChainError` if it does not come up.
    """
    binary = find_anvil()
    for _ in range(_ATTEMPTS if port == 0 else 1):
        chain = _launch(binary, chain_id, block_time_s, port or _free_port(), log_path)
        try:
            if _is_serving(chain):
                _fund(chain, (*_development_addresses(), *fund))
                return chain
        except BaseException:
            chain.stop()
            raise
        chain.stop()
    raise ChainError(f"anvil ({binary}) did not start serving chain {chain_id}")


def _launch(
    binary: Path, chain_id: int, block_time_s: float | None, port: int, log_path: Path | None
) -> LocalChain:
    command = [str(binary), "--host", LOOPBACK, "--port", str(port), "--chain-id", str(chain_id)]
    command += ["--hardfork", "prague", "--slots-in-an-epoch", "1", "--silent"]
    if block_time_s is not None:
        command += ["--block-time", str(block_time_s)]
    # It keeps state below its home folder.
    home = Path(tempfile.mkdtemp(prefix="anvil-"))
    process = spawn(command, log_path=log_path, environment={"HOME": str(home)})
    address = f"{LOOPBACK}:{port}"
    return LocalChain(f"http://{address}", f"ws://{address}", chain_id, process, home)


def _is_serving(chain: LocalChain) -> bool:
    """Wait until `chain` answers with its own chain id; false if it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while chain.process.poll() is None and time.monotonic() < deadline:
        try:
            answer = request(chain.rpc_url, "eth_chainId", timeout_s=_PROBE_TIMEOUT_S)
            return bool(int(answer, 16) == chain.chain_id)
        except ChainError:
            time.sleep(_POLL_S)
    return False


def _fund(chain: LocalChain, addresses: Sequence[bytes]) -> None:
    for address in addresses:
        chain.request("anvil_setBalance", "0x" + address.hex(), hex(DEVELOPMENT_BALANCE_WEI))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _development_addresses() -> list[bytes]:
    return [PrivateKey(key).public_key.to_canonical_address() for key in DEVELOPMENT_PRIVATE_KEYS]
