"""What imicros-keys keeps in Redis (sealing, A6), as read from there or from a dump.

| name | type | content |
|---|---|---|
| `owners` | set | ids of owners |
| the id of an owner | set | names of its services |
| base64 of owner, `~` and service | hash | a value for each key id, and one for `default` |
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from keyserver.sealing.imicros.errors import DumpError
from keyserver.sealing.json_text import read_json

OWNERS: Final = "owners"
"""The set of owners; an owner of this very name has its services in it, too."""

SEPARATOR: Final = "~"


@dataclass(frozen=True, slots=True)
class Database:
    """The part of a Redis database that imicros-keys has written."""

    sets: Mapping[str, Sequence[str]]
    """Members by name, sorted."""
    hashes: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Fields and values by name."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Names that should be sets or hashes and are not, with the type they are of."""

    def to_json(self) -> str:
        """The text of a dump."""
        content = {
            "kind": KIND,
            "format": FORMAT,
            "sets": {name: list(members) for name, members in self.sets.items()},
            "hashes": {name: dict(fields) for name, fields in self.hashes.items()},
            "others": dict(self.others),
        }
        return json.dumps(content, indent=1, sort_keys=True) + "\n"


KIND: Final = "imicros-dump"
FORMAT: Final = 1


def parse_dump(text: str) -> Database:
    """Read a dump: `sets` and `hashes` (`kind`, `format` and `others` may be missing).

    Raises `DumpError`.
    """
    try:
        content = read_json(text)
    except ValueError:
        raise DumpError("dump: it is not JSON") from None
    if not isinstance(content, dict):
        raise DumpError("dump: must be a JSON object")
    if content.get("kind", KIND) != KIND or content.get("format", FORMAT) != FORMAT:
        raise DumpError(f"dump: must be of kind {KIND}, format {FORMAT}")
    sets, hashes, others = (content.get(name, {}) for name in ("sets", "hashes", "others"))
    if not _is_mapping(sets, _are_texts):
        raise DumpError("dump: `sets` must be lists of texts by name")
    if not _is_mapping(hashes, lambda fields: _is_mapping(fields, _is_text)):
        raise DumpError("dump: `hashes` must be objects of texts by name")
    if not _is_mapping(others, _is_text):
        raise DumpError("dump: `others` must be texts by name")
    if OWNERS not in sets and OWNERS not in others:
        raise DumpError(f"dump: there is no set `{OWNERS}`: is it of imicros-keys?")
    return Database({name: sorted(set(sets[name])) for name in sets}, hashes, others)


def hash_name(owner: str, service: str) -> str:
    """The name of the hash with the keys of an owner for a service."""
    joined = f"{owner}{SEPARATOR}{service}"
    return base64.b64encode(joined.encode("utf-8", "surrogatepass")).decode("ascii")


def decode_name(name: str) -> str | None:
    """Owner, `~` and service as the name of a hash has them; `None` for another name."""
    try:
        decoded = base64.b64decode(name, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    is_canonical = base64.b64encode(decoded.encode()).decode("ascii") == name
    return decoded if SEPARATOR in decoded and is_canonical else None


def possible_pairs(decoded: str) -> Sequence[tuple[str, str]]:
    """Every owner and service that this name may stand for: one more than there are `~` left."""
    parts = decoded.split(SEPARATOR)
    return [
        (SEPARATOR.join(parts[:cut]), SEPARATOR.join(parts[cut:])) for cut in range(1, len(parts))
    ]


def _is_mapping(value: object, holds: Callable[[object], bool]) -> bool:
    return isinstance(value, dict) and all(holds(item) for item in value.values())


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)
