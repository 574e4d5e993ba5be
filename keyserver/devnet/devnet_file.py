"""`devnet.json`: where everything of a devnet is, for whoever uses it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from keyserver.errors import ConfigError

FILE_NAME = "devnet.json"


@dataclass(frozen=True, slots=True)
class DevnetNode:
    """One node; its number is its place in the list, counted from 1."""

    node_id: str
    """`0x` and 128 hexadecimal digits."""
    address: str
    peer: str
    """`HOST:PORT` for other nodes."""
    http: str
    """URL for clients."""
    operator: str
    """URL of health and metrics."""
    pid: int | None
    """None while it does not run."""
    config: str


@dataclass(frozen=True, slots=True)
class DevnetAccount:
    """An account with money on the devnet's chain."""

    address: str
    private_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DevnetJsonRpc:
    """The process that serves the JSON-RPC module with key files of all accounts."""

    url: str
    password: str
    """Of every account's key file; no secret."""
    pid: int | None
    """None while it does not run."""
    config: str


@dataclass(frozen=True, slots=True)
class Devnet:
    """The content of the file."""

    rpc_url: str
    ws_url: str | None
    """None where the chain has no WebSocket."""
    chain_id: int
    contracts: Mapping[str, str]
    nodes: tuple[DevnetNode, ...]
    accounts: Mapping[str, DevnetAccount]
    json_rpc: DevnetJsonRpc | None
    """None on a devnet without the client's half."""

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, directory: Path) -> "Devnet":
        """Read the file of a devnet's directory; raises `ConfigError` naming what is wrong."""
        path = directory / FILE_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(
                f"{path}: there is no devnet;"
                f" start one with `keyserver devnet up --dir {directory}`"
            ) from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        try:
            _check(content, cls, "")
            nodes = tuple(_build(DevnetNode, entry, "nodes") for entry in content["nodes"])
            accounts = {
                name: _build(DevnetAccount, entry, f"accounts.{name}")
                for name, entry in content["accounts"].items()
            }
            entry = content["json_rpc"]
            json_rpc = None if entry is None else _build(DevnetJsonRpc, entry, "json_rpc")
        except (AttributeError, TypeError) as error:
            raise ConfigError(f"{path}: {error}") from error
        return cls(**{**content, "nodes": nodes, "accounts": accounts, "json_rpc": json_rpc})


def _build(kind: type[Any], entry: object, where: str) -> Any:
    _check(entry, kind, where)
    return kind(**entry)  # type: ignore[arg-type]  # checked to be a mapping


def _check(entry: object, kind: type[Any], where: str) -> None:
    """Raise `TypeError` unless `entry` has exactly the fields of the class `kind`."""
    names = {each.name for each in fields(kind)}
    if not isinstance(entry, dict) or entry.keys() != names:
        raise TypeError(f"{where or 'the file'}: must have the fields {', '.join(sorted(names))}")
