"""All keys there are, by their dotted name: derived from the model, plus what is only ignored."""

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from keyserver.app.config.kinds import Kind
from keyserver.app.config.model import Config, Section

_NODE_SECTIONS = (
    "ui network websockets ipc dapps private_tx ipfs mining "
    "footprint snapshots stratum whisper light"
)
IGNORED_SECTIONS = frozenset(_NODE_SECTIONS.split())
"""Sections of the original that configure the Ethereum node it was part of."""

IGNORED_KEYS = frozenset(
    f"{section}.{name}"
    for section, names in {
        "parity": "mode mode_timeout mode_alarm auto_update auto_update_delay "
        "auto_update_check_frequency release_track public_node no_download no_consensus identity "
        "db_path light no_persistent_txqueue no_hardcoded_sync",
        "account": "refresh_time disable_hardware fast_unlock enable_signing_queue",
        "rpc": "server_threads processing_threads poll_lifetime allow_missing_blocks "
        "experimental_rpcs keep_alive",
        "misc": "ntp_servers",
    }.items()
    for name in names.split()
)
"""Keys of the original in sections that are read which have no meaning here."""

_SWITCHES = frozenset(
    {
        "secretstore.disable",
        "secretstore.disable_http",
        "secretstore.disable_auto_migrate",
        "secretstore.disable_acl_check",
        "rpc.disable",
        "misc.unsafe_expose",
    }
)
_ENVIRONMENT_PREFIX = {"secretstore": "SECRETSTORE", "keyserver": "KEYSERVER"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration."""

    name: str
    """The dotted name from the root: `keyserver.seal.key_file`."""
    kind: Kind
    default: object
    """As the model has it, so with path variables."""
    description: str

    @property
    def section(self) -> str:
        """The TOML table the key stands in."""
        return self.name.rpartition(".")[0]

    @property
    def short(self) -> str:
        """The key inside its table."""
        return self.name.rpartition(".")[2]

    @property
    def label(self) -> str:
        """How messages name the key: `[section] key`."""
        return f"[{self.section}] {self.short}"

    @property
    def is_switch(self) -> bool:
        """Whether `true` from any source wins over the others."""
        return self.name in _SWITCHES

    @property
    def is_later(self) -> bool:
        """Whether the key is checked and kept, but its feature is not there yet."""
        return self.description.endswith("(later).")

    @property
    def variable(self) -> str | None:
        """The environment variable, for the two sections that have them."""
        top, _, rest = self.name.partition(".")
        prefix = _ENVIRONMENT_PREFIX.get(top)
        return f"{prefix}_{rest.replace('.', '_').upper()}" if prefix else None


@cache
def all_keys() -> dict[str, Key]:
    """Every key by its dotted name, in the model's order."""
    return {key.name: key for key in _keys_of(Config, "")}


@cache
def all_sections() -> frozenset[str]:
    """The dotted names of all tables that are read."""
    names: set[str] = set()
    for key in all_keys().values():
        parts = key.section.split(".")
        names.update(".".join(parts[: i + 1]) for i in range(len(parts)))
    return frozenset(names)


def _keys_of(section: type[Section], prefix: str) -> Iterator[Key]:
    for name, field in section.model_fields.items():
        annotation: Any = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield from _keys_of(annotation, f"{prefix}{name}.")
            continue
        kinds = [item for item in field.metadata if isinstance(item, Kind)]
        yield Key(
            name=prefix + name,
            kind=kinds[0],
            default=field.default,
            description=field.description or "",
        )


def suggestion(name: str, known: Collection[str]) -> str:
    """`; did you mean "…"?` with the nearest known name, or nothing when none is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
