"""The configuration of the unseal daemon: its share, and the nodes it is for."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keyserver.cli.operator_client import TIMEOUT_S, OperatorClient, Trust
from keyserver.cli.output import USAGE, CommandError
from keyserver.cli.seal_shares import read_share
from keyserver.cli.unseal_deciding import HeldShare

_KEYS: Final = frozenset({"share_file", "age_identity", "seal_id", "epoch", "nodes"})
_NODE_KEYS: Final = frozenset({"url", "ca_file", "certificate"})

Table = Mapping[str, Any]  # Any: whatever the file says; every value is checked


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """What the daemon does."""

    share: HeldShare = field(repr=False)
    nodes: tuple[OperatorClient, ...]


def read_config(path: Path) -> DaemonConfig:
    """Read the file and the share it names; paths are relative to the file.

    Raises `CommandError` naming the key that is wrong, `KeySourceError` for a share that others can
    read.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", exit_code=USAGE) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: is no TOML: {error}", exit_code=USAGE) from None
    reader = _Reader(path.absolute(), "")
    reader.only(table, _KEYS)
    nodes = table.get("nodes")
    if not isinstance(nodes, list) or not nodes or not all(isinstance(n, dict) for n in nodes):
        raise reader.wrong("nodes", "must be one or more tables [[nodes]]")
    found = tuple(_node(reader.path, number, node) for number, node in enumerate(nodes, start=1))
    return DaemonConfig(_share(reader, table), found)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads values of one table, naming the key in errors."""

    path: Path
    where: str

    def wrong(self, key: str, rule: str) -> CommandError:
        return CommandError(f"{self.path}: {self.where}{key}: {rule}", exit_code=USAGE)

    def only(self, table: Table, known: frozenset[str]) -> None:
        for key in table:
            if key not in known:
                raise self.wrong(key, f"is unknown; known are {', '.join(sorted(known))}")

    def text(self, table: Table, key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "must be a text")
        return value

    def file(self, table: Table, key: str) -> Path | None:
        if key not in table:
            return None
        return self.path.parent / Path(self.text(table, key)).expanduser()


def _node(path: Path, number: int, table: Table) -> OperatorClient:
    reader = _Reader(path, f"nodes, number {number}: ")
    reader.only(table, _NODE_KEYS)
    url = reader.text(table, "url")
    ca_file, certificate = reader.file(table, "ca_file"), reader.file(table, "certificate")
    try:
        operator = OperatorClient(url, trust=Trust(ca_file, certificate), answer_s=TIMEOUT_S)
    except CommandError:
        raise reader.wrong("url", f"{url} is neither https://HOST:PORT nor unix:PATH") from None
    if not operator.is_private:
        raise reader.wrong("url", "http:// is for this machine only; use https://")
    if url.startswith("https:") and (ca_file is None) == (certificate is None):
        raise reader.wrong("url", "https:// needs either ca_file or certificate")
    for key, file in (("ca_file", ca_file), ("certificate", certificate)):
        if file is not None and not file.is_file():
            raise reader.wrong(key, f"{file} is no file")
    return operator


def _share(reader: _Reader, table: Table) -> HeldShare:
    # Deferred, as in all commands: sealing takes a while to load.
    from keyserver.sealing.errors import ShareMalformedError
    from keyserver.sealing.shares import parse_share

    file = reader.file(table, "share_file")
    if file is None:
        raise reader.wrong("share_file", "must name the file with the share")
    identity = reader.file(table, "age_identity")
    text = read_share(file, [identity] if identity else [], "")
    try:
        read = parse_share(text)
    except ShareMalformedError as error:
        raise reader.wrong("share_file", f"{file}: {error}") from None
    seal_id = table.get("seal_id") if read.seal_id is None else read.seal_id.hex()
    epoch = table.get("epoch") if read.epoch is None else read.epoch
    if not isinstance(seal_id, str) or not isinstance(epoch, int) or isinstance(epoch, bool):
        raise reader.wrong(
            "share_file",
            "holds bare words, which do not tell what they are for: give seal_id (a text) and "
            "epoch (a number), as `keyserver seal status` shows them, too",
        )
    return HeldShare(text, seal_id.lower(), epoch, read.share.identifier)
