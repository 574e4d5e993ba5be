"""The client's half of a devnet: a process that serves the JSON-RPC module to old client programs.

It is only a client (`[secretstore] disable = true`): it has key files of the devnet's accounts, no
node key, and knows nothing of the chain or the key servers.
"""

import http.client
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from keyserver.app.accounts import write_key_file
from keyserver.app.config.writer import render_file, write_new_file
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.devnet_file import DevnetJsonRpc
from keyserver.devnet.local_chain import LOOPBACK
from keyserver.devnet.node_process import KEY_ITERATIONS, PROBE_TIMEOUT_S

PASSWORD = "devnet"  # noqa: S105 - known to everybody: the accounts are worth nothing
_HEADING = "Configuration of a devnet's JSON-RPC module, written by `keyserver devnet up`."
_PROBE = {"jsonrpc": "2.0", "id": 1, "method": "secretstore_serversSetHash", "params": [[]]}


@dataclass(frozen=True, slots=True)
class JsonRpcPlan:
    """The process before its directory exists."""

    directory: Path
    port: int

    @property
    def config_path(self) -> Path:
        """Its configuration file."""
        return self.directory / "config.toml"

    def describe(self, pid: int | None) -> DevnetJsonRpc:
        """Its entry in `devnet.json`."""
        return DevnetJsonRpc(
            url=f"http://{LOOPBACK}:{self.port}",
            password=PASSWORD,
            pid=pid,
            config=str(self.config_path),
        )


def write_directory(plan: JsonRpcPlan, accounts: Iterable[SecretScalar]) -> None:
    """Write the accounts' key files and the configuration; raises `ConfigError` if one exists."""
    for secret in accounts:
        write_key_file(plan.directory / "keys", secret, PASSWORD, iterations=KEY_ITERATIONS)
    values: dict[str, object] = {
        "parity.base_path": str(plan.directory),
        "parity.keys_path": "$BASE/keys",
        "rpc.apis": ["secretstore"],
        "rpc.interface": "local",
        "rpc.port": plan.port,
        "secretstore.disable": True,
    }
    write_new_file(plan.config_path, render_file(values, heading=_HEADING))


def answers(endpoint: DevnetJsonRpc) -> bool:
    """Whether the module answers a call that needs no account."""
    location = urlsplit(endpoint.url)
    connection = http.client.HTTPConnection(location.netloc, timeout=PROBE_TIMEOUT_S)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/", json.dumps(_PROBE), headers)
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(answer, dict) and "result" in answer
