"""`network.json`: how a later command finds the processes of a devnet again."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from keyserver.devnet.devnet_file import FILE_NAME
from keyserver.devnet.operators import FILE_NAME as SHARES_NAME
from keyserver.devnet.processes import Process
from keyserver.errors import ConfigError

STATE_NAME = "network.json"
JSON_RPC_DIRECTORY = "json-rpc"
"""Beside the nodes' directories: that of the client's half."""


@dataclass(frozen=True, slots=True)
class State:
    """What `network.json` holds: how to find the processes, and what was asked for."""

    chain: Process | None
    """None for a chain that is not ours."""
    chain_directory: str | None
    """What the chain keeps on disk outside the devnet's directory."""
    chain_name: str
    nodes: tuple[Process | None, ...]
    json_rpc: Process | None
    """None without the client's half."""
    threshold: int
    confirmations: int
    block_time_s: float

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, directory: Path) -> "State":
        """Read the file; raises `ConfigError` if there is no devnet."""
        path = directory / STATE_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            chain, json_rpc, *nodes = (
                None if entry is None else Process(**entry)
                for entry in (
                    content.pop("chain"),
                    content.pop("json_rpc"),
                    *content.pop("nodes"),
                )
            )
            return cls(chain=chain, json_rpc=json_rpc, nodes=tuple(nodes), **content)
        except FileNotFoundError:
            raise ConfigError(f"{directory}: there is no devnet here") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: is damaged: {error!r}") from error

    def running(self) -> list[Process]:
        """The processes that are there, nodes first."""
        known = [*self.nodes, self.json_rpc, self.chain]
        return [process for process in known if process is not None and process.is_running]


def clear(directory: Path) -> None:
    """Make the directory, or remove what a devnet that has stopped left in it.

    Raises `ConfigError` if a devnet runs there, or if there is something that is not ours.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not any(directory.iterdir()):
        return
    if not (directory / STATE_NAME).exists():
        raise ConfigError(f"{directory} is neither empty nor the directory of a devnet")
    if State.load(directory).running():
        raise ConfigError(
            f"a devnet runs in {directory}: stop it with `keyserver devnet down --dir {directory}`"
        )
    for path in directory.iterdir():
        if path.is_dir() and (path.name.startswith("node") or path.name == JSON_RPC_DIRECTORY):
            shutil.rmtree(path)
        elif path.name in (FILE_NAME, STATE_NAME, SHARES_NAME, "chain.log"):
            path.unlink()


def write_private(path: Path, text: str) -> None:
    """Write a file at one stroke; its owner alone may read it."""
    partial = path.with_name(path.name + ".partial")
    partial.touch(mode=0o600)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
